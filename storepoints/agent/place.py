"""Is the path there, and is it on the volume that it was adopted on? Layers 2 and 3.

The mount table is asked first, for it answers without touching a filesystem that may
hang; then the open directory itself is, for the table can be older than it.
"""

from __future__ import annotations

import errno as errnos
import os
import time
from typing import TYPE_CHECKING

from storepoints.agent import disk, volumes
from storepoints.agent.disk import Failure
from storepoints.agent.fall_through import LOCAL
from storepoints.agent.messages import VolumeId
from storepoints.agent.progress import PATH, SPACE, VOLUME, check
from storepoints.states import Reason

if TYPE_CHECKING:
    from storepoints.agent.messages import Spec
    from storepoints.agent.mounts import Mount, MountTable
    from storepoints.agent.progress import Progress

#: What is wrong when the path cannot be opened; everything else is an I/O error.
_PATH_REASONS = {
    errnos.ENOENT: Reason.PATH_MISSING,
    errnos.ENAMETOOLONG: Reason.PATH_MISSING,
    errnos.ENOTDIR: Reason.NOT_A_DIRECTORY,
    errnos.ELOOP: Reason.NOT_A_DIRECTORY,
    errnos.EACCES: Reason.PERMISSION_DENIED,
    errnos.EPERM: Reason.PERMISSION_DENIED,
}


def adopted_words(spec: Spec) -> str:
    """Return in words the volume that a store point was adopted on."""
    volume = spec.volume
    if volume is None:
        return ""
    which = volume["fs_uuid"] or volume["source"]
    return f"{volume['fs_type']} {which} at {volume['mount_point']}"


def expect_mounted(spec: Spec, table: MountTable, progress: Progress) -> None:
    """Fail when the mount table alone shows that the volume is not where it was."""
    adopted = spec.volume
    below = table.covering(spec.path)
    if adopted is None:
        progress.mount = below
        return
    mount_point = adopted["mount_point"]
    there = table.at(mount_point)
    if there is below and there is not None:
        progress.mount = there
        return
    inside = _lies_on(spec.path, mount_point)
    if there is None:
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
        elsewhere = _mounted_elsewhere(adopted, table)
        if elsewhere:
            found += f"; the volume is mounted at {elsewhere}"
    elif inside and below is not None:
        reason = Reason.DIFFERENT_VOLUME
        found = f"in front of it is {below.described()}"
    else:
        progress.mount = below
        return
    progress.step = VOLUME
    if below is not None:
        progress.volume = volumes.seen_from_outside(below)
    progress.known = Failure(reason, adopted_words(spec), found=found)
    raise progress.known


def _lies_on(path: str, mount_point: str) -> bool:
    return mount_point == "/" or (path + "/").startswith(mount_point + "/")


def look_below(spec: Spec, table: MountTable, progress: Progress) -> None:
    """Note whether the path exists although its volume is not there.

    Only where that cannot hang: the verdict is known and must not wait for it.
    """
    below = table.covering(spec.path)
    if below is None or below.fs_type not in LOCAL:
        what = "nothing" if below is None else below.described()
        progress.checks[PATH] = check(
            PATH, ok=None, found=f"not asked: it lies on {what}, which may hang"
        )
        return
    known = progress.known
    began = time.perf_counter()
    where = (
        "the filesystem below"
        if known is not None and known.reason is Reason.NOT_MOUNTED
        else "the other volume"
    )
    try:
        directory = _open_path(spec, progress)
        try:
            is_there = disk.mount_id(directory) == below.id
        finally:
            os.close(directory)
    except (Failure, OSError) as error:
        # Not counted as failed: what lies there is not what was adopted, and the first
        # that fails is the verdict.
        why = error if isinstance(error, Failure) else Failure(Reason.NONE, "", error)
        progress.checks[PATH] = check(
            PATH,
            ok=None,
            seconds=time.perf_counter() - began,
            expected="a directory",
            found=f"{why.found}, on {where}",
            errno=why.errno,
        )
    else:
        # Otherwise something was mounted since the table was read.
        if is_there:
            found = f"a directory, on {where}"
            progress.passed(PATH, began, "a directory", found)
    progress.step = VOLUME


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


def open_right_path(spec: Spec, table: MountTable, progress: Progress) -> int:
    """Return the open path; where it is missing on another volume, that is the failure.

    A directory that another disk does not have is not lost.
    """
    try:
        return _open_path(spec, progress)
    except Failure as missing:
        other = None
        if missing.reason is Reason.PATH_MISSING:
            other = _other_volume(spec, table, progress)
        if other is None:
            progress.step, progress.volume = PATH, None
            raise
        progress.checks[PATH] = check(
            PATH,
            ok=None,
            expected="a directory",
            found=f"{missing.found}, on the other volume",
            errno=missing.errno,
        )
        raise other from missing


def _other_volume(spec: Spec, table: MountTable, progress: Progress) -> Failure | None:
    """Return what is wrong with the volume at the adopted mount point, or None."""
    adopted = spec.volume
    if adopted is None or adopted["mount_point"] == spec.path:
        return None
    try:
        root = disk.open_directory(adopted["mount_point"])
    except OSError:
        return None
    try:
        check_volume(spec, root, table, progress)
    except Failure as failure:
        return None if failure.reason is Reason.IO_ERROR else failure
    else:
        return None
    finally:
        os.close(root)


def check_volume(
    spec: Spec, directory: int, table: MountTable, progress: Progress
) -> tuple[Mount, os.statvfs_result, float]:
    """Return the mount that the open directory lies on, and its space in what time."""
    progress.step, progress.call = VOLUME, "fstat"
    adopted = spec.volume
    try:
        mount = _mount_of(directory, table, progress)
    except OSError as error:
        raise Failure(Reason.IO_ERROR, adopted_words(spec), error) from error
    progress.mount = mount
    if mount is None:
        # Mounted after the snapshot, or detached while the directory was opened.
        raise Failure(
            Reason.NOT_MOUNTED if adopted else Reason.DIFFERENT_VOLUME,
            adopted_words(spec),
            found="the directory lies on a volume that the mount table does not list",
        )
    progress.step, progress.call = SPACE, "statvfs"
    began = time.perf_counter()
    try:
        statvfs = os.fstatvfs(directory)
    except OSError as error:
        raise Failure(Reason.IO_ERROR, "an answer from statvfs", error) from error
    seconds = time.perf_counter() - began
    progress.step, progress.call = VOLUME, "ioctl"
    found = progress.volume = _identify(adopted, directory, mount, table, statvfs)
    if adopted is None:
        return mount, statvfs, seconds
    if mount.mount_point != adopted["mount_point"]:
        # Unmounted since the table was read, if it falls through to what lies below.
        is_below = _lies_on(adopted["mount_point"], mount.mount_point)
        raise Failure(
            Reason.NOT_MOUNTED if is_below else Reason.DIFFERENT_VOLUME,
            adopted_words(spec),
            found=mount.described(),
        )
    if how := volumes.difference(adopted, found):
        raise Failure(
            Reason.DIFFERENT_VOLUME,
            adopted_words(spec),
            found=f"{mount.described()}: {how}",
        )
    return mount, statvfs, seconds


def _mount_of(directory: int, table: MountTable, progress: Progress) -> Mount | None:
    """Return the mount that an open directory was reached through. Raises OSError.

    Where it lies on the very device that the table led one to expect, that is it: the
    call that tells mounts of one device apart costs many times as much.
    """
    expected = progress.mount
    device = os.fstat(directory).st_dev
    if expected and expected.device == f"{os.major(device)}:{os.minor(device)}":
        return expected
    progress.call = "statx"
    return table.by_id.get(disk.mount_id(directory))


def _identify(
    adopted: VolumeId | None,
    directory: int,
    mount: Mount,
    table: MountTable,
    statvfs: os.statvfs_result,
) -> VolumeId:
    """Return the identity of the volume that an open directory lies on.

    A filesystem id that is stable is made from the UUID, so that where it is the
    adopted one the UUID need not be asked for.
    """
    if (
        adopted is not None
        and adopted["fs_uuid"]
        and adopted["fsid"]
        and adopted["fs_type"] == mount.fs_type
        and adopted["fsid"] == volumes.fsid_of(mount.fs_type, statvfs)
    ):
        return {
            "mount_point": mount.mount_point,
            "fs_type": mount.fs_type,
            "fs_uuid": adopted["fs_uuid"],
            "source": mount.source,
            "fsid": adopted["fsid"],
        }
    return volumes.identify(directory, mount, table, statvfs)
