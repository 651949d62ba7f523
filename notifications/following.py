"""What follows while nobody acknowledges: reminders and escalation. Pure, no Django.

An alert has a *start*: when people were last told of something new about it (raised,
come back, got worse, and the like), or its acknowledgement ended. From there on steps
are counted. Acknowledging and clearing end them; a new start begins them anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.coverage import About
from alerts.engine import Severity
from notifications.rules import Rule

#: The shortest distance of a step: sooner nobody could have acknowledged.
SHORTEST = timedelta(minutes=1)

#: Events from which the steps are counted, when they were not withheld.
STARTS = frozenset(
    {
        *("raised", "reopened", "worsened", "released", "unsilenced"),
        *("unacknowledged", "lapsed"),
    }
)


@dataclass(frozen=True, slots=True)
class Reminders:
    """How long after the start, and after each reminder, people are reminded.

    Keys: severities. One that is missing is never reminded of.
    """

    every: Mapping[int, timedelta] = field(
        default_factory=lambda: {
            Severity.CRITICAL: timedelta(hours=4),
            Severity.WARNING: timedelta(hours=24),
        }
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of an alert that is ongoing and that nobody has acknowledged."""

    about: About
    started_at: datetime
    reminded_at: datetime | None = None
    #: The routes by which it was escalated since it started.
    escalated: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done about an alert now."""

    reminds: bool = False
    escalations: tuple[Rule, ...] = ()


def decide_steps(
    standing: Standing, rules: Sequence[Rule], reminders: Reminders, *, now: datetime
) -> Steps:
    """Return whether people are reminded, and which routes are the next step.

    Both at most once: doing what was decided makes the same question answer nothing.
    An escalation is also news, but the reminder's time goes on.
    """
    every = reminders.every.get(standing.about.severity)
    last = max(standing.started_at, standing.reminded_at or standing.started_at)
    return Steps(
        reminds=every is not None and last + max(every, SHORTEST) <= now,
        escalations=tuple(
            rule
            for rule in rules
            if rule.after is not None
            and rule.key not in standing.escalated
            and standing.started_at + max(rule.after, SHORTEST) <= now
            and rule.coverage.covers(standing.about)
        ),
    )


class Change(StrEnum):
    """What happens to an alert, as far as following it goes."""

    START = "start"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Followed:
    """A step that would have been: when, and by which route (None: a reminder)."""

    at: datetime
    rule: Rule | None = None


def replay(
    about: About,
    changes: Iterable[tuple[datetime, Change]],
    rules: Sequence[Rule],
    reminders: Reminders,
    *,
    until: datetime,
    most: int = 1000,
) -> list[Followed]:
    """Return the steps of an alert's past under other rules, at most ``most`` of them.

    ``changes`` in order: START, or STOP when it was acknowledged or cleared.
    """
    every = reminders.every.get(about.severity)
    matching = [
        rule for rule in rules if rule.after is not None and rule.coverage.covers(about)
    ]
    if every is None and not matching:
        return []
    found: list[Followed] = []
    start: datetime | None = None
    for at, change in (*changes, (until, Change.STOP)):
        if start is not None:
            if every is not None:
                step = start + max(every, SHORTEST)
                while step < at and len(found) < most:
                    found.append(Followed(step))
                    step += max(every, SHORTEST)
            found += [
                Followed(start + max(rule.after, SHORTEST), rule)
                for rule in matching
                if rule.after is not None and start + max(rule.after, SHORTEST) < at
            ]
        start = at if change is Change.START else None
    return sorted(found, key=lambda step: step.at)[:most]
