"""The verdict on one store point: layers 2 to 6, the first that fails is the verdict.

1. The mount table is asked whether the adopted volume is mounted, without touching it.
   If it is not, that is the verdict; whether the path exists is evidence beside it.
2. The path is opened as a directory, not following a symbolic link.
3. The volume that the open directory lies on is compared with the adopted one.
4. The identity marker is read.
5. Mount flags, superblock and ``statvfs`` are asked.
6. A file is written, flushed to disk, read back and removed, unless that was done
   just before.

What is known of the drive, array or volume below (layer 8) stands beside the verdict
and never changes it here.

A probe may hang at any system call, so it runs in a thread of the prober that nobody
waits for; ``Progress`` says meanwhile how far it came.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from storepoints.agent import disk, volumes
from storepoints.agent.disk import Failure
from storepoints.agent.messages import (
    NO_INBOUND,
    DeviceFinding,
    FallThrough,
    Finding,
    InboundFinding,
    Space,
    Spec,
    VolumeId,
)
from storepoints.agent.place import (
    adopted_words,
    check_volume,
    expect_mounted,
    look_below,
    open_right_path,
)
from storepoints.agent.progress import (
    DEVICE,
    IDENTITY,
    LAYERS,
    MOUNT,
    PATH,
    SPACE,
    VOLUME,
    WRITE,
    Progress,
    check,
)
from storepoints.states import Reason

if TYPE_CHECKING:
    from storepoints.agent.memory import Memory
    from storepoints.agent.mounts import Mount, MountTable

#: Called with the open ``.storepoint`` directory once everything was found right.
Settle = Callable[[int, Spec], InboundFinding]

#: Says what is remembered of the devices below a mount; asks nothing, so never waits.
DeviceOf = Callable[["Mount"], DeviceFinding | None]

#: Errors of this process and not of the store point: nothing is claimed then.
_OUR_OWN = frozenset({"EMFILE", "ENFILE", "ENOMEM"})

#: Longest text of a marker that is passed on: the master shows no longer names.
_MARKER_CHARACTERS = 200


def probe(
    spec: Spec,
    table: MountTable,
    progress: Progress,
    *,
    cause: str,
    settle: Settle | None = None,
    device_of: DeviceOf | None = None,
    memory: Memory | None = None,
    server: str = "",
) -> Finding:
    """Return the finding on a store point; every OSError is part of the verdict.

    ``settle`` is called when everything was right, in the same call and with the
    directory that was just proved to be the right one. ``memory`` is what may spare the
    write; ``server`` is the guid of this server.
    """
    began = at = time.perf_counter()
    inbound = NO_INBOUND
    failure: Failure | None = None
    wrote: bool | None = None
    directory = meta = -1
    progress.begin()
    try:
        try:
            expect_mounted(spec, table, progress)
            directory = open_right_path(spec, table, progress)
            at = progress.passed(PATH, at, "a directory", "a directory")
            mount, statvfs, seconds = check_volume(spec, directory, table, progress)
            at = progress.passed(VOLUME, at, adopted_words(spec), mount.described())
            meta, found = _check_identity(spec, directory, progress, memory, server)
            at = progress.passed(IDENTITY, at, spec.id, found)
            _check_flags(mount, statvfs, progress)
            at = progress.passed(MOUNT, at, "read-write", "read-write")
            progress.passed(SPACE, at - seconds, "", _space_text(progress.space))
            if spec.write:
                wrote = _check_write(spec, meta, directory, progress, cause, memory)
            if settle is not None:
                progress.call = "inbound"
                inbound = settle(meta, spec)
            else:
                inbound = _inbound_as_it_is(meta)
        except Failure as why:
            if why.errno in _OUR_OWN:
                raise
            failure = why
            progress.failed(progress.step, time.perf_counter() - at, why)
            if progress.known is not None:
                look_below(spec, table, progress)
            elif meta >= 0:
                inbound = _inbound_as_it_is(meta)
        finally:
            if meta >= 0:
                os.close(meta)
            if directory >= 0:
                os.close(directory)
    except OSError as error:
        # Only close() can bring one here: it reports what NFS could not write.
        failure = Failure(Reason.IO_ERROR, "closed", error)
        progress.step = WRITE
        progress.failed(WRITE, time.perf_counter() - at, failure)
    return {
        "id": spec.id,
        "at": time.time(),
        "cause": cause,
        "state": "online" if failure is None else "offline",
        "reason": "" if failure is None else failure.reason.value,
        "layer": 0 if failure is None else LAYERS[progress.step][0],
        "errno": "" if failure is None else failure.errno,
        "since": None,
        "duration_seconds": time.perf_counter() - began,
        "latency_seconds": progress.latency,
        "space": progress.space,
        "volume": progress.volume,
        "device": _ask_device(progress, device_of),
        "checks": progress.checks,
        "marker": progress.marker,
        "inbound": inbound,
        "wrote": wrote,
        "fall_through": _fall_through(failure, memory),
        "archives": memory.news_of_archives() if memory and failure is None else None,
    }


def not_responding(
    spec: Spec,
    progress: Progress,
    *,
    cause: str,
    since: float,
    waiting_for: str = "",
    device_of: DeviceOf | None = None,
    memory: Memory | None = None,
) -> Finding:
    """Return the finding on a store point whose probe does not come back.

    ``since`` is when the outstanding call began; ``waiting_for`` says which other call
    is in the way when this store point was not even asked. What was known before the
    call remains the verdict.
    """
    now = time.time()
    seconds = max(0.0, now - since)
    step, known = progress.step, progress.known
    what = waiting_for or f"no answer from {progress.call} for {seconds:.1f} s"
    device = _ask_device(progress, device_of)
    # A copy: the call may come back while this is sent.
    checks = list(progress.checks)
    if known is None:
        checks[step] = check(
            step, ok=False, seconds=seconds, expected="an answer", found=what
        )
    else:
        checks[step] = check(
            step, ok=None, seconds=seconds, expected="a directory", found=what
        )
        step = VOLUME
    return {
        "id": spec.id,
        "at": now,
        "cause": cause,
        "state": "not-responding" if known is None else "offline",
        "reason": "" if known is None else known.reason.value,
        "layer": LAYERS[step][0],
        "errno": "",
        "since": since,
        "duration_seconds": seconds,
        "latency_seconds": None,
        "space": progress.space,
        "volume": progress.volume,
        "device": device,
        "checks": checks,
        "marker": None,
        "inbound": NO_INBOUND,
        "wrote": None,
        "fall_through": _fall_through(known, memory),
        "archives": None,
    }


def _fall_through(why: Failure | None, memory: Memory | None) -> FallThrough | None:
    if memory is None or why is None or why.reason is not Reason.NOT_MOUNTED:
        return None
    return memory.fall_through


def _ask_device(progress: Progress, device_of: DeviceOf | None) -> DeviceFinding | None:
    """Note what is known of the devices below; says nothing about a volume gone."""
    mount = progress.mount
    if mount is None or device_of is None:
        return None
    device = device_of(mount)
    if device is None:
        found = check(DEVICE, ok=None, found="nothing is known of the devices below it")
    elif device["health"] == "unknown":
        what = device["text"] or "the devices below say nothing of their health"
        found = check(DEVICE, ok=None, found=what)
    else:
        is_well = device["health"] == "ok"
        what = device["text"] or "nothing below reports a problem"
        found = check(DEVICE, ok=is_well, expected="healthy", found=what)
    progress.checks[DEVICE] = found
    return device


def _inbound_as_it_is(meta: int) -> InboundFinding:
    return {"applied": disk.read_inbound(meta), "pending": False, "error": ""}


def _check_identity(
    spec: Spec, directory: int, progress: Progress, memory: Memory | None, server: str
) -> tuple[int, str]:
    """Return the open ``.storepoint`` and what the marker in it says."""
    progress.step, progress.call = IDENTITY, "open marker"
    meta = disk.open_meta(directory)
    try:
        progress.call = "read marker"
        text = disk.read_marker_bytes(meta)
        volume = progress.volume
        place = (spec.id, volume["fs_uuid"] if volume is not None else "", server)
        if memory is not None and memory.marker is not None:
            known, known_place, found = memory.marker
            if known == text and known_place == place:
                return meta, found
        found = _owner_of(spec, disk.parse_marker(text), progress, server)
    except Failure:
        os.close(meta)
        raise
    if memory is not None:
        memory.marker = text, place, found
    return meta, found


def _owner_of(
    spec: Spec, marker: dict[str, Any], progress: Progress, server: str
) -> str:
    """Return whom a marker names, if that is this store point. Raises Failure."""
    named = marker.get("store_point")
    if not isinstance(named, str):
        raise Failure(
            Reason.MARKER_MISSING, spec.id, found="the marker names no store point"
        )
    if named != spec.id:
        progress.marker = _clipped(marker)
        owner, whose = progress.marker["name"], progress.marker["store_point"]
        found = f"{owner} ({whose})" if owner else whose
        raise Failure(Reason.WRONG_STORE_POINT, spec.id, found=found)
    return named + _where_made(marker, progress.volume, server)


def _clipped(marker: dict[str, Any]) -> dict[str, Any]:
    """Return the texts of a marker that are passed on; whoever wrote it is unknown."""
    texts = {}
    for name in ("store_point", "name", "server", "created_at"):
        value = marker.get(name)
        texts[name] = value[:_MARKER_CHARACTERS] if isinstance(value, str) else ""
    return texts


def _where_made(marker: dict[str, Any], volume: VolumeId | None, server: str) -> str:
    """Return in words where the marker was made, if that was not here.

    No failure: a store point may have been copied or moved on purpose and adopted
    again. Whether this is the adopted volume has been checked before.
    """
    filesystem = marker.get("filesystem")
    uuid = filesystem.get("fs_uuid") if isinstance(filesystem, dict) else None
    here = volume["fs_uuid"] if volume is not None else ""
    words = ""
    if isinstance(uuid, str) and uuid and here and uuid != here:
        words = f"; made on another filesystem, {uuid[:_MARKER_CHARACTERS]}"
    maker = marker.get("server")
    if isinstance(maker, str) and maker and server and maker != server:
        words += f"; made on another server, {maker[:_MARKER_CHARACTERS]}"
    return words


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
    inodes = (
        f"{space['free_inodes']:,} of {space['total_inodes']:,} inodes"
        if space["total_inodes"]
        else "no limit of inodes"
    )
    return f"{space['free_bytes']:,} of {space['total_bytes']:,} bytes free, {inodes}"


def _check_write(
    spec: Spec,
    meta: int,
    directory: int,
    progress: Progress,
    cause: str,
    memory: Memory | None,
) -> bool:
    """Write and read back, and return True; False when that was done just before."""
    progress.step = WRITE
    # Only a probe by the clock is spared it: a person who asks wants to know, and a
    # change of the mount table is a reason to look.
    if cause == "due" and memory is not None and progress.mount is not None:
        age = memory.seconds_since_write(spec, progress.mount)
        if age is not None:
            progress.checks[WRITE] = check(
                WRITE, ok=None, found=f"skipped: written and read back {age:.0f} s ago"
            )
            return False
    began = time.perf_counter()
    disk.write_and_read_back(meta, directory, progress)
    progress.latency = time.perf_counter() - began
    size = f"{disk.PROBE_BYTES} bytes"
    progress.passed(WRITE, began, size, size)
    return True
