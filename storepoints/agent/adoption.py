"""Looking at a directory that is to become a store point, and marking it as one."""

from __future__ import annotations

import contextlib
import errno as errnos
import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from storepoints.agent import disk, volumes
from storepoints.agent.disk import Failure
from storepoints.agent.messages import Space, VolumeId, tidy_path
from storepoints.states import Reason

if TYPE_CHECKING:
    from storepoints.agent.mounts import MountTable


class Inspection(TypedDict):
    """Whether a directory can be adopted; ``problem`` is empty when it can."""

    path: str
    adoptable: bool
    problem: str
    message: str
    volume: VolumeId | None
    space: Space | None
    marker: dict[str, Any] | None


_OPEN_PROBLEMS = {
    errnos.ENOENT: ("missing", "There is nothing at {path} on this server."),
    errnos.ENAMETOOLONG: ("missing", "{path} is longer than the system allows."),
    errnos.EACCES: ("permission-denied", "The agent may not read {path}."),
    errnos.EPERM: ("permission-denied", "The agent may not read {path}."),
}

_WRITE_PROBLEMS = {
    Reason.READ_ONLY: ("read-only", "The volume of {path} is read-only."),
    Reason.FULL: ("full", "The volume of {path} is full."),
    Reason.NO_INODES: ("full", "The volume of {path} has no inodes left."),
    Reason.PERMISSION_DENIED: (
        "permission-denied",
        "The agent may not write into {path}.",
    ),
}


class _Problem(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def inspect(path: str, table: MountTable) -> Inspection:
    """Return what adopting a path would find; touches it, so it can hang."""
    answer = Inspection(
        path=path,
        adoptable=False,
        problem="",
        message="",
        volume=None,
        space=None,
        marker=None,
    )
    try:
        _inspect(path, table, answer)
    except _Problem as problem:
        answer["problem"], answer["message"] = problem.code, problem.message
    else:
        answer["adoptable"] = True
    return answer


def adopt(
    path: str,
    *,
    store_point: str,
    name: str,
    server: str,
    volume: VolumeId | None,
    table: MountTable,
) -> dict[str, Any]:
    """Write the identity marker, unless there is another one, and say if it worked.

    1. Look at the directory as ``inspect`` does; stop at the first problem.
    2. Stop when it lies on another volume than the one that was shown.
    3. Write ``.storepoint/identity.json`` under another name, flush it, link it in
       place (which fails if one is there), flush the directories.

    Doing it again for the same store point changes nothing.
    """
    answer = inspect(path, table)
    problem, message = answer["problem"], answer["message"]
    marker = answer["marker"]
    if problem == "has-marker" and marker and marker.get("store_point") == store_point:
        return {"id": store_point, "adopted": True, "volume": answer["volume"]}
    found = answer["volume"]
    if not problem and volume is not None and found is not None:
        how = volumes.difference(volume, found)
        if volume["mount_point"] != found["mount_point"]:
            how = f"it now lies below {found['mount_point']}"
        if how:
            problem = "different-volume"
            message = f"{path} is on another volume than before: {how}."
    if not problem:
        try:
            _write_marker(
                path,
                {
                    "store_point": store_point,
                    "name": name,
                    "server": server,
                    "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "filesystem": {
                        "fs_type": found["fs_type"] if found else "",
                        "fs_uuid": found["fs_uuid"] if found else "",
                    },
                },
            )
        except FileExistsError:
            problem, message = "has-marker", f"{path} was adopted by somebody else."
        except OSError as error:
            problem = "io-error"
            message = f"The marker could not be written: {error.strerror}."
            if error.errno == errnos.ENOSPC:
                problem = "full"
    if problem:
        return {
            "id": store_point,
            "adopted": False,
            "problem": problem,
            "message": message,
        }
    return {"id": store_point, "adopted": True, "volume": found}


def _inspect(path: str, table: MountTable, answer: Inspection) -> None:
    if not path.startswith("/") or "\0" in path:
        raise _Problem("not-absolute", f"{path!r} is not an absolute path.")
    if ".." in path.split("/"):
        raise _Problem("not-absolute", f"{path!r} contains '..': name it directly.")
    path = tidy_path(path)
    mount = table.covering(path)
    if mount is not None and volumes.is_pseudo(mount):
        raise _pseudo(path, mount.fs_type)
    directory = _open(path)
    try:
        _inspect_directory(path, directory, table, answer)
    except OSError as error:
        raise _Problem("io-error", f"{path}: {error.strerror}.") from error
    finally:
        os.close(directory)


def _pseudo(path: str, fs_type: str) -> _Problem:
    return _Problem(
        "pseudo-filesystem",
        f"{path} lies on a {fs_type} filesystem, which keeps no files.",
    )


def _open(path: str) -> int:
    try:
        return disk.open_directory(path)
    except OSError as error:
        if error.errno in _OPEN_PROBLEMS:
            code, message = _OPEN_PROBLEMS[error.errno]
            raise _Problem(code, message.format(path=path)) from error
        if error.errno in (errnos.ENOTDIR, errnos.ELOOP):
            with contextlib.suppress(OSError):
                if stat.S_ISLNK(os.lstat(path).st_mode):
                    target = Path(path).readlink()
                    raise _Problem(
                        "symlink",
                        f"{path} is a symbolic link to {target}: "
                        "name the directory itself.",
                    ) from error
            found = disk.what_stands_at(path, error)
            raise _Problem(
                "not-a-directory", f"{path} is not a directory: {found}."
            ) from error
        raise _Problem("io-error", f"{path}: {error.strerror}.") from error


def _inspect_directory(
    path: str, directory: int, table: MountTable, answer: Inspection
) -> None:
    mount = table.by_id.get(disk.mount_id(directory))
    if mount is None:
        raise _Problem("io-error", f"The volume of {path} was just unmounted.")
    if volumes.is_pseudo(mount):
        raise _pseudo(path, mount.fs_type)
    statvfs = os.fstatvfs(directory)
    answer["volume"] = volumes.identify(directory, mount, table, statvfs)
    answer["space"] = volumes.space_of(statvfs)
    _look_for_marker(path, directory, answer)
    if mount.is_read_only or statvfs.f_flag & os.ST_RDONLY:
        raise _Problem("read-only", f"The volume of {path} is read-only.")
    _try_writing(path, directory)


def _look_for_marker(path: str, directory: int, answer: Inspection) -> None:
    try:
        os.stat(disk.META, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    try:
        meta = disk.open_meta(directory)
        try:
            os.stat(disk.MARKER, dir_fd=meta, follow_symlinks=False)
            marker = disk.read_marker(meta)
        finally:
            os.close(meta)
    except FileNotFoundError:
        return
    except Failure as failure:
        raise _Problem(
            "marker-unreadable",
            f"{path} carries something in place of a marker: {failure.found}.",
        ) from failure
    answer["marker"] = marker
    name = marker.get("name") or marker.get("store_point") or "another store point"
    raise _Problem("has-marker", f"{path} carries the marker of {name}.")


def _try_writing(path: str, directory: int) -> None:
    """Make sure that a file can be made, without leaving anything behind."""
    name = f".storepoint-{os.getpid()}-{time.monotonic_ns()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            os.write(descriptor, bytes(disk.PROBE_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            os.unlink(name, dir_fd=directory)
    except OSError as error:
        reason = disk.write_failure(error, directory, "open").reason
        code, message = _WRITE_PROBLEMS.get(
            reason, ("io-error", f"{{path}}: {error.strerror}.")
        )
        raise _Problem(code, message.replace("{path}", path)) from error


def _write_marker(path: str, marker: dict[str, Any]) -> None:
    """Write the marker so that it is there whole or not at all. Raises OSError."""
    text = json.dumps(marker, indent=2).encode() + b"\n"
    temporary = f"{disk.MARKER}.{os.getpid()}"
    directory = disk.open_directory(path)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(disk.META, 0o755, dir_fd=directory)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        meta = os.open(disk.META, flags, dir_fd=directory)
        try:
            _write_once(meta, temporary, text)
            os.fsync(meta)
        finally:
            os.close(meta)
        os.fsync(directory)
    finally:
        os.close(directory)


def _write_once(meta: int, temporary: str, text: bytes) -> None:
    os.fchmod(meta, 0o755)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=meta)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o644, dir_fd=meta)
    try:
        os.fchmod(descriptor, 0o644)
        os.write(descriptor, text)
        os.fsync(descriptor)
        try:
            os.link(temporary, disk.MARKER, src_dir_fd=meta, dst_dir_fd=meta)
        except FileExistsError:
            raise
        except OSError:
            # vfat and some network filesystems have no hard links.
            _copy_once(meta, text)
    finally:
        os.close(descriptor)
        os.unlink(temporary, dir_fd=meta)


def _copy_once(meta: int, text: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(disk.MARKER, flags, 0o644, dir_fd=meta)
    try:
        with contextlib.suppress(OSError):  # vfat has no modes to set
            os.fchmod(descriptor, 0o644)
        os.write(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
