"""Reads: who hears, what is due, what became of messages, in constant queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import (
    BooleanField,
    Count,
    Exists,
    F,
    Max,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.expressions import RawSQL

from alerts import selectors as alerts
from alerts.models import AlertEvent
from console.kit import humane
from notifications import reach
from notifications.engine import (
    CHANNEL_GROUP,
    PATIENCE,
    TOLD,
    UNSENT,
    DeliveryState,
    Person,
    distance,
)
from notifications.models import (
    Channel,
    Delivery,
    Drill,
    EmailSettings,
    OutboundHeartbeat,
    Recipient,
)
from notifications.pace import Turn, Waits

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
    """Return the addresses that were added, with their groups."""
    return Recipient.objects.prefetch_related("groups").order_by("address")


def channels() -> QuerySet[Channel]:
    """Return the channels besides mail, by name."""
    return Channel.objects.order_by("name", "pk")


def outbound_heartbeat() -> OutboundHeartbeat:
    """Return what is called while the console is well; off when nobody has set it up."""
    only = OutboundHeartbeat.ONLY
    return OutboundHeartbeat.objects.filter(pk=only).first() or OutboundHeartbeat(
        pk=only
    )


class ToldKinds:
    """Which kinds of alerts anybody is told of; asked once, one query.

    A kind that has left the catalogue is nothing to tell anybody about.
    """

    def __init__(self) -> None:
        self._settings = alerts.settings()

    def __contains__(self, kind_and_destination: tuple[str, int | None]) -> bool:
        """Return whether a kind is told, for alerts of a destination (None: of none)."""
        setting = self._settings.find(*kind_and_destination)
        return setting is not None and setting.is_mailed


def audience() -> list[Person]:
    """Return everybody who can be told of alerts by mail; a few queries."""
    return [each.person for each in reach.listeners() if not each.is_channel]


def is_mailed(address: str) -> bool:
    """Return whether somebody with this address, in whatever case, is told of alerts."""
    wanted = address.lower()
    return any(person.address.lower() == wanted for person in audience())


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


def waiting_of(alerts: Iterable[int], *, now: datetime) -> dict[int, dict[str, Turn]]:
    """Return which lanes have not been sent yet what they wait for; one query.

    Keys: alert, then lane; values: when the first of it leaves, which takes the rest
    along, and what it waits for.
    """
    keys = list(alerts)
    waiting: dict[int, dict[str, Turn]] = {}
    if not keys:
        return waiting
    rows = (
        Delivery.objects.filter(
            event__alert__in=keys,
            state=DeliveryState.PENDING,
            batch__isnull=True,
            due_at__gt=now,
        )
        .exclude(waits_for="")
        .order_by("-due_at", "-pk")
        .values_list("event__alert", "recipient", "due_at", "waits_for")
    )
    for alert, lane, due_at, waits_for in rows:
        waiting.setdefault(alert, {})[lane] = Turn(due_at, Waits(waits_for))
    return waiting


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


def due_channels(now: datetime) -> list[Channel]:
    """Return the channels that are on and have something due; one query."""
    due = Delivery.objects.filter(is_due(now), channel__isnull=False).order_by()
    return list(
        Channel.objects.filter(pk__in=due.values("channel"), is_enabled=True).order_by(
            "pk"
        )
    )


def is_on(channel: Channel) -> bool:
    """Return whether a channel is on now, and still as it was read."""
    return Channel.objects.filter(
        pk=channel.pk,
        is_enabled=True,
        sealed_url=channel.sealed_url,
        sealed_secret=channel.sealed_secret,
    ).exists()


def used_budget(channel: Channel, now: datetime) -> int:
    """Return how many messages a channel was sent, or is being sent, in the last hour."""
    found: int = (
        Delivery.objects.filter(
            recipient=channel.lane,
            attempted_at__gt=now - timedelta(hours=1),
            state__in=[DeliveryState.SENT, DeliveryState.SENDING],
        )
        .order_by()
        .aggregate(count=Count("batch", distinct=True))["count"]
    )
    return found


def delivery_lag(now: datetime) -> timedelta | None:
    """Return the age of the oldest news that is not yet sent; None when all is sent.

    Counted from the event, or from the delivery's creation when it was routed. A
    message that waits for its group or for a retry counts too; one that waits for a
    digest or the end of quiet hours counts from when it was due.
    """
    unrouted = AlertEvent.objects.filter(routed_at__isnull=True).aggregate(
        oldest=Min("at")
    )["oldest"]
    unsent = Delivery.objects.filter(state__in=UNSENT).aggregate(
        oldest=Min("created_at", filter=Q(waits_for="")),
        # What gives it up moves with it: so long after it was due at first.
        given_up=Min("give_up_at", filter=~Q(waits_for="")),
    )
    late = unsent["given_up"] - PATIENCE if unsent["given_up"] else None
    oldest = min(
        (
            each
            for each in (unrouted, unsent["oldest"], late)
            if each is not None and each <= now
        ),
        default=None,
    )
    return max(now - oldest, timedelta(0)) if oldest else None


@dataclass(frozen=True, slots=True)
class DeliveryProblem:
    """What a banner says: since when, what is wrong, and what to do.

    ``channel`` is the channel that it is about, None for mail. ``is_final`` is true
    when waiting cannot mend it.
    """

    since: datetime
    title: str
    error: str
    cure: str
    #: The title for those who may see no address.
    public_title: str = ""
    channel: Channel | None = None
    is_final: bool = False


def delivery_problem(now: datetime) -> DeliveryProblem | None:
    """Return what keeps people from being told, the worst first; None when nothing.

    It is asked on every page, so that a few short questions come first.
    """
    if not _has_signs(now):
        return None
    return mail_problem(now) or next(iter(channel_problems(now)), None)


def _has_signs(now: datetime) -> bool:
    """Return whether anything may be wrong; at most four queries.

    Each has an index behind it. To make the one long question instead takes Django
    three times as long, and the database is not what is waited for.
    """
    rows = EmailSettings.objects.filter(pk=EmailSettings.ONLY)
    settings = rows.only("host", "failing_since").first()
    if settings is None or not settings.host:
        # Where nothing is set up nothing can fail.
        if not Channel.objects.exists():
            return False
    elif settings.failing_since is not None:
        return True
    return (
        Channel.objects.filter(_IN_TROUBLE).exists()
        or Delivery.objects.filter(_IS_WAITING, due_at__lt=now - STUCK).exists()
        or _failed(now).exists()
    )


#: Written out, as the index "delivery_due" has it: SQLite uses a partial index for no
#: parameter, and would look through all that was ever sent.
_IS_WAITING = RawSQL(
    "notifications_delivery.state IN ('pending', 'retry')",
    (),
    output_field=BooleanField(),
)


def mail_problem(now: datetime) -> DeliveryProblem | None:
    """Return what keeps people from being told by mail; None when nothing."""
    return _mail_problem(_settings_with_signs(now), now)


def _waiting() -> QuerySet[Delivery]:
    return Delivery.objects.filter(
        state__in=[DeliveryState.PENDING, DeliveryState.RETRY]
    ).order_by("due_at")


def _failed(now: datetime) -> QuerySet[Delivery]:
    return Delivery.objects.filter(
        state=DeliveryState.FAILED, attempted_at__gte=now - REFUSED_FOR
    )


def _settings_with_signs(now: datetime) -> Any:
    """Return the email settings with what may be wrong, and may not; one query."""
    waiting = _waiting()
    return (
        EmailSettings.objects.filter(pk=EmailSettings.ONLY)
        .annotate(
            oldest_due_at=Subquery(
                waiting.filter(channel__isnull=True).values("due_at")[:1]
            ),
            has_failed=Exists(_failed(now).filter(channel__isnull=True)),
        )
        .first()
    )


def _mail_problem(settings: Any, now: datetime) -> DeliveryProblem | None:
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
            cure=CURE_OF_STUCK,
        )
    failed = _failed(now).filter(channel__isnull=True)
    return _refused(failed, now) if settings.has_failed else None


CURE_OF_STUCK = (
    "Check that the worker is running: “manage.py doctor” says what is missing."
)

#: A channel that fails now, or that the console has switched off.
_IN_TROUBLE = Q(failing_since__isnull=False, is_enabled=True) | Q(
    disabled_at__isnull=False
)


def channel_problems(now: datetime) -> list[DeliveryProblem]:
    """Return what keeps channels from delivering, by name; one query while all is well.

    A channel that a person has switched off has no problem.
    """
    own = Delivery.objects.filter(channel=OuterRef("pk"))
    waiting = _waiting().filter(
        channel=OuterRef("pk"), due_at__lt=now - STUCK - CHANNEL_GROUP
    )
    failed = _failed(now).filter(channel=OuterRef("pk"))
    reached = own.filter(
        state=DeliveryState.SENT, attempted_at__gte=now - REFUSED_FOR
    ).order_by("-attempted_at")
    rows: Iterable[Any] = (
        Channel.objects.filter(
            _IN_TROUBLE | Q(Exists(waiting), is_enabled=True) | Q(Exists(failed))
        )
        .annotate(
            oldest_due_at=Subquery(waiting.values("due_at")[:1]),
            failed_at=Subquery(
                failed.order_by("-attempted_at").values("attempted_at")[:1]
            ),
            failed_error=Subquery(failed.order_by("-attempted_at").values("error")[:1]),
            reached_at=Subquery(reached.values("attempted_at")[:1]),
        )
        .order_by("name", "pk")
    )
    found = (_channel_problem(row, now) for row in rows)
    return [problem for problem in found if problem is not None]


def _channel_problem(channel: Any, now: datetime) -> DeliveryProblem | None:
    if channel.disabled_at is not None:
        return DeliveryProblem(
            since=channel.disabled_at,
            title=f"Channel {channel} was switched off by the console",
            public_title="A channel was switched off by the console",
            error=channel.last_error,
            cure=f"{channel.last_cure} Then switch it on under Settings > Channels; what "
            "waits for it is sent then.",
            channel=channel,
            is_final=True,
        )
    if channel.is_enabled and channel.failing_since is not None:
        return DeliveryProblem(
            since=channel.failing_since,
            title=f"Channel {channel} does not deliver",
            public_title="A channel does not deliver",
            error=channel.last_error,
            cure=channel.last_cure,
            channel=channel,
        )
    if channel.is_enabled and channel.oldest_due_at is not None:
        stuck_at = may_leave_at(channel, channel.oldest_due_at, now) + STUCK
        if stuck_at < now:
            return DeliveryProblem(
                since=channel.oldest_due_at,
                title=f"Channel {channel} is not being sent to",
                public_title="A channel is not being sent to",
                error="Messages should have left by now, but no process is sending.",
                cure=CURE_OF_STUCK,
                channel=channel,
            )
    reached_at = channel.reached_at
    if channel.failed_at is None or (reached_at and reached_at >= channel.failed_at):
        return None
    return DeliveryProblem(
        since=channel.failed_at,
        title=f"Channel {channel} refused a message",
        public_title="A channel refused a message",
        error=channel.failed_error,
        cure="Ask whoever runs the service what its answer means, then send the failed "
        "messages again from the delivery log.",
        channel=channel,
    )


def may_leave_at(channel: Channel, due_at: datetime, now: datetime) -> datetime:
    """Return when what is due may leave by a channel, by its budget: past, if it may."""
    group = distance(
        used_budget(channel, now), per_hour=channel.per_hour, group=CHANNEL_GROUP
    )
    last: datetime | None = Delivery.objects.filter(recipient=channel.lane).aggregate(
        at=Max("attempted_at")
    )["at"]
    if last is None:
        return due_at
    return max(due_at, last + (timedelta(hours=1) if group is None else group))


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
    return Delivery.objects.select_related("event__alert", "channel").order_by("-pk")


def count_by_state(channel: Channel | None = None) -> dict[DeliveryState, int]:
    """Return how many deliveries are in each state, of one channel or all; one query."""
    rows = Delivery.objects.order_by()
    if channel is not None:
        rows = rows.filter(channel=channel)
    counts = dict(rows.values_list("state").annotate(count=Count("pk")))
    return {state: counts.get(state.value, 0) for state in DeliveryState}


def running_drill() -> Drill | None:
    """Return the drill that is running, if one is."""
    return Drill.objects.filter(state=Drill.State.RUNNING).first()
