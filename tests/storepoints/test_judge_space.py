"""When a filesystem is low: decision tables and properties of storepoints.engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storepoints.engine import (
    SPACE_RULE,
    Limit,
    Space,
    judge_space,
    seconds_to_full,
)

START = datetime(2026, 3, 1, 14, 2, tzinfo=UTC)
MB, GB, TB = 10**6, 10**9, 10**12
LOW = {Limit.LOW_SPACE}
CRITICAL = {Limit.LOW_SPACE, Limit.CRITICALLY_LOW_SPACE}


def space(size: float, percent: float, *, fills_in: float | None = None) -> Space:
    """A filesystem with so much free; ``fills_in`` hours by its trend."""
    free = int(size * percent / 100)
    return Space(
        at=START,
        free_bytes=free,
        used_bytes=int(size) - free,
        bytes_per_second=None if fills_in is None else free / fills_in / 3600,
    )


def follow(
    *spaces: Space, minutes: float = 5, before: frozenset[Limit] = frozenset()
) -> frozenset[Limit]:
    limits = before
    soon: dict[str, float] = {}
    for number, each in enumerate(spaces):
        at = START + timedelta(minutes=minutes * number)
        limits, soon = judge_space(replace(each, at=at), limits, soon, SPACE_RULE)
    return limits


@pytest.mark.parametrize(
    ("size", "percent", "limits"),
    [
        (8 * MB, 50, set()),
        (8 * MB, 9.9, LOW),
        (8 * MB, 4.9, CRITICAL),
        (1 * TB, 10.1, set()),
        (1 * TB, 9.9, LOW),
        (1 * TB, 4.9, CRITICAL),
        # The size counts: what is left would last for long.
        (5.86 * TB, 6.9, LOW),
        (10 * TB, 6.5, set()),
        (10 * TB, 6.2, LOW),
        (10 * TB, 4.9, LOW),
        (10 * TB, 3.1, CRITICAL),
        (100 * TB, 20, set()),
        (100 * TB, 5, set()),
        (100 * TB, 3.9, LOW),
        (100 * TB, 1.9, CRITICAL),
        (1000 * TB, 3, set()),
        (1000 * TB, 0, CRITICAL),
    ],
)
def test_it_is_low_by_share_and_by_size(
    size: float, percent: float, limits: set[Limit]
) -> None:
    assert follow(space(size, percent)) == limits


@pytest.mark.parametrize(
    ("percent", "fills_in", "minutes", "limits"),
    [
        # 8 % of 100 TB: enough bytes, unless a day's trend takes them.
        (8, 20, 31, LOW),
        (8, 20, 10, set()),
        (8, 30, 31, set()),
        (4.5, 3, 31, CRITICAL),
        (4.5, 3, 10, set()),
        (8, 3, 31, LOW),
        # No share, no alarm about low space; but it fills up.
        (40, 20, 31, set()),
        (40, 20, 61, {Limit.FILLING_UP}),
        (40, 30, 61, set()),
        (60, 20, 61, set()),
        (8, 20, 61, LOW),
    ],
)
def test_it_wants_share_and_trend_and_duration(
    percent: float, fills_in: float, minutes: float, limits: set[Limit]
) -> None:
    reading = space(100 * TB, percent, fills_in=fills_in)

    assert follow(reading, reading, minutes=minutes) == limits


def test_it_makes_nothing_of_one_big_write() -> None:
    calm = space(100 * TB, 40)
    burst = space(100 * TB, 8, fills_in=0.5)

    # The trend that a burst may leave does not last.
    assert follow(calm, burst, burst, calm, burst, burst, calm) == set()


@pytest.mark.parametrize(
    ("percents", "limits"),
    [
        ([9, 12], LOW),
        ([9, 14.9], LOW),
        ([9, 15.1], set()),
        ([4, 9], CRITICAL),
        ([4, 10.1], LOW),
        ([4, 15.1], set()),
    ],
)
def test_it_keeps_a_limit_until_there_is_clearly_more_room(
    percents: list[float], limits: set[Limit]
) -> None:
    assert follow(*(space(TB, percent) for percent in percents)) == limits


def test_it_clears_a_large_volume_by_its_bytes() -> None:
    # 15 % of 100 TB would be 15 TB; 1.5 times the bound of 4 TB is enough.
    assert follow(space(100 * TB, 3.9), space(100 * TB, 5.9)) == LOW
    assert follow(space(100 * TB, 3.9), space(100 * TB, 6.1)) == set()


@pytest.mark.parametrize(
    ("total", "free", "fs_type", "is_low"),
    [
        (0, 0, "btrfs", False),
        (0, 0, "tmpfs", False),
        (1000, 1, "zfs", False),
        (10_000, 499, "ext4", True),
        (10_000, 500, "ext4", False),
        # 4 % of 100 million are enough inodes for anybody.
        (100_000_000, 4_000_000, "ext4", False),
        (100_000_000, 999_999, "ext4", True),
    ],
)
def test_it_is_low_on_inodes_by_share_and_by_number(
    total: int, free: int, fs_type: str, is_low: bool
) -> None:
    reading = replace(
        space(TB, 50), total_inodes=total, free_inodes=free, fs_type=fs_type
    )

    assert (Limit.LOW_INODES in follow(reading)) == is_low


def test_it_keeps_low_inodes_until_there_are_clearly_more() -> None:
    few, some, many = (
        replace(space(TB, 50), total_inodes=10_000, free_inodes=free)
        for free in (400, 900, 1000)
    )

    assert follow(few, some) == {Limit.LOW_INODES}
    assert follow(few, some, many) == set()


def test_it_keeps_what_it_knew_of_a_filesystem_without_size() -> None:
    nothing = Space(at=START, free_bytes=0, used_bytes=0)

    assert follow(nothing, before=frozenset(LOW)) == LOW


def test_it_waits_anew_when_the_clock_was_set_back() -> None:
    reading = space(100 * TB, 8, fills_in=20)
    later = (START + timedelta(days=300)).timestamp()

    limits, soon = judge_space(
        reading, frozenset(), {Limit.LOW_SPACE: later}, SPACE_RULE
    )

    assert limits == set()
    assert soon[Limit.LOW_SPACE] == START.timestamp()


sizes = st.floats(1e6, 1e18)


@given(sizes, st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_it_changes_at_most_once_within_the_margin(
    size: float, places: list[float]
) -> None:
    """Figures between "raise" and "clear" raise nothing and clear nothing."""
    low = min(10.0, 100 * SPACE_RULE.free_bound(size, 10) / size)
    clear = min(15.0, 100 * SPACE_RULE.free_bound(size, 15) / size)
    percents = [(low + (clear - low) * (0.01 + 0.98 * place)) for place in places]
    limits: frozenset[Limit] = frozenset()
    changes = 0
    for first in (frozenset(), frozenset(LOW)):
        limits, changes = first, 0
        for percent in percents:
            after, _ = judge_space(space(size, percent), limits, {}, SPACE_RULE)
            changes += (Limit.LOW_SPACE in after) != (Limit.LOW_SPACE in limits)
            limits = after

        assert changes <= 1


@pytest.mark.parametrize(
    ("size", "percent", "limits"),
    [
        # 60 GB of 1 TB instead of the 100 GB that follow from 10 %.
        (1 * TB, 7, set()),
        (1 * TB, 5.9, LOW),
        (100 * GB, 7, set()),
        (100 * GB, 5.9, LOW),
        # As much less of a larger one: 378 GB of 10 TB.
        (10 * TB, 3.9, set()),
        (10 * TB, 3.7, LOW),
    ],
)
def test_it_takes_the_bytes_that_were_chosen(
    size: float, percent: float, limits: set[Limit]
) -> None:
    rule = replace(SPACE_RULE, low_bytes=60 * GB, critically_low_bytes=1 * GB)

    found, _ = judge_space(space(size, percent), frozenset(), {}, rule)

    assert found == limits


@given(
    sizes,
    st.floats(0.1, 50),
    st.none() | st.floats(1e6, 1e12),
    st.lists(st.floats(0, 1), min_size=2, max_size=20),
)
def test_it_changes_nothing_within_the_margin_of_any_rule(
    size: float, percent: float, few: float | None, places: list[float]
) -> None:
    rule = replace(
        SPACE_RULE, low_percent=percent, low_bytes=few, critically_low_percent=1e-9
    )
    softer = percent + rule.clear_points
    more = None if few is None else few * softer / percent
    low = min(percent, 100 * rule.free_bound(size, percent, few) / size)
    clear = min(softer, 100 * rule.free_bound(size, softer, more) / size)
    assert low < clear

    for limits in (frozenset(), frozenset(LOW)):
        for place in places:
            share = low + (clear - low) * (0.01 + 0.98 * place)
            free = size * share / 100
            if not size * low / 100 < int(free) < size * clear / 100:
                continue  # Too few bytes for a place between both.
            after, _ = judge_space(space(size, share), limits, {}, rule)
            assert after == limits


@given(sizes, sizes, st.floats(0, 100))
def test_it_never_asks_a_larger_volume_for_a_larger_share(
    one: float, other: float, percent: float
) -> None:
    small, large = sorted((one, other))

    share_of_small = SPACE_RULE.free_bound(small, percent) / small
    share_of_large = SPACE_RULE.free_bound(large, percent) / large

    assert share_of_large <= share_of_small * 1.000001
    assert SPACE_RULE.free_bound(large, percent) >= (
        SPACE_RULE.free_bound(small, percent) * 0.999999
    )


@given(
    sizes,
    st.lists(
        st.tuples(st.floats(0, 100), st.one_of(st.none(), st.floats(0.1, 100))),
        min_size=1,
        max_size=30,
    ),
)
def test_it_is_never_critically_low_without_being_low(
    size: float, history: list[tuple[float, float | None]]
) -> None:
    limits = follow(
        *(space(size, percent, fills_in=hours) for percent, hours in history),
        minutes=20,
    )

    assert Limit.CRITICALLY_LOW_SPACE not in limits or Limit.LOW_SPACE in limits
    assert not {Limit.FILLING_UP, Limit.LOW_SPACE} <= limits


@pytest.mark.parametrize("speed", [None, 0.0, -5.0])
def test_it_names_no_time_when_it_does_not_grow(speed: float | None) -> None:
    reading = replace(space(TB, 10), bytes_per_second=speed)

    assert seconds_to_full(reading) is None
