"""The verdict on one store point: layers 2 to 6, the first that fails is the verdict.

1. The mount table is asked whether the adopted volume is mounted, without touching it.
2. The path is opened as a directory, not following a symbolic link.
3. The volume that the open directory lies on is compared with the adopted one.
4. The identity marker is read.
5. Mount flags, superblock and ``statvfs`` are asked.
6. A file is written, flushed to disk, read back and removed.

A probe may hang at any system call, so it runs in a thread of the prober that nobody
waits for; ``Progress`` says meanwhile how far it came.
"""

from __future__ import annotations

import errno as errnos
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from storepoints.agent import disk, volumes
from storepoints.agent.disk import Failure
from storepoints.agent.messages import (
    NO_INBOUND,
    Check,
    Finding,
    InboundFinding,
    Space,
    Spec,
    VolumeId,
)
from storepoints.states import Layer, Reason, State

if TYPE_CHECKING:
    from storepoints.agent.mounts import Mount, MountTable

#: Called with the open ``.storepoint`` directory once everything was found right.
Settle = Callable[[int, Spec], InboundFinding]

_LAYERS: tuple[tuple[int, str], ...] = (
    (int(Layer.PATH), "path"),
    (int(Layer.VOLUME), "volume"),
    (int(Layer.IDENTITY), "identity"),
    (int(Layer.MOUNT), "mount"),
    (int(Layer.MOUNT), "space"),
    (int(Layer.WRITE), "write"),
)
PATH, VOLUME, IDENTITY, MOUNT, SPACE, WRITE = range(6)

#: What is wrong when the path cannot be opened; everything else is an I/O error.
_PATH_REASONS = {
    errnos.ENOENT: Reason.PATH_MISSING,
    errnos.ENAMETOOLONG: Reason.PATH_MISSING,
    errnos.ENOTDIR: Reason.NOT_A_DIRECTORY,
    errnos.ELOOP: Reason.NOT_A_DIRECTORY,
    errnos.EACCES: Reason.PERMISSION_DENIED,
    errnos.EPERM: Reason.PERMISSION_DENIED,
}


class Progress:
    """How far a probe has come; written by its thread, read by the watcher of calls."""

    __slots__ = ("call", "checks", "latency", "marker", "space", "step", "volume")

    def __init__(self) -> None:
        self.step = PATH
        self.call = "open"
        self.checks: list[Check | None] = [None] * len(_LAYERS)
        self.space: Space | None = None
        self.volume: VolumeId | None = None
        self.marker: dict[str, Any] | None = None
        self.latency: float | None = None

    def passed(self, step: int, seconds: float, expected: str, found: str) -> None:
        """Note that a layer was asked and found right."""
        layer, name = _LAYERS[step]
        self.checks[step] = {
            "layer": layer,
            "name": name,
            "ok": True,
            "seconds": seconds,
            "expected": expected,
            "found": found,
            "errno": "",
        }

    def evidence(self, failed: int, seconds: float, why: Failure | None) -> list[Check]:
        """Return the six checks: passed, failed at most one, and not asked."""
        checks: list[Check] = []
        for step, (layer, name) in enumerate(_LAYERS):
            check = self.checks[step]
            if step == failed and why is not None:
                check = Check(
                    layer=layer,
                    name=name,
                    ok=False,
                    seconds=seconds,
                    expected=why.expected,
                    found=why.found,
                    errno=why.errno,
                )
            checks.append(
                check
                or Check(
                    layer=layer,
                    name=name,
                    ok=None,
                    seconds=0.0,
                    expected="",
                    found="",
                    errno="",
                )
            )
        return checks


def probe(
    spec: Spec,
    table: MountTable,
    progress: Progress,
    *,
    cause: str,
    settle: Settle | None = None,
) -> Finding:
    """Return the finding on a store point; every OSError is part of the verdict.

    ``settle`` is called when everything was right, in the same call and with the
    directory that was just proved to be the right one.
    """
    began = time.perf_counter()
    inbound = NO_INBOUND
    failure: Failure | None = None
    directory = meta = -1
    progress.checks = [None] * len(_LAYERS)
    at = began
    try:
        try:
            _expect_mounted(spec, table, progress)
            directory = _open_path(spec, progress)
            at = _pass(progress, PATH, began, "a directory", "a directory")
            mount, statvfs = _check_volume(spec, directory, table, progress)
            at = _pass(progress, VOLUME, at, _adopted(spec), mount.described())
            meta = _check_identity(spec, directory, progress)
            at = _pass(progress, IDENTITY, at, spec.id, spec.id)
            inbound = {
                "applied": disk.read_inbound(meta),
                "pending": False,
                "error": "",
            }
            _check_flags(mount, statvfs, progress)
            at = _pass(progress, MOUNT, at, "read-write", "read-write")
            at = _pass(progress, SPACE, at, "", _space_text(progress.space))
            if spec.write:
                _check_write(meta, directory, progress)
                at = _pass(progress, WRITE, at, "4096 bytes", "4096 bytes")
            if settle is not None:
                progress.call = "inbound"
                inbound = settle(meta, spec)
        except Failure as found:
            failure = found
        finally:
            if meta >= 0:
                os.close(meta)
            if directory >= 0:
                os.close(directory)
    except OSError as error:
        # Only close() can bring one here: it reports what NFS could not write.
        failure = Failure(Reason.IO_ERROR, "closed", error)
        progress.step = WRITE
    now = time.perf_counter()
    return {
        "id": spec.id,
        "at": time.time(),
        "cause": cause,
        "state": State.ONLINE.value if failure is None else State.OFFLINE.value,
        "reason": "" if failure is None else failure.reason.value,
        "layer": 0 if failure is None else _LAYERS[progress.step][0],
        "errno": "" if failure is None else failure.errno,
        "since": None,
        "duration_seconds": now - began,
        "latency_seconds": progress.latency,
        "space": progress.space,
        "volume": progress.volume,
        "checks": progress.evidence(progress.step, now - at, failure),
        "marker": progress.marker,
        "inbound": inbound,
    }


def not_responding(
    spec: Spec, progress: Progress, *, cause: str, since: float, waiting_for: str = ""
) -> Finding:
    """Return the finding on a store point whose probe does not come back.

    ``since`` is when the outstanding call began; ``waiting_for`` says which other call
    is in the way when this store point was not even asked.
    """
    now = time.time()
    seconds = max(0.0, now - since)
    step = progress.step
    what = waiting_for or f"no answer from {progress.call} for {seconds:.1f} s"
    why = Failure(Reason.NONE, "an answer", found=what)
    return {
        "id": spec.id,
        "at": now,
        "cause": cause,
        "state": State.NOT_RESPONDING.value,
        "reason": "",
        "layer": _LAYERS[step][0],
        "errno": "",
        "since": since,
        "duration_seconds": seconds,
        "latency_seconds": None,
        "space": progress.space,
        "volume": progress.volume,
        "checks": progress.evidence(step, seconds, why),
        "marker": None,
        "inbound": NO_INBOUND,
    }


def _pass(
    progress: Progress, step: int, since: float, expected: str, found: str
) -> float:
    now = time.perf_counter()
    progress.passed(step, now - since, expected, found)
    return now


def _adopted(spec: Spec) -> str:
    volume = spec.volume
    if volume is None:
        return ""
    return f"{volume['fs_type']} {volume['fs_uuid']} at {volume['mount_point']}"


def _expect_mounted(spec: Spec, table: MountTable, progress: Progress) -> None:
    """Fail when the mount table alone shows that the volume is not where it was."""
    adopted = spec.volume
    if adopted is None:
        return
    mount_point = adopted["mount_point"]
    below = table.covering(spec.path)
    there = table.at(mount_point)
    inside = mount_point == "/" or (spec.path + "/").startswith(mount_point + "/")
    if there is None:
        progress.step = VOLUME
        reason = Reason.NOT_MOUNTED
        found = "nothing is mounted there"
        hidden = table.covering(mount_point)
        if hidden is not None and any(
            mount.mount_point == mount_point for mount in table.by_id.values()
        ):
            # It is still mounted, but another mount lies over a directory above it.
            reason = Reason.DIFFERENT_VOLUME
            found = f"hidden by {hidden.described()}"
        elif below is not None:
            found += f"; the path lies on {below.described()}"
        if below is not None:
            progress.volume = volumes.seen_from_outside(below)
        elsewhere = _mounted_elsewhere(adopted, table)
        if elsewhere:
            found += f"; the volume is mounted at {elsewhere}"
        raise Failure(reason, _adopted(spec), found=found)
    if inside and below is not None and below is not there:
        progress.step = VOLUME
        progress.volume = volumes.seen_from_outside(below)
        raise Failure(
            Reason.DIFFERENT_VOLUME,
            _adopted(spec),
            found=f"in front of it is {below.described()}",
        )


def _mounted_elsewhere(adopted: VolumeId, table: MountTable) -> str:
    """Return where the adopted volume is mounted now, if the table can tell."""
    uuid = adopted["fs_uuid"]
    for mount in table.by_id.values():
        if mount.fs_type != adopted["fs_type"]:
            continue
        if uuid:
            if volumes.uuid_by_link(mount, table) == uuid:
                return mount.mount_point
        elif (
            mount.source == adopted["source"]
            and mount.source.startswith(("/", "//"))
            and mount.source not in ("none", "tmpfs")
        ):
            return mount.mount_point
    return ""


def _open_path(spec: Spec, progress: Progress) -> int:
    progress.step, progress.call = PATH, "open"
    try:
        return disk.open_directory(spec.path)
    except OSError as error:
        reason = _PATH_REASONS.get(error.errno or 0, Reason.IO_ERROR)
        found = ""
        if reason is Reason.NOT_A_DIRECTORY:
            progress.call = "lstat"
            found = disk.what_stands_at(spec.path, error)
        raise Failure(reason, "a directory", error, found=found) from error


def _check_volume(
    spec: Spec, directory: int, table: MountTable, progress: Progress
) -> tuple[Mount, os.statvfs_result]:
    """Return the mount that the open directory really lies on, and its space."""
    progress.step, progress.call = VOLUME, "statx"
    adopted = spec.volume
    try:
        mount = table.by_id.get(disk.mount_id(directory))
        progress.call = "statvfs"
        statvfs = os.fstatvfs(directory)
    except OSError as error:
        raise Failure(Reason.IO_ERROR, _adopted(spec), error) from error
    if mount is None:
        # Mounted after the snapshot, or detached while the directory was opened.
        raise Failure(
            Reason.NOT_MOUNTED if adopted else Reason.DIFFERENT_VOLUME,
            _adopted(spec),
            found="the directory lies on a volume that the mount table does not list",
        )
    found = progress.volume = volumes.identify(directory, mount, table, statvfs)
    if adopted is None:
        return mount, statvfs
    if mount.mount_point != adopted["mount_point"]:
        raise Failure(Reason.DIFFERENT_VOLUME, _adopted(spec), found=mount.described())
    if how := volumes.difference(adopted, found):
        raise Failure(
            Reason.DIFFERENT_VOLUME,
            _adopted(spec),
            found=f"{mount.described()}: {how}",
        )
    return mount, statvfs


def _check_identity(spec: Spec, directory: int, progress: Progress) -> int:
    """Return the open ``.storepoint`` directory after reading the marker in it."""
    progress.step, progress.call = IDENTITY, "open marker"
    meta = disk.open_meta(directory)
    try:
        progress.call = "read marker"
        marker = disk.read_marker(meta)
    except Failure:
        os.close(meta)
        raise
    named = marker.get("store_point")
    if named != spec.id:
        os.close(meta)
        if not isinstance(named, str):
            raise Failure(
                Reason.MARKER_MISSING, spec.id, found="the marker names no store point"
            )
        progress.marker = marker
        raise Failure(Reason.WRONG_STORE_POINT, spec.id, found=named)
    return meta


def _check_flags(mount: Mount, statvfs: os.statvfs_result, progress: Progress) -> None:
    progress.step, progress.call = MOUNT, "mountinfo"
    progress.space = volumes.space_of(statvfs)
    # statvfs is fresher than the table: an error can make the superblock read-only
    # without a change of the mount table.
    if mount.is_read_only or statvfs.f_flag & os.ST_RDONLY:
        found = f"mount {mount.options}; superblock {mount.super_options}"
        raise Failure(Reason.READ_ONLY, "read-write", found=found, errno="EROFS")


def _space_text(space: Space | None) -> str:
    if space is None:
        return ""
    return (
        f"{space['free_bytes']} of {space['total_bytes']} bytes and "
        f"{space['free_inodes']} of {space['total_inodes']} inodes free"
    )


def _check_write(meta: int, directory: int, progress: Progress) -> None:
    progress.step = WRITE
    began = time.perf_counter()
    disk.write_and_read_back(meta, directory, progress)
    progress.latency = time.perf_counter() - began
