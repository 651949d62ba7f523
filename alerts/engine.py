"""What follows from the conditions that hold now: pure decisions, no Django, no clock.

Alerts are reconciled, not triggered: the conditions that hold are compared with the
alerts that are held, and the difference is what changes. Applying the same facts
twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

#: A condition that comes back within this continues its alert, and an
#: acknowledgement with it (design, D5).
REOPEN_WINDOW = timedelta(minutes=15)


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


Key = tuple[str, str]
"""An alert's identity: its kind and its subject, e.g. ``store-point:12``."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now; numbers and names (the text) are not identity."""

    kind: str
    subject: str
    severity: Severity
    data: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def key(self) -> Key:
        """What the alert for this condition is found by."""
        return self.kind, self.subject


@dataclass(frozen=True, slots=True)
class Held:
    """An alert that reconciling may touch: ongoing, or cleared and able to return."""

    id: int
    kind: str
    subject: str
    severity: Severity
    data: Mapping[str, Any]
    raised_at: datetime
    text: str = ""
    cleared_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_until: datetime | None = None

    @property
    def key(self) -> Key:
        """What the alert is found by."""
        return self.kind, self.subject

    def is_acknowledged(self, now: datetime) -> bool:
        """Return whether a person has seen it, and that has not expired."""
        return self.acknowledged_at is not None and (
            self.acknowledged_until is None or self.acknowledged_until > now
        )

    def can_return(self, now: datetime) -> bool:
        """Return whether a condition that comes back continues this alert.

        An alert that nobody has acknowledged still stands in the Alerts Overview, so
        it always continues; an acknowledged one only within the re-open window.
        """
        return self.cleared_at is None or (
            not self.is_acknowledged(now) or now - self.cleared_at <= REOPEN_WINDOW
        )


@dataclass(frozen=True, slots=True)
class Raise:
    """A condition that has no alert yet."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Reopen:
    """A cleared alert whose condition has come back."""

    alert: Held
    condition: Condition
    does_lapse: bool


@dataclass(frozen=True, slots=True)
class Update:
    """An ongoing alert whose numbers, name or severity have changed.

    ``does_lapse`` is true when it got worse: then an acknowledgement no longer holds.
    """

    alert: Held
    condition: Condition
    has_worsened: bool
    does_lapse: bool


@dataclass(frozen=True, slots=True)
class Clear:
    """An ongoing alert whose condition no longer holds."""

    alert: Held


Change = Raise | Reopen | Update | Clear


def reconcile(
    held: Iterable[Held],
    conditions: Iterable[Condition],
    *,
    unknown: Collection[Key] = (),
    now: datetime,
) -> list[Change]:
    """Return what must change so that the alerts say what holds.

    ``held`` must have every alert of the subjects that the conditions speak of which
    is ongoing or can return. Nothing is said about the keys in ``unknown``: of them
    it is not known whether the condition holds, e.g. behind a server that is
    offline. When several held alerts have one key, the ongoing or newest one counts.
    """
    current: dict[Key, Held] = {}
    for alert in held:
        rival = current.get(alert.key)
        if rival is None or _precedence(alert) > _precedence(rival):
            current[alert.key] = alert

    changes: list[Change] = []
    seen: set[Key] = set()
    for condition in conditions:
        key = condition.key
        if key in seen or key in unknown:
            continue
        seen.add(key)
        known = current.get(key)
        if known is None or not known.can_return(now):
            changes.append(Raise(condition))
            continue
        is_worse = condition.severity < known.severity
        does_lapse = is_worse and known.acknowledged_at is not None
        if known.cleared_at is not None:
            changes.append(Reopen(known, condition, does_lapse))
        elif (condition.severity, condition.text, dict(condition.data)) != (
            known.severity,
            known.text,
            dict(known.data),
        ):
            changes.append(Update(known, condition, is_worse, does_lapse))
    changes += [
        Clear(alert)
        for key, alert in current.items()
        if alert.cleared_at is None and key not in seen and key not in unknown
    ]
    return changes


def _precedence(alert: Held) -> tuple[bool, datetime, int]:
    return alert.cleared_at is None, alert.raised_at, alert.id
