"""When silences are in force: windows that repeat, and clocks that change."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alerts.schedule import Repeats, Schedule, Window

HOUR = timedelta(hours=1)


def daily(zone: str, start: str, end: str, **fields: Any) -> Schedule:
    return Schedule(
        **{
            "repeats": Repeats.DAILY,
            "zone": ZoneInfo(zone),
            "first_day": date(2026, 1, 1),
            "starts_local": time.fromisoformat(start),
            "ends_local": time.fromisoformat(end),
            **fields,
        }
    )


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def of(schedule: Schedule, day: str) -> list[str]:
    """Return the windows that begin on a local day, in UTC, and how long they last."""
    start = utc(day) - timedelta(days=2)
    return [
        f"{each.starts_at:%d %H:%M} {each.ends_at - each.starts_at}"
        for each in schedule.windows(start, start + timedelta(days=5))
        if f"{each.starts_at.astimezone(schedule.zone):%Y-%m-%d}" == day
    ]


def days(schedule: Schedule, count: int) -> list[str]:
    found = itertools.islice(schedule.following(utc("2026-01-01")), count)
    return [f"{each.starts_at.astimezone(schedule.zone):%m-%d}" for each in found]


def test_it_has_one_window_when_it_does_not_repeat() -> None:
    start, end = utc("2026-07-15T12:00"), utc("2026-07-15T18:00")
    schedule = Schedule(starts_at=start, ends_at=end)

    assert schedule.at(start - timedelta(seconds=1)) is None
    assert schedule.at(start) == Window(start, end)
    assert schedule.at(end) is None
    assert schedule.next_after(start - HOUR) == Window(start, end)
    assert schedule.next_after(start) is None


def test_it_comes_every_day_between_its_first_and_last() -> None:
    schedule = daily("UTC", "22:00", "06:00", last_day=date(2026, 1, 3))

    assert days(schedule, 9) == ["01-01", "01-02", "01-03"]
    assert schedule.at(utc("2026-01-04T05:59")) is not None
    assert schedule.at(utc("2026-01-04T06:00")) is None
    assert schedule.at(utc("2026-01-01T05:00")) is None


def test_it_lasts_a_day_when_it_ends_at_the_time_it_begins() -> None:
    schedule = daily("Europe/Berlin", "08:00", "08:00")

    for hours in range(24 * 365):
        assert schedule.at(utc("2026-01-01T07:00") + hours * HOUR) is not None


def test_it_comes_on_days_of_the_week() -> None:
    schedule = daily(
        "UTC", "01:00", "02:00", repeats=Repeats.WEEKLY, weekdays=frozenset({0, 6})
    )

    # The 4th is a Sunday.
    assert days(schedule, 4) == ["01-04", "01-05", "01-11", "01-12"]


def test_it_never_comes_on_no_day_of_the_week() -> None:
    schedule = daily("UTC", "01:00", "02:00", repeats=Repeats.WEEKLY)

    assert schedule.next_after(utc("2026-01-01")) is None


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (date(2026, 1, 15), ["01-15", "02-15", "03-15", "04-15"]),
        (date(2026, 1, 30), ["01-30", "02-28", "03-30", "04-30"]),
        (date(2026, 1, 31), ["01-31", "02-28", "03-31", "04-30"]),
        (date(2027, 12, 29), ["12-29", "01-29", "02-29", "03-29"]),
    ],
)
def test_it_comes_on_a_day_of_the_month_or_on_its_last(
    first: date, expected: list[str]
) -> None:
    schedule = daily("UTC", "01:00", "02:00", repeats=Repeats.MONTHLY, first_day=first)

    assert days(schedule, 4) == expected


@pytest.mark.parametrize(
    ("zone", "start", "end", "day", "expected"),
    [
        # Berlin, 29 March 2026: 2:00 is followed by 3:00, at 1:00 UTC.
        ("Europe/Berlin", "01:30", "04:00", "2026-03-29", ["29 00:30 1:30:00"]),
        ("Europe/Berlin", "02:00", "04:00", "2026-03-29", ["29 01:00 1:00:00"]),
        ("Europe/Berlin", "02:30", "04:00", "2026-03-29", ["29 01:00 1:00:00"]),
        ("Europe/Berlin", "01:30", "02:30", "2026-03-29", ["29 00:30 1:00:00"]),
        ("Europe/Berlin", "02:10", "02:50", "2026-03-29", ["29 01:00 0:50:00"]),
        ("Europe/Berlin", "03:00", "04:00", "2026-03-29", ["29 01:00 1:00:00"]),
        ("Europe/Berlin", "22:00", "02:30", "2026-03-28", ["28 21:00 4:30:00"]),
        ("Europe/Berlin", "02:30", "02:30", "2026-03-28", ["28 01:30 23:30:00"]),
        # 25 October 2026: 3:00 is followed by 2:00, at 1:00 UTC.
        ("Europe/Berlin", "01:30", "04:00", "2026-10-25", ["24 23:30 3:30:00"]),
        ("Europe/Berlin", "02:30", "04:00", "2026-10-25", ["25 00:30 2:30:00"]),
        ("Europe/Berlin", "01:30", "02:30", "2026-10-25", ["24 23:30 2:00:00"]),
        ("Europe/Berlin", "02:10", "02:50", "2026-10-25", ["25 00:10 1:40:00"]),
        ("Europe/Berlin", "02:30", "02:30", "2026-10-24", ["24 00:30 1 day, 0:00:00"]),
        ("Europe/Berlin", "02:30", "02:30", "2026-10-25", ["25 00:30 1 day, 1:00:00"]),
        # Santiago, 6 September 2026: there is no midnight, 0:00 is followed by 1:00.
        ("America/Santiago", "00:00", "02:00", "2026-09-06", ["06 04:00 1:00:00"]),
        ("America/Santiago", "00:00", "00:30", "2026-09-06", ["06 04:00 0:30:00"]),
        (
            "America/Santiago",
            "00:00",
            "00:00",
            "2026-09-05",
            ["05 04:00 1 day, 0:00:00"],
        ),
        ("America/Santiago", "00:00", "00:00", "2026-09-06", ["06 04:00 23:00:00"]),
        ("America/Santiago", "23:00", "00:30", "2026-09-05", ["06 03:00 1:30:00"]),
        ("America/Santiago", "22:00", "00:00", "2026-09-05", ["06 02:00 2:00:00"]),
        # 4 April 2026: 24:00 is followed by 23:00 of the same day.
        ("America/Santiago", "23:30", "00:30", "2026-04-04", ["05 02:30 2:00:00"]),
        ("America/Santiago", "23:15", "23:45", "2026-04-04", ["05 02:15 1:30:00"]),
        (
            "America/Santiago",
            "00:00",
            "00:00",
            "2026-04-04",
            ["04 03:00 1 day, 1:00:00"],
        ),
        ("America/Santiago", "00:00", "01:00", "2026-04-05", ["05 04:00 1:00:00"]),
        # Cairo, 24 April 2026: no midnight either; 29 October: 24:00, then 23:00.
        ("Africa/Cairo", "00:00", "04:00", "2026-04-24", ["23 22:00 3:00:00"]),
        ("Africa/Cairo", "23:30", "00:15", "2026-10-29", ["29 20:30 1:45:00"]),
    ],
)
def test_it_keeps_to_the_clock_when_that_changes(
    zone: str, start: str, end: str, day: str, expected: list[str]
) -> None:
    assert of(daily(zone, start, end), day) == expected


def test_it_has_no_window_on_a_day_that_there_was_not() -> None:
    schedule = daily("Pacific/Apia", "00:00", "06:00", first_day=date(2011, 12, 28))

    found = schedule.windows(utc("2011-12-28"), utc("2012-01-01T12:00"))

    local = [each.starts_at.astimezone(schedule.zone).day for each in found]
    assert local == [28, 29, 31, 1, 2]


ZONES = (
    "Europe/Berlin",
    "America/Santiago",
    "Asia/Beirut",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "UTC",
)


@given(
    zone=st.sampled_from(ZONES),
    start=st.times(),
    end=st.times(),
    first=st.dates(date(2024, 1, 1), date(2027, 12, 31)),
)
@example("America/Santiago", time(0), time(0), date(2026, 9, 1))
@example("Europe/Berlin", time(2, 30), time(2, 30), date(2026, 10, 20))
def test_it_has_exactly_one_window_a_day_and_no_two_overlap(
    zone: str, start: time, end: time, first: date
) -> None:
    here = ZoneInfo(zone)
    schedule = Schedule(
        Repeats.DAILY,
        zone=here,
        first_day=first,
        last_day=first + timedelta(days=400),
        starts_local=start,
        ends_local=end,
    )

    found = list(schedule.following(utc("2020-01-01")))

    begins = [each.starts_at.astimezone(here) for each in found]
    assert [each.date() for each in begins] == [
        first + timedelta(days=number) for number in range(401)
    ]
    for each, local in zip(found, begins, strict=True):
        # The wall clock shows the start for the first time, or has passed it over.
        wanted = datetime.combine(local.date(), start)
        before = (each.starts_at - timedelta(microseconds=1)).astimezone(here)
        shown = local.replace(tzinfo=None, fold=0)
        assert (shown, local.fold) == (wanted, 0) or (
            before.replace(tzinfo=None) < wanted < shown
        )
        assert each.starts_at in each
        assert each.ends_at not in each
        assert each.ends_at > each.starts_at
    for each, following in itertools.pairwise(found):
        assert each.ends_at <= following.starts_at


@given(
    zone=st.sampled_from(ZONES),
    start=st.times(),
    end=st.times(),
    repeats=st.sampled_from([Repeats.DAILY, Repeats.WEEKLY, Repeats.MONTHLY]),
    weekdays=st.frozensets(st.integers(0, 6)),
    first=st.dates(date(2025, 1, 1), date(2026, 12, 31)),
    hours=st.integers(0, 24 * 700),
)
def test_it_gives_the_same_answer_however_it_is_asked(
    zone: str,
    start: time,
    end: time,
    repeats: Repeats,
    weekdays: frozenset[int],
    first: date,
    hours: int,
) -> None:
    schedule = Schedule(
        repeats,
        zone=ZoneInfo(zone),
        first_day=first,
        weekdays=weekdays,
        starts_local=start,
        ends_local=end,
    )
    instant = utc("2025-01-01") + hours * HOUR
    end_of_time = max(instant, utc("2027-01-01")) + 70 * 24 * HOUR
    everything = list(schedule.windows(utc("2024-12-30"), end_of_time))

    now = schedule.at(instant)
    following = schedule.next_after(instant)

    assert now == next((each for each in everything if instant in each), None)
    assert following == next(
        (each for each in everything if each.starts_at > instant), None
    )
