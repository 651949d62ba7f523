"""What follows from the conditions that hold: alerts.engine by example."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from alerts.engine import RULES, Condition, Reopen, Severity, Update, reconcile
from tests.alerts.memory import Memory

START = datetime(2026, 3, 1, 14, 2, tzinfo=UTC)


def condition(
    subject: str = "store-point:1",
    severity: Severity = Severity.WARNING,
    **data: int,
) -> Condition:
    return Condition("offline", subject, severity, data)


def test_it_raises_once_and_clears() -> None:
    memory = Memory()

    assert len(memory.apply([condition()], START)) == 1
    assert memory.apply([condition()], START) == []
    assert len(memory.apply([], START)) == 1
    assert memory.apply([], START) == []


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
    later = START + timedelta(minutes=2) + RULES.reopen_window

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


def test_it_is_not_steady_because_its_server_went_away() -> None:
    memory, now = Memory(), START
    for _ in range(RULES.flap_returns + 1):
        for conditions in ([condition()], []):
            now += timedelta(minutes=1)
            memory.apply(conditions, now)
    assert memory.alerts[0].flapping_since is not None
    server = Condition("server-offline", "server:1", Severity.CRITICAL)
    held = Condition(
        "offline",
        "store-point:1",
        Severity.CRITICAL,
        parent=("server-offline", "server:1"),
    )

    for conditions in ([server, held], [], [server, held]):
        now += RULES.flap_window / 2
        memory.apply(conditions, now)

        assert memory.apply(conditions, now) == []
