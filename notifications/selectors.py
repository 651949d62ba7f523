"""Reads: who hears, what is due, what became of messages, in constant queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Exists, F, Max, Min, Q, QuerySet, Subquery

from alerts.models import AlertEvent
from console.accounts.selectors import active_administrators
from console.kit import humane
from notifications.engine import TOLD, UNSENT, DeliveryState, Person, audience_of
from notifications.models import Channel, Delivery, Drill, EmailSettings, Recipient

#: A due message that nobody has touched for this long says that nothing is sending.
STUCK = timedelta(minutes=2)

#: How long a refused recipient is worth a banner.
REFUSED_FOR = timedelta(hours=24)


def email_settings() -> EmailSettings:
    """Return how mail is sent; the defaults when nobody has set it up."""
    return EmailSettings.objects.filter(pk=EmailSettings.ONLY).first() or EmailSettings(
        pk=EmailSettings.ONLY
    )


def recipients() -> QuerySet[Recipient]:
    """Return the addresses that were added."""
    return Recipient.objects.order_by("address")


def channels() -> QuerySet[Channel]:
    """Return the channels besides mail, by name."""
    return Channel.objects.order_by("name", "pk")


def audience() -> list[Person]:
    """Return everybody who is to hear of alerts; two queries."""
    return audience_of(
        [
            Person(person.email, person.get_username())
            for person in active_administrators().exclude(email="")
        ],
        [Person(row.address, row.address) for row in recipients()],
    )


def told_of(alerts: Iterable[int]) -> dict[int, dict[str, Person]]:
    """Return, for each alert, who was or is about to be told that it is open.

    Counted are the routed events after the alert's last CLEARED that was not withheld:
    a close that was kept from everybody ends nothing for them. Two queries. Keys:
    alert, then address.
    """
    keys = list(alerts)
    if not keys:
        return {}
    events = AlertEvent.objects.filter(alert__in=keys, routed_at__isnull=False)
    cleared = dict(
        events.filter(kind=AlertEvent.Kind.CLEARED, is_withheld=False)
        .order_by()
        .values_list("alert")
        .annotate(last=Max("pk"))
    )
    told: dict[int, dict[str, Person]] = {}
    rows = (
        Delivery.objects.filter(event__alert__in=keys, state__in=TOLD)
        .exclude(event__kind=AlertEvent.Kind.CLEARED)
        .order_by("pk")
        .values_list("event__alert", "event", "recipient", "recipient_name")
    )
    for alert, event, address, name in rows:
        if event > cleared.get(alert, 0):
            told.setdefault(alert, {}).setdefault(address, Person(address, name))
    return told


def is_due(now: datetime) -> Q:
    """Return the condition that a delivery wants to be sent, or sent again."""
    return Q(
        state__in=[DeliveryState.PENDING, DeliveryState.RETRY], due_at__lte=now
    ) | Q(state=DeliveryState.SENDING, lease_until__lte=now)


def due_recipients(now: datetime) -> list[str]:
    """Return the addresses that have something due, the longest waiting first."""
    return list(
        Delivery.objects.filter(is_due(now), channel__isnull=True)
        .order_by()
        .values("recipient")
        .annotate(oldest=Min("due_at"))
        .order_by("oldest")
        .values_list("recipient", flat=True)
    )


def delivery_lag(now: datetime) -> timedelta | None:
    """Return the age of the oldest news that is not yet sent; None when all is sent.

    Counted from the event, or from the delivery's creation when it was routed. A
    message that waits for its group or for a retry counts too.
    """
    unrouted = AlertEvent.objects.filter(routed_at__isnull=True).aggregate(
        oldest=Min("at")
    )["oldest"]
    unsent = Delivery.objects.filter(state__in=UNSENT).aggregate(
        oldest=Min("created_at")
    )["oldest"]
    oldest = min((each for each in (unrouted, unsent) if each), default=None)
    return max(now - oldest, timedelta(0)) if oldest else None


@dataclass(frozen=True, slots=True)
class DeliveryProblem:
    """What a banner says: since when, what is wrong, and what to do."""

    since: datetime
    title: str
    error: str
    cure: str
    #: The title for those who may see no address.
    public_title: str = ""


def delivery_problem(now: datetime) -> DeliveryProblem | None:
    """Return what keeps people from being told, the worst first; None when nothing.

    One query while all is well, because it is asked on every page.
    """
    waiting = Delivery.objects.filter(
        state__in=[DeliveryState.PENDING, DeliveryState.RETRY]
    ).order_by("due_at")
    failed = Delivery.objects.filter(
        state=DeliveryState.FAILED, attempted_at__gte=now - REFUSED_FOR
    )
    settings = (
        EmailSettings.objects.filter(pk=EmailSettings.ONLY)
        .annotate(
            oldest_due_at=Subquery(waiting.values("due_at")[:1]),
            has_failed=Exists(failed),
        )
        .first()
    )
    if settings is None or not settings.is_ready:
        return None
    if settings.failing_since is not None:
        return DeliveryProblem(
            since=settings.failing_since,
            title="Mail cannot be sent",
            error=settings.last_error,
            cure=settings.last_cure
            or "Open Settings > Email and choose Send test: it shows the answer.",
        )
    oldest = settings.oldest_due_at
    patience = STUCK + timedelta(seconds=settings.group_seconds)
    if oldest is not None and oldest < now - patience:
        return DeliveryProblem(
            since=oldest,
            title="Mail is not being sent",
            error="Messages should have left by now, but no process is sending.",
            cure="Check that the worker is running: “manage.py doctor” says what is "
            "missing.",
        )
    return _refused(failed, now) if settings.has_failed else None


def _refused(failed: QuerySet[Delivery], now: datetime) -> DeliveryProblem | None:
    """Return which recipients are refused and have not been reached since."""
    refused = list(
        failed.exclude(recipient__in=_reached_since(now - REFUSED_FOR))
        .order_by("recipient", "-pk")
        .values("recipient", "error", "attempted_at")[:100]
    )
    if not refused:
        return None
    addresses = list(dict.fromkeys(row["recipient"] for row in refused))
    return DeliveryProblem(
        since=min(row["attempted_at"] or now for row in refused),
        title=f"Mail to {humane.listed(addresses)} cannot be delivered",
        public_title=f"Mail to {humane.counted(len(addresses), 'recipient')} cannot be "
        "delivered",
        error=refused[0]["error"],
        cure="Correct the address under Settings > Notifications, or remove it; then "
        "send the failed messages again from the delivery log.",
    )


def _reached_since(start: datetime) -> QuerySet[Delivery, str]:
    """Return the addresses whose newest outcome since an instant is that it arrived."""
    return (
        Delivery.objects.filter(
            attempted_at__gte=start,
            state__in=[DeliveryState.SENT, DeliveryState.FAILED],
        )
        .order_by()
        .values("recipient")
        .annotate(
            sent=Max("attempted_at", filter=Q(state=DeliveryState.SENT)),
            failed=Max("attempted_at", filter=Q(state=DeliveryState.FAILED)),
        )
        .filter(sent__gte=F("failed"))
        .values_list("recipient", flat=True)
    )


def deliveries() -> QuerySet[Delivery]:
    """Return all deliveries with their alert, the newest first."""
    return Delivery.objects.select_related("event__alert").order_by("-pk")


def count_by_state() -> dict[DeliveryState, int]:
    """Return how many deliveries are in each state; one query."""
    counts = dict(
        Delivery.objects.order_by().values_list("state").annotate(count=Count("pk"))
    )
    return {state: counts.get(state.value, 0) for state in DeliveryState}


def running_drill() -> Drill | None:
    """Return the drill that is running, if one is."""
    return Drill.objects.filter(state=Drill.State.RUNNING).first()
