"""When somebody hears: digests, quiet hours, on days on which clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.engine import Waiting, may_send
from notifications.pace import Clock, Pace, Quiet, Turn, Waits, count_mails, turn_of

BERLIN = ZoneInfo("Europe/Berlin")
KATHMANDU = ZoneInfo("Asia/Kathmandu")
ZONES = st.sampled_from(
    [
        ZoneInfo(name)
        for name in (
            *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"),
            *("Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"),
        )
    ]
)
INSTANTS = st.datetimes(
    datetime(2011, 1, 1),  # noqa: DTZ001 - Hypothesis adds it
    datetime(2031, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
TIMES = st.times().map(lambda at: at.replace(microsecond=0))


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    """Return an instant by a local time; "b" at the end: the second of two."""
    local = datetime.fromisoformat(text.removesuffix("b"))
    return local.replace(tzinfo=zone, fold=text.endswith("b")).astimezone(UTC)


@pytest.mark.parametrize(
    ("instant", "until"),
    [
        ("2026-07-15T21:59:59", None),
        ("2026-07-15T22:00:00", "2026-07-16T07:00"),
        ("2026-07-16T03:00:00", "2026-07-16T07:00"),
        ("2026-07-16T06:59:59", "2026-07-16T07:00"),
        ("2026-07-16T07:00:00", None),
        # Clocks go forward in the night of the 29th, and back in that of 25 October.
        ("2026-03-28T23:00:00", "2026-03-29T07:00"),
        ("2026-03-29T03:30:00", "2026-03-29T07:00"),
        ("2026-10-24T23:00:00", "2026-10-25T07:00"),
        ("2026-10-25T02:30:00b", "2026-10-25T07:00"),
    ],
)
def test_it_is_quiet_from_ten_to_seven(instant: str, until: str | None) -> None:
    quiet = Quiet(time(22), time(7), BERLIN)

    assert quiet.ends_at(at(instant)) == (at(until) if until else None)


@pytest.mark.parametrize(
    ("day", "ends", "hours"),
    [
        # Until 2:30, which does not exist on this day: as long after the gap.
        ("2026-03-29T00:30:00", "2026-03-29T03:30", 2),
        # Until 2:30, which comes twice: the second of them.
        ("2026-10-25T00:30:00", "2026-10-25T02:30b", 3),
    ],
)
def test_it_ends_quiet_hours_in_a_change_of_clocks(
    day: str, ends: str, hours: int
) -> None:
    quiet = Quiet(time(0, 30), time(2, 30), BERLIN)

    assert quiet.ends_at(at(day)) == at(ends)
    assert at(ends) - at(day) == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("instant", "told"),
    [
        ("2026-07-15T07:59:59", "2026-07-15T08:00"),
        ("2026-07-15T08:00:00", "2026-07-16T08:00"),
        ("2026-03-28T09:00:00", "2026-03-29T08:00"),
        ("2026-10-24T09:00:00", "2026-10-25T08:00"),
    ],
)
def test_it_tells_daily_at_eight(instant: str, told: str) -> None:
    assert Clock(Pace.DAILY, time(8), BERLIN).after(at(instant)) == at(told)


def test_it_tells_daily_after_a_gap_and_once_where_a_time_comes_twice() -> None:
    clock = Clock(Pace.DAILY, time(2, 30), BERLIN)

    assert clock.after(at("2026-03-28T12:00")) == at("2026-03-29T03:00")
    assert clock.after(at("2026-10-24T12:00")) == at("2026-10-25T02:30")
    assert clock.after(at("2026-10-25T02:30")) == at("2026-10-26T02:30")


@pytest.mark.parametrize(
    ("zone", "instant", "told"),
    [
        (BERLIN, "2026-07-15T08:00:00", "2026-07-15T09:00"),
        (BERLIN, "2026-07-15T08:59:59", "2026-07-15T09:00"),
        (BERLIN, "2026-10-25T02:30:00", "2026-10-25T02:00b"),
        (KATHMANDU, "2026-07-15T08:01:00", "2026-07-15T09:00"),
    ],
)
def test_it_tells_hourly_by_the_clock(zone: ZoneInfo, instant: str, told: str) -> None:
    clock = Clock(Pace.HOURLY, zone=zone)

    assert clock.after(at(instant, zone)) == at(told, zone)


@pytest.mark.parametrize(
    ("pace", "is_urgent", "lets", "turn"),
    [
        (Pace.NOW, False, True, Turn(at("2026-07-16T07:00"), Waits.QUIET)),
        (Pace.NOW, True, True, Turn(at("2026-07-15T23:10"))),
        (Pace.NOW, True, False, Turn(at("2026-07-16T07:00"), Waits.QUIET)),
        (Pace.HOURLY, False, True, Turn(at("2026-07-16T07:00"), Waits.HOURLY)),
        (Pace.HOURLY, True, True, Turn(at("2026-07-16T00:00"), Waits.HOURLY)),
        (Pace.DAILY, False, True, Turn(at("2026-07-16T08:00"), Waits.DAILY)),
    ],
)
def test_it_lets_what_is_urgent_break_through(
    pace: Pace, is_urgent: bool, lets: bool, turn: Turn
) -> None:
    quiet = Quiet(time(22), time(7), BERLIN, lets_critical=lets)

    found = turn_of(
        Clock(pace, time(8), BERLIN),
        quiet,
        is_urgent=is_urgent,
        now=at("2026-07-15T23:10"),
    )

    assert found == turn


@given(st.sampled_from(Pace), TIMES, ZONES, INSTANTS)
def test_it_never_tells_before_nor_much_later(
    pace: Pace, at_local: time, zone: ZoneInfo, now: datetime
) -> None:
    clock = Clock(pace, at_local, zone)

    told = clock.after(now)

    assert told >= now
    # A day that a zone left out, and a change of clocks.
    assert told - now <= {"now": 0, "hourly": 1, "daily": 50}[pace] * timedelta(hours=1)
    assert pace is Pace.NOW or clock.after(told) > told


@given(TIMES, TIMES, ZONES, INSTANTS)
def test_it_is_never_quiet_at_the_end_of_quiet_hours(
    starts: time, ends: time, zone: ZoneInfo, now: datetime
) -> None:
    quiet = Quiet(starts, ends, zone)

    until = quiet.ends_at(now)

    if until is not None:
        assert now < until <= now + timedelta(hours=50)
        # Hours that go round the clock begin again at once.
        assert starts == ends or quiet.ends_at(until) != until
    local = now.astimezone(zone).time()
    if starts < ends and starts < local < ends and until is None:
        # Only where the same wall clock came twice, or the day was left out.
        assert now.astimezone(zone).fold or zone.key == "Pacific/Apia"


@given(st.lists(st.integers(0, 10_000), max_size=60).map(sorted), st.integers(0, 3600))
def test_it_counts_mails_as_they_would_leave(dues: list[int], group: int) -> None:
    start = datetime(2026, 7, 15, tzinfo=UTC)
    span = timedelta(seconds=group)
    due = [start + timedelta(seconds=each) for each in dues]

    counted = count_mails(due, group=span)

    # Instant by instant, with the decision that lets real mails go.
    waiting, mails = due, 0
    left_at: datetime | None = None
    while waiting:
        now = waiting[0] if left_at is None else max(waiting[0], left_at + span)
        assert may_send(Waiting(waiting[0], left_at), group=span, now=now)
        waiting = [each for each in waiting if each > now]
        left_at, mails = now, mails + 1
    assert counted == mails
