"""Alerts as the database would hold them, for tests of the pure engine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from alerts.engine import (
    Change,
    Clear,
    Condition,
    Held,
    Hold,
    Key,
    Raise,
    Reopen,
    Steady,
    Update,
    reconcile,
)


@dataclass
class Memory:
    """The alerts as the database would hold them."""

    alerts: list[Held] = field(default_factory=list)

    def apply(
        self,
        conditions: Sequence[Condition],
        now: datetime,
        unknown: Collection[Key] = (),
    ) -> list[Change]:
        changes = reconcile(self.alerts, conditions, unknown=unknown, now=now)
        for change in changes:
            if isinstance(change, Raise):
                self._raise(change.condition, now)
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
            )
        )

    def acknowledge(self, now: datetime) -> None:
        self.alerts = [
            alert if alert.is_acknowledged(now) else replace(alert, acknowledged_at=now)
            for alert in self.alerts
        ]

    @property
    def ongoing(self) -> list[Held]:
        return [alert for alert in self.alerts if alert.cleared_at is None]


def _changed(alert: Held, change: Change, now: datetime) -> Held:
    if isinstance(change, Clear):
        return replace(alert, cleared_at=now)
    if isinstance(change, Steady):
        return replace(alert, flapping_since=None)
    if isinstance(change, Hold):
        return replace(alert, parent=change.condition.parent)
    assert isinstance(change, Reopen | Update)
    changed = replace(
        alert,
        severity=change.condition.severity,
        data=change.condition.data,
        cleared_at=None,
        parent=change.condition.parent,
        is_presumed=change.condition.is_held,
        acknowledged_at=None if change.does_lapse else alert.acknowledged_at,
    )
    if isinstance(change, Reopen):
        return replace(
            changed, returns=change.returns, flapping_since=change.flapping_since
        )
    return changed
