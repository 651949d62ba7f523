"""The kernel's mount table: what is mounted where, read from ``/proc/self/mountinfo``.

The table is the one source that answers without touching a filesystem, so it is asked
before any path is. Format: ``Documentation/filesystems/proc.rst``, section 3.5.
"""

from __future__ import annotations

import os
import re
import select
import threading
from dataclasses import dataclass, field

MOUNTINFO = "/proc/self/mountinfo"

_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table; ``device`` is ``major:minor``."""

    id: int
    parent: int
    device: str
    root: str
    mount_point: str
    options: str
    fs_type: str
    source: str
    super_options: str
    is_read_only: bool

    def described(self) -> str:
        """Return the mount in words: ``/dev/sdb1 (ext4) mounted at /srv/a``."""
        return f"{self.source} ({self.fs_type}) mounted at {self.mount_point}"


def _text(raw: bytes) -> str:
    if b"\\" in raw:
        raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), raw)
    return os.fsdecode(raw)


def parse_line(line: bytes) -> Mount:
    """Return the mount that one line of mountinfo describes.

    Raises ValueError when the line has not the fields that the kernel writes.
    """
    fields = line.split(b" ")
    end = fields.index(b"-", 6)
    options = fields[5].decode("ascii", "replace")
    # The source may be the empty text, which leaves two spaces side by side.
    fs_type, source, super_options = (
        fields[end + 1],
        fields[end + 2],
        fields[end + 3].decode("utf-8", "surrogateescape"),
    )
    return Mount(
        id=int(fields[0]),
        parent=int(fields[1]),
        device=fields[2].decode("ascii", "replace"),
        root=_text(fields[3]),
        mount_point=_text(fields[4]),
        options=options,
        fs_type=_text(fs_type),
        source=_text(source),
        super_options=super_options,
        is_read_only="ro" in options.split(",") or "ro" in super_options.split(","),
    )


@dataclass(slots=True)
class MountTable:
    """One snapshot of the mount table; never changed once it is made."""

    lines: dict[bytes, Mount]
    by_id: dict[int, Mount] = field(init=False)
    _below: dict[tuple[int, str], Mount] = field(init=False)
    _covering: dict[str, Mount | None] = field(init=False)
    #: Answers that hold as long as this snapshot does (see volumes.py).
    cache: dict[str, dict[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.cache = {}
        self._covering = {}
        self.by_id = {mount.id: mount for mount in self.lines.values()}
        self._below = {}
        for mount in self.lines.values():
            # A mount whose parent is out of sight, like the root of a container,
            # hangs under 0; the root of a namespace may be its own parent.
            known = mount.parent in self.by_id and mount.parent != mount.id
            self._below[mount.parent if known else 0, mount.mount_point] = mount

    def covering(self, path: str) -> Mount | None:
        """Return the mount that a path lies on, as far as its text can tell.

        It walks from the root as the kernel does, so that of several mounts on one
        directory the last wins, and what is mounted over an ancestor hides all below.
        What was found is kept as long as the snapshot: it follows from nothing else.
        """
        try:
            return self._covering[path]
        except KeyError:
            found = self._covering[path] = self._walk(path)
            return found

    def _walk(self, path: str) -> Mount | None:
        below = self._below
        mount: Mount | None = None
        here = 0
        position = 0
        while True:
            prefix = path[:position] or "/"
            found = below.get((here, prefix))
            while found is not None:
                mount, here = found, found.id
                found = below.get((here, prefix))
            if position >= len(path) or path == "/":
                return mount
            position = path.find("/", position + 1)
            if position < 0:
                position = len(path)

    def at(self, mount_point: str) -> Mount | None:
        """Return the mount that is in sight at exactly this directory, if any."""
        mount = self.covering(mount_point)
        if mount is not None and mount.mount_point == mount_point:
            return mount
        return None


def parse(text: bytes, before: MountTable | None = None) -> MountTable:
    """Return the table in the text of mountinfo.

    Lines that also stood in the table ``before`` are not parsed again, so that a storm
    of mounts on a machine with thousands of them costs little. A line that cannot be
    understood is left out: it must not hide the others.
    """
    known = before.lines if before is not None else {}
    lines: dict[bytes, Mount] = {}
    for line in text.split(b"\n"):
        mount = known.get(line)
        if mount is None and line:
            try:
                mount = parse_line(line)
            except (ValueError, IndexError):
                continue
        if mount is not None:
            lines[line] = mount
    return MountTable(lines)


class Mounts:
    """The current mount table, read again only when the kernel says it changed."""

    def __init__(self, source: str = MOUNTINFO) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLPRI)
        self._table = parse(self._read())

    def current(self) -> MountTable:
        """Return the table as it is now; costs one system call when it is the same."""
        with self._lock:
            if self._poll.poll(0):
                self._table = parse(self._read(), self._table)
            return self._table

    def refreshed(self) -> MountTable:
        """Return the table after reading it whatever the kernel says.

        A filesystem that turns itself read-only after an error changes the table
        without a word to those who wait for changes.
        """
        with self._lock:
            # Asked before it is read: a change in between is then told next time.
            self._poll.poll(0)
            table = parse(self._read(), self._table)
            if table.lines.keys() != self._table.lines.keys():
                self._table = table
            return self._table

    def wait(self, timeout_seconds: float | None) -> bool:
        """Wait until the table changes; return False when the time is over.

        Only one thread may wait, with its own ``Mounts``: the kernel tells each open
        file once.
        """
        milliseconds = None if timeout_seconds is None else int(timeout_seconds * 1000)
        return bool(self._poll.poll(milliseconds))

    def read(self) -> MountTable:
        """Return the table, read just now, and remember it."""
        with self._lock:
            self._table = parse(self._read(), self._table)
            return self._table

    def close(self) -> None:
        """Close the kernel's file."""
        os.close(self._descriptor)

    def _read(self) -> bytes:
        # The kernel hands out a page at a time, so a long table can be torn by a
        # change in the middle; the same change makes the next poll report it.
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._descriptor, 1 << 20):
            parts.append(part)
        return b"".join(parts)
