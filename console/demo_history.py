"""A past for the demonstration: made up, said to be, and enough to fill the charts."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta

from storepoints.models import (
    Filesystem,
    ProbeSample,
    Resolution,
    SpaceSample,
    StatusChange,
    StorePoint,
)
from storepoints.pieces import DAY, PIECE_SECONDS, start_of
from storepoints.services.keeping import forecast_filesystems
from storepoints.states import Reason, State

NOTE = "Demonstration: everything before its start is made up."

#: Of a volume's room: what is added each day, and what the full backup of Sunday takes
#: until it is pruned on Wednesday.
GROWTH_SHARE = 0.002
FULL_BACKUP_SHARE = 0.05

#: How far back samples of each resolution go.
SPACE_DAYS = {Resolution.FIVE_MINUTES: 1, Resolution.HOUR: 90, Resolution.DAY: 365}
PROBE_DAYS = {Resolution.FIVE_MINUTES: 1, Resolution.HOUR: 9, Resolution.DAY: 365}

#: What happened to the first store point: days ago, for how many minutes, and why.
TROUBLE = (
    (26.4, 45, State.OFFLINE, Reason.NOT_MOUNTED),
    (17.9, 300, State.DEGRADED, Reason.SLOW),
    (12.2, 20, State.SERVER_OFFLINE, Reason.SERVER_OFFLINE),
    (3.6, 90, State.OFFLINE, Reason.READ_ONLY),
)


def make_up_history(names: tuple[str, ...], *, now: datetime) -> bool:
    """Write a past for every store point; False while one has no volume yet.

    ``names`` are those that must be there; the first of them has had trouble. Samples
    are written once, however often it is called.
    """
    rows = list(StorePoint.objects.select_related("filesystem").order_by("name"))
    if not set(names) <= {row.name for row in rows} or any(
        row.filesystem is None for row in rows
    ):
        return False
    source = random.Random(7)  # noqa: S311 (a picture, not a secret)
    volumes = {row.filesystem.pk: row.filesystem for row in rows if row.filesystem}
    space = [
        sample
        for filesystem in volumes.values()
        for sample in _space(filesystem, now=now)
    ]
    SpaceSample.objects.bulk_create(space, 500, ignore_conflicts=True)
    probes = [sample for row in rows for sample in _probes(row, source=source, now=now)]
    ProbeSample.objects.bulk_create(probes, 500, ignore_conflicts=True)
    StatusChange.objects.bulk_create(_changes(rows, names[0], now=now))
    StorePoint.objects.filter(pk__in=[row.pk for row in rows]).update(note=NOTE)
    forecast_filesystems(now=now)
    return True


def _weekly(at: datetime) -> float:
    """Return which share of the weekly full backup is there at an instant."""
    hours = at.weekday() * 24 + at.hour + at.minute / 60
    sunday, wednesday = 6 * 24 + 1, 2 * 24 + 12
    if hours >= sunday:
        return min(1.0, (hours - sunday) / 6)
    return 1.0 if hours < wednesday else 0.0


def _space(filesystem: Filesystem, *, now: datetime) -> list[SpaceSample]:
    used, free = filesystem.used_bytes or 0, filesystem.free_bytes or 0
    room = used + free
    samples = []
    for resolution, days in SPACE_DAYS.items():
        seconds = PIECE_SECONDS[resolution]
        last = start_of(now, seconds)
        for number in range(1, days * DAY // seconds + 1):
            at = last - timedelta(seconds=number * seconds)
            end = at + timedelta(seconds=seconds)
            age = (now - end).total_seconds() / DAY
            full_backup = FULL_BACKUP_SHARE * (_weekly(end) - _weekly(now))
            then = used + room * (full_backup - GROWTH_SHARE * age)
            then = min(room, max(0.02 * room, then))
            samples.append(
                SpaceSample(
                    filesystem=filesystem,
                    resolution=resolution,
                    at=at,
                    total_bytes=filesystem.total_bytes or room,
                    used_bytes=round(then),
                    free_bytes=round(room - then),
                )
            )
    return samples


def _probes(
    row: StorePoint, *, source: random.Random, now: datetime
) -> list[ProbeSample]:
    samples = []
    for resolution, days in PROBE_DAYS.items():
        seconds = PIECE_SECONDS[resolution]
        last = start_of(now, seconds)
        for number in range(1, days * DAY // seconds + 1):
            at = last - timedelta(seconds=number * seconds)
            # Slower while backups run by night.
            night = 1 + max(0.0, math.cos(2 * math.pi * (at.hour - 2) / 24))
            mean = 0.0012 * night * source.uniform(0.9, 1.2)
            samples.append(
                ProbeSample(
                    store_point=row,
                    resolution=resolution,
                    at=at,
                    probes=seconds // row.check_seconds,
                    failures=0,
                    writes=seconds // row.check_seconds,
                    latency_least=mean * source.uniform(0.5, 0.8),
                    latency_mean=mean,
                    latency_most=mean * source.uniform(1.5, 6),
                )
            )
    return samples


def _changes(
    rows: list[StorePoint], troubled: str, *, now: datetime
) -> list[StatusChange]:
    changes = []
    for row in rows:
        begin = now - timedelta(days=60)
        story = [(begin, State.ONLINE, Reason.NONE)]
        if row.name == troubled:
            for days, minutes, state, reason in TROUBLE:
                at = now - timedelta(days=days)
                end = at + timedelta(minutes=minutes)
                story += [(at, state, reason), (end, State.ONLINE, Reason.NONE)]
        before, why = State.PENDING, Reason.NONE
        for at, state, reason in story:
            changes.append(
                StatusChange(
                    store_point=row,
                    at=at,
                    recorded_at=at,
                    state_before=before,
                    reason_before=why,
                    state=state,
                    reason=reason,
                    cause="due",
                )
            )
            before, why = state, reason
    return changes
