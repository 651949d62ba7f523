"""What the probe does on a store point's own filesystem, relative to open directories.

Nothing here follows a symbolic link in place of what it looks for, and nothing blocks
on a FIFO that somebody put there. Whoever can write into a store point can put there
what they like, and the agent runs as root.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno as errnos
import json
import os
import stat
from pathlib import Path
from typing import Any, Protocol

from storepoints.states import Reason

META = ".storepoint"
MARKER = "identity.json"
INBOUND = "inbound"
PENDING = "inbound.pending"
PROBE = "probe"

#: A marker takes about 300 bytes; more than this is something else.
MAXIMUM_MARKER_BYTES = 64 * 1024
PROBE_BYTES = 4096

#: How a directory is opened: what else stands there, a link included, is refused.
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFREG: "a file",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFDIR: "a directory",
}


class Step(Protocol):
    """Where the name of the system call that runs now is noted."""

    call: str


class Failure(Exception):
    """A layer that failed: the reason, what was expected and what was found."""

    def __init__(
        self,
        reason: Reason,
        expected: str = "",
        error: OSError | None = None,
        *,
        found: str = "",
        errno: str = "",
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.expected = expected
        self.errno = errno or errno_name(error)
        self.found = found or (os.strerror(error.errno or 0) if error else "")


def errno_name(error: OSError | None) -> str:
    """Return the symbolic name of an error: ``EIO``."""
    if error is None or not error.errno:
        return ""
    return errnos.errorcode.get(error.errno, str(error.errno))


def open_directory(path: str) -> int:
    """Return a descriptor of a directory; a symbolic link in its place is refused.

    A path longer than the kernel takes at once (4,095 bytes) is opened in pieces.
    Raises OSError.
    """
    try:
        return os.open(path, DIRECTORY)
    except OSError as error:
        if error.errno != errnos.ENAMETOOLONG:
            raise
        parts = os.fsencode(path).split(b"/")[1:]
        if any(len(part) > 255 for part in parts):
            raise
    here = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while len(parts) > 15:
            piece, parts = b"/".join(parts[:15]), parts[15:]
            below = os.open(
                piece, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here
            )
            os.close(here)
            here = below
        return os.open(b"/".join(parts), DIRECTORY, dir_fd=here)
    finally:
        os.close(here)


def what_stands_at(path: str, error: OSError) -> str:
    """Return what is at a path that is not a directory, in words."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return f"a symbolic link to {Path(path).readlink()}"
    except OSError as second:
        if second.errno == errnos.ELOOP:
            return "a loop of symbolic links on the way"
        if second.errno == errnos.ENOTDIR:
            return "something on the way is not a directory"
        return os.strerror(error.errno or 0)
    return kind_of(mode)


def kind_of(mode: int) -> str:
    """Return the kind of a file in words: ``a FIFO``."""
    return _KINDS.get(stat.S_IFMT(mode), "something else")


_libc = ctypes.CDLL(None, use_errno=True)
_AT_EMPTY_PATH = 0x1000
_STATX_MNT_ID = 0x1000


class _Statx(ctypes.Structure):
    """What is of interest here in ``struct statx`` of ``include/uapi/linux/stat.h``."""

    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("before", ctypes.c_uint8 * 140),
        ("mount_id", ctypes.c_uint64),
        ("after", ctypes.c_uint8 * 104),
    )


_statx = getattr(_libc, "statx", None)
if _statx is not None:
    _statx.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    )


def mount_id(descriptor: int) -> int:
    """Return the id of the mount that an open file was reached through.

    ``statx`` tells it since Linux 5.8; before, the kernel's ``fdinfo`` does. Raises
    OSError.
    """
    if _statx is not None:
        found = _Statx()
        asked = ctypes.byref(found)
        if _statx(descriptor, b"", _AT_EMPTY_PATH, _STATX_MNT_ID, asked) != 0:
            number = ctypes.get_errno()
            if number not in (errnos.ENOSYS, errnos.EINVAL):
                raise OSError(number, os.strerror(number))
        elif found.mask & _STATX_MNT_ID:
            return int(found.mount_id)
    with Path(f"/proc/self/fdinfo/{descriptor}").open(encoding="ascii") as lines:
        for line in lines:
            if line.startswith("mnt_id:"):
                return int(line[7:])
    return -1


def open_meta(directory: int) -> int:
    """Return a descriptor of ``.storepoint`` in a store point's directory.

    Raises Failure: the probe never makes it.
    """
    try:
        return os.open(META, DIRECTORY, dir_fd=directory)
    except OSError as error:
        raise _marker_failure(META, directory, error) from error


def read_marker(meta: int) -> dict[str, Any]:
    """Return what the identity marker says. Raises Failure."""
    return parse_marker(read_marker_bytes(meta))


def read_marker_bytes(meta: int) -> bytes:
    """Return the identity marker as it stands on the disk. Raises Failure."""
    try:
        descriptor = os.open(MARKER, _FILE, dir_fd=meta)
    except OSError as error:
        raise _marker_failure(MARKER, meta, error) from error
    try:
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _no_marker(f"{MARKER} is {kind_of(status.st_mode)}")
            if status.st_size > MAXIMUM_MARKER_BYTES:
                raise _no_marker(f"{MARKER} has {status.st_size} bytes")
            text = os.read(descriptor, status.st_size + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Failure(Reason.IO_ERROR, "an identity marker", error) from error
    return text


def parse_marker(text: bytes) -> dict[str, Any]:
    """Return what the bytes of a marker say. Raises Failure."""
    if not text.strip():
        raise _no_marker(f"{MARKER} is empty")
    try:
        marker = json.loads(text)
    except (ValueError, RecursionError):
        raise _no_marker(f"{MARKER} is not JSON") from None
    if not isinstance(marker, dict):
        raise _no_marker(f"{MARKER} is not a JSON object")
    return marker


def _no_marker(found: str, error: OSError | None = None) -> Failure:
    return Failure(Reason.MARKER_MISSING, "an identity marker", error, found=found)


def _marker_failure(name: str, directory: int, error: OSError) -> Failure:
    if error.errno == errnos.ENOENT:
        return _no_marker(f"{name} is missing", error)
    if error.errno in (errnos.ENOTDIR, errnos.ELOOP, errnos.ENXIO):
        kind = "something else"
        with contextlib.suppress(OSError):
            mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            kind = kind_of(mode)
        return _no_marker(f"{name} is {kind}", error)
    if error.errno in (errnos.EACCES, errnos.EPERM):
        reason = Reason.PERMISSION_DENIED
    else:
        reason = Reason.IO_ERROR
    return Failure(
        reason,
        "an identity marker",
        error,
        found=f"{name}: {os.strerror(error.errno or 0)}",
    )


def write_and_read_back(meta: int, directory: int, step: Step) -> None:
    """Write a file, flush it to disk, read it back and remove it. Raises Failure.

    The file is removed whatever happens. Its bytes are new each time, so that an old
    block which comes back in place of the new one is noticed.
    """
    fresh = os.urandom(32) * (PROBE_BYTES // 32)
    step.call = "open for writing"
    try:
        descriptor = _create(meta, step)
    except OSError as error:
        call = "unlink" if step.call == "unlink" else "open"
        raise write_failure(error, directory, call) from error
    try:
        try:
            step.call = "write"
            written = os.write(descriptor, fresh)
            if written < PROBE_BYTES:
                os.write(descriptor, fresh[written:])
            step.call = "fsync"
            os.fsync(descriptor)
            # Without this the bytes would come back from memory.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            step.call = "read"
            back = os.pread(descriptor, PROBE_BYTES + 1, 0)
            # NFS tells only here what it could not write.
            step.call = "close"
        finally:
            os.close(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(PROBE, dir_fd=meta)
        raise write_failure(error, directory, step.call) from error
    step.call = "unlink"
    try:
        os.unlink(PROBE, dir_fd=meta)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise write_failure(error, directory, "unlink") from error
    if back != fresh:
        raise Failure(
            Reason.IO_ERROR,
            f"the {PROBE_BYTES} bytes that were written",
            found=f"read back other bytes ({len(back)})",
        )


def _create(meta: int, step: Step) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(PROBE, flags, 0o600, dir_fd=meta)
    except FileExistsError:
        # A prober that was killed left it, or somebody else put it there: a link to
        # another file must not be written through, so it is removed, never opened.
        step.call = "unlink"
        os.unlink(PROBE, dir_fd=meta)
        step.call = "open for writing"
        return os.open(PROBE, flags, 0o600, dir_fd=meta)


def write_failure(error: OSError, directory: int, call: str) -> Failure:
    """Return the failure of a write, telling a full volume from one without inodes."""
    found = f"{call}: {os.strerror(error.errno or 0)}"
    reason = Reason.IO_ERROR
    if error.errno in (errnos.EACCES, errnos.EPERM):
        reason = Reason.PERMISSION_DENIED
    elif error.errno == errnos.EROFS:
        reason = Reason.READ_ONLY
    elif error.errno == errnos.EDQUOT:
        reason = Reason.FULL
    elif error.errno == errnos.ENOSPC:
        reason = Reason.FULL
        with contextlib.suppress(OSError):
            space = os.fstatvfs(directory)
            has_no_inodes = space.f_files > 0 and space.f_ffree == 0
            if has_no_inodes and (space.f_bfree > 0 and call == "open"):
                reason = Reason.NO_INODES
    return Failure(reason, f"{PROBE_BYTES} bytes written", error, found=found)


def write_file(directory: int, name: str, text: bytes) -> None:
    """Write a file that is not there yet, whole, for everybody to read, and flush it.

    Raises OSError; then nothing is left of it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=directory)
    try:
        try:
            with contextlib.suppress(OSError):  # vfat has no modes to set
                os.fchmod(descriptor, 0o644)
            rest = memoryview(text)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory)
        raise


def read_inbound(meta: int) -> str | None:
    """Return what the inbound file says: enabled, disabled or None for nothing."""
    try:
        descriptor = os.open(INBOUND, _FILE, dir_fd=meta)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 64)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    word = text.strip().decode("ascii", "replace")
    return word if word in ("enabled", "disabled") else None
