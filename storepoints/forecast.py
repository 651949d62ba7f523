"""How fast a filesystem fills, and when it will be full: pure reckoning, no Django.

A *mark* is ``(seconds since 1970, used bytes)``; marks are given in order of time.
Only what is used is followed, never what is free: a volume that was extended has not
shrunk in use, so its forecast goes on from the same growth and the new room.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

Mark = Sequence[float]

#: What the trend of a day looks at, and how much it wants to have seen of it.
TREND_SECONDS = 24 * 3600
TREND_AFTER_SECONDS = 6 * 3600
#: Of so many spans the fastest and the slowest each are left out of the trend.
SPANS_PER_TRIM = 10

HOUR = 3600
DAY = 86_400
WEEK = 7 * DAY
WEEK_HOURS = 168
#: How much of the past a forecast looks at: four spans of a week each, compared with
#: the week before. Older habits say little, and a new one takes over in two weeks.
FORECAST_SECONDS = 5 * WEEK
#: A mark stands for an hour of the grid when it is not older than this.
MARK_AGE_SECONDS = 1.5 * HOUR
#: Growth of one week is known no better than by this share of itself; of n weeks, by
#: an n-th of it. Without it a single week, compared with itself, would look certain.
DOUBT = 0.5
#: A date further away than this says nothing; its reckoning has seen five weeks.
HORIZON_SECONDS = 5 * 365 * DAY


@dataclass(frozen=True, slots=True)
class Forecast:
    """How fast the used bytes grow, and in how many seconds nothing will be free.

    ``full`` is None while there is no date: it shrinks, does not grow beyond doubt, or
    would take longer than the horizon. ``latest`` alone is None when it may well never
    be full at the slower end of the range.
    """

    growth_bytes_per_day: float
    full: float | None = None
    earliest: float | None = None
    latest: float | None = None


def trend_bytes_per_second(marks: Sequence[Mark]) -> float | None:
    """Return how fast the used bytes grew in the last 24 h before the newest mark.

    Marks come about once an hour. None with less than 6 h of them. It is the mean of
    the speeds between neighbours without the fastest and the slowest tenth (at least
    one of each), weighted with their time: neither one burst nor one deletion makes a
    trend. A median would call what is written only by night no growth at all.
    """
    if not marks:
        return None
    newest = marks[-1][0]
    recent = [mark for mark in marks if mark[0] >= newest - TREND_SECONDS]
    if newest - recent[0][0] < TREND_AFTER_SECONDS:
        return None
    spans = [
        (after[1] - before[1], after[0] - before[0])
        for before, after in itertools.pairwise(recent)
        if after[0] > before[0]
    ]
    trim = max(1, round(len(spans) / SPANS_PER_TRIM))
    kept = sorted(spans, key=lambda span: span[0] / span[1])[trim:-trim]
    seconds = sum(span[1] for span in kept)
    if not seconds:
        return None
    return sum(span[0] for span in kept) / seconds


def forecast(
    marks: Sequence[Mark], *, now: float, used: float, free: float
) -> Forecast | None:
    """Return the forecast at ``now``; None until a full week was seen.

    1. Lay the marks on a grid of hours that ends now.
    2. Growth in a week is the median, over every hour of the grid, of what was used
       then less what was used exactly a week before. What repeats weekly (a full backup
       on Sunday, a prune on Wednesday) cancels out, whatever day it is now; a burst or
       a deletion of one week is outvoted by the others.
    3. The shape of the coming week is the median of the past ones, hour by hour: the
       day of the next full backup is when it is full, not the mean of the week.
    4. The range takes the 10th and 90th percentile of those weekly differences for
       the growth, and at least DOUBT.
    """
    grid = _grid(marks, now=now, used=used)
    differences = [
        after - before
        for after, before in zip(grid, grid[WEEK_HOURS:], strict=False)
        if after is not None and before is not None
    ]
    if not differences:
        return None
    growth = median(differences)
    per_day = growth / 7
    if free <= 0:
        return Forecast(per_day, 0.0, 0.0, 0.0)
    # A quarter of the past that did not grow is doubt enough to name no date.
    if _quantile(differences, 0.25) <= 0:
        return Forecast(per_day)

    weeks = max(1.0, len(differences) / WEEK_HOURS)
    doubt = DOUBT * growth / weeks
    slowest = min(_quantile(differences, 0.1), growth - doubt)
    fastest = max(_quantile(differences, 0.9), growth + doubt)
    shape = _shape(grid, growth)
    full = _seconds_until(free, growth, shape)
    if full is None:
        return Forecast(per_day)
    latest = _seconds_until(free, slowest, _shape(grid, slowest))
    earliest = _seconds_until(free, fastest, _shape(grid, fastest))
    return Forecast(
        per_day,
        full,
        min(full, full if earliest is None else earliest),
        None if latest is None else max(full, latest),
    )


def _grid(marks: Sequence[Mark], *, now: float, used: float) -> list[float | None]:
    """Return what was used now, an hour ago, two hours ago and so on; None is a gap."""
    known = [mark for mark in marks if now - FORECAST_SECONDS - HOUR <= mark[0] <= now]
    if not known:
        return []
    times = [mark[0] for mark in known]
    # The first mark of all may have come within the hour before its grid point.
    hours = int((now - times[0]) // HOUR)
    grid: list[float | None] = [used]
    for hour in range(1, min(hours, FORECAST_SECONDS // HOUR) + 1):
        at = now - hour * HOUR
        found = bisect_right(times, at) - 1
        is_near = found >= 0 and at - times[found] <= MARK_AGE_SECONDS
        grid.append(known[found][1] if is_near else None)
    return grid


def _shape(grid: list[float | None], growth: float) -> list[float]:
    """Return by how much more will be used in 1, 2, … 168 hours than now.

    The median over the past weeks of what an hour's step was, with ``growth`` of a week
    in place of theirs, so that the last of the 168 is the growth itself.
    """
    shape: list[float] = []
    for hour in range(1, WEEK_HOURS + 1):
        steps = []
        for start in range(WEEK_HOURS, len(grid), WEEK_HOURS):
            begin, end = grid[start], grid[start - hour]
            close = grid[start - WEEK_HOURS]
            if begin is None or end is None or close is None:
                continue
            # Without its own week's growth, which a burst may have been.
            steps.append(end - begin - (close - begin) * hour / WEEK_HOURS)
        drift = growth * hour / WEEK_HOURS
        shape.append(drift + (median(steps) if steps else 0.0))
    return shape


def _seconds_until(free: float, growth: float, shape: list[float]) -> float | None:
    """Return in how many seconds a growing filesystem has nothing free any more."""
    if growth <= 0:
        return None
    # Whole weeks that pass for certain before the highest hour of one reaches the end.
    certain = (free - max(shape)) / growth
    if certain * WEEK > HORIZON_SECONDS:
        return None
    weeks = max(0, math.floor(certain))
    while weeks * WEEK <= HORIZON_SECONDS:
        base = weeks * growth
        for hour, more in enumerate(shape, start=1):
            if base + more >= free:
                seconds = float(weeks * WEEK + hour * HOUR)
                return seconds if seconds <= HORIZON_SECONDS else None
        weeks += 1
    return None


def _quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
