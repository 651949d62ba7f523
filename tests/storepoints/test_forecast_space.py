"""When a filesystem will be full: scenarios with a known end, and what always holds."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storepoints.forecast import (
    DAY,
    HORIZON_SECONDS,
    HOUR,
    WEEK,
    Forecast,
    forecast,
    trend_bytes_per_second,
)

GB = 1e9
#: A Monday, 00:00 UTC.
START = 1_783_900_800

Used = Callable[[float], float]


def linear(per_day: float, begin: float = 1000 * GB) -> Used:
    return lambda at: begin + per_day * (at - START) / DAY


def weekly(per_day: float, full_backup: float) -> Used:
    """A full backup on Sunday from 01:00 to 07:00, pruned on Wednesday at noon."""

    def used(at: float) -> float:
        in_week = (at - START) % WEEK
        sunday = 6 * DAY + HOUR
        if in_week >= sunday:
            share = min(1.0, (in_week - sunday) / (6 * HOUR))
        else:
            share = 1.0 if in_week < 2 * DAY + 12 * HOUR else 0.0
        return linear(per_day)(at) + full_backup * share

    return used


def seen(used: Used, *, now: float, days: float) -> list[tuple[float, float]]:
    """Return what was used at the end of each hour of the past days."""
    first = int(now - days * DAY) // HOUR * HOUR
    return [(at, used(at)) for at in range(first, int(now) + 1, HOUR)]


def look(used: Used, *, now: float, days: float, capacity: float) -> Forecast | None:
    marks = seen(used, now=now, days=days)
    return forecast(marks, now=now, used=used(now), free=capacity - used(now))


def truth(used: Used, *, now: float, capacity: float) -> float:
    """Return in how many seconds it is really full for the first time."""
    at = now
    while used(at) < capacity:
        at += HOUR
    return at - now


def test_it_says_nothing_before_a_full_week_was_seen() -> None:
    now = START + 3 * WEEK

    before = look(linear(10 * GB), now=now, days=6.9, capacity=2000 * GB)
    after = look(linear(10 * GB), now=now, days=7, capacity=2000 * GB)

    assert before is None
    assert after is not None
    assert after.full is not None


def test_it_says_nothing_of_no_samples_at_all() -> None:
    assert forecast([], now=START, used=1.0, free=1.0) is None


def test_it_follows_a_straight_line() -> None:
    now = START + 5 * WEEK

    found = look(
        linear(10 * GB), now=now, days=35, capacity=linear(10 * GB)(now) + 1e12
    )

    assert found is not None
    assert found.growth_bytes_per_day == pytest.approx(10 * GB)
    assert found.full is not None
    assert found.earliest is not None
    assert found.latest is not None
    assert found.full == pytest.approx(100 * DAY, rel=0.01)
    assert found.earliest < found.full < found.latest


@pytest.mark.parametrize("weekday", range(7))
@pytest.mark.parametrize("days", [7, 10, 14, 35])
@pytest.mark.parametrize("hour", [3, 15])
def test_it_is_right_about_a_weekly_cycle_on_every_day_of_it(
    weekday: int, days: int, hour: int
) -> None:
    used = weekly(5 * GB, full_backup=300 * GB)
    now = START + 5 * WEEK + weekday * DAY + hour * HOUR
    capacity = used(START + 5 * WEEK) + 500 * GB

    found = look(used, now=now, days=days, capacity=capacity)

    assert found is not None
    assert found.full is not None
    assert found.growth_bytes_per_day == pytest.approx(5 * GB, rel=0.02)
    really = truth(used, now=now, capacity=capacity)
    assert found.full == pytest.approx(really, rel=0.1)
    assert found.earliest is not None
    assert found.earliest <= really * 1.001


def test_the_next_full_backup_is_no_growth_but_may_be_the_end() -> None:
    used = weekly(GB, full_backup=300 * GB)
    # On Saturday evening: all that is missing to the end is the backup of tomorrow.
    now = START + 5 * WEEK + 5 * DAY + 18 * HOUR

    found = look(used, now=now, days=35, capacity=used(now) + 250 * GB)

    assert found is not None
    assert found.full == pytest.approx(13 * HOUR, abs=2 * HOUR)
    assert found.growth_bytes_per_day == pytest.approx(GB, rel=0.05)


def test_a_burst_of_one_week_is_outvoted() -> None:
    burst_at = START + 4 * WEEK + 3 * DAY
    now = START + 5 * WEEK

    def used(at: float) -> float:
        return linear(2 * GB)(at) + (400 * GB if at >= burst_at else 0)

    found = look(used, now=now, days=35, capacity=used(now) + 140 * GB)

    assert found is not None
    assert found.full == pytest.approx(70 * DAY, rel=0.1)
    # That it happens again is in the range.
    assert found.earliest is not None
    assert found.earliest < 10 * DAY


def test_a_deletion_of_one_week_is_outvoted() -> None:
    now = START + 5 * WEEK

    def used(at: float) -> float:
        return linear(2 * GB)(at) - (400 * GB if at >= now - 5 * DAY else 0)

    found = look(used, now=now, days=35, capacity=used(now) + 140 * GB)

    assert found is not None
    assert found.full == pytest.approx(70 * DAY, rel=0.1)


def test_an_extended_volume_has_more_time_at_once() -> None:
    used, now = linear(10 * GB), START + 5 * WEEK

    before = look(used, now=now, days=35, capacity=used(now) + 100 * GB)
    after = look(used, now=now, days=35, capacity=used(now) + 1100 * GB)

    assert before is not None
    assert after is not None
    assert before.full == pytest.approx(10 * DAY, rel=0.02)
    assert after.full == pytest.approx(110 * DAY, rel=0.02)


def test_a_gap_is_no_growth() -> None:
    used, now = weekly(5 * GB, full_backup=300 * GB), START + 5 * WEEK + 3 * DAY
    marks = [
        mark
        for mark in seen(used, now=now, days=35)
        if not now - 12 * DAY < mark[0] < now - 4 * DAY
    ]
    capacity = used(now) + 600 * GB

    found = forecast(marks, now=now, used=used(now), free=capacity - used(now))

    assert found is not None
    assert found.full == pytest.approx(truth(used, now=now, capacity=capacity), rel=0.1)


def test_noise_does_not_move_it_far() -> None:
    source = random.Random(7)
    now = START + 5 * WEEK
    marks = [
        (at, value + source.gauss(0, 5 * GB))
        for at, value in seen(linear(5 * GB), now=now, days=35)
    ]

    found = forecast(marks, now=now, used=linear(5 * GB)(now), free=500 * GB)

    assert found is not None
    assert found.full == pytest.approx(100 * DAY, rel=0.1)


@pytest.mark.parametrize("per_day", [0.0, -5 * GB])
def test_what_does_not_grow_has_no_date(per_day: float) -> None:
    now = START + 5 * WEEK

    found = look(linear(per_day), now=now, days=35, capacity=2000 * GB)

    assert found is not None
    assert found.growth_bytes_per_day == pytest.approx(per_day)
    assert (found.full, found.earliest, found.latest) == (None, None, None)


def test_noise_around_a_level_has_no_date() -> None:
    source = random.Random(3)
    now = START + 5 * WEEK
    marks = [
        (at, value + source.gauss(0, GB))
        for at, value in seen(linear(0), now=now, days=35)
    ]

    found = forecast(marks, now=now, used=1000 * GB, free=GB)

    assert found is not None
    assert found.full is None


def test_a_date_beyond_the_horizon_is_none() -> None:
    now = START + 5 * WEEK

    found = look(linear(1.0), now=now, days=35, capacity=2000 * GB)

    assert found is not None
    assert found.growth_bytes_per_day == pytest.approx(1.0)
    assert found.full is None


def test_what_is_full_is_full_now() -> None:
    now = START + 5 * WEEK
    used = linear(GB)

    found = look(used, now=now, days=35, capacity=used(now))

    assert found is not None
    assert (found.full, found.earliest, found.latest) == (0, 0, 0)


@given(
    per_day=st.floats(1e6, 1e11),
    pattern=st.lists(st.floats(0, 1e12), min_size=168, max_size=168),
    hour=st.integers(0, 167),
    weeks=st.integers(1, 5),
    free=st.floats(1e9, 1e14),
)
def test_whatever_repeats_weekly_is_no_growth(
    per_day: float, pattern: list[float], hour: int, weeks: int, free: float
) -> None:
    now = START + 6 * WEEK + hour * HOUR

    def used(at: float) -> float:
        return linear(per_day)(at) + pattern[int(at - START) // HOUR % 168]

    found = look(used, now=now, days=7 * weeks, capacity=used(now) + free)

    assert found is not None
    assert found.growth_bytes_per_day == pytest.approx(per_day, rel=0.05, abs=1e4)
    if found.full is not None:
        assert found.full == pytest.approx(
            truth(used, now=now, capacity=used(now) + free), rel=0.02, abs=2 * HOUR
        )


@given(
    values=st.lists(st.floats(0, 1e18), min_size=0, max_size=400),
    free=st.floats(-1e15, 1e18),
    offset=st.floats(0, 10 * DAY),
)
def test_it_is_in_order_and_within_the_horizon_whatever_it_is_given(
    values: list[float], free: float, offset: float
) -> None:
    marks = [(START + number * HOUR, value) for number, value in enumerate(values)]
    now = START + len(values) * HOUR + offset

    found = forecast(marks, now=now, used=values[-1] if values else 0.0, free=free)

    if found is None:
        return
    if found.full is None:
        assert found.earliest is None
        assert found.latest is None
        return
    assert found.earliest is not None
    assert 0 <= found.earliest <= found.full <= HORIZON_SECONDS
    assert found.latest is None or found.full <= found.latest


def hourly(values: list[float]) -> list[tuple[float, float]]:
    return [(START + number * HOUR, value) for number, value in enumerate(values)]


def test_the_trend_of_a_day_wants_six_hours() -> None:
    assert trend_bytes_per_second([]) is None
    assert trend_bytes_per_second(hourly([0, 1, 2, 3, 4])) is None
    assert trend_bytes_per_second(hourly([0, 1, 2, 3, 4, 5, 6])) is not None


def test_the_trend_of_a_day_follows_steady_growth() -> None:
    marks = hourly([number * 3600.0 for number in range(25)])

    assert trend_bytes_per_second(marks) == pytest.approx(1.0)


@pytest.mark.parametrize("burst_at", range(1, 25))
@pytest.mark.parametrize("amount", [500 * GB, -500 * GB])
def test_one_burst_makes_no_trend(burst_at: int, amount: float) -> None:
    marks = hourly([amount if number >= burst_at else 0.0 for number in range(25)])

    assert trend_bytes_per_second(marks) == 0


def test_what_is_written_by_night_is_a_trend() -> None:
    # Eight hours of backups, 1 GB in each: 8 GB a day.
    marks = hourly([min(8, max(0, number - 6)) * GB for number in range(25)])

    trend = trend_bytes_per_second(marks)

    assert trend is not None
    assert trend * DAY == pytest.approx(8 * GB, rel=0.2)
