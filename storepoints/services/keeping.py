"""Keeping history: rolled up by age, within limits, and looked ahead from.

Run every few minutes. Each step asks the tables themselves what is to be done, does a
bounded part of it and may be cut short anywhere: doing it twice changes nothing, and
the next run goes on where this one ended.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Any

from django.db import transaction
from django.db.models import (
    Case,
    F,
    FloatField,
    Max,
    Min,
    Model,
    Q,
    QuerySet,
    Sum,
    When,
)
from django.db.models.functions import Cast

from console.accounts.models import User
from console.kit import audit
from storepoints import series
from storepoints.forecast import FORECAST_SECONDS, Mark, forecast
from storepoints.models import (
    Filesystem,
    HistoryLimit,
    ProbeSample,
    Resolution,
    SpaceSample,
    StorePoint,
)
from storepoints.pieces import FIVE_MINUTES, HOUR, PIECE_SECONDS, start_of
from storepoints.services.history import finish, finish_space

logger = logging.getLogger(__name__)

#: A piece that nobody adds to is finished after this, so that the last minutes before
#: a server fell silent are in its history while it is silent.
IDLE = timedelta(seconds=2 * FIVE_MINUTES)
#: How long after its end a piece is rolled up: every finer one is there by then.
SETTLE = timedelta(seconds=3 * FIVE_MINUTES)
#: With each new piece the young ones before it are rolled up again, for what came late.
AGAIN = timedelta(hours=3)

# Bounds of one run; the next one goes on.
MOST_IDLE = 500
MOST_PIECES = 48
MOST_FORECASTS = 1000
MOST_REMOVED = 200_000

BATCH = 500
REMOVED_AT_ONCE = 5000
FORECASTS_AT_ONCE = 50
FORECAST_EVERY = timedelta(hours=1)

#: What is never removed for want of room, of each resolution: what still grows, and
#: what is rolled up AGAIN.
ALWAYS_KEPT = {
    Resolution.FIVE_MINUTES: AGAIN + timedelta(hours=2),
    Resolution.HOUR: timedelta(days=2),
    Resolution.DAY: timedelta(days=8),
}
#: How much older rows go at a time when there is no room.
STEP = {
    Resolution.FIVE_MINUTES: timedelta(hours=6),
    Resolution.HOUR: timedelta(days=3),
    Resolution.DAY: timedelta(days=30),
}


def keep_history(*, now: datetime) -> dict[str, int]:
    """Do a bounded part of all that there is to do, and return how much that was.

    1. Finish the pieces that nobody adds to any more.
    2. Roll up five minutes into hours, and hours into days.
    3. Remove what is older than the limits, or more than there is room for.
    4. Make new forecasts.
    """
    done = {"finished": finish_idle_pieces(now=now)}
    rolled, until = roll_up(now=now)
    done["rolled up"] = rolled
    done["removed"] = remove_old(now=now, rolled_until=until)
    done["forecasts"] = forecast_filesystems(now=now)
    logger.debug("history: %s", done)
    return done


# --- Finishing ---------------------------------------------------------------------------


def finish_idle_pieces(*, now: datetime) -> int:
    """Write the pieces of what has not been read for a while; return how many."""
    idle = now - IDLE
    with transaction.atomic():
        store_points = list(
            # What somebody else is writing at this moment is not idle.
            StorePoint.objects.select_for_update(skip_locked=True, no_key=True)
            .filter(checked_at__lt=idle)
            .exclude(tally={})
            .order_by("pk")[:MOST_IDLE]
        )
        probes = [sample for row in store_points if (sample := finish(row))]
        ProbeSample.objects.bulk_create(probes, BATCH, ignore_conflicts=True)
        keys = [row.pk for row in store_points]
        StorePoint.objects.filter(pk__in=keys).update(tally={})
    with transaction.atomic():
        filesystems = list(
            Filesystem.objects.select_for_update(skip_locked=True, no_key=True)
            .filter(space_at__lt=idle, memory__has_key="piece")
            .order_by("pk")[:MOST_IDLE]
        )
        spaces = [piece for row in filesystems if (piece := finish_space(row))]
        SpaceSample.objects.bulk_create(spaces, BATCH, ignore_conflicts=True)
        for row in filesystems:
            row.save(update_fields=["memory"])
    return len(probes) + len(spaces)


# --- Rolling up --------------------------------------------------------------------------


def roll_up(*, now: datetime) -> tuple[int, dict[Resolution, datetime]]:
    """Make hours of five minutes, and days of hours.

    Returns how many pieces of time were rolled up, and up to which instant each
    resolution is complete: nothing younger may be removed from the finer one.
    """
    total = 0
    settled = now - SETTLE
    until = {Resolution.FIVE_MINUTES: settled}
    for resolution in (Resolution.HOUR, Resolution.DAY):
        most = until[Resolution(resolution - 1)]
        done, complete = _roll_up_all(ProbeSample, resolution, most, now)
        done_space, complete_space = _roll_up_all(SpaceSample, resolution, most, now)
        until[resolution] = min(complete, complete_space)
        total += done + done_space
    return total, until


def _roll_up_all(
    model: type[ProbeSample | SpaceSample],
    resolution: Resolution,
    most: datetime,
    now: datetime,
) -> tuple[int, datetime]:
    """Roll up what ended before ``most``; return how many pieces, and until when."""
    seconds = PIECE_SECONDS[resolution]
    span = timedelta(seconds=seconds)
    finer = model.objects.filter(resolution=resolution - 1)

    def next_piece(at: datetime | None) -> datetime | None:
        """Return the next piece that holds anything: one that was off left a gap."""
        rows = finer if at is None else finer.filter(at__gte=at)
        found = rows.aggregate(at=Min("at"))["at"]
        return None if found is None else start_of(found, seconds)

    newest = model.objects.filter(resolution=resolution).aggregate(at=Max("at"))["at"]
    begin = next_piece(None if newest is None else newest + span)
    if begin is None:
        return 0, most
    if begin + span > most:
        return 0, begin
    if newest is not None:
        begin = min(begin, next_piece(start_of(now - AGAIN, seconds)) or begin)
    done = 0
    while done < MOST_PIECES:
        # Reckoned outside a transaction, written in one: SQLite's only lock is not held
        # while thousands of store points are summed up.
        if model is ProbeSample:
            _roll_up_probes(resolution, begin, begin + span)
        else:
            _roll_up_space(resolution, begin, begin + span)
        done += 1
        following = next_piece(begin + span)
        if following is None:
            return done, most
        begin = following
        if begin + span > most:
            break
    return done, begin


def _roll_up_probes(resolution: Resolution, begin: datetime, end: datetime) -> None:
    # A mean counts as often as there were measurements: one with each write.
    weight = Case(
        When(writes__gt=0, then=F("writes")),
        default=F("probes"),
        output_field=FloatField(),
    )
    measured = Q(latency_mean__isnull=False)
    rows = (
        ProbeSample.objects.filter(resolution=resolution - 1, at__gte=begin, at__lt=end)
        .order_by("store_point_id")
        .values("store_point_id")
        .annotate(
            all_probes=Sum("probes"),
            all_failures=Sum("failures"),
            all_writes=Sum("writes"),
            least=Min("latency_least"),
            most=Max("latency_most"),
            weights=Sum(weight, filter=measured),
            weighted=Sum(
                Cast(F("latency_mean"), FloatField()) * weight, filter=measured
            ),
        )
    )
    ProbeSample.objects.bulk_create(
        (
            ProbeSample(
                store_point_id=row["store_point_id"],
                resolution=resolution,
                at=begin,
                probes=row["all_probes"],
                failures=row["all_failures"],
                writes=row["all_writes"],
                latency_least=row["least"],
                latency_mean=(
                    row["weighted"] / row["weights"] if row["weights"] else None
                ),
                latency_most=row["most"],
            )
            for row in rows
        ),
        BATCH,
        update_conflicts=True,
        unique_fields=["store_point", "resolution", "at"],
        update_fields=[
            "probes",
            "failures",
            "writes",
            "latency_least",
            "latency_mean",
            "latency_most",
        ],
    )


def _roll_up_space(resolution: Resolution, begin: datetime, end: datetime) -> None:
    rows = SpaceSample.objects.filter(
        resolution=resolution - 1, at__gte=begin, at__lt=end
    ).order_by("filesystem_id", "at")
    last: list[SpaceSample] = []
    for _, group in groupby(rows.iterator(), key=lambda row: row.filesystem_id):
        *_, row = group
        last.append(
            SpaceSample(
                filesystem_id=row.filesystem_id,
                resolution=resolution,
                at=begin,
                total_bytes=row.total_bytes,
                free_bytes=row.free_bytes,
                used_bytes=row.used_bytes,
                used_inodes=row.used_inodes,
            )
        )
    SpaceSample.objects.bulk_create(
        last,
        BATCH,
        update_conflicts=True,
        unique_fields=["filesystem", "resolution", "at"],
        update_fields=["total_bytes", "free_bytes", "used_bytes", "used_inodes"],
    )


# --- Removing ----------------------------------------------------------------------------


def remove_old(*, now: datetime, rolled_until: dict[Resolution, datetime]) -> int:
    """Remove samples past their limit, then the oldest and finest for want of room.

    What was not rolled up yet is kept until it is. Returns how many rows went.
    """
    limit = series.history_limit()
    removed = 0
    for resolution, kept in kept_spans(limit).items():
        before = now - kept
        if resolution != Resolution.DAY:
            before = min(before, rolled_until[Resolution(resolution + 1)])
        removed += _remove_before(resolution, before, most=MOST_REMOVED - removed)
    return removed + _make_room(limit, now=now, most=MOST_REMOVED - removed)


def kept_spans(limit: HistoryLimit) -> dict[Resolution, timedelta]:
    """Return how long samples of each resolution are kept."""
    return {
        Resolution.FIVE_MINUTES: timedelta(days=limit.five_minutes_days),
        Resolution.HOUR: timedelta(days=limit.hours_days),
        Resolution.DAY: timedelta(days=limit.days_days),
    }


def change_history_limit(
    *, actor: User | None, now: datetime, **fields: int
) -> dict[str, list[int]]:
    """Set how much history is kept; return what changed, as [before, after].

    ``fields`` are those of HistoryLimit. The next run of ``keep_history`` removes what
    is beyond them.
    """
    with transaction.atomic():
        limit, _ = HistoryLimit.objects.select_for_update().get_or_create(
            pk=1, defaults={"changed_at": now}
        )
        changes = {
            name: [getattr(limit, name), value]
            for name, value in fields.items()
            if getattr(limit, name) != value
        }
        if changes:
            for name, (_before, after) in changes.items():
                setattr(limit, name, after)
            limit.changed_at = now
            limit.changed_by = actor.get_username() if actor else audit.CONSOLE
            limit.save()
            audit.record(
                actor=actor,
                verb="history_limit.edit",
                subject=limit,
                now=now,
                data=changes,
            )
    return changes


def _remove_before(resolution: Resolution, before: datetime, *, most: int) -> int:
    removed = 0
    for model in (ProbeSample, SpaceSample):
        old: QuerySet[Model] = model._default_manager.filter(  # noqa: SLF001 (documented)
            resolution=resolution, at__lt=before
        )
        while removed < most:
            # In small statements: none holds its locks for long.
            keys = old.order_by("at").values("pk")[:REMOVED_AT_ONCE]
            count = model._default_manager.filter(pk__in=keys).delete()[0]  # noqa: SLF001
            removed += count
            if count < REMOVED_AT_ONCE:
                break
    return removed


def _make_room(limit: HistoryLimit, *, now: datetime, most: int) -> int:
    """Remove the oldest of the finest samples until the rest fits."""
    room = limit.most_megabytes * 1_000_000
    removed = 0
    for resolution in Resolution:
        keep_from = now - ALWAYS_KEPT[resolution]
        while removed < most and series.measure_history().bytes > room:
            oldest = _oldest(resolution)
            if oldest is None or oldest >= keep_from:
                break
            before = min(oldest + STEP[resolution], keep_from)
            removed += _remove_before(resolution, before, most=most - removed)
    return removed


def _oldest(resolution: Resolution) -> datetime | None:
    found = [
        at
        for model in (ProbeSample, SpaceSample)
        if (
            at := model._default_manager.filter(resolution=resolution).aggregate(  # noqa: SLF001
                at=Min("at")
            )["at"]
        )
    ]
    return min(found, default=None)


# --- Looking ahead -----------------------------------------------------------------------


def forecast_filesystems(*, now: datetime) -> int:
    """Make the forecasts that are an hour old and have new readings; return how many."""
    due = (
        Filesystem.objects.filter(
            Q(forecast_at__isnull=True)
            | Q(forecast_at__lte=now - FORECAST_EVERY, space_at__gt=F("forecast_at")),
            used_bytes__isnull=False,
            free_bytes__isnull=False,
            space_at__isnull=False,
        )
        .order_by(F("forecast_at").asc(nulls_first=True), "pk")
        .only("pk", "used_bytes", "free_bytes", "space_at")[:MOST_FORECASTS]
    )
    total = 0
    for chunk in _chunks(due, FORECASTS_AT_ONCE):
        marks = _marks_of(chunk, now)
        found = {row.pk: _forecast(row, marks.get(row.pk, []), now) for row in chunk}
        with transaction.atomic():
            # One that a report is writing at this moment has its turn in the next run.
            free = set(
                Filesystem.objects.select_for_update(skip_locked=True, no_key=True)
                .filter(pk__in=list(found))
                .values_list("pk", flat=True)
            )
            for key in free:
                # Only its own columns: a report writes the others.
                Filesystem.objects.filter(pk=key).update(**found[key])
        total += len(free)
    return total


def _marks_of(filesystems: list[Filesystem], now: datetime) -> dict[int, list[Mark]]:
    rows = (
        SpaceSample.objects.filter(
            filesystem__in=[row.pk for row in filesystems],
            resolution=Resolution.HOUR,
            at__gte=now - timedelta(seconds=FORECAST_SECONDS + 2 * HOUR),
        )
        .order_by("filesystem_id", "at")
        .values_list("filesystem_id", "at", "used_bytes")
    )
    marks: dict[int, list[Mark]] = {}
    for key, at, used in rows:
        # A sample says what was used at the end of its hour.
        marks.setdefault(key, []).append((at.timestamp() + HOUR, used))
    return marks


def _forecast(
    filesystem: Filesystem, marks: list[Mark], now: datetime
) -> dict[str, Any]:
    """Return the fields of a new forecast for a filesystem that has been read."""
    # From its newest reading on: a server that is silent has not stopped its backups.
    origin = min(now, filesystem.space_at or now)
    found = forecast(
        marks,
        now=origin.timestamp(),
        used=filesystem.used_bytes or 0,
        free=filesystem.free_bytes or 0,
    )

    def at(seconds: float | None) -> datetime | None:
        return None if seconds is None else origin + timedelta(seconds=seconds)

    return {
        "forecast_at": now,
        "growth_bytes_per_day": found.growth_bytes_per_day if found else None,
        "full_at": at(found.full) if found else None,
        "full_earliest_at": at(found.earliest) if found else None,
        "full_latest_at": at(found.latest) if found else None,
    }


def _chunks(rows: Iterable[Filesystem], size: int) -> Iterator[list[Filesystem]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        yield chunk
