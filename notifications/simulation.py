"""What routes would have done: a dry run over events of the past. Pure, no Django.

It uses the decisions that real news goes by (rules, pace, following) and counts mails
as they would have left. It sends nothing and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from alerts.coverage import About
from notifications.engine import CHANNEL_GROUP, GATHER, News
from notifications.following import STARTS, Change, Reminders, replay
from notifications.pace import Turn, Waits, count_mails
from notifications.rules import (
    Appointment,
    Listener,
    Rule,
    make_appointments,
    matching,
    plan_close,
    remind,
)

#: Events after which nobody is reminded.
STOPS = frozenset({"acknowledged", "cleared", "held"})

#: What is simulated, and not taken from the past.
SIMULATED = frozenset({News.REMINDED.value, News.ESCALATED.value})

#: Events that a dry run looks at.
ASKED = frozenset({each.value for each in News} | STARTS | STOPS) - SIMULATED

#: News after which somebody knows that it is open.
OPENS = frozenset(each.value for each in News) - SIMULATED - {News.CLEARED.value}


@dataclass(frozen=True, slots=True)
class Past:
    """Something that happened to an alert; in the order in which it did."""

    alert: int
    at: datetime
    kind: str
    about: About
    is_withheld: bool = False


@dataclass(slots=True)
class Count:
    """What one lane would have got."""

    listener: Listener
    mails: int = 0
    messages: int = 0
    digests: int = 0
    quiet: int = 0
    reminders: int = 0
    escalations: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    routes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a dry run found; ``counts`` with the most mails first, without the idle.

    ``since`` is where it begins. ``is_cut``: it had to begin later than was asked.
    """

    counts: tuple[Count, ...]
    since: datetime
    events: int
    is_cut: bool = False

    @property
    def mails(self) -> int:
        """Return how many mails and messages there would have been."""
        return sum(each.mails for each in self.counts)


def simulate(
    events: Sequence[Past],
    listeners: Sequence[Listener],
    rules: Sequence[Rule],
    reminders: Reminders,
    *,
    group: timedelta,
    since: datetime,
    now: datetime,
    most: int,
) -> Simulation:
    """Return what everybody would have got of these events, in order.

    At most ``most`` messages are looked at: beyond, older events are left out, and the
    answer says so. Who was told of an alert that was open before is not known: it is
    taken that everybody was who hears of it.
    """
    world = _World(listeners, rules, reminders, now)
    alerts: dict[int, list[Past]] = {}
    for each in events:
        alerts.setdefault(each.alert, []).append(each)
    is_cut = False
    rows = 0
    # The newest alerts first, so that what has to be left out is old.
    for past in sorted(alerts.values(), key=lambda each: each[-1].at, reverse=True):
        if rows >= most:
            is_cut, since = True, max(since, past[-1].at)
            break
        rows += world.play(past)
    return Simulation(
        counts=world.counts(group),
        since=since,
        events=len(events),
        is_cut=is_cut,
    )


@dataclass(slots=True)
class _Message:
    """One event for one lane."""

    due_at: datetime
    waits: Waits


class _World:
    """Everybody, the routes, and what each lane has got so far."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        rules: Sequence[Rule],
        reminders: Reminders,
        now: datetime,
    ) -> None:
        self._listeners = listeners
        self._rules = rules
        self._reminders = reminders
        self._now = now
        self._counts = {each.lane: Count(each) for each in listeners}
        self._messages: dict[str, list[_Message]] = {
            each.lane: [] for each in listeners
        }
        # Few kinds of few servers: who hears, and by which routes, is the same.
        self._known: dict[
            tuple[About, int | None], tuple[list[Listener], list[Rule]]
        ] = {}

    def play(self, past: Sequence[Past]) -> int:
        """Go through what happened to one alert; return how many messages it makes."""
        about = past[-1].about
        if not self._is_heard(about):
            return 0
        # None: nobody knows who was told that it was open, before all this.
        told: dict[str, Listener] | None = None if past[0].kind == News.CLEARED else {}
        made: dict[str, list[_Message]] = {}
        count = 0
        for at, kind, rule in self._timeline(past):
            planned = self._plan(about, kind, rule, told, made, at)
            told = told or {}
            for each in planned:
                self._note(each, kind, about, at, made)
                told[each.listener.lane] = each.listener
            if kind == News.CLEARED:
                told = {}
            count += len(planned)
        for lane, messages in made.items():
            _gather(messages)
            self._messages[lane] += messages
        return count

    def _timeline(
        self, past: Sequence[Past]
    ) -> Iterator[tuple[datetime, str, Rule | None]]:
        """Yield the news of an alert, and the steps that would have been between."""
        changes = []
        for each in past:
            if each.kind in STARTS and not each.is_withheld:
                changes.append((each.at, Change.START))
            elif each.kind in STOPS:
                changes.append((each.at, Change.STOP))
        steps = replay(
            past[-1].about, changes, self._rules, self._reminders, until=self._now
        )
        news: list[tuple[datetime, str, Rule | None]] = [
            (each.at, each.kind, None)
            for each in past
            if not each.is_withheld and (each.kind in OPENS or each.kind == "cleared")
        ]
        for step in steps:
            kind = News.REMINDED if step.rule is None else News.ESCALATED
            news.append((step.at, kind.value, step.rule))
        return iter(sorted(news, key=lambda each: each[0]) if steps else news)

    def _plan(
        self,
        about: About,
        kind: str,
        rule: Rule | None,
        told: dict[str, Listener] | None,
        made: dict[str, list[_Message]],
        at: datetime,
    ) -> list[Appointment]:
        if kind == News.CLEARED and told is not None:
            waiting = {
                lane: min(turns)
                for lane, messages in made.items()
                if (turns := _waiting(messages, at))
            }
            return plan_close(
                about, told.values(), self._rules, waiting=waiting, now=at
            )
        escalation = rule.key if rule is not None else None
        who, by = self._reach(about, escalation)
        planned = make_appointments(
            about, who, by, with_everything=escalation is None, now=at
        )
        if kind == News.REMINDED:
            return remind(planned, (told or {}).values(), about, now=at)
        return planned

    def _reach(
        self, about: About, escalation: int | None
    ) -> tuple[list[Listener], list[Rule]]:
        key = replace(about, subject="", members=frozenset()), escalation
        if key not in self._known:
            by = matching(about, self._rules, escalation=escalation)
            who = [
                each
                for each in self._listeners
                if (each.hears_everything and escalation is None)
                or any(rule.reaches(each) for rule in by)
            ]
            self._known[key] = who, by
        return self._known[key]

    def _is_heard(self, about: About) -> bool:
        """Return whether anybody would hear of it, at first or by escalation."""
        steps = (rule.key for rule in self._rules if rule.after is not None)
        return any(self._reach(about, key)[0] for key in (None, *steps))

    def _note(
        self,
        appointment: Appointment,
        kind: str,
        about: About,
        at: datetime,
        made: dict[str, list[_Message]],
    ) -> None:
        turn, lane = appointment.turn, appointment.listener.lane
        count = self._counts[lane]
        count.messages += 1
        count.kinds[about.kind] += 1
        count.routes[_by(appointment)] += 1
        count.quiet += turn.waits is Waits.QUIET
        count.reminders += kind == News.REMINDED
        count.escalations += kind == News.ESCALATED
        waits = turn.waits if turn.due_at > at else Waits.NOTHING
        made.setdefault(lane, []).append(_Message(turn.due_at, waits))

    def counts(self, group: timedelta) -> tuple[Count, ...]:
        """Return what each lane got, the busiest first; those without are left out."""
        for lane, messages in self._messages.items():
            # What would only leave after now is still a mail of these events.
            due = sorted(each.due_at for each in messages)
            count = self._counts[lane]
            distance = CHANNEL_GROUP if count.listener.is_channel else group
            count.mails = count_mails(due, group=distance, gather=GATHER)
            count.digests = len(
                {each.due_at for each in messages if each.waits.is_digest}
            )
        found = [each for each in self._counts.values() if each.messages]
        return tuple(sorted(found, key=lambda each: (-each.mails, each.listener.name)))


def _by(appointment: Appointment) -> str:
    """Return by what somebody hears: a route's name, or why without one."""
    if appointment.rule is not None:
        return appointment.rule.name
    if appointment.listener.hears_everything:
        return "everything"
    return "told before"


def _waiting(messages: Sequence[_Message], at: datetime) -> list[Turn]:
    """Return what has not left at an instant: what is behind the last that has."""
    found = []
    for each in reversed(messages):
        if each.due_at <= at:
            break
        found.append(Turn(each.due_at, each.waits))
    return found


def _gather(messages: list[_Message]) -> None:
    """Let what waits go along with later news of the same alert that leaves sooner."""
    soonest: datetime | None = None
    for each in reversed(messages):
        if soonest is not None and soonest < each.due_at:
            each.due_at, each.waits = soonest, Waits.NOTHING
        soonest = each.due_at if soonest is None else min(soonest, each.due_at)


def of_listener(simulation: Simulation, lanes: Iterable[str]) -> Count | None:
    """Return what one of these lanes would have got."""
    wanted = {lane.lower() for lane in lanes}
    return next(
        (each for each in simulation.counts if each.listener.lane.lower() in wanted),
        None,
    )
