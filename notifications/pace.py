"""When somebody hears: at once, in a digest, after quiet hours. Pure, no Django.

Local times are reckoned as silences do (alerts.schedule): on the days on which clocks
change nobody is woken early, and no digest is left out or comes twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from alerts.schedule import DAY, LONGEST, Repeats, Schedule, Window, first_instant

HOUR = timedelta(hours=1)

UTC_ZONE = ZoneInfo("UTC")

#: When a daily digest goes out unless somebody chose another time.
MORNING = time(8)


class Pace(StrEnum):
    """How soon a route tells what it matches."""

    NOW = "now"
    HOURLY = "hourly"
    DAILY = "daily"

    @property
    def label(self) -> str:
        """The words for a person."""
        return {
            "now": "At once",
            "hourly": "In an hourly digest",
            "daily": "In a daily digest",
        }[self.value]


class Waits(StrEnum):
    """What a delivery waits for, if it does on purpose."""

    NOTHING = ""
    QUIET = "quiet"
    HOURLY = "hourly"
    DAILY = "daily"

    @property
    def is_digest(self) -> bool:
        """Return whether it gathers in a digest."""
        return self in {Waits.HOURLY, Waits.DAILY}


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours in which a person hears only what is urgent.

    From ``starts`` to ``ends`` by the clock of ``zone`` each day, over midnight when
    the end is not later. ``lets_critical``: what is Critical breaks through.
    """

    starts: time
    ends: time
    zone: ZoneInfo
    lets_critical: bool = True

    def ends_at(self, instant: datetime) -> datetime | None:
        """Return when the quiet hours end in which an instant lies; None outside."""
        for window in _windows(self, instant.astimezone(UTC).date()):
            if instant in window:
                return window.ends_at
        return None


@lru_cache(maxsize=4096)
def _windows(quiet: Quiet, day: date) -> tuple[Window, ...]:
    """Return the windows that have a part in a day of UTC."""
    start = datetime.combine(day, time(), UTC)
    schedule = Schedule(
        repeats=Repeats.DAILY,
        zone=quiet.zone,
        first_day=day - LONGEST,
        starts_local=quiet.starts,
        ends_local=quiet.ends,
    )
    return tuple(schedule.windows(start, start + DAY))


@dataclass(frozen=True, slots=True)
class Clock:
    """The pace of a route: for a daily digest at a local time of a zone."""

    pace: Pace = Pace.NOW
    at: time = MORNING
    zone: ZoneInfo = UTC_ZONE

    def after(self, instant: datetime) -> datetime:
        """Return when what is known at an instant is told: then, or later."""
        if self.pace is Pace.NOW:
            return instant
        if self.pace is Pace.HOURLY:
            local = instant.astimezone(self.zone)
            # The part of the hour that has passed is the same in UTC, but for zones
            # whose clocks are half an hour off.
            passed = timedelta(
                minutes=local.minute,
                seconds=local.second,
                microseconds=local.microsecond,
            )
            return instant + (HOUR - passed)
        return _daily(self, instant.astimezone(self.zone).date(), instant)

    @property
    def waits(self) -> Waits:
        """What a delivery at this pace waits for."""
        return _WAITS[self.pace]


_WAITS = {
    Pace.NOW: Waits.NOTHING,
    Pace.HOURLY: Waits.HOURLY,
    Pace.DAILY: Waits.DAILY,
}


def _daily(clock: Clock, today: date, instant: datetime) -> datetime:
    day = today - DAY
    while True:
        found = _digest_on(clock, day)
        if found > instant:
            return found
        day += DAY


@lru_cache(maxsize=4096)
def _digest_on(clock: Clock, day: date) -> datetime:
    return first_instant(day, clock.at, clock.zone)


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    """When somebody hears, and what that waits for."""

    due_at: datetime
    waits: Waits = Waits.NOTHING


def turn_of(
    clock: Clock, quiet: Quiet | None, *, is_urgent: bool, now: datetime
) -> Turn:
    """Return when somebody hears what is known now.

    What falls into their quiet hours waits for the end of these, unless it is urgent
    and may break through.
    """
    if quiet is None and clock.pace is Pace.NOW:
        # The usual case; a dry run asks for hundreds of thousands.
        return Turn(now)
    due_at, waits = clock.after(now), clock.waits
    if quiet is not None and not (is_urgent and quiet.lets_critical):
        ends_at = quiet.ends_at(due_at)
        if ends_at is not None:
            return Turn(ends_at, waits if waits.is_digest else Waits.QUIET)
    return Turn(due_at, waits)


def count_mails(
    due: Iterable[datetime], *, group: timedelta, gather: timedelta = timedelta(0)
) -> int:
    """Return how many mails these make to one person: as `engine.may_send` lets them go.

    ``due`` in order. One leaves so long after it is due (``gather``) and when the
    group's distance from the previous has passed, and takes along what is due by then.
    """
    mails = 0
    left_at: datetime | None = None
    for each in due:
        if left_at is not None and each <= left_at:
            continue
        leaves_at = each + gather
        left_at = leaves_at if left_at is None else max(leaves_at, left_at + group)
        mails += 1
    return mails
