"""Who hears of what by which route, when, and the sentence that says so. No Django.

Everybody has a *lane*: an address, or a channel's "channel:7". Administrators, and
recipients and channels that no group and no route names, hear everything at once.
Members of groups and channels of routes hear what the routes say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from alerts.coverage import About, Coverage
from alerts.engine import Severity
from notifications.engine import NAMED, Person
from notifications.pace import UTC_ZONE, Clock, Quiet, Turn, Waits, turn_of

AT_ONCE = Clock()


@dataclass(frozen=True, slots=True)
class Listener:
    """Somebody who can be told: a person, an address or a channel.

    ``zone`` is that in which their times are said.
    """

    lane: str
    name: str
    hears_everything: bool = False
    groups: frozenset[int] = frozenset()
    quiet: Quiet | None = None
    zone: ZoneInfo = UTC_ZONE
    is_channel: bool = False
    is_failing: bool = False

    @property
    def person(self) -> Person:
        """Return whom a delivery is for."""
        return Person(self.lane, self.name)


@dataclass(frozen=True, slots=True)
class Rule:
    """A route: what it matches, whom it tells, how soon.

    ``after`` makes it an escalation: it tells only what nobody has acknowledged that
    long after it was raised. ``lanes`` are those of its channels.
    """

    key: int
    name: str
    coverage: Coverage = field(default_factory=Coverage)
    groups: frozenset[int] = frozenset()
    lanes: frozenset[str] = frozenset()
    clock: Clock = AT_ONCE
    after: timedelta | None = None

    def reaches(self, listener: Listener) -> bool:
        """Return whether somebody is among those whom it tells."""
        return listener.lane in self.lanes or bool(self.groups & listener.groups)


@dataclass(frozen=True, slots=True)
class Appointment:
    """Somebody who hears of an event: when, and by which route (None: everything)."""

    listener: Listener
    turn: Turn
    rule: Rule | None = None


def plan(
    about: About,
    listeners: Iterable[Listener],
    rules: Sequence[Rule],
    *,
    now: datetime,
    escalation: int | None = None,
) -> list[Appointment]:
    """Return who hears of an event, each once, in the order of the listeners.

    Whom several reach hears by the one that tells first, in doubt by the first of the
    routes. An event that is the escalation of one route (its key) is told by that one
    alone; the others are not told by routes that escalate.
    """
    return make_appointments(
        about,
        listeners,
        matching(about, rules, escalation=escalation),
        with_everything=escalation is None,
        now=now,
    )


def matching(
    about: About, rules: Sequence[Rule], *, escalation: int | None = None
) -> list[Rule]:
    """Return the routes that tell an event, as `plan` has it."""
    return [
        rule
        for rule in rules
        if (
            rule.after is None
            if escalation is None
            else rule.key == escalation and rule.after is not None
        )
        and rule.coverage.covers(about)
    ]


def make_appointments(
    about: About,
    listeners: Iterable[Listener],
    rules: Sequence[Rule],
    *,
    with_everything: bool,
    now: datetime,
) -> list[Appointment]:
    """Return who hears by these routes, which match, and by hearing everything."""
    is_urgent = about.severity == Severity.CRITICAL
    found = (
        _best(
            each,
            rules,
            with_everything=with_everything,
            is_urgent=is_urgent,
            now=now,
        )
        for each in listeners
    )
    return [each for each in found if each is not None]


def _best(
    listener: Listener,
    rules: Sequence[Rule],
    *,
    with_everything: bool,
    is_urgent: bool,
    now: datetime,
) -> Appointment | None:
    best: Appointment | None = None
    if listener.hears_everything and with_everything:
        turn = turn_of(AT_ONCE, listener.quiet, is_urgent=is_urgent, now=now)
        best = Appointment(listener, turn)
    for rule in rules:
        if not rule.reaches(listener):
            continue
        turn = turn_of(rule.clock, listener.quiet, is_urgent=is_urgent, now=now)
        if best is None or turn.due_at < best.turn.due_at:
            best = Appointment(listener, turn, rule)
    return best


def plan_close(
    about: About,
    told: Iterable[Listener],
    rules: Sequence[Rule],
    *,
    waiting: Mapping[str, Turn],
    now: datetime,
) -> list[Appointment]:
    """Return when those who were told the open are told the close.

    At the pace of what told them (routes that escalate included), at once when that is
    no more. Whoever has not been sent the open yet is told both together: ``waiting``
    has its turn, by the lane.
    """
    is_urgent = about.severity == Severity.CRITICAL
    covering = [rule for rule in rules if rule.coverage.covers(about)]
    planned = []
    for listener in told:
        open_turn = waiting.get(listener.lane)
        found = _best(
            listener, covering, with_everything=True, is_urgent=is_urgent, now=now
        ) or Appointment(
            listener, turn_of(AT_ONCE, listener.quiet, is_urgent=is_urgent, now=now)
        )
        if open_turn is not None and open_turn.due_at > now:
            found = Appointment(listener, open_turn, found.rule)
        planned.append(found)
    return planned


def remind(
    planned: Sequence[Appointment],
    told: Iterable[Listener],
    about: About,
    *,
    now: datetime,
) -> list[Appointment]:
    """Return who is reminded: who hears of it now, and who was told that it is open."""
    is_urgent = about.severity == Severity.CRITICAL
    lanes = {each.listener.lane.lower() for each in planned}
    return [
        *planned,
        *(
            Appointment(
                listener,
                turn_of(AT_ONCE, listener.quiet, is_urgent=is_urgent, now=now),
            )
            for listener in told
            if listener.lane.lower() not in lanes
        ),
    ]


def sentence(planned: Sequence[Appointment], *, now: datetime) -> str:
    """Return who hears, by what and when, in words; "" for nobody.

    ``to ana, ben; by chat; by route “Pager” to channel “ops”; ben waits for quiet hours
    until 07:00 CET``.
    """
    by: dict[tuple[int, Turn | None] | None, list[Appointment]] = {}
    for each in planned:
        digest = each.turn if each.turn.waits.is_digest else None
        by.setdefault((each.rule.key, digest) if each.rule else None, []).append(each)
    parts: list[str] = []
    for group in by.values():
        rule = group[0].rule
        names = _names([_name(each.listener) for each in group])
        if rule is None:
            people = [_name(each.listener) for each in group if not _is_channel(each)]
            channels = [each.listener.name for each in group if _is_channel(each)]
            parts[:0] = [
                f"{word} {_names(found)}"
                for word, found in (("to", people), ("by", channels))
                if found
            ]
            continue
        part = f"by route “{rule.name}” to {names}"
        turn = group[0].turn
        if turn.waits.is_digest:
            at = local_time(turn.due_at, rule.clock.zone, now)
            part += f" in the {turn.waits} digest of {at}"
        parts.append(part)
    quiet: dict[str, list[str]] = {}
    for each in planned:
        if each.turn.waits is Waits.QUIET:
            until = local_time(each.turn.due_at, each.listener.zone, now)
            quiet.setdefault(until, []).append(_name(each.listener))
    for until, names_of in quiet.items():
        verb = "waits" if len(names_of) == 1 else "wait"
        parts.append(f"{_names(names_of)} {verb} for quiet hours until {until}")
    return "; ".join(parts)


def local_time(instant: datetime, zone: ZoneInfo, now: datetime) -> str:
    """Return "07:00 CET", with the date when that is another day."""
    local = instant.astimezone(zone)
    is_today = local.date() == now.astimezone(zone).date()
    return f"{local:%H:%M %Z}" if is_today else f"{local:%Y-%m-%d %H:%M %Z}"


def _is_channel(appointment: Appointment) -> bool:
    return appointment.listener.is_channel


def _name(listener: Listener) -> str:
    name = listener.name or listener.lane
    return f"channel “{name}”" if listener.is_channel else name


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    if more > 0:
        return f"{', '.join(names[:NAMED])} and {more:,} more"
    return ", ".join(names)


def unreached(
    listeners: Iterable[Listener], rules: Sequence[Rule]
) -> tuple[Listener, ...]:
    """Return those who would hear of nothing at all."""
    return tuple(
        each
        for each in listeners
        if not each.hears_everything and not any(rule.reaches(each) for rule in rules)
    )
