"""Alerts as the database would hold them, for tests of the pure engine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from alerts.engine import (
    Change,
    Clear,
    Condition,
    Forget,
    Held,
    Hold,
    Key,
    OfAlert,
    Raise,
    Reopen,
    Steady,
    Update,
    Wait,
    Waiting,
    reconcile,
)


@dataclass
class Memory:
    """The alerts as the database would hold them."""

    alerts: list[Held] = field(default_factory=list)
    waiting: dict[Key, Waiting] = field(default_factory=dict)

    def apply(
        self,
        conditions: Sequence[Condition],
        now: datetime,
        unknown: Collection[Key] = (),
    ) -> list[Change]:
        changes = reconcile(
            self.alerts, conditions, unknown=unknown, waiting=self.waiting, now=now
        )
        for change in changes:
            if isinstance(change, Raise):
                self._raise(change.condition, now)
            elif isinstance(change, Wait):
                self.waiting[change.condition.key] = change.waiting
            elif isinstance(change, Forget):
                del self.waiting[change.key]
            else:
                index = change.alert.id - 1
                self.alerts[index] = _changed(self.alerts[index], change, now)
        return changes

    def _raise(self, wanted: Condition, now: datetime) -> None:
        self.alerts.append(
            Held(
                id=len(self.alerts) + 1,
                kind=wanted.kind,
                subject=wanted.subject,
                severity=wanted.severity,
                data=wanted.data,
                raised_at=now,
                parent=wanted.parent,
                is_presumed=wanted.is_held,
                is_shown=wanted.is_shown,
                gives_way_to=wanted.gives_way_to,
            )
        )

    def acknowledge(
        self, now: datetime, *, one: int | None = None, until: datetime | None = None
    ) -> None:
        """Acknowledge all, or the one at this index, for good or until an instant."""
        self.alerts = [
            alert
            if alert.is_acknowledged(now) or not _is_meant(index, one, self.alerts)
            else replace(alert, acknowledged_at=now, acknowledged_until=until)
            for index, alert in enumerate(self.alerts)
        ]

    def unacknowledge(self, one: int) -> None:
        """Take back the acknowledgement of the one at this index."""
        self.alerts = [
            replace(alert, acknowledged_at=None, acknowledged_until=None)
            if _is_meant(index, one, self.alerts)
            else alert
            for index, alert in enumerate(self.alerts)
        ]

    @property
    def ongoing(self) -> list[Held]:
        return [alert for alert in self.alerts if alert.cleared_at is None]


def _is_meant(index: int, one: int | None, among: Sequence[Held]) -> bool:
    return one is None or index == one % len(among)


def _changed(alert: Held, change: OfAlert, now: datetime) -> Held:
    if isinstance(change, Clear):
        return replace(alert, cleared_at=now)
    if isinstance(change, Steady):
        return replace(alert, flapping_since=None)
    if isinstance(change, Hold):
        return replace(
            alert,
            parent=change.condition.parent,
            severity=change.condition.severity,
            is_shown=change.condition.is_shown,
            acknowledged_at=None if change.does_lapse else alert.acknowledged_at,
        )
    assert isinstance(change, Reopen | Update)
    changed = replace(
        alert,
        severity=change.condition.severity,
        is_shown=change.condition.is_shown,
        data=change.condition.data,
        cleared_at=None,
        parent=change.condition.parent,
        is_presumed=change.condition.is_held,
        acknowledged_at=None if change.does_lapse else alert.acknowledged_at,
        acknowledged_until=None if change.does_lapse else alert.acknowledged_until,
    )
    if isinstance(change, Reopen):
        return replace(
            changed, returns=change.returns, flapping_since=change.flapping_since
        )
    return changed
