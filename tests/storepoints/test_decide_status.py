"""The verdict over time: decision tables and properties of storepoints.engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storepoints.engine import (
    Limit,
    Reading,
    Rule,
    Status,
    decide,
    end_of_belief,
    estimate_offset,
    follow_limits,
    shown,
)
from storepoints.states import BELIEVED_AT_ONCE, FAILED, WORKING, Reason, State

START = datetime(2026, 3, 1, 14, 2, tzinfo=UTC)
RULE = Rule()
GOOD = Reading(at=START, state=State.ONLINE)
BAD_REASONS = [
    Reason.PATH_MISSING,
    Reason.PERMISSION_DENIED,
    Reason.NOT_MOUNTED,
    Reason.DIFFERENT_VOLUME,
    Reason.WRONG_STORE_POINT,
    Reason.MARKER_MISSING,
    Reason.READ_ONLY,
    Reason.FULL,
    Reason.IO_ERROR,
]


def fail(reason: Reason) -> Reading:
    return Reading(at=START, state=State.OFFLINE, reason=reason)


def follow(*readings: Reading, rule: Rule = RULE) -> Status:
    status = Status()
    for number, reading in enumerate(readings):
        moved = Reading(
            at=START + timedelta(seconds=number),
            state=reading.state,
            reason=reading.reason,
            limits=reading.limits,
        )
        status = decide(status, moved, rule).status
    return status


@pytest.mark.parametrize(
    ("readings", "state", "is_believed"),
    [
        ([GOOD], State.ONLINE, False),
        ([fail(Reason.PATH_MISSING)], State.OFFLINE, False),
        ([fail(Reason.PATH_MISSING)] * 2, State.OFFLINE, False),
        ([fail(Reason.PATH_MISSING)] * 3, State.OFFLINE, True),
        ([fail(Reason.NOT_MOUNTED)], State.OFFLINE, True),
        ([fail(Reason.DIFFERENT_VOLUME)], State.OFFLINE, True),
        ([fail(Reason.WRONG_STORE_POINT)], State.OFFLINE, True),
        ([fail(Reason.PATH_MISSING)] * 2 + [GOOD], State.ONLINE, False),
        ([fail(Reason.NOT_MOUNTED), GOOD], State.ONLINE, True),
        ([fail(Reason.NOT_MOUNTED), GOOD, GOOD], State.ONLINE, False),
        (
            [fail(Reason.NOT_MOUNTED), GOOD, fail(Reason.IO_ERROR), GOOD],
            State.ONLINE,
            True,
        ),
    ],
)
def test_it_believes_a_failure_when_it_should(
    readings: list[Reading], state: State, is_believed: bool
) -> None:
    status = follow(*readings)

    assert (status.state, status.is_believed) == (state, is_believed)


@pytest.mark.parametrize(
    ("readings", "seconds"),
    [
        ([GOOD], 30),
        ([fail(Reason.IO_ERROR)], 10),
        ([fail(Reason.NOT_MOUNTED)], 10),
        ([fail(Reason.NOT_MOUNTED), GOOD], 1),
        ([fail(Reason.NOT_MOUNTED), GOOD, GOOD], 30),
    ],
)
def test_it_looks_again_sooner_while_something_is_wrong(
    readings: list[Reading], seconds: float
) -> None:
    status = follow(*readings[:-1])

    decision = decide(status, readings[-1], RULE)

    assert decision.pace == timedelta(seconds=seconds)


def test_it_counts_offline_from_the_first_failure_though_the_reason_changes() -> None:
    status = follow(GOOD, fail(Reason.IO_ERROR), fail(Reason.NOT_MOUNTED))

    assert status.since == START + timedelta(seconds=1)
    assert status.reason == Reason.NOT_MOUNTED


def limited(*limits: Limit) -> Reading:
    return Reading(at=START, state=State.ONLINE, limits=frozenset(limits))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ([], Reason.NONE),
        ([Limit.LOW_SPACE], Reason.LOW_SPACE),
        ([Limit.SLOW, Limit.LOW_INODES], Reason.LOW_INODES),
        ([Limit.LOW_SPACE, Limit.VOLUME_DEGRADED], Reason.VOLUME_DEGRADED),
        ([Limit.VOLUME_DEGRADED, Limit.CRITICALLY_LOW_SPACE], Reason.LOW_SPACE),
        ([Limit.CRITICALLY_LOW_SPACE, Limit.DRIVE_FAILING], Reason.DRIVE_FAILING),
    ],
)
def test_it_names_the_limit_that_matters_most(
    limits: list[Limit], reason: Reason
) -> None:
    status = follow(GOOD, limited(*limits))

    assert status.reason == reason
    assert status.state == (State.DEGRADED if limits else State.ONLINE)


def test_it_does_not_call_degraded_what_only_fills_up() -> None:
    assert follow(limited(Limit.FILLING_UP)).state == State.ONLINE


def test_it_keeps_the_limits_while_the_volume_cannot_be_read() -> None:
    status = follow(limited(Limit.LOW_SPACE), fail(Reason.IO_ERROR))

    assert status.limits == {Limit.LOW_SPACE}


def test_it_follows_limits_that_another_probe_found() -> None:
    before = follow(GOOD)
    later = START + timedelta(seconds=5)

    decision = follow_limits(before, frozenset({Limit.LOW_SPACE}), at=later, rule=RULE)

    assert decision.has_changed
    assert decision.status.state == State.DEGRADED
    assert decision.status.since == later


def test_it_does_not_call_working_what_failed_when_limits_change() -> None:
    before = follow(fail(Reason.NOT_MOUNTED))

    decision = follow_limits(before, frozenset({Limit.LOW_SPACE}), at=START, rule=RULE)

    assert not decision.has_changed
    assert decision.status.state == State.OFFLINE


readings = st.one_of(
    st.just(GOOD),
    st.builds(fail, st.sampled_from(BAD_REASONS)),
    st.just(Reading(at=START, state=State.NOT_RESPONDING)),
    st.builds(limited, st.sampled_from(list(Limit))),
)


@given(st.lists(readings, min_size=1, max_size=30))
def test_it_shows_every_failure_at_once_and_never_a_false_green(
    history: list[Reading],
) -> None:
    status = follow(*history)

    assert (status.state in FAILED) == (history[-1].state in FAILED)
    assert (status.state in WORKING) == (history[-1].state == State.ONLINE)


@given(st.lists(readings, min_size=1, max_size=30))
def test_it_believes_exactly_what_its_rule_says(history: list[Reading]) -> None:
    expected, failures, successes = False, 0, 0
    for reading in history:
        if reading.state in FAILED:
            failures, successes = failures + 1, 0
            if failures >= 3 or reading.reason in BELIEVED_AT_ONCE:
                expected = True
        else:
            failures, successes = 0, successes + 1
            if successes >= 2:
                expected = False

    assert follow(*history).is_believed == expected


@pytest.mark.parametrize(
    ("age", "is_server_silent", "are_checks_running", "expected"),
    [
        (10, False, True, (State.ONLINE, Reason.NONE)),
        (90, False, True, (State.ONLINE, Reason.NONE)),
        (91, False, True, (State.UNKNOWN, Reason.STALE)),
        (91, False, False, (State.UNKNOWN, Reason.STALE)),
        (10, True, True, (State.SERVER_OFFLINE, Reason.SERVER_OFFLINE)),
        (10, True, False, (State.ONLINE, Reason.NONE)),
        (91, True, False, (State.UNKNOWN, Reason.STALE)),
        (None, False, True, (State.PENDING, Reason.NONE)),
        # Dated by a clock that has since been set back: its age is not known.
        (-7200, False, True, (State.UNKNOWN, Reason.STALE)),
    ],
)
def test_it_never_shows_a_stale_green(
    age: int | None,
    is_server_silent: bool,
    are_checks_running: bool,
    expected: tuple[State, Reason],
) -> None:
    checked_at = None if age is None else START - timedelta(seconds=age)

    answer = shown(
        state=State.ONLINE,
        reason=Reason.NONE,
        checked_at=checked_at,
        stale_at=checked_at and end_of_belief(checked_at, check_seconds=30),
        silent_at=START - timedelta(seconds=1) if is_server_silent else None,
        are_checks_running=are_checks_running,
        now=START,
    )

    assert answer == expected


def test_it_takes_the_least_difference_for_the_clock_offset() -> None:
    offset = None
    for delay in (0.5, 0.1, 0.1, 300.0):
        offset = estimate_offset(offset, 1000 + 7 + delay, 1000)

    # One report that was 300 s late moves the estimate by a twentieth of that.
    assert offset == pytest.approx(7.1 + 0.05 * 299.9, abs=0.1)
