"""A kind that is put off, and kinds that give way to each other: alerts.engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.engine import Condition, Raise, Reopen, Severity, Update, Wait
from tests.alerts.memory import Memory

START = datetime(2026, 3, 1, 14, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DELAY = 10 * MINUTE

LOW, CRITICAL = "low", "critical"


def condition(
    kind: str = LOW, *, delay: timedelta = DELAY, severity: Severity = Severity.WARNING
) -> Condition:
    return Condition(
        kind,
        "filesystem:1",
        severity,
        delay=delay,
        gives_way_to=frozenset({CRITICAL}) if kind == LOW else frozenset(),
    )


def ongoing(memory: Memory) -> set[str]:
    return {alert.kind for alert in memory.ongoing}


def test_it_raises_once_the_condition_has_held_for_long_enough() -> None:
    memory = Memory()

    assert isinstance(memory.apply([condition()], START)[0], Wait)
    assert memory.apply([condition()], START + 9 * MINUTE) == []
    changes = memory.apply([condition()], START + DELAY)

    assert isinstance(changes[0], Raise)
    assert memory.waiting == {}


def test_it_raises_nothing_for_what_ended_before() -> None:
    memory = Memory()
    memory.apply([condition()], START)

    memory.apply([], START + 9 * MINUTE)
    memory.apply([condition()], START + DELAY)

    assert memory.alerts == []
    assert memory.waiting[LOW, "filesystem:1"].since == START + DELAY


def test_it_goes_on_counting_while_nothing_is_known() -> None:
    memory = Memory()
    memory.apply([condition()], START)

    memory.apply([], START + MINUTE, unknown={(LOW, "filesystem:1")})
    memory.apply([condition()], START + DELAY)

    assert ongoing(memory) == {LOW}


def test_it_waits_again_before_it_comes_back() -> None:
    memory = Memory()
    memory.apply([condition(delay=timedelta(0))], START)
    memory.apply([], START + MINUTE)

    memory.apply([condition()], START + 2 * MINUTE)
    assert ongoing(memory) == set()
    changes = memory.apply([condition()], START + 2 * MINUTE + DELAY)

    assert isinstance(changes[0], Reopen)


def test_it_raises_at_once_what_is_put_off_no_longer() -> None:
    memory = Memory()
    memory.apply([condition()], START)

    memory.apply([condition(delay=timedelta(0))], START + MINUTE)

    assert ongoing(memory) == {LOW}
    assert memory.waiting == {}


def test_it_leaves_what_is_ongoing_when_its_kind_is_put_off() -> None:
    memory = Memory()
    memory.apply([condition(delay=timedelta(0))], START)

    assert memory.apply([condition()], START + MINUTE) == []


def test_it_starts_the_wait_anew_when_the_clock_was_set_back() -> None:
    memory = Memory()
    memory.apply([condition()], START)

    memory.apply([condition()], START - timedelta(hours=1))
    memory.apply([condition()], START - timedelta(hours=1) + DELAY)

    assert ongoing(memory) == {LOW}


def test_it_raises_no_child_of_what_is_put_off() -> None:
    memory = Memory()
    server = Condition("server", "server:1", Severity.CRITICAL, delay=DELAY)
    child = Condition("offline", "store-point:1", Severity.CRITICAL, parent=server.key)

    memory.apply([server, child], START)
    assert memory.alerts == []
    memory.apply([server, child], START + DELAY)

    assert ongoing(memory) == {"server", "offline"}


def test_it_keeps_the_milder_alert_while_the_worse_one_is_put_off() -> None:
    memory = Memory()
    memory.apply([condition(delay=timedelta(0))], START)
    worse = [condition(delay=timedelta(0)), condition(CRITICAL)]

    memory.apply(worse, START + MINUTE)
    assert ongoing(memory) == {LOW}
    memory.apply(worse, START + MINUTE + DELAY)

    assert ongoing(memory) == {CRITICAL}


def test_it_keeps_it_although_its_own_condition_says_nothing_then() -> None:
    memory = Memory()
    memory.apply([condition(delay=timedelta(0))], START)

    memory.apply([condition(CRITICAL)], START + MINUTE)
    assert ongoing(memory) == {LOW}
    memory.apply([], START + 2 * MINUTE)

    assert ongoing(memory) == set()


def test_it_falls_back_to_the_milder_alert_at_once() -> None:
    memory = Memory()
    both = [condition(), condition(CRITICAL, delay=timedelta(0))]
    for minute in range(0, 31, 5):
        memory.apply(both, START + minute * MINUTE)
    assert ongoing(memory) == {CRITICAL}

    memory.apply([condition()], START + 31 * MINUTE)

    assert ongoing(memory) == {LOW}


def test_it_lets_an_acknowledgement_lapse_when_the_severity_is_raised() -> None:
    memory = Memory()
    memory.apply([condition(delay=timedelta(0), severity=Severity.LOW)], START)
    memory.acknowledge(START)

    milder = memory.apply(
        [condition(delay=timedelta(0), severity=Severity.LOW)], START + MINUTE
    )
    worse = memory.apply(
        [condition(delay=timedelta(0), severity=Severity.CRITICAL)], START + 2 * MINUTE
    )

    assert milder == []
    assert isinstance(worse[0], Update)
    assert worse[0].has_worsened
    assert worse[0].does_lapse


def test_it_changes_the_severity_of_a_child_too() -> None:
    memory = Memory()
    server = Condition("server", "server:1", Severity.CRITICAL)

    def child(severity: Severity) -> Condition:
        return Condition("offline", "store-point:1", severity, parent=server.key)

    memory.apply([server, child(Severity.WARNING)], START)
    memory.acknowledge(START)

    memory.apply([server, child(Severity.CRITICAL)], START + MINUTE)

    held = next(alert for alert in memory.alerts if alert.kind == "offline")
    assert held.severity is Severity.CRITICAL
    assert not held.is_acknowledged(START + MINUTE)


levels = st.sampled_from(["well", LOW, CRITICAL, "unknown"])
delays = st.sampled_from([0, 3, 10]).map(lambda minutes: timedelta(minutes=minutes))


@settings(max_examples=2_000, deadline=None)
@given(
    st.lists(st.tuples(levels, st.integers(0, 6)), max_size=20),
    delays,
    delays,
)
def test_it_raises_neither_early_nor_late_nor_leaves_a_gap(
    history: list[tuple[str, int]], low: timedelta, critical: timedelta
) -> None:
    memory = Memory()
    now = START
    since: dict[str, datetime | None] = {LOW: None, CRITICAL: None}
    for level, minutes in history:
        now += timedelta(minutes=minutes)
        conditions = []
        if level in {LOW, CRITICAL}:
            conditions.append(condition(LOW, delay=low))
        if level == CRITICAL:
            conditions.append(condition(CRITICAL, delay=critical))
        keys = {(kind, "filesystem:1") for kind in (LOW, CRITICAL)}
        memory.apply(conditions, now, keys if level == "unknown" else set())
        again = memory.apply(conditions, now, keys if level == "unknown" else set())

        assert again == []
        if level == "unknown":
            continue
        holding = {each.kind for each in conditions}
        since = {
            kind: (at or now) if kind in holding else None for kind, at in since.items()
        }
        held_low, held_critical = since[LOW], since[CRITICAL]
        is_critical = held_critical is not None and now - held_critical >= critical
        is_low = held_low is not None and now - held_low >= low
        assert (CRITICAL in ongoing(memory)) == is_critical
        assert (LOW in ongoing(memory)) == (is_low and not is_critical)
