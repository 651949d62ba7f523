"""A filesystem that fails as it is told to: a directory, shown through FUSE.

    python faulty.py DIRECTORY PLACE ORDERS

ORDERS is a file of JSON that is read at every call: what becomes of which call, by its
name and its file's (``read probe``), by its name (``read``), or ``*`` for all.
``"EIO"`` lets it fail so, ``"hangs"`` holds it until the order is withdrawn, a number
makes it take so many seconds longer, ``"other bytes"`` answers a read with bytes that
were never written. No file, no faults.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import mfusepy

_STAT = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino", "st_blocks")
_TIMES = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")
_SPACE = (
    *("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail"),
    *("f_files", "f_ffree", "f_favail", "f_namemax"),
)


class Faulty(mfusepy.Operations):
    """Passes every call on to a directory, unless it is told what to do instead."""

    use_ns = True

    def __init__(self, directory: Path, orders: Path) -> None:
        self._directory = directory
        self._orders = orders

    def _real(self, path: str) -> Path:
        return self._directory / path[1:]

    def _obey(self, call: str, path: str) -> None:
        while (order := self._order(call, path)) == "hangs":
            time.sleep(0.01)
        if isinstance(order, float | int):
            time.sleep(order)
        elif order.startswith("E"):
            number = getattr(errno, order)
            raise OSError(number, os.strerror(number))

    def _order(self, call: str, path: str) -> Any:
        try:
            orders = json.loads(self._orders.read_bytes())
        except FileNotFoundError:
            return ""
        names = (f"{call} {Path(path).name}", call, "*")
        return next((orders[name] for name in names if name in orders), "")

    # Directories.

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        self._obey("getattr", path)
        status = os.lstat(self._real(path))
        times = {name.removesuffix("_ns"): getattr(status, name) for name in _TIMES}
        return {**{name: getattr(status, name) for name in _STAT}, **times}

    def opendir(self, path: str) -> int:
        self._obey("opendir", path)
        return 0

    def readdir(self, path: str, fh: int) -> list[str]:
        self._obey("readdir", path)
        return [".", "..", *(each.name for each in self._real(path).iterdir())]

    def mkdir(self, path: str, mode: int) -> int:
        self._obey("mkdir", path)
        self._real(path).mkdir(mode)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._obey("fsyncdir", path)
        return 0

    def link(self, target: str, source: str) -> int:
        self._obey("link", target)
        os.link(self._real(source), self._real(target))
        return 0

    def rename(self, old: str, new: str) -> int:
        self._obey("rename", new)
        self._real(old).rename(self._real(new))
        return 0

    def unlink(self, path: str) -> int:
        self._obey("unlink", path)
        self._real(path).unlink()
        return 0

    def rmdir(self, path: str) -> int:
        self._obey("rmdir", path)
        self._real(path).rmdir()
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        self._obey("statfs", path)
        space = os.statvfs(self._real(path))
        return {name: getattr(space, name) for name in _SPACE}

    # Files.

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self._obey("create", path)
        return os.open(self._real(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path: str, flags: int) -> int:
        self._obey("open", path)
        return os.open(self._real(path), flags & ~os.O_NOFOLLOW)

    def chmod(self, path: str, mode: int) -> int:
        self._obey("chmod", path)
        self._real(path).chmod(mode)
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._obey("truncate", path)
        os.truncate(self._real(path), length)
        return 0

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._obey("write", path)
        return os.pwrite(fh, data, offset)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._obey("read", path)
        data = os.pread(fh, size, offset)
        return data[::-1] if self._order("read", path) == "other bytes" else data

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._obey("fsync", path)
        os.fsync(fh)
        return 0

    def flush(self, path: str, fh: int) -> int:
        self._obey("flush", path)
        return 0

    def release(self, path: str, fh: int) -> int:
        self._obey("release", path)
        os.close(fh)
        return 0


if __name__ == "__main__":
    directory, place, orders = sys.argv[1:]
    mfusepy.FUSE(
        Faulty(Path(directory), Path(orders)),
        place,
        foreground=True,
        fsname="faulty",
        subtype="faulty",
        allow_other=True,
        default_permissions=True,
        # Every call comes here: nothing is answered out of the kernel's memory.
        attr_timeout=0,
        entry_timeout=0,
    )
