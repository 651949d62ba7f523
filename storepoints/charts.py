"""Charts as geometry: scales, ticks, paths and columns. Pure; templates draw them.

A plot is 1000 by 1000 units, stretched by the template to whatever room there is. Text
and ticks are placed in per cent, so that they keep their size on a narrow screen. What
was not recorded is a gap, never a line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import TypeVar

from console.kit import humane
from storepoints.states import WORKING, State

UNITS = 1000
DAY = 86_400
#: A line is broken where more than so many pieces are missing.
GAP_PIECES = 2.5
#: How many columns of a chart explain themselves when the pointer rests on them, and
#: how many rows the table below it has.
MOST_COLUMNS = 60
#: A strip with more periods is drawn in so many columns, each in its worst state.
MOST_PERIODS = 300
#: No period is drawn narrower than this, in per cent: a minute within a month is seen.
LEAST_PERCENT = 0.25
MOST_Y_TICKS = 5


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at a place on an axis, in per cent; ``is_minor`` ones go when narrow."""

    place: str
    label: str
    is_minor: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A path of a plot; ``kind`` is its class: area, line, band, room, forecast."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Column:
    """A part of the plot, in units, that says what lies in it."""

    x: int
    width: int
    cells: tuple[str, ...]

    @property
    def title(self) -> str:
        """Return the cells as one line."""
        return " · ".join(self.cells)


@dataclass(frozen=True, slots=True)
class Chart:
    """What a template needs to draw a plot with its axes, key and table."""

    x_ticks: list[Tick]
    y_ticks: list[Tick]
    shapes: list[Shape]
    columns: list[Column]
    head: tuple[str, ...]
    #: Where now is, in units, when the axis goes on into the future.
    now: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to draw."""
        return not self.columns


@dataclass(frozen=True, slots=True)
class SpacePoint:
    """What was used at an instant, and what users could fill, in bytes.

    ``span`` is how much time the point stands for, where that is more than the piece
    of the chart.
    """

    at: float
    used: float
    room: float
    span: float = 0.0


@dataclass(frozen=True, slots=True)
class LatencyPoint:
    """The least, mean and most seconds of the write probes around an instant."""

    at: float
    least: float
    mean: float
    most: float
    span: float = 0.0


Point = TypeVar("Point", SpacePoint, LatencyPoint)


@dataclass(frozen=True, slots=True)
class Outlook:
    """When it will be full, in seconds since 1970; None is never."""

    full: float
    earliest: float
    latest: float | None


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """From when to when a chart goes, in seconds since 1970, and in which time zone."""

    begin: float
    end: float
    zone: tzinfo

    def x(self, at: float) -> int:
        """Return the place of an instant in units."""
        return round(UNITS * (at - self.begin) / (self.end - self.begin))

    def percent(self, at: float) -> float:
        """Return the place of an instant in per cent."""
        return 100 * (at - self.begin) / (self.end - self.begin)

    def said(self, at: float) -> str:
        """Return an instant in words, as finely as the axis can tell."""
        local = datetime.fromtimestamp(at, self.zone)
        if self.end - self.begin > 100 * DAY:
            return f"{local:%Y-%m-%d}"
        return f"{local:%Y-%m-%d %H:%M}"

    def ticks(self) -> list[Tick]:
        """Return the labels below: hours, days, Mondays, months or years."""
        days = (self.end - self.begin) / DAY
        if days <= 2:
            found = self._hours()
        elif days <= 14:
            found = self._days(lambda day: True, _weekday)
        elif days <= 45:
            found = self._days(lambda day: day.weekday() == 0, _day)
        elif days <= 120:
            found = self._days(_is_every_other_monday, _day)
        elif days <= 380:
            found = self._days(lambda day: day.day == 1, _month)
        elif days <= 800:
            found = self._days(lambda day: day.day == 1 and day.month % 2 == 1, _month)
        else:
            found = self._days(lambda day: day.day == 1 and day.month in {1, 7}, _month)
        return [
            Tick(f"{place:.2f}%", label, is_minor=number % 2 == 1)
            for number, (place, label) in enumerate(found)
        ]

    def _hours(self) -> list[tuple[float, str]]:
        # Hours of the wall clock; on a day on which it is set, one is closer.
        return self._places(
            (
                datetime(day.year, day.month, day.day, hour, tzinfo=self.zone),
                f"{hour:02}:00" if hour else _weekday(day),
            )
            for day in self._dates()
            for hour in range(0, 24, 3)
        )

    def _days(
        self, wanted: Callable[[date], bool], label: Callable[[date], str]
    ) -> list[tuple[float, str]]:
        return self._places(
            (datetime(day.year, day.month, day.day, tzinfo=self.zone), label(day))
            for day in self._dates()
            if wanted(day)
        )

    def _dates(self) -> Iterable[date]:
        day = datetime.fromtimestamp(self.begin, self.zone).date()
        last = datetime.fromtimestamp(self.end, self.zone).date()
        while day <= last:
            yield day
            day += timedelta(days=1)

    def _places(
        self, labelled: Iterable[tuple[datetime, str]]
    ) -> list[tuple[float, str]]:
        return [
            (self.percent(at.timestamp()), label)
            for at, label in labelled
            if self.begin <= at.timestamp() <= self.end
        ]


def _weekday(day: date) -> str:
    return f"{day:%a} {day.day}"


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"


def _month(day: date) -> str:
    return f"{day:%Y}" if day.month == 1 else f"{day:%b}"


def _is_every_other_monday(day: date) -> bool:
    return day.toordinal() % 14 == 1


# --- Scales ------------------------------------------------------------------------------


def size_ticks(most: float) -> tuple[float, list[tuple[float, str]]]:
    """Return where a scale of bytes from 0 ends, and its labelled values.

    Steps are 1, 2 or 5 times a power of ten, at most MOST_Y_TICKS of them.
    """
    if most <= 0:
        return 1.0, [(0.0, "0 B")]
    power = 10.0 ** math.floor(math.log10(most / MOST_Y_TICKS))
    step = next(
        power * factor
        for factor in (1, 2, 5, 10, 20)
        if most / (power * factor) <= MOST_Y_TICKS
    )
    count = math.ceil(most / step - 1e-9)
    end = max(most * 1.04, (count - 1) * step)
    values = [step * number for number in range(count + 1) if step * number <= end]
    return end, [(value, humane.size(value)) for value in values]


def duration_ticks(
    least: float, most: float
) -> tuple[float, float, list[tuple[float, str]]]:
    """Return both ends of a logarithmic scale of seconds, and its labelled values."""
    low = max(least, 1e-6) / 1.2
    high = max(most, low) * 1.2
    decades = math.log10(high / low)
    factors = (1, 2, 5) if decades < 2 else (1,)
    values = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factor in factors
    ]
    inside = [value for value in values if low <= value <= high]
    return (
        low,
        high,
        [(value, humane.duration(value).replace(".0 ", " ")) for value in inside],
    )


# --- Charts ------------------------------------------------------------------------------


def space_chart(
    points: Sequence[SpacePoint],
    axis: TimeAxis,
    *,
    piece: float,
    now: float,
    outlook: Outlook | None = None,
) -> Chart:
    """Return the chart of used space below what users can fill, with its outlook.

    ``piece`` is the span between two points, in seconds. The outlook is a fan from the
    last point to where it is full at the earliest and at the latest.
    """
    top, values = size_ticks(max((point.room for point in points), default=0))

    def y(value: float) -> int:
        return round(UNITS * (1 - value / top))

    shapes: list[Shape] = []
    runs = _runs(points, piece)
    for run in runs:
        line = [(axis.x(point.at), y(point.used)) for point in run]
        shapes.append(Shape("area", _closed(line, [(x, UNITS) for x, _ in line])))
    for run in runs:
        shapes.append(
            Shape("room", _line([(axis.x(point.at), y(point.room)) for point in run]))
        )
        shapes.append(
            Shape("line", _line([(axis.x(point.at), y(point.used)) for point in run]))
        )
    if points and outlook is not None:
        shapes += _fan(points[-1], axis, outlook, y)
    return Chart(
        x_ticks=axis.ticks(),
        y_ticks=[Tick(f"{y(value) / 10:.2f}%", label) for value, label in values],
        shapes=shapes,
        columns=_columns(points, axis, _space_said),
        head=("At", "Used", "Share", "Free"),
        now=axis.x(now) if axis.end > now else None,
    )


def _space_said(points: Sequence[SpacePoint]) -> tuple[str, ...]:
    last = points[-1]
    return (
        humane.size(last.used),
        humane.percent(_share(last.used, last.room)),
        humane.size(last.room - last.used),
    )


def _latency_said(points: Sequence[LatencyPoint]) -> tuple[str, ...]:
    return (
        humane.duration(min(point.least for point in points)),
        humane.duration(sum(point.mean for point in points) / len(points)),
        humane.duration(max(point.most for point in points)),
    )


def _share(used: float, room: float) -> float | None:
    return 100 * used / room if room > 0 else None


def _fan(
    last: SpacePoint, axis: TimeAxis, outlook: Outlook, y: Callable[[float], int]
) -> list[Shape]:
    """Return the band between the earliest and the latest end, and the line between."""

    def at_edge(full: float | None) -> tuple[int, int]:
        """Return where the way from the last point to the end leaves the chart."""
        if full is None:
            return axis.x(axis.end), y(last.used)
        if full <= axis.end:
            return axis.x(max(full, last.at)), y(last.room)
        share = (axis.end - last.at) / (full - last.at)
        return axis.x(axis.end), y(last.used + share * (last.room - last.used))

    start = (axis.x(last.at), y(last.used))
    early, late = at_edge(outlook.earliest), at_edge(outlook.latest)
    corner = [(late[0], y(last.room))] if late[1] == y(last.room) else []
    if not corner and early[1] == y(last.room):
        corner = [(axis.x(axis.end), y(last.room))]
    return [
        Shape("forecast-band", _closed([start, early, *corner, late], [])),
        Shape("forecast", _line([start, at_edge(outlook.full)])),
    ]


def latency_chart(
    points: Sequence[LatencyPoint], axis: TimeAxis, *, piece: float
) -> Chart:
    """Return the chart of write probes: least to most as a band, the mean as a line.

    The scale is logarithmic: one probe of 30 s among thousands of 1 ms must not flatten
    the others into a line.
    """
    low, high, values = duration_ticks(
        min((point.least for point in points), default=0.001),
        max((point.most for point in points), default=0.01),
    )
    decades = math.log10(high / low)

    def y(value: float) -> int:
        return round(UNITS * (1 - math.log10(max(value, low) / low) / decades))

    shapes: list[Shape] = []
    for run in _runs(points, piece):
        shapes.append(
            Shape(
                "band",
                _closed(
                    [(axis.x(point.at), y(point.most)) for point in run],
                    [(axis.x(point.at), y(point.least)) for point in run],
                ),
            )
        )
        shapes.append(
            Shape("line", _line([(axis.x(point.at), y(point.mean)) for point in run]))
        )
    return Chart(
        x_ticks=axis.ticks(),
        y_ticks=[Tick(f"{y(value) / 10:.2f}%", label) for value, label in values],
        shapes=shapes,
        columns=_columns(points, axis, _latency_said),
        head=("At", "Least", "Mean", "Most"),
    )


def _runs(points: Sequence[Point], piece: float) -> list[list[Point]]:
    """Return the points in pieces without a gap."""
    runs: list[list[Point]] = []
    for point in points:
        before = runs[-1][-1] if runs else point
        near = GAP_PIECES * max(piece, before.span, point.span)
        if runs and point.at - before.at <= near:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _columns(
    points: Sequence[Point],
    axis: TimeAxis,
    said: Callable[[Sequence[Point]], tuple[str, ...]],
) -> list[Column]:
    """Return neighbours in groups of equal size, each with what is said of it."""
    if not points:
        return []
    size = math.ceil(len(points) / MOST_COLUMNS)
    columns = []
    for first in range(0, len(points), size):
        group: Sequence[Point] = points[first : first + size]
        follows = points[first + size : first + size + 1]
        x = axis.x(group[0].at)
        end = axis.x(follows[0].at) if follows else axis.x(group[-1].at) + 4
        when = axis.said(group[-1].at)
        columns.append(Column(x, max(2, end - x), (when, *said(group))))
    return columns


def _closed(there: list[tuple[int, int]], back: list[tuple[int, int]]) -> str:
    return f"{_line(there + back[::-1])}Z" if there else ""


def _line(points: Sequence[tuple[int, int]]) -> str:
    if not points:
        return ""
    (x, y), *others = points
    if not others:
        # One point alone: a dash that can be seen.
        return f"M{x - 1} {y}h2"
    return f"M{x} {y}" + "".join(f"L{x} {y}" for x, y in others)


# --- The strip of states ------------------------------------------------------------------

#: The worst first: what a column shows in which there were several.
WORST_FIRST = (
    State.OFFLINE,
    State.NOT_RESPONDING,
    State.SERVER_OFFLINE,
    State.UNKNOWN,
    State.DEGRADED,
    State.MAINTENANCE,
    State.PENDING,
    State.ONLINE,
)
#: In these nothing is known, or nothing was expected: they count for no share.
UNCOUNTED = frozenset({State.UNKNOWN, State.PENDING, State.MAINTENANCE})


@dataclass(frozen=True, slots=True)
class Period:
    """A state from one instant to another, in seconds since 1970."""

    begin: float
    end: float
    state: State
    words: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of the strip, in per cent."""

    x: str
    width: str
    state: State
    title: str


@dataclass(frozen=True, slots=True)
class Total:
    """How long and how often it was in a state (``words`` with the reason)."""

    state: State
    words: str
    seconds: float
    times: int
    share: str


@dataclass(frozen=True, slots=True)
class Strip:
    """A band of states over time, with what it adds up to."""

    bars: list[Bar]
    totals: list[Total]
    #: "99.93 %" of the time that counts, or "" when nothing counts yet.
    online: str
    x_ticks: list[Tick]

    @property
    def is_empty(self) -> bool:
        """Return whether no state is known of that time."""
        return not self.bars


def strip(periods: Sequence[Period], axis: TimeAxis) -> Strip:
    """Return the strip of periods, which are in order and lie within the axis."""
    known = [period for period in periods if period.end > period.begin]
    drawn = known if len(known) <= MOST_PERIODS else _in_columns(known, axis)
    bars = [_bar(period, axis) for period in drawn]
    # What went wrong is drawn last: a short failure lies on the green, not below it.
    bars.sort(key=lambda bar: bar.state != State.ONLINE)
    return Strip(
        bars=bars,
        totals=_totals(known),
        online=_online_share(known),
        x_ticks=axis.ticks(),
    )


def _bar(period: Period, axis: TimeAxis) -> Bar:
    width = max(LEAST_PERCENT, axis.percent(period.end) - axis.percent(period.begin))
    x = min(100 - width, axis.percent(period.begin))
    span = humane.elapsed(period.end - period.begin)
    return Bar(
        f"{x:.3f}%",
        f"{width:.3f}%",
        period.state,
        f"{period.words}, {axis.said(period.begin)} to {axis.said(period.end)} ({span})",
    )


def _in_columns(periods: Sequence[Period], axis: TimeAxis) -> list[Period]:
    """Return one period for each column, in the worst state that was in it."""
    width = (axis.end - axis.begin) / MOST_PERIODS
    worst: dict[int, Period] = {}
    for period in periods:
        first = int((period.begin - axis.begin) / width)
        last = int((period.end - axis.begin) / width)
        for column in range(first, min(last, MOST_PERIODS - 1) + 1):
            found = worst.get(column)
            if found is None or _rank(period) < _rank(found):
                worst[column] = period
    merged: list[Period] = []
    for column, period in sorted(worst.items()):
        begin = axis.begin + column * width
        before = merged[-1] if merged else None
        is_same = before is not None and (before.state, before.words) == (
            period.state,
            period.words,
        )
        if before is not None and is_same and begin - before.end < width / 2:
            merged[-1] = Period(before.begin, begin + width, period.state, period.words)
        else:
            merged.append(Period(begin, begin + width, period.state, period.words))
    return merged


def _rank(period: Period) -> int:
    return WORST_FIRST.index(period.state)


def _totals(periods: Sequence[Period]) -> list[Total]:
    whole = sum(period.end - period.begin for period in periods)
    groups: dict[tuple[State, str], list[float]] = {}
    for period in periods:
        spans = groups.setdefault((period.state, period.words), [])
        spans.append(period.end - period.begin)
    totals = [
        Total(state, words, sum(spans), len(spans), share_text(sum(spans), whole))
        for (state, words), spans in groups.items()
    ]
    return sorted(totals, key=lambda total: -total.seconds)


def _online_share(periods: Sequence[Period]) -> str:
    counted = [period for period in periods if period.state not in UNCOUNTED]
    whole = sum(period.end - period.begin for period in counted)
    working = sum(
        period.end - period.begin for period in counted if period.state in WORKING
    )
    return share_text(working, whole) if whole else ""


def share_text(part: float, whole: float) -> str:
    """Return a share with two decimals, rounded down: 100 % means all of it."""
    if whole <= 0:
        return humane.NONE
    hundredths = math.floor(10_000 * part / whole)
    if hundredths == 0 and part > 0:
        return "< 0.01 %"
    text = f"{hundredths / 100:.2f}".rstrip("0").rstrip(".")
    return f"{text} %"
