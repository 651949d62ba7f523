"""Reads of history: series for charts, and how much room they take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, FloatField, Max, Min, QuerySet, Sum
from django.db.models.functions import Cast, Greatest

from console.kit import clock
from storepoints import verdict
from storepoints.charts import LatencyPoint, Period, SpacePoint
from storepoints.models import (
    HistoryLimit,
    ProbeSample,
    Resolution,
    SpaceSample,
    StatusChange,
    StorePoint,
)
from storepoints.pieces import DAY, FIVE_MINUTES, HOUR, PIECE_SECONDS
from storepoints.states import State

#: What a stored sample takes with its indexes, in bytes: the greater of SQLite and
#: PostgreSQL, measured with `make bench ARGS=history` (bench/RESULTS.md), rounded up.
PROBE_BYTES = 210
SPACE_BYTES = 200

#: The newest status changes of one chart; a store point that flaps for a year has more.
MOST_CHANGES = 5000


@dataclass(frozen=True, slots=True)
class Range:
    """How far a chart looks back, from samples of which resolution.

    ``step`` is the span of one point: at most 400 of them are drawn.
    """

    name: str
    label: str
    seconds: int
    resolution: Resolution
    step: int


RANGES = {
    each.name: each
    for each in (
        Range("24h", "24 hours", DAY, Resolution.FIVE_MINUTES, FIVE_MINUTES),
        Range("7d", "7 days", 7 * DAY, Resolution.HOUR, HOUR),
        Range("30d", "30 days", 30 * DAY, Resolution.HOUR, 2 * HOUR),
        Range("90d", "90 days", 90 * DAY, Resolution.HOUR, 6 * HOUR),
        Range("1y", "1 year", 365 * DAY, Resolution.DAY, DAY),
        Range("5y", "5 years", 5 * 365 * DAY, Resolution.DAY, 5 * DAY),
    )
}

Rows = list[tuple[Any, ...]]


def _combined(
    read: Callable[[Resolution, datetime, datetime | None], Rows],
    chosen: Range,
    now: datetime,
) -> Iterator[tuple[Any, ...]]:
    """Yield rows of the range, oldest first, in at most three reads.

    Those of its own resolution; before them, where they are not kept so long, those of
    the next coarser one; after them, where they are not rolled up yet, the finer ones.
    """
    begin = now - timedelta(seconds=chosen.seconds)
    rows = read(chosen.resolution, begin, None)
    if chosen.resolution != Resolution.DAY:
        coarser = Resolution(chosen.resolution + 1)
        older = read(coarser, begin, rows[0][0] if rows else None)
        yield from ((*row, PIECE_SECONDS[coarser]) for row in older)
        if not rows:
            begin = _end(older, coarser, begin)
    piece = PIECE_SECONDS[chosen.resolution]
    yield from ((*row, piece) for row in rows)
    begin = _end(rows, chosen.resolution, begin)
    for finer in reversed(range(chosen.resolution)):
        tail = read(Resolution(finer), begin, None)
        yield from ((*row, PIECE_SECONDS[finer]) for row in tail)
        begin = _end(tail, Resolution(finer), begin)


def _end(rows: Rows, resolution: Resolution, otherwise: datetime) -> datetime:
    """Return when the last piece of the rows ended."""
    if not rows:
        return otherwise
    end: datetime = rows[-1][0] + timedelta(seconds=PIECE_SECONDS[resolution])
    return end


def _between(
    rows: QuerySet[Any],
    resolution: Resolution,
    begin: datetime,
    end: datetime | None,
) -> QuerySet[Any]:
    rows = rows.filter(resolution=resolution, at__gte=begin)
    return rows.filter(at__lt=end) if end else rows


def space_points(
    filesystems: Sequence[int], chosen: Range, *, now: datetime
) -> list[SpacePoint]:
    """Return what was used of filesystems together, one point for each step.

    Where one of them has no sample that it used to have, there is no point: the sum of
    the others would look like a deletion.
    """

    def read(resolution: Resolution, begin: datetime, end: datetime | None) -> Rows:
        rows = _between(
            SpaceSample.objects.filter(filesystem__in=filesystems),
            resolution,
            begin,
            end,
        )
        if len(filesystems) == 1:
            return list(
                rows.order_by("at").values_list("at", "used_bytes", "free_bytes")
            )
        return [
            (row["at"], row["used"], row["free"], row["count"])
            for row in rows.order_by("at")
            .values("at")
            # As floats: SQLite refuses a sum that is too large for an integer.
            .annotate(
                used=Sum(Cast("used_bytes", FloatField())),
                free=Sum(Cast("free_bytes", FloatField())),
                count=Count("pk"),
            )
        ]

    if not filesystems:
        return []
    known = 1
    points: list[SpacePoint] = []
    last_step = -1
    for at, used, free, *count, piece in _combined(read, chosen, now):
        if count:
            if count[0] < known:
                continue
            known = count[0]
        end = at.timestamp() + piece
        point = SpacePoint(end, used, used + free, piece)
        step = int(at.timestamp() // chosen.step)
        if points and step == last_step:
            points[-1] = point
        else:
            points.append(point)
        last_step = step
    return points


@dataclass(slots=True)
class _Gathered:
    least: float = math.inf
    most: float = 0.0
    total: float = 0.0
    weight: float = 0.0
    span: float = 0.0


def latency_points(
    samples: QuerySet[ProbeSample], chosen: Range, *, now: datetime
) -> list[LatencyPoint]:
    """Return how long write probes took, one point for each step.

    ``samples`` are all those of one store point or several, whatever their age.
    """
    # A mean counts as often as there were measurements: one with each write.
    weight = Greatest(F("writes"), 1, output_field=FloatField())

    def read(resolution: Resolution, begin: datetime, end: datetime | None) -> Rows:
        rows = samples.filter(latency_mean__isnull=False)
        return list(
            _between(rows, resolution, begin, end)
            .order_by("at")
            .values("at")
            .annotate(
                least=Min("latency_least"),
                total=Sum(F("latency_mean") * weight),
                most=Max("latency_most"),
                weights=Sum(weight),
            )
            .values_list("at", "least", "total", "most", "weights")
        )

    steps: dict[int, _Gathered] = {}
    for at, least, total, most, weights, piece in _combined(read, chosen, now):
        step = steps.setdefault(int(at.timestamp() // chosen.step), _Gathered())
        step.least = min(step.least, least)
        step.most = max(step.most, most)
        step.total += total
        step.weight += weights
        step.span = max(step.span, piece)
    begin = now.timestamp() - chosen.seconds
    return [
        LatencyPoint(
            max(begin, (number + 0.5) * chosen.step),
            step.least,
            step.total / step.weight,
            step.most,
            step.span,
        )
        for number, step in sorted(steps.items())
    ]


def periods(
    store_points: Iterable[StorePoint], *, begin: datetime, now: datetime
) -> dict[int, list[Period]]:
    """Return the states of store points from ``begin`` to now, in two queries.

    From when its reading is stale a store point is unknown, whatever was recorded.
    """
    by_key = {store_point.pk: store_point for store_point in store_points}
    changes = StatusChange.objects.filter(store_point__in=by_key)
    fields = ("store_point_id", "at", "state", "reason")
    # The last change before the range says in which state it began.
    earlier = changes.filter(
        pk__in=changes.filter(at__lte=begin)
        .order_by()
        .values("store_point")
        .annotate(last=Max("pk"))
        .values("last")
    )
    rows = (
        list(earlier.order_by().values_list(*fields))
        + list(
            changes.filter(at__gt=begin, at__lte=now)
            .order_by("-at", "-pk")
            .values_list(*fields)[:MOST_CHANGES]
        )[::-1]
    )
    found: dict[int, list[Period]] = {key: [] for key in by_key}
    for key, at, state, reason in rows:
        known = found[key]
        start = max(at, begin).timestamp()
        if known:
            before = known[-1]
            known[-1] = Period(before.begin, start, before.state, before.words)
        words = verdict.describe(state, reason)
        known.append(Period(start, now.timestamp(), State(state), words))
    for key, known in found.items():
        _end_with_stale(known, by_key[key], now)
    return found


def _end_with_stale(
    known: list[Period], store_point: StorePoint, now: datetime
) -> None:
    stale_at = store_point.stale_at
    if not known or stale_at is None or stale_at >= now:
        return
    last = known[-1]
    end = stale_at.timestamp()
    if last.state == State.SERVER_OFFLINE or end <= last.begin:
        return
    known[-1] = Period(last.begin, end, last.state, last.words)
    known.append(
        Period(end, now.timestamp(), State.UNKNOWN, verdict.describe(State.UNKNOWN, ""))
    )


@dataclass(frozen=True, slots=True)
class Writes:
    """The write probes of the last 24 h and what they wrote, in bytes."""

    probes: int
    writes: int
    bytes: int


#: One write probe writes a block of this size, and removes it again.
WRITE_BYTES = 4096


def writes_of_a_day(store_point: StorePoint, *, now: datetime) -> Writes:
    """Return how often a store point was written to in the last 24 h."""
    found = ProbeSample.objects.filter(
        store_point=store_point,
        resolution=Resolution.FIVE_MINUTES,
        at__gt=now - timedelta(days=1),
    ).aggregate(probes=Sum("probes"), writes=Sum("writes"))
    tally = store_point.tally or {}
    probes = (found["probes"] or 0) + tally.get("probes", 0)
    writes = (found["writes"] or 0) + tally.get("writes", 0)
    return Writes(probes, writes, writes * WRITE_BYTES)


def first_space_at(filesystems: Sequence[int]) -> datetime | None:
    """Return since when there are samples of any of the filesystems."""
    found: datetime | None = SpaceSample.objects.filter(
        filesystem__in=filesystems
    ).aggregate(at=Min("at"))["at"]
    return found


# --- Room --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """How many samples of each resolution there are, and what they take together."""

    probes: dict[Resolution, int]
    spaces: dict[Resolution, int]

    @property
    def bytes(self) -> int:
        """Return about how much the database has for them."""
        return PROBE_BYTES * sum(self.probes.values()) + SPACE_BYTES * sum(
            self.spaces.values()
        )


def measure_history() -> Measured:
    """Count the samples; two queries, each over an index."""
    counts = []
    for model in (ProbeSample, SpaceSample):
        rows = model._default_manager.values("resolution").annotate(rows=Count("pk"))  # noqa: SLF001 (documented)
        counts.append({Resolution(row["resolution"]): row["rows"] for row in rows})
    return Measured(*counts)


def bytes_when_full(
    limit: HistoryLimit, *, store_points: int, filesystems: int
) -> dict[str, int]:
    """Return what history takes in the long run, in bytes, by what the limits say.

    ``year`` is after one year and ``end`` after the longest limit, both for all store
    points; ``one_year`` is a year of a store point on a filesystem of its own.
    """

    def rows(days: int) -> int:
        return (
            min(days, limit.five_minutes_days) * (DAY // FIVE_MINUTES)
            + min(days, limit.hours_days) * (DAY // HOUR)
            + min(days, limit.days_days)
        )

    end = max(limit.five_minutes_days, limit.hours_days, limit.days_days)
    each = store_points * PROBE_BYTES + filesystems * SPACE_BYTES
    return {
        "one_year": rows(365) * (PROBE_BYTES + SPACE_BYTES),
        "year": rows(365) * each,
        "end": rows(end) * each,
    }


def history_limit() -> HistoryLimit:
    """Return how much history is kept; the defaults, not saved, until it was set."""
    return HistoryLimit.objects.filter(pk=1).first() or HistoryLimit(
        pk=1, changed_at=clock.now()
    )
