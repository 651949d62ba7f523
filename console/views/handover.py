"""Alerts > Handover: what the person has to know who takes over the shift."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from alerts.engine import Severity
from alerts.models import Alert, AlertEvent, Silence
from alerts.schedule import Window
from alerts.selectors import (
    active_alerts,
    count_held,
    is_acknowledged,
    is_active,
    stands_apart,
)
from console.kit import clock
from console.kit.access import needs
from console.kit.filters import Choice
from notifications.selectors import DeliveryProblem, delivery_problem, email_settings
from storepoints.fence import FENCE_WORDS
from storepoints.models import StorePoint
from storepoints.selectors import read_pulse
from storepoints.states import Reason

HOURS = Choice(
    "hours", (("12", "12 h"), ("4", "4 h"), ("8", "8 h"), ("24", "24 h"), ("72", "3 d"))
)

#: Acknowledgements that expire within this end in the shift that begins.
EXPIRES_SOON = timedelta(hours=12)

#: A list that is longer says so, and links to where all of it is.
MOST = 100

#: How many of the newest events are looked at for the list of what happened.
LOOKED_AT = 500

SEES_RECIPIENTS = "notifications.view_recipient"


@dataclass(frozen=True, slots=True)
class Listed:
    """The first rows of a list, and how many there are besides."""

    rows: list[Any]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Planned:
    """A silence, and the window that is in force or begins today."""

    silence: Silence
    window: Window
    is_in_force: bool


@require_safe
@needs("alerts.view_alert")
def handover(request: HttpRequest) -> HttpResponse:
    """Show on one page, to be printed, what is open, seen, silenced and failing."""
    now = clock.now()
    hours = int(HOURS.read(request.GET))
    since = now - timedelta(hours=hours)
    pulse = read_pulse(now)
    return render(
        request,
        "console/handover.html",
        {
            "now": now,
            "zone": _zone_name(now),
            "pulse": pulse,
            "open": _open(now),
            "acknowledged": _listed(_acknowledged(now), now),
            "expiring": _listed(
                _acknowledged(now)
                .filter(acknowledged_until__lte=now + EXPIRES_SOON)
                .order_by("acknowledged_until", "pk"),
                now,
            ),
            "silences": _silences(now),
            "problem": _problem(request, now),
            "why_no_mail": email_settings().why_not,
            "inbound": _without_inbound(),
            "happened": _happened(since),
            "since": since,
            "hours": hours,
            "pills": HOURS.pills(request),
        },
    )


def _zone_name(now: datetime) -> str:
    """Return the zone that the page's times are in: "Europe/Berlin, CET"."""
    local = timezone.localtime(now)
    name = timezone.get_current_timezone_name()
    short = f"{local:%Z}"
    return name if name == short else f"{name}, {short}"


def _open(now: datetime) -> Listed:
    """Return what needs a person, the worst first, with what is folded under each."""
    found = _listed(active_alerts(now).order_by("severity", "-raised_at", "-pk"), now)
    # For the rows shown only: as a join it took a minute with 100,000 alerts.
    held = count_held([row.pk for row in found.rows], is_active(now))
    for row in found.rows:
        row.child_count = held.get(row.pk, (0, 0))[0]
    return found


def _acknowledged(now: datetime) -> QuerySet[Alert]:
    """Return what goes on and somebody has seen."""
    return Alert.objects.filter(
        is_acknowledged(now),
        stands_apart(is_acknowledged(now)),
        cleared_at__isnull=True,
        is_shown=True,
    ).order_by("severity", "-acknowledged_at", "-pk")


def _without_inbound() -> Listed:
    """Return the store points that accept no backup data, each with why."""
    found = _listed(
        StorePoint.objects.filter(
            Q(accepts_inbound=False) | Q(fenced_at__isnull=False), is_drill=False
        )
        .select_related("server")
        .order_by("name")
    )
    for row in found.rows:
        if row.fenced_at:
            row.fence_words = FENCE_WORDS[Reason(row.fence_reason)]
    return found


def _listed(rows: QuerySet[Any], now: datetime | None = None) -> Listed:
    """Return the first rows and how many are left; a query more when there are some."""
    found = list(rows[: MOST + 1])
    # Also when all fit: a list makes as many queries for 2 rows as for 400.
    total = rows.count()
    shown = found[:MOST]
    if now is not None:
        for row in shown:
            row.level = Severity(row.severity)
    return Listed(shown, max(0, total - len(shown)))


def _silences(now: datetime) -> list[Planned]:
    """Return the silences that are in force or begin today, by the person's calendar."""
    midnight = _midnight_after(now)
    planned = []
    rows = Silence.objects.filter(
        ~Q(repeats="") | Q(ends_at__gt=now, starts_at__lt=midnight),
        ended_at__isnull=True,
    ).select_related("server", "destination")
    for silence in rows:
        window = next(iter(silence.schedule.windows(now, midnight)), None)
        if window is not None:
            planned.append(Planned(silence, window, now in window))
    return sorted(planned, key=lambda each: (each.window.starts_at, each.silence.name))


def _midnight_after(now: datetime) -> datetime:
    """Return when the person's day ends."""
    tomorrow = timezone.localtime(now).date() + timedelta(days=1)
    return timezone.make_aware(datetime.combine(tomorrow, time()))


def _problem(request: HttpRequest, now: datetime) -> dict[str, Any] | None:
    """Return what keeps people from being told, without addresses for most."""
    problem: DeliveryProblem | None = delivery_problem(now)
    if problem is None:
        return None
    may_see = request.user.has_perm(SEES_RECIPIENTS)
    return {
        "since": problem.since,
        "title": problem.title if may_see else problem.public_title or problem.title,
        # What a mail server says has addresses in it.
        "error": problem.error if may_see else "",
        "cure": problem.cure,
    }


def _happened(since: datetime) -> Listed:
    """Return what was raised, came back, got worse or cleared, the newest first."""
    wanted = {
        AlertEvent.Kind.RAISED,
        AlertEvent.Kind.REOPENED,
        AlertEvent.Kind.WORSENED,
        AlertEvent.Kind.CLEARED,
    }
    # By its key, which has an index, and as many as that: not all of history.
    newest = AlertEvent.objects.select_related("alert").order_by("-pk")[:LOOKED_AT]
    found = [
        event
        for event in newest
        if event.kind in wanted and event.at >= since and event.alert.is_shown
    ]
    return Listed(found[:MOST], max(0, len(found) - MOST))
