"""The filesystems below store points: known by their identity, judged once per report.

Space and devices are a filesystem's, not a store point's. A finding that proved which
filesystem its store point lies on brings the figures; the newest one of a report wins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from console.kit.rows import write_rows
from storepoints import engine
from storepoints.engine import Limit, SpaceRule
from storepoints.models import Filesystem, Server, SpaceSample, StorePoint
from storepoints.pieces import instant
from storepoints.services import evidence, history

#: A trend counts when it looks back so far: a day, less what a restart may cost.
TREND_SECONDS = 20 * 3600

#: A mount point that nobody saw for so long is replaced by another one of the same
#: filesystem. Until then it stays, so that names do not alternate.
MOUNT_POINT_IS_KEPT = timedelta(days=1)

#: What a filesystem without store points is kept for: its history, should they return.
EMPTY_IS_KEPT = timedelta(days=30)

#: Fields that a report may write.
FIELDS = [
    "mount_point",
    "fs_type",
    "fs_uuid",
    "source",
    "space_at",
    "total_bytes",
    "free_bytes",
    "used_bytes",
    "total_inodes",
    "free_inodes",
    "limits",
    "memory",
    "health",
    "health_reason",
    "health_text",
]
DEVICE_FIELDS = ["devices", "devices_at", "health", "health_reason", "health_text"]

#: The limits that the reasons of devices stand for.
LIMIT_OF_HEALTH = {
    "drive-failing": Limit.DRIVE_FAILING,
    "volume-degraded": Limit.VOLUME_DEGRADED,
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one finding says of a filesystem; ``space`` is empty when it was not read.

    ``is_proved`` is true when volume and identity of the store point were found right,
    so that it is known to lie there.
    """

    store_point: StorePoint
    at: datetime
    identity: str
    volume: Mapping[str, str]
    space: Mapping[str, int]
    device: Mapping[str, str] | None
    is_proved: bool


@dataclass(slots=True)
class Seen:
    """What a report came to: rows to write, samples to keep, limits to follow."""

    by_store_point: dict[int, Filesystem] = field(default_factory=dict)
    touched: dict[int, Filesystem] = field(default_factory=dict)
    with_devices: dict[int, Filesystem] = field(default_factory=dict)
    with_new_limits: dict[int, Filesystem] = field(default_factory=dict)
    samples: list[SpaceSample] = field(default_factory=list)


def lock_filesystems(
    server: Server, identities: Iterable[str]
) -> dict[str, Filesystem]:
    """Lock and return the known filesystems of a server, by identity.

    To be called with the server locked and before its store points are.
    """
    wanted = {identity for identity in identities if identity}
    if not wanted:
        return {}
    rows = (
        Filesystem.objects.select_for_update(no_key=True)
        .filter(server=server, identity__in=wanted)
        # The largest column, and the one that is only ever replaced.
        .defer("devices")
        .order_by("pk")
    )
    found = {row.identity: row for row in rows}
    for row in found.values():
        row.server = server
    return found


def see_filesystems(
    server: Server,
    known: dict[str, Filesystem],
    sightings: Iterable[Sighting],
    volumes: Iterable[Mapping[str, Any]],
    *,
    rule: SpaceRule,
    now: datetime,
) -> Seen:
    """Fold what a report says into the filesystems of its server.

    1. A filesystem that a store point was found on for the first time gets its row.
    2. The list of volumes brings devices and their health, whole.
    3. The newest finding of each brings its space, which is judged and kept as
       history; every finding brings the health of its devices in short.

    Rows are changed and not written: ``write_filesystems`` does that.
    """
    by_identity: dict[str, list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        by_identity[sighting.identity].append(sighting)
    _make_missing(server, known, by_identity, now)

    seen = Seen()
    for volume in volumes:
        filesystem = known.get(engine.filesystem_identity(volume))
        devices = volume.get("devices")
        if filesystem is None or filesystem.pk in seen.with_devices:
            continue
        if not isinstance(devices, dict) or not (devices["stack"] or devices["notes"]):
            continue
        limits = limits_of(filesystem)
        filesystem.devices = devices
        filesystem.devices_at = now
        _write_health(filesystem, devices)
        seen.with_devices[filesystem.pk] = filesystem
        _note(seen, filesystem, limits)

    for identity, group in by_identity.items():
        filesystem = known.get(identity)
        if filesystem is None:
            continue
        group.sort(key=lambda each: each.at)
        limits = limits_of(filesystem)
        _write_place(filesystem, group)
        for sighting in group:
            if sighting.device is not None:
                _write_health(filesystem, sighting.device)
            if sighting.is_proved:
                seen.by_store_point[sighting.store_point.pk] = filesystem
        newest = next((each for each in reversed(group) if each.space), None)
        if newest is not None and _is_newer(newest.at, filesystem.space_at, now):
            sample = _write_space(filesystem, newest, rule)
            if sample is not None:
                seen.samples.append(sample)
        _note(seen, filesystem, limits)
    return seen


def _is_newer(at: datetime, known: datetime | None, now: datetime) -> bool:
    """Return whether figures replace those that are known.

    Those from the future do not stand in the way: the clock was set back.
    """
    return known is None or at >= known or known > now


def _note(seen: Seen, filesystem: Filesystem, before: frozenset[Limit]) -> None:
    seen.touched[filesystem.pk] = filesystem
    if limits_of(filesystem) != before:
        seen.with_new_limits[filesystem.pk] = filesystem


def _make_missing(
    server: Server,
    known: dict[str, Filesystem],
    by_identity: Mapping[str, list[Sighting]],
    now: datetime,
) -> None:
    missing = {
        identity: next(each for each in group if each.is_proved).volume
        for identity, group in by_identity.items()
        if identity not in known and any(each.is_proved for each in group)
    }
    if not missing:
        return
    Filesystem.objects.bulk_create(
        [
            Filesystem(
                server=server,
                identity=identity,
                mount_point=volume["mount_point"],
                fs_type=volume["fs_type"][:50],
                fs_uuid=volume["fs_uuid"][:100],
                source=volume["source"],
                created_at=now,
            )
            for identity, volume in missing.items()
        ],
        batch_size=500,
        # Whoever made one at this instant made the same.
        ignore_conflicts=True,
    )
    known.update(lock_filesystems(server, missing))


def _write_place(filesystem: Filesystem, group: list[Sighting]) -> None:
    proved = [each for each in group if each.is_proved]
    if not proved:
        return
    memory = filesystem.memory
    newest = proved[-1]
    places = {each.volume["mount_point"]: each.volume for each in proved}
    seen_at = instant(memory.get("mount_point_at", 0))
    if filesystem.mount_point in places:
        volume = places[filesystem.mount_point]
    elif abs(newest.at - seen_at) > MOUNT_POINT_IS_KEPT:
        volume = newest.volume
    else:
        return
    filesystem.memory = {**memory, "mount_point_at": newest.at.timestamp()}
    filesystem.mount_point = volume["mount_point"]
    filesystem.fs_type = volume["fs_type"][:50]
    filesystem.fs_uuid = volume["fs_uuid"][:100]
    filesystem.source = volume["source"]


def _write_health(filesystem: Filesystem, devices: Mapping[str, Any]) -> None:
    filesystem.health = devices["health"]
    filesystem.health_reason = devices["reason"]
    filesystem.health_text = devices["text"]


def _write_space(
    filesystem: Filesystem, sighting: Sighting, rule: SpaceRule
) -> SpaceSample | None:
    for name, value in sighting.space.items():
        setattr(filesystem, name, value)
    filesystem.space_at = sighting.at
    sample = history.gather_space(filesystem, at=sighting.at)
    limits, soon = engine.judge_space(
        engine.Space(
            at=sighting.at,
            free_bytes=sighting.space["free_bytes"],
            used_bytes=sighting.space["used_bytes"],
            total_inodes=sighting.space["total_inodes"],
            free_inodes=sighting.space["free_inodes"],
            fs_type=filesystem.fs_type,
            bytes_per_second=trend_of(filesystem),
        ),
        frozenset(Limit(limit) for limit in filesystem.limits),
        filesystem.memory.get("soon", {}),
        rule,
    )
    filesystem.limits = sorted(limits)
    filesystem.memory = {**filesystem.memory, "soon": soon}
    return sample


def trend_of(filesystem: Filesystem) -> float | None:
    """Return how many bytes a second fill it by the last day; None before that."""
    hours = filesystem.memory.get("hours") or []
    trend = filesystem.memory.get("trend") or {}
    if len(hours) < 2 or hours[-1][0] - hours[0][0] < TREND_SECONDS:
        return None
    speed = trend.get("bytes_per_second")
    return None if speed is None else float(speed)


def limits_of(filesystem: Filesystem) -> frozenset[Limit]:
    """Return the limits that degrade the store points on a filesystem."""
    limits = {Limit(limit) for limit in filesystem.limits} - {Limit.FILLING_UP}
    device = LIMIT_OF_HEALTH.get(filesystem.health_reason)
    if device is not None:
        limits.add(device)
    return frozenset(limits)


def write_filesystems(seen: Seen) -> None:
    """Write what ``see_filesystems`` changed, and the pieces of history it finished."""
    write_rows(list(seen.touched.values()), FIELDS)
    write_rows(list(seen.with_devices.values()), DEVICE_FIELDS)
    SpaceSample.objects.bulk_create(seen.samples, batch_size=500, ignore_conflicts=True)


def device_of(finding: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return what a finding says in short of the devices; None when it says nothing."""
    device = finding.get("device")
    return evidence.devices_of(device) if isinstance(device, dict) else None


def lock_servers_of(store_points: Iterable[int]) -> list[Server]:
    """Lock the servers of these store points, as what changes their filesystems must.

    Whoever locks filesystems holds their server: locks are taken in the order server,
    filesystems, store points, each by primary key.
    """
    keys = list(
        StorePoint.objects.filter(pk__in=list(store_points))
        .order_by()
        .values_list("server", flat=True)
        .distinct()
    )
    servers = Server.objects.select_for_update(no_key=True).filter(pk__in=keys)
    return list(servers.order_by("pk"))


def empty_filesystems(*, now: datetime) -> Any:
    """Return the filesystems that nothing lies on any more, and nothing has for long."""
    return Filesystem.objects.filter(
        store_points__isnull=True, created_at__lt=now - EMPTY_IS_KEPT
    ).exclude(space_at__gte=now - EMPTY_IS_KEPT)
