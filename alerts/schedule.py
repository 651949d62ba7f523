"""When a silence is in force: its windows, by the wall clock of a zone. No Django.

A window that repeats begins and ends at local times. Where a clock change makes such a
time not exist or come twice, a window never ends early and none is left out or doubled:

- a start that does not exist is the first instant after the gap;
- a start that comes twice is the first of the two, an end that does the second;
- an end that does not exist keeps its distance from the gap: of "until 2:30", on the
  day on which 2:00 is followed by 3:00, becomes 3:30 (RFC 5545, 3.3.5);
- a window ends at the latest when the next one of the same silence begins.

A day that a zone leaves out as a whole (Samoa, 30 December 2011) has no window.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from dateutil import rrule

DAY = timedelta(days=1)

UTC_ZONE = ZoneInfo("UTC")

#: A window that repeats lasts at most a day and a clock change, or a day left out.
LONGEST = 3 * DAY

#: Dates that can be reckoned with in every zone lie between these.
FIRST_DATE = date(1970, 1, 1)
LAST_DATE = date(2200, 1, 1)


class Repeats(StrEnum):
    """How often a window comes; as alerts.models.Silence.Repeats."""

    NEVER = ""
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A span in which a silence is in force: from its start up to, not with, its end."""

    starts_at: datetime
    ends_at: datetime

    def __contains__(self, instant: datetime) -> bool:
        """Return whether an instant lies in it."""
        return self.starts_at <= instant < self.ends_at


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a silence is in force.

    One that does not repeat has ``starts_at`` and ``ends_at``. One that does begins at
    ``starts_local`` in ``zone`` on its days from ``first_day`` to ``last_day``
    (inclusive; None: for ever), and ends at ``ends_local``, on the following day when
    that is not later. Weekly: on ``weekdays``, 0 is Monday. Monthly: on the day of the
    month of ``first_day``; a month without that day has it on its last. ``ended_at``
    cuts short whatever is in force then, and nothing begins from then on.
    """

    repeats: Repeats = Repeats.NEVER
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    zone: ZoneInfo = UTC_ZONE
    first_day: date | None = None
    last_day: date | None = None
    weekdays: frozenset[int] = frozenset()
    starts_local: time | None = None
    ends_local: time | None = None
    ended_at: datetime | None = None

    def at(self, instant: datetime) -> Window | None:
        """Return the window in force at an instant."""
        found = self.windows(instant, instant + timedelta(microseconds=1))
        return next((each for each in found if instant in each), None)

    def next_after(self, instant: datetime) -> Window | None:
        """Return the first window that begins later than an instant."""
        return next(self.following(instant), None)

    def following(self, instant: datetime) -> Iterator[Window]:
        """Yield the windows that begin later than an instant, in their order."""
        return (each for each in self._from(instant) if each.starts_at > instant)

    def windows(self, start: datetime, end: datetime) -> Iterator[Window]:
        """Yield the windows that have a part in the span from start up to end."""
        for each in self._from(start):
            if each.starts_at >= end:
                return
            if each.ends_at > start:
                yield each

    def _from(self, instant: datetime) -> Iterator[Window]:
        """Yield all windows that end after an instant, and perhaps some before."""
        for each in self._planned_from(instant):
            if self.ended_at is None or each.ends_at <= self.ended_at:
                yield each
            elif each.starts_at < self.ended_at:
                yield Window(each.starts_at, self.ended_at)
            else:
                return

    def _planned_from(self, instant: datetime) -> Iterator[Window]:
        if self.repeats is Repeats.NEVER:
            if self.starts_at is not None and self.ends_at is not None:
                yield Window(self.starts_at, self.ends_at)
            return
        if self.starts_local is None or self.ends_local is None:
            return
        days = self._days((instant - LONGEST).astimezone(self.zone).date())
        for day, following in itertools.pairwise(itertools.chain(days, [None])):
            assert day is not None  # noqa: S101 - only the last of them is
            begin = first_instant(day, self.starts_local, self.zone)
            last = day if self.ends_local > self.starts_local else day + DAY
            end = last_instant(last, self.ends_local, self.zone)
            if following is not None:
                end = min(end, first_instant(following, self.starts_local, self.zone))
            if begin < end:
                yield Window(begin, end)

    def _days(self, earliest: date) -> Iterator[date]:
        """Yield the local dates on which a window begins, from about a date on."""
        if self.first_day is None:
            return
        first = max(self.first_day, earliest, FIRST_DATE)
        last = min(self.last_day or LAST_DATE, LAST_DATE)
        if first > last:
            return
        rules: dict[str, object] = {"freq": rrule.DAILY}
        if self.repeats is Repeats.WEEKLY:
            if not self.weekdays:
                return
            rules = {"freq": rrule.WEEKLY, "byweekday": sorted(self.weekdays)}
        elif self.repeats is Repeats.MONTHLY:
            # The last one there is of the 28th up to the day that is wanted.
            wanted = self.first_day.day
            rules = {
                "freq": rrule.MONTHLY,
                "bymonthday": list(range(min(wanted, 28), wanted + 1)),
                "bysetpos": -1,
            }
        begin = datetime.combine(first, time())
        # By their own dates, not from the first on: each rule has the interval 1.
        if self.repeats is Repeats.MONTHLY:
            begin = begin.replace(day=1)
        until = datetime.combine(last, time())
        for each in rrule.rrule(dtstart=begin, until=until, **rules):
            if each.date() >= first:
                yield each.date()


def first_instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return when a local time begins, in UTC; after the gap when it does not exist."""
    local = datetime.combine(day, at)
    first = _utc(local, zone, fold=0)
    if _exists(first, local, zone):
        return first
    # Of a time in a gap, fold 1 is the earlier instant, before the gap (PEP 495).
    return _end_of_gap(_utc(local, zone, fold=1), first, zone)


def last_instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return when a local time ends a span, in UTC: the later one if it comes twice.

    One that does not exist is as long after the gap's end as it is after its start.
    """
    local = datetime.combine(day, at)
    return max(_utc(local, zone, fold=0), _utc(local, zone, fold=1))


def _utc(local: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    return local.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _exists(instant: datetime, local: datetime, zone: ZoneInfo) -> bool:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0) == local


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant between two at which the zone's offset changes."""
    offset = before.astimezone(zone).utcoffset()
    # Changes are at whole seconds.
    low, high = 0, -(-(after - before) // timedelta(seconds=1))
    start = before.replace(microsecond=0)
    while high - low > 1:
        middle = (low + high) // 2
        at = start + timedelta(seconds=middle)
        if at.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return start + timedelta(seconds=high)
