"""What follows from the conditions that hold: properties of alerts.engine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from alerts.engine import (
    REOPEN_WINDOW,
    Clear,
    Condition,
    Held,
    Raise,
    Reopen,
    Severity,
    Update,
    reconcile,
)

START = datetime(2026, 3, 1, 14, 2, tzinfo=UTC)


def condition(
    subject: str = "store-point:1",
    severity: Severity = Severity.WARNING,
    **data: int,
) -> Condition:
    return Condition("offline", subject, severity, data)


@dataclass
class Memory:
    """The alerts as the database would hold them."""

    alerts: list[Held] = field(default_factory=list)

    def apply(self, conditions: list[Condition], now: datetime) -> int:
        changes = reconcile(self.alerts, conditions, now=now)
        for change in changes:
            if isinstance(change, Raise):
                wanted = change.condition
                self.alerts.append(
                    Held(
                        id=len(self.alerts) + 1,
                        kind=wanted.kind,
                        subject=wanted.subject,
                        severity=wanted.severity,
                        data=wanted.data,
                        raised_at=now,
                    )
                )
                continue
            index = change.alert.id - 1
            alert = self.alerts[index]
            if isinstance(change, Clear):
                self.alerts[index] = replace(alert, cleared_at=now)
            else:
                self.alerts[index] = replace(
                    alert,
                    severity=change.condition.severity,
                    data=change.condition.data,
                    cleared_at=None,
                    acknowledged_at=None
                    if change.does_lapse
                    else alert.acknowledged_at,
                )
        return len(changes)

    def acknowledge(self, now: datetime) -> None:
        self.alerts = [
            alert if alert.is_acknowledged(now) else replace(alert, acknowledged_at=now)
            for alert in self.alerts
        ]

    @property
    def ongoing(self) -> list[Held]:
        return [alert for alert in self.alerts if alert.cleared_at is None]


def test_it_raises_once_and_clears() -> None:
    memory = Memory()

    assert memory.apply([condition()], START) == 1
    assert memory.apply([condition()], START) == 0
    assert memory.apply([], START) == 1
    assert memory.apply([], START) == 0


def test_it_keeps_an_acknowledgement_over_a_blip() -> None:
    memory = Memory()
    memory.apply([condition()], START)
    memory.acknowledge(START)
    memory.apply([], START + timedelta(minutes=1))

    memory.apply([condition()], START + timedelta(minutes=5))

    assert len(memory.alerts) == 1
    assert memory.alerts[0].is_acknowledged(START)


def test_it_raises_a_new_alert_when_an_acknowledged_one_comes_back_later() -> None:
    memory = Memory()
    memory.apply([condition()], START)
    memory.acknowledge(START)
    memory.apply([], START + timedelta(minutes=1))
    later = START + timedelta(minutes=2) + REOPEN_WINDOW

    memory.apply([condition()], later)

    assert len(memory.alerts) == 2
    assert not memory.alerts[1].is_acknowledged(later)


def test_it_continues_an_alert_that_nobody_has_acknowledged_however_late() -> None:
    memory = Memory()
    memory.apply([condition()], START)
    memory.apply([], START)

    changes = reconcile(memory.alerts, [condition()], now=START + timedelta(days=3))

    assert isinstance(changes[0], Reopen)


def test_it_lets_an_acknowledgement_lapse_when_the_condition_gets_worse() -> None:
    memory = Memory()
    memory.apply([condition(severity=Severity.WARNING)], START)
    memory.acknowledge(START)

    memory.apply([condition(severity=Severity.CRITICAL)], START)

    assert not memory.alerts[0].is_acknowledged(START)


def test_it_updates_numbers_without_calling_it_worse() -> None:
    memory = Memory()
    memory.apply([condition(used=94)], START)

    (change,) = reconcile(memory.alerts, [condition(used=95)], now=START)

    assert isinstance(change, Update)
    assert not change.has_worsened
    assert not change.does_lapse


def test_it_says_nothing_about_what_is_unknown() -> None:
    memory = Memory()
    memory.apply([condition()], START)

    changes = reconcile(
        memory.alerts, [], unknown=[("offline", "store-point:1")], now=START
    )

    assert changes == []


subjects = st.sampled_from(["store-point:1", "store-point:2", "server:1"])
severities = st.sampled_from(list(Severity))
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("facts"),
            st.lists(
                st.builds(
                    lambda subject, severity, used: Condition(
                        "offline", subject, severity, {"used": used}
                    ),
                    subjects,
                    severities,
                    st.integers(90, 95),
                ),
                max_size=4,
                unique_by=lambda each: each.subject,
            ),
        ),
        st.tuples(st.just("acknowledge"), st.none()),
        st.tuples(st.just("wait"), st.integers(1, 40)),
    ),
    max_size=25,
)


@given(steps)
def test_it_ends_with_exactly_the_alerts_that_hold(
    history: list[tuple[str, list[Condition] | int | None]],
) -> None:
    memory = Memory()
    now = START
    for what, value in history:
        if isinstance(value, list):
            memory.apply(value, now)

            # Applying the same facts again changes nothing.
            assert memory.apply(value, now) == 0
            # Exactly what holds is ongoing, each once, with its severity.
            assert sorted((a.key, a.severity) for a in memory.ongoing) == sorted(
                (c.key, c.severity) for c in value
            )
        elif isinstance(value, int):
            now += timedelta(minutes=value)
        elif what == "acknowledge":
            memory.acknowledge(now)


@given(steps)
def test_it_never_hides_a_worse_condition_behind_an_acknowledgement(
    history: list[tuple[str, list[Condition] | int | None]],
) -> None:
    memory = Memory()
    now = START
    seen: dict[tuple[str, str], Severity] = {}
    for what, value in history:
        if isinstance(value, list):
            memory.apply(value, now)
            for alert in memory.ongoing:
                if alert.is_acknowledged(now):
                    # A person saw at least this severity of this very alert.
                    assert seen[alert.key] <= alert.severity
        elif isinstance(value, int):
            now += timedelta(minutes=value)
        elif what == "acknowledge":
            for alert in memory.alerts:
                if not alert.is_acknowledged(now):
                    seen[alert.key] = alert.severity
            memory.acknowledge(now)
