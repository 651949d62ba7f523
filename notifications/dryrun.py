"""Reads: the events of the last days, for a dry run of routes; constant queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from alerts.coverage import About
from alerts.models import AlertEvent
from notifications import reach, selectors
from notifications.following import Reminders
from notifications.rules import Listener, Rule
from notifications.simulation import ASKED, Past, Simulation, simulate

#: How far back a dry run looks.
SPAN = timedelta(days=30)

#: How many events it looks at, and how many messages it works out: some seconds.
MOST_EVENTS = 100_000
MOST_MESSAGES = 200_000


def past_events(now: datetime) -> tuple[list[Past], datetime, bool]:
    """Return the events of the last 30 days, from when on, and whether they are cut.

    The newest ones are read, by their keys: of a long history no more than these. One
    query, and one for the kinds; kinds that nobody is told of are left out.
    """
    since = now - SPAN
    told = selectors.ToldKinds()
    rows = (
        AlertEvent.objects.filter(kind__in=sorted(ASKED))
        .order_by("-pk")
        .values_list(
            *("alert_id", "at", "kind", "is_withheld", "alert__kind"),
            *("alert__severity", "alert__server_id", "alert__destination_id"),
            "alert__server__destination_id",
        )[: MOST_EVENTS + 1]
    )
    found: list[Past] = []
    known: dict[tuple[object, ...], About] = {}
    is_cut = False
    for number, row in enumerate(rows.iterator(chunk_size=5000)):
        alert, at, kind, is_withheld, *about = row
        if at < since:
            # The order of keys is that of time, but for moments.
            break
        if number == MOST_EVENTS:
            is_cut, since = True, found[-1].at if found else since
            break
        if (about[0], about[3] or about[4]) not in told:
            continue
        key = tuple(about)
        if key not in known:
            known[key] = About(
                kind=about[0],
                severity=about[1],
                subject="",
                server=about[2],
                destination=about[3] or about[4],
            )
        found.append(Past(alert, at, kind, known[key], is_withheld))
    found.reverse()
    return found, since, is_cut


def dry_run(
    now: datetime,
    *,
    rules: Sequence[Rule] | None = None,
    listeners: Sequence[Listener] | None = None,
    reminders: Reminders | None = None,
) -> Simulation:
    """Return what everybody would have got in the last 30 days; constant queries.

    By the routes, people and reminders that are saved, or by those that are given.
    """
    events, since, is_cut = past_events(now)
    found = simulate(
        events,
        reach.listeners() if listeners is None else listeners,
        reach.rules() if rules is None else rules,
        reach.reminders_of(reach.reminder_settings())
        if reminders is None
        else reminders,
        group=timedelta(seconds=selectors.email_settings().group_seconds),
        since=since,
        now=now,
        most=MOST_MESSAGES,
    )
    return replace(found, is_cut=found.is_cut or is_cut)
