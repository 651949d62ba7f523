"""What follows from the conditions that hold now: pure decisions, no Django, no clock.

Alerts are reconciled, not triggered: the conditions that hold are compared with the
alerts that are held, and the difference is what changes. Applying the same facts
twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any


class Severity(IntEnum):
    """How much an alert matters; the lower the number, the more."""

    CRITICAL = 1
    WARNING = 2
    LOW = 3

    @property
    def slug(self) -> str:
        """The value in markup and API: critical, warning, low."""
        return self.name.lower()

    @property
    def label(self) -> str:
        """The word for a person: Critical, Warning, Low."""
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Rules:
    """The spans and counts that alerts live by (design, D5).

    A condition that comes back within ``reopen_window`` continues its alert, and an
    acknowledgement with it. One that came back ``flap_returns`` times within
    ``flap_window`` flaps, until nothing has changed for as long.
    """

    reopen_window: timedelta = timedelta(minutes=15)
    flap_window: timedelta = timedelta(hours=1)
    flap_returns: int = 3


RULES = Rules()

Key = tuple[str, str]
"""An alert's identity: its kind and its subject, e.g. ``store-point:12``."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now; numbers and names are not identity.

    ``text`` and ``reported_by`` name its object and its server as they are called now.
    ``parent`` is the alert that explains this one: while that is ongoing, nothing is
    known about the object itself, and nobody is to be told of it apart. ``is_shown``
    says whether its kind stands in the Alerts Overview. An alert is raised once the
    condition has held for ``delay``. While an alert of one of the kinds ``gives_way_to``
    is ongoing about the same object, this one is not.
    """

    kind: str
    subject: str
    severity: Severity
    data: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    reported_by: str = ""
    parent: Key | None = None
    is_shown: bool = True
    delay: timedelta = timedelta(0)
    gives_way_to: frozenset[str] = frozenset()

    @property
    def key(self) -> Key:
        """What the alert for this condition is found by."""
        return self.kind, self.subject

    @property
    def is_held(self) -> bool:
        """Return whether another alert explains it."""
        return self.parent is not None


@dataclass(frozen=True, slots=True)
class Held:
    """An alert that reconciling may touch: ongoing, or cleared and able to return.

    ``parent`` is the alert that it is held under. ``is_presumed`` is true when it was
    raised because of that alone. ``returns`` are the instants at which it lately came
    back, the oldest first.
    """

    id: int
    kind: str
    subject: str
    severity: Severity
    data: Mapping[str, Any]
    raised_at: datetime
    text: str = ""
    reported_by: str = ""
    cleared_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_until: datetime | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    parent: Key | None = None
    is_presumed: bool = False
    returns: tuple[datetime, ...] = ()
    flapping_since: datetime | None = None
    is_shown: bool = True
    gives_way_to: frozenset[str] = frozenset()

    @property
    def key(self) -> Key:
        """What the alert is found by."""
        return self.kind, self.subject

    def is_acknowledged(self, now: datetime) -> bool:
        """Return whether a person has seen it, and that has not expired."""
        return self.acknowledged_at is not None and (
            self.acknowledged_until is None or self.acknowledged_until > now
        )

    def can_return(self, now: datetime, rules: Rules = RULES) -> bool:
        """Return whether a condition that comes back continues this alert.

        An alert that nobody has acknowledged still stands in the Alerts Overview, so
        it always continues, and so does one that flaps; an acknowledged one only
        within the re-open window.
        """
        return (
            self.cleared_at is None
            or not self.is_acknowledged(now)
            or now - self.cleared_at <= rules.reopen_window
            or self.is_flapping(now, rules)
        )

    def is_flapping(self, now: datetime, rules: Rules = RULES) -> bool:
        """Return whether it flaps: it did, and has changed within the window."""
        return self.flapping_since is not None and not self.is_steady(now, rules)

    def is_steady(self, now: datetime, rules: Rules = RULES) -> bool:
        """Return whether it has neither come back nor cleared for the whole window."""
        changes = (*self.returns[-1:], self.cleared_at or self.raised_at)
        return now - max(changes) >= rules.flap_window


@dataclass(frozen=True, slots=True)
class Waiting:
    """Since when a condition holds that has no alert yet, and when it will have one.

    ``due_at`` is None when its time is over and another alert stands in its place.
    """

    since: datetime
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wait:
    """A condition that has not held for long enough, or has and gives way."""

    condition: Condition
    waiting: Waiting


@dataclass(frozen=True, slots=True)
class Forget:
    """A condition that was waited for, and is gone or has its alert."""

    key: Key


@dataclass(frozen=True, slots=True)
class Raise:
    """A condition that has no alert yet."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Reopen:
    """A cleared alert whose condition has come back.

    ``flapping_since`` is what its row says afterwards; ``is_quiet`` is true while it
    flaps and that was said already.
    """

    alert: Held
    condition: Condition
    does_lapse: bool
    returns: tuple[datetime, ...] = ()
    flapping_since: datetime | None = None
    is_quiet: bool = False

    @property
    def starts_flapping(self) -> bool:
        """Return whether this is the return by which it is known to flap."""
        return self.flapping_since is not None and not self.is_quiet


@dataclass(frozen=True, slots=True)
class Update:
    """An ongoing alert whose numbers, name or severity have changed.

    ``does_lapse`` is true when it got worse: then an acknowledgement no longer holds.
    ``is_released`` is true when it was presumed, and now fails on its own account.
    """

    alert: Held
    condition: Condition
    has_worsened: bool
    does_lapse: bool
    is_released: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """An ongoing alert that another one explains from now on; its texts stay.

    Or that was explained before, and whose severity, or whether it is shown, is another
    now.
    """

    alert: Held
    condition: Condition
    does_lapse: bool = False


@dataclass(frozen=True, slots=True)
class Clear:
    """An ongoing alert whose condition no longer holds; quiet while it flaps."""

    alert: Held
    is_quiet: bool = False


@dataclass(frozen=True, slots=True)
class Steady:
    """An alert that flapped, and has not changed for the whole window.

    ``is_close_owed`` is true when it has cleared: that was kept quiet, and is said now.
    """

    alert: Held

    @property
    def is_close_owed(self) -> bool:
        """Return whether people still have to be told that it has cleared."""
        return self.alert.cleared_at is not None


#: What happens to an alert; the other two are about conditions that have none.
OfAlert = Reopen | Update | Hold | Clear | Steady
Change = OfAlert | Raise | Wait | Forget


def reconcile(
    held: Iterable[Held],
    conditions: Iterable[Condition],
    *,
    unknown: Collection[Key] = (),
    waiting: Mapping[Key, Waiting] | None = None,
    now: datetime,
    rules: Rules = RULES,
) -> list[Change]:
    """Return what must change so that the alerts say what holds.

    ``held`` must have every alert of the subjects that the conditions speak of, and of
    their parents, which is ongoing or can return. Nothing is said about the keys in
    ``unknown``: of them it is not known whether the condition holds. ``waiting`` must
    have what is waited for of the same subjects. When several held alerts have one key,
    the ongoing or newest one counts.

    1. A condition with a parent is decided after the others, for it counts as held
       while the parent's alert is ongoing; without that it is unknown.
    2. One whose delay is not over yet, and that has no ongoing alert, is waited for.
    3. One that gives way to an alert that is ongoing after this counts as gone.
    4. Each other condition raises, re-opens, updates or holds its alert.
    5. An ongoing alert whose condition is gone is cleared; but not while what it gives
       way to is waited for, so that something is said all the time.
    6. What flapped and has not changed since is steady again.
    """
    current: dict[Key, Held] = {}
    for alert in held:
        rival = current.get(alert.key)
        if rival is None or _precedence(alert) > _precedence(rival):
            current[alert.key] = alert

    wanted: dict[Key, Condition] = {}
    for condition in sorted(conditions, key=lambda each: each.parent is not None):
        if condition.key not in unknown:
            wanted.setdefault(condition.key, condition)

    known = waiting or {}
    silent: set[Key] = set(unknown)
    waits: dict[Key, Waiting] = {}

    def is_ongoing(key: Key) -> bool:
        """Return whether an alert is ongoing once all of this was followed."""
        if key in waits:
            return False
        if key in wanted and key not in silent:
            return True
        alert = current.get(key)
        return key in silent and alert is not None and alert.cleared_at is None

    for key, condition in wanted.items():
        if condition.parent and not is_ongoing(condition.parent):
            silent.add(key)
            continue
        wait = _wait(current.get(key), condition, known.get(key), now)
        if wait is not None:
            waits[key] = wait

    def gives_way(row: Condition | Held) -> bool:
        return any(is_ongoing((kind, row.subject)) for kind in row.gives_way_to)

    def is_about_to_give_way(row: Held) -> bool:
        return any((kind, row.subject) in waits for kind in row.gives_way_to)

    given_way = {key for key, condition in wanted.items() if gives_way(condition)}
    followed = {
        key: condition
        for key, condition in wanted.items()
        if key not in silent and key not in waits and key not in given_way
    }
    changes: list[Change] = []
    for key, condition in followed.items():
        change = _follow(current.get(key), condition, now, rules)
        if change is not None:
            changes.append(change)
    changes += [
        Clear(alert, is_quiet=alert.is_flapping(now, rules))
        for key, alert in current.items()
        if alert.cleared_at is None
        and key not in followed
        and key not in silent
        and (gives_way(alert) or not is_about_to_give_way(alert))
    ]
    for key in sorted(given_way - waits.keys()):
        since = _held_since(current.get(key), wanted[key], known.get(key), now)
        if since is not None:
            waits[key] = Waiting(since, None)
    changes += _waited(wanted, waits, known, silent)
    back = {change.alert.key for change in changes if isinstance(change, Reopen)}
    changes += [
        Steady(alert)
        for key, alert in current.items()
        if alert.flapping_since is not None
        and alert.is_steady(now, rules)
        and key not in back
    ]
    return changes


def _wait(
    alert: Held | None, condition: Condition, before: Waiting | None, now: datetime
) -> Waiting | None:
    """Return until when a condition is waited for; None when it need not be."""
    if alert is not None and alert.cleared_at is None:
        return None
    # A clock that was set back starts the wait anew.
    since = min(before.since, now) if before else now
    due_at = since + condition.delay
    return Waiting(since, due_at) if due_at > now else None


def _held_since(
    alert: Held | None, condition: Condition, before: Waiting | None, now: datetime
) -> datetime | None:
    """Return since when what gives way has held; None when that need not be known.

    It goes on counting, so that it has its alert at once when what is worse is over.
    """
    if before is not None:
        return before.since
    if condition.delay and alert is not None and alert.cleared_at is None:
        return min(alert.raised_at, now - condition.delay)
    return None


def _waited(
    wanted: Mapping[Key, Condition],
    waits: Mapping[Key, Waiting],
    known: Mapping[Key, Waiting],
    silent: Collection[Key],
) -> Iterator[Wait | Forget]:
    """Yield what changes about the conditions that are waited for."""
    for key, after in waits.items():
        if after != known.get(key):
            yield Wait(wanted[key], after)
    for key in known:
        if key not in waits and key not in silent:
            yield Forget(key)


def _follow(
    known: Held | None, condition: Condition, now: datetime, rules: Rules
) -> Change | None:
    if known is None or not known.can_return(now, rules):
        return Raise(condition)
    if known.cleared_at is not None:
        return _reopen(known, condition, now, rules)
    is_worse = condition.severity < known.severity
    if condition.is_held:
        is_same = (
            known.parent == condition.parent
            and known.severity == condition.severity
            and known.is_shown == condition.is_shown
        )
        lapses = is_worse and known.acknowledged_at is not None
        return None if is_same else Hold(known, condition, does_lapse=lapses)
    if known.is_presumed or known.parent or _told(condition) != _told(known):
        return Update(
            known,
            condition,
            has_worsened=is_worse,
            # When it was presumed, what was acknowledged was the other alert.
            does_lapse=known.acknowledged_at is not None
            and (is_worse or known.is_presumed),
            is_released=known.is_presumed,
        )
    return None


def _reopen(known: Held, condition: Condition, now: datetime, rules: Rules) -> Reopen:
    """Return how an alert comes back; behind a parent it does not count as flapping."""
    is_held = condition.is_held
    # An acknowledgement of what was presumed is none of what has been found since.
    has_changed = known.is_presumed and not is_held
    is_worse = condition.severity < known.severity
    recent = tuple(at for at in known.returns if now - at < rules.flap_window)
    was_flapping = known.is_flapping(now, rules)
    # What flaps already is not steady for that another alert explains this return.
    returns = (*recent, now) if was_flapping or not is_held else recent
    since = known.flapping_since if was_flapping else None
    if not was_flapping and not is_held and len(returns) >= rules.flap_returns:
        since = now
    return Reopen(
        known,
        condition,
        does_lapse=known.acknowledged_at is not None and (is_worse or has_changed),
        returns=returns,
        flapping_since=since,
        is_quiet=was_flapping,
    )


def _told(row: Condition | Held) -> tuple[Severity, bool, str, str, dict[str, Any]]:
    return row.severity, row.is_shown, row.text, row.reported_by, dict(row.data)


def _precedence(alert: Held) -> tuple[bool, datetime, int]:
    return alert.cleared_at is None, alert.raised_at, alert.id
