"""While nobody acknowledges: people are reminded, and routes escalate.

Found by looking and not by timers, so it does not matter who looks, how often or how
late. Alerts are locked as acknowledging locks them, and what was said is read
afterwards: of two workers at once the second finds nothing more to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Greatest

from alerts import selectors as alerts
from alerts import silences
from alerts.models import Alert, AlertEvent
from alerts.services import event, write_events
from console.kit import humane
from notifications import reach, selectors
from notifications.following import (
    SHORTEST,
    STARTS,
    Reminders,
    Standing,
    Steps,
    decide_steps,
)
from notifications.rules import Rule

#: How many alerts one transaction follows up.
BATCH = 500

#: What the decisions ask of an alert's past.
_ASKED = (*sorted(STARTS), AlertEvent.Kind.REMINDED, AlertEvent.Kind.ESCALATED)


def follow_alerts(*, now: datetime) -> int:
    """Write the reminders and escalations that are due; return how many.

    Each is an event of its alert, which is told like any other news. Alerts that
    somebody has acknowledged, that have cleared, that another one explains, or whose
    kind nobody is told of are left alone.
    """
    rules = [rule for rule in reach.rules() if rule.after is not None]
    reminders = reach.reminders_of(reach.reminder_settings())
    due = _due(rules, reminders, now)
    if due is None:
        return 0
    told = selectors.ToldKinds()
    written = 0
    after = 0
    while keys := list(
        due.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:BATCH]
    ):
        with transaction.atomic():
            written += _follow_some(keys, rules, reminders, told, now)
        after = keys[-1]
    return written


def following(now: datetime) -> QuerySet[Alert]:
    """Return the alerts that are ongoing, not acknowledged and not explained."""
    return Alert.objects.filter(
        alerts.is_active(now),
        Q(parent__isnull=True) | Q(parent__cleared_at__isnull=False),
        cleared_at__isnull=True,
    )


def _due(
    rules: Sequence[Rule], reminders: Reminders, now: datetime
) -> QuerySet[Alert] | None:
    """Return the alerts that seem to have a step due; None when there are no steps."""
    said = AlertEvent.objects.filter(alert=OuterRef("pk"))
    wanted = Q()
    for severity, every in reminders.every.items():
        since = now - max(every, SHORTEST)
        wanted |= Q(severity=severity, raised_at__lte=since, started__lte=since) & ~Q(
            Exists(said.filter(kind=AlertEvent.Kind.REMINDED, at__gt=since))
        )
    for rule in rules:
        since = now - max(rule.after or timedelta(0), SHORTEST)
        escalated = said.filter(
            kind=AlertEvent.Kind.ESCALATED,
            data__route=rule.key,
            at__gte=OuterRef("started"),
        )
        wanted |= (
            silences.covered(rule.coverage)
            & Q(raised_at__lte=since, started__lte=since)
            & ~Q(Exists(escalated))
        )
    if not wanted:
        return None
    started = (
        said.filter(kind__in=STARTS, is_withheld=False)
        .order_by()
        .values("alert")
        .annotate(at_last=Max("at"))
        .values("at_last")
    )
    # An acknowledgement that has expired begins them anew, as what happened since does.
    return (
        following(now)
        .alias(last=Subquery(started))
        .alias(
            started=Greatest(
                Coalesce(F("acknowledged_until"), F("last")),
                Coalesce(F("last"), F("acknowledged_until")),
            )
        )
        .filter(wanted)
    )


def _follow_some(
    keys: list[int],
    rules: Sequence[Rule],
    reminders: Reminders,
    told: selectors.ToldKinds,
    now: datetime,
) -> int:
    locked = following(now).select_for_update(of=("self",)).filter(pk__in=keys)
    rows = {row.pk: row for row in locked.order_by("pk")}
    about = silences.about_of(rows.values())
    standing = _standing(rows, now)
    found: list[AlertEvent] = []
    for key, (started_at, reminded_at, escalated) in standing.items():
        alert = rows[key]
        if (alert.kind, about[key].destination) not in told:
            continue
        steps = decide_steps(
            Standing(about[key], started_at, reminded_at, escalated),
            rules,
            reminders,
            now=now,
        )
        found += _events(alert, steps, started_at, now)
    write_events(found, now=now)
    return len(found)


def _standing(
    rows: dict[int, Alert], now: datetime
) -> dict[int, tuple[datetime, datetime | None, frozenset[int]]]:
    """Return since when each is counted, when it was reminded of, and its escalations."""
    past: dict[int, list[tuple[str, datetime, bool, int | None]]] = {}
    for alert, kind, at, is_withheld, data in (
        AlertEvent.objects.filter(alert__in=rows, kind__in=_ASKED)
        .order_by("pk")
        .values_list("alert", "kind", "at", "is_withheld", "data")
    ):
        past.setdefault(alert, []).append((kind, at, is_withheld, data.get("route")))
    found = {}
    for key, events in past.items():
        starts = [
            at
            for kind, at, is_withheld, _ in events
            if kind in STARTS and not is_withheld
        ]
        expired_at = rows[key].acknowledged_until
        if expired_at is not None and expired_at <= now:
            starts.append(expired_at)
        if not starts:
            continue
        started_at = max(starts)
        reminded = [at for kind, at, *_ in events if kind == AlertEvent.Kind.REMINDED]
        escalated = frozenset(
            route
            for kind, at, _, route in events
            if kind == AlertEvent.Kind.ESCALATED
            and route is not None
            and at >= started_at
        )
        found[key] = started_at, max(reminded, default=None), escalated
    return found


def _events(
    alert: Alert, steps: Steps, started_at: datetime, now: datetime
) -> list[AlertEvent]:
    found = []
    waited = humane.elapsed(now - started_at)
    if steps.reminds:
        reminded = event(alert.pk, AlertEvent.Kind.REMINDED, now, text=alert.text)
        reminded.note = f"nobody has acknowledged it for {waited}"
        found.append(reminded)
    for rule in steps.escalations:
        escalated = event(alert.pk, AlertEvent.Kind.ESCALATED, now, text=alert.text)
        escalated.data = {"route": rule.key}
        escalated.note = (
            f"by route “{rule.name}”, nobody has acknowledged it for {waited}"
        )
        found.append(escalated)
    return found
