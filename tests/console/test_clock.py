"""The one clock: still, moved and nested."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from console.kit import clock

NOON = datetime(2026, 7, 15, 12, 0, tzinfo=UTC)


def test_it_is_aware() -> None:
    assert clock.now().utcoffset() == timedelta(0)


def test_it_stands_still_and_ticks(frozen: clock.FrozenClock) -> None:
    assert clock.now() == clock.now() == NOON

    frozen.tick(90)

    assert clock.now() == NOON + timedelta(seconds=90)


def test_it_travels_and_runs_on() -> None:
    with clock.travel(NOON):
        first = clock.now()
        second = clock.now()

    assert NOON <= first <= second < NOON + timedelta(seconds=5)


def test_freezes_nest() -> None:
    with clock.freeze(NOON):
        with clock.freeze(NOON + timedelta(days=1)):
            assert clock.now() == NOON + timedelta(days=1)
        assert clock.now() == NOON

    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 1  # noqa: TID251


def test_it_answers_in_utc() -> None:
    with clock.freeze(NOON.astimezone(timezone(timedelta(hours=5)))):
        assert clock.now().tzinfo is UTC


def test_it_refuses_a_naive_instant() -> None:
    naive = NOON.replace(tzinfo=None)

    with pytest.raises(ValueError, match="no time zone"), clock.freeze(naive):
        pass
