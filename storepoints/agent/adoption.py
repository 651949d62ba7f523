"""Looking at a directory that is to become a store point, and marking it as one.

Re-adopting is apart from adopting: it may put a marker in the place of another thing,
so it is done only where all that a person was shown is still so.
"""

from __future__ import annotations

import contextlib
import errno as errnos
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from storepoints.agent import disk, volumes
from storepoints.agent.disk import Failure
from storepoints.agent.messages import Space, VolumeId, tidy_path
from storepoints.states import Reason

if TYPE_CHECKING:
    from storepoints.agent.mounts import Mount, MountTable


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


class Look(Inspection):
    """What a person who re-adopts is shown, and what must still be so afterwards.

    ``fingerprint`` says exactly what is in the marker's place (``none`` for nothing),
    ``damage`` in words why that is no marker, ``archives`` how many directories lie
    beside it (None when there are more than LOOK_ENTRIES entries to look at).
    """

    fingerprint: str
    damage: str
    archives: int | None


#: What vfat, and some network and FUSE filesystems, say to a second name for a file.
_NO_HARD_LINKS = frozenset(
    {errnos.EPERM, errnos.EOPNOTSUPP, errnos.ENOSYS, errnos.EMLINK}
)

#: Nothing is in the marker's place.
NO_MARKER = "none"
#: More entries than this are not looked at to count archives.
LOOK_ENTRIES = 5000


class _Problem(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def inspect(path: str, table: MountTable) -> Inspection:
    """Return what adopting a path would find; touches it, so it can hang."""
    answer = _nothing_inspected(path)
    try:
        with _inspected(path, table, answer):
            pass
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

    It is all done in the directory that was opened once: what is mounted meanwhile
    gets no marker. Doing it again for the same store point changes nothing.
    """
    answer = _nothing_inspected(path)
    try:
        with _inspected(path, table, answer) as directory:
            found = answer["volume"]
            _refuse_another_volume(path, volume, found)
            marker = _marker_of(store_point, name, server, found, _now())
            _place_marker(directory, marker, NO_MARKER)
    except _Problem as problem:
        marker_there = answer["marker"] or {}
        is_own = marker_there.get("store_point") == store_point
        if not (problem.code == "has-marker" and is_own):
            return _refused(store_point, problem.code, problem.message)
    except FileExistsError:
        message = f"{path} was adopted by somebody else."
        return _refused(store_point, "has-marker", message)
    except OSError as error:
        return _refused(store_point, *_not_written(path, error))
    return {"id": store_point, "adopted": True, "volume": answer["volume"]}


def _refuse_another_volume(
    path: str, shown: VolumeId | None, found: VolumeId | None
) -> None:
    if shown is None or found is None:
        return
    how = volumes.difference(shown, found)
    if shown["mount_point"] != found["mount_point"]:
        how = f"it now lies below {found['mount_point']}"
    if how:
        raise _Problem(
            "different-volume", f"{path} is on another volume than before: {how}."
        )


def _refused(store_point: str, problem: str, message: str) -> dict[str, Any]:
    return {
        "id": store_point,
        "adopted": False,
        "problem": problem,
        "message": message,
    }


def _not_written(path: str, error: OSError) -> tuple[str, str]:
    """Return the problem and its words when the marker could not be written."""
    if error.errno == errnos.EROFS:
        return "read-only", f"The volume of {path} is read-only."
    code = "full" if error.errno in (errnos.ENOSPC, errnos.EDQUOT) else "io-error"
    return code, f"The marker could not be written: {error.strerror}."


def look(path: str, table: MountTable) -> Look:
    """Return what re-adopting at a path would find; touches it, so it can hang.

    Unlike ``inspect`` it writes nothing at all, because the disk may be somebody
    else's, and what is in the marker's place is part of the answer and no problem.
    """
    answer = _nothing_seen(path)
    try:
        with _opened(path, table, answer) as directory:
            _look_closely(path, directory, answer)
    except _Problem as problem:
        answer["problem"], answer["message"] = problem.code, problem.message
    else:
        answer["adoptable"] = True
    return answer


def readopt(
    path: str,
    *,
    store_point: str,
    name: str,
    server: str,
    expects: dict[str, Any],
    table: MountTable,
) -> dict[str, Any]:
    """Make a directory this store point's own, if all is as a person was shown it.

    1. Look again. Stop when the volume or what is in the marker's place differs from
       ``expects`` (``volume`` and ``fingerprint`` of an earlier look).
    2. A marker that already says this store point and this volume stays as it is, also
       when it was not there at the earlier look: the order may have been carried out
       before, and its answer lost.
    3. Otherwise write one under another name, flush it, keep what is there as
       ``identity.json.<time>.old``, put the new one in its place, flush the directory.

    Until the last step nothing has changed; the marker is never half written.
    """
    answer = _nothing_seen(path)
    try:
        with _opened(path, table, answer) as directory:
            _look_closely(path, directory, answer)
            marker = _marker_of(
                store_point,
                name,
                server,
                answer["volume"],
                _created_at(answer["marker"], store_point),
            )
            is_done = _says_the_same(answer["marker"], marker)
            changed = _changed(answer, expects, is_done=is_done)
            if changed is not None:
                return _refused(store_point, "changed", changed)
            if not is_done:
                _place_marker(directory, marker, answer["fingerprint"])
    except _Problem as problem:
        return _refused(store_point, problem.code, problem.message)
    except FileExistsError:
        message = f"The marker in {path} changed while it was being replaced."
        return _refused(store_point, "changed", message)
    except Failure as failure:
        message = f"What is in the marker's place cannot be read: {failure.found}."
        return _refused(store_point, "marker-unreadable", message)
    except OSError as error:
        return _refused(store_point, *_not_written(path, error))
    return {"id": store_point, "adopted": True, "volume": answer["volume"]}


def _nothing_inspected(path: str) -> Inspection:
    return Inspection(
        path=path,
        adoptable=False,
        problem="",
        message="",
        volume=None,
        space=None,
        marker=None,
    )


def _nothing_seen(path: str) -> Look:
    return Look(**_nothing_inspected(path), fingerprint="", damage="", archives=None)


def _changed(found: Look, expects: dict[str, Any], *, is_done: bool) -> str | None:
    """Return what is not as it was shown, in words, or None."""
    if found["volume"] != expects.get("volume"):
        volume = found["volume"]
        at = f"{volume['fs_type']} at {volume['mount_point']}" if volume else "nothing"
        return f"The volume is another one than was shown: {at}."
    if found["fingerprint"] != expects.get("fingerprint") and not is_done:
        return "The identity marker is not the one that was shown."
    return None


@contextlib.contextmanager
def _opened(path: str, table: MountTable, answer: Look) -> Iterator[int]:
    """Open a directory and note its volume and space. Raises _Problem."""
    path = _checked(path, table)
    directory = _open(path)
    try:
        mount = _note_volume(path, directory, table, answer)
        yield directory
        if mount.is_read_only or os.fstatvfs(directory).f_flag & os.ST_RDONLY:
            raise _read_only(path)
    finally:
        os.close(directory)


def _look_closely(path: str, directory: int, answer: Look) -> None:
    try:
        answer["archives"] = _count_archives(directory)
        answer["fingerprint"], answer["marker"], answer["damage"] = _seen(directory)
    except Failure as failure:
        raise _Problem(
            "marker-unreadable",
            f"What is in the marker's place cannot be looked at: {failure.found}.",
        ) from failure
    except OSError as error:
        raise _Problem("io-error", f"{path}: {error.strerror}.") from error


def _count_archives(directory: int) -> int | None:
    count = 0
    with os.scandir(directory) as entries:
        for number, entry in enumerate(entries):
            if number == LOOK_ENTRIES:
                return None
            # The type is in the entry: this asks nothing of the disk.
            if entry.name not in (disk.META, "lost+found") and entry.is_dir(
                follow_symlinks=False
            ):
                count += 1
    return count


def _seen(directory: int) -> tuple[str, dict[str, Any] | None, str]:
    """Return fingerprint, marker and damage of what is in the marker's place.

    Raises Failure when it cannot be read, or ``.storepoint`` is no directory.
    """
    try:
        os.stat(disk.META, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return NO_MARKER, None, ""
    meta = disk.open_meta(directory)
    try:
        return _seen_in(meta)
    finally:
        os.close(meta)


def _seen_in(meta: int) -> tuple[str, dict[str, Any] | None, str]:
    try:
        status = os.stat(disk.MARKER, dir_fd=meta, follow_symlinks=False)
    except FileNotFoundError:
        return NO_MARKER, None, ""
    # Told apart by what a change of any kind would alter, without reading it: it may
    # be a FIFO, or larger than memory.
    print_ = f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_mode}"
    try:
        # What is understood is what was fingerprinted: it is read once.
        text = disk.read_marker_bytes(meta)
        print_ = f"sha256:{hashlib.sha256(text).hexdigest()}"
        marker = disk.parse_marker(text)
    except Failure as failure:
        if failure.reason is not Reason.MARKER_MISSING:
            raise
        return print_, None, failure.found
    if not isinstance(marker.get("store_point"), str):
        return print_, None, f"{disk.MARKER} names no store point"
    return print_, marker, ""


def _says_the_same(marker: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    """Return whether a marker already says all that matters of the wanted one."""
    return marker is not None and all(
        marker.get(field) == wanted[field]
        for field in ("store_point", "server", "filesystem")
    )


def _created_at(marker: dict[str, Any] | None, store_point: str) -> str:
    """Return when this store point was made, as its own marker says, or now."""
    if marker is not None and marker.get("store_point") == store_point:
        created_at = marker.get("created_at")
        if isinstance(created_at, str):
            return created_at
    return _now()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _marker_of(
    store_point: str,
    name: str,
    server: str,
    volume: VolumeId | None,
    created_at: str,
) -> dict[str, Any]:
    return {
        "store_point": store_point,
        "name": name,
        "server": server,
        "created_at": created_at,
        "filesystem": {
            "fs_type": volume["fs_type"] if volume else "",
            "fs_uuid": volume["fs_uuid"] if volume else "",
        },
    }


def _place_marker(directory: int, marker: dict[str, Any], fingerprint: str) -> None:
    """Put a marker in the place of what has this fingerprint.

    It is there whole or not at all, but for a crash in the moment of writing where
    there are no hard links and no marker was before. Raises FileExistsError when what
    is there is another thing, Failure when that cannot be read, and OSError.
    """
    text = json.dumps(marker, indent=2).encode() + b"\n"
    temporary = f"{disk.MARKER}.{os.getpid()}"
    is_new = False
    with contextlib.suppress(FileExistsError):
        os.mkdir(disk.META, 0o755, dir_fd=directory)
        is_new = True
    meta = os.open(disk.META, disk.DIRECTORY, dir_fd=directory)
    try:
        if is_new:
            with contextlib.suppress(OSError):  # vfat has no modes to set
                os.fchmod(meta, 0o755)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=meta)
        disk.write_file(meta, temporary, text)
        try:
            if fingerprint == NO_MARKER:
                _link_marker(meta, temporary, text)
            else:
                _replace_marker(meta, temporary, fingerprint)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=meta)
        os.fsync(meta)
    finally:
        os.close(meta)
    os.fsync(directory)


def _link_marker(meta: int, temporary: str, text: bytes) -> None:
    try:
        os.link(temporary, disk.MARKER, src_dir_fd=meta, dst_dir_fd=meta)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        disk.write_file(meta, disk.MARKER, text)


def _replace_marker(meta: int, temporary: str, fingerprint: str) -> None:
    # As late as can be: writing may have taken long.
    if _seen_in(meta)[0] != fingerprint:
        raise FileExistsError(errnos.EEXIST, "the marker changed meanwhile")
    microseconds = time.time_ns() // 1000 % 1_000_000
    at = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    old = f"{disk.MARKER}.{at}.{microseconds:06d}Z.old"
    status = os.stat(disk.MARKER, dir_fd=meta, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode) and status.st_size <= disk.MAXIMUM_MARKER_BYTES:
        # Kept under a second name, then replaced: a marker is there at each moment.
        _keep_as(meta, old)
        os.replace(temporary, disk.MARKER, src_dir_fd=meta, dst_dir_fd=meta)
    else:
        # A directory cannot be replaced by a file, and none of these is a marker.
        os.rename(disk.MARKER, old, src_dir_fd=meta, dst_dir_fd=meta)
        os.rename(temporary, disk.MARKER, src_dir_fd=meta, dst_dir_fd=meta)


def _keep_as(meta: int, old: str) -> None:
    try:
        os.link(
            disk.MARKER,
            old,
            src_dir_fd=meta,
            dst_dir_fd=meta,
            follow_symlinks=False,
        )
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        disk.write_file(meta, old, disk.read_marker_bytes(meta))


@contextlib.contextmanager
def _inspected(path: str, table: MountTable, answer: Inspection) -> Iterator[int]:
    """Open a directory that can be adopted, and note what it is. Raises _Problem."""
    directory = _open(_checked(path, table))
    try:
        try:
            _inspect_directory(path, directory, table, answer)
        except OSError as error:
            raise _Problem("io-error", f"{path}: {error.strerror}.") from error
        yield directory
    finally:
        os.close(directory)


def _checked(path: str, table: MountTable) -> str:
    """Return a path, tidied, on which a store point can lie. Raises _Problem."""
    if not path.startswith("/") or "\0" in path:
        raise _Problem("not-absolute", f"{path!r} is not an absolute path.")
    if ".." in path.split("/"):
        raise _Problem("not-absolute", f"{path!r} contains '..': name it directly.")
    path = tidy_path(path)
    mount = table.covering(path)
    if mount is not None and volumes.is_pseudo(mount):
        raise _pseudo(path, mount.fs_type)
    return path


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
    mount = _note_volume(path, directory, table, answer)
    _look_for_marker(path, directory, answer)
    if mount.is_read_only or os.fstatvfs(directory).f_flag & os.ST_RDONLY:
        raise _read_only(path)
    _try_writing(path, directory)


def _note_volume(
    path: str, directory: int, table: MountTable, answer: Inspection | Look
) -> Mount:
    """Note on which volume an open directory lies, and its space; return its mount."""
    try:
        mount = table.by_id.get(disk.mount_id(directory))
        if mount is None:
            raise _Problem("io-error", f"The volume of {path} was just unmounted.")
        if volumes.is_pseudo(mount):
            raise _pseudo(path, mount.fs_type)
        statvfs = os.fstatvfs(directory)
        answer["volume"] = volumes.identify(directory, mount, table, statvfs)
        answer["space"] = volumes.space_of(statvfs)
    except OSError as error:
        raise _Problem("io-error", f"{path}: {error.strerror}.") from error
    return mount


def _read_only(path: str) -> _Problem:
    return _Problem("read-only", f"The volume of {path} is read-only.")


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
