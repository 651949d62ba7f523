"""The kernel's mount table: what is mounted where, read from ``/proc/self/mountinfo``.

The table is the one source that answers without touching a filesystem, so it is asked
before any path is. Format: ``Documentation/filesystems/proc.rst``, section 3.5.
"""

from __future__ import annotations

import os
import re
import select
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from storepoints.agent.mount_ids import MountIds

MOUNTINFO = "/proc/self/mountinfo"

#: How a superblock says that nothing can be written. On newer kernels an ext4 that
#: stopped after an error is ``rw,emergency_ro``.
_READ_ONLY = frozenset({"ro", "emergency_ro"})

#: For a kernel that has no unique ids.
_NO_IDS: Mapping[int, int] = MappingProxyType({})

_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table; ``device`` is ``major:minor``.

    ``unique_id`` is 0 where the kernel has none, or did not tell it any more.
    """

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
    unique_id: int = 0

    def described(self) -> str:
        """Return the mount in words: ``/dev/sdb1 (ext4) mounted at /srv/a``."""
        return f"{self.source} ({self.fs_type}) mounted at {self.mount_point}"


def _text(raw: bytes) -> str:
    if b"\\" in raw:
        raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), raw)
    return os.fsdecode(raw)


def parse_line(line: bytes, ids: Mapping[int, int] = _NO_IDS) -> Mount:
    """Return the mount that one line of mountinfo describes.

    ``ids`` are the unique ids by those of the table. Raises ValueError when the line
    has not the fields that the kernel writes.
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
    number = int(fields[0])
    return Mount(
        id=number,
        parent=int(fields[1]),
        device=fields[2].decode("ascii", "replace"),
        root=_text(fields[3]),
        mount_point=_text(fields[4]),
        options=options,
        fs_type=_text(fs_type),
        source=_text(source),
        super_options=super_options,
        is_read_only="ro" in options.split(",")
        or not _READ_ONLY.isdisjoint(super_options.split(",")),
        unique_id=ids.get(number, 0),
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
        What was found is kept as long as the snapshot, also for the directory above:
        thousands of store points lie side by side.
        """
        known = self._covering
        if path in known:
            return known[path]
        way = [path]
        while (here := way[-1]) != "/":
            here = here[: max(here.rfind("/"), 0)] or "/"
            if here in known:
                break
            way.append(here)
        mount = known.get(here)
        while way:
            place = way.pop()
            number = mount.id if mount is not None else 0
            while (found := self._below.get((number, place))) is not None:
                mount, number = found, found.id
            if len(way) < 2:
                known[place] = mount
        return mount

    def unlike(self, other: MountTable) -> list[Mount]:
        """Return the mounts that only one of two tables has, read one after the other.

        One that is another by the same name is in both, and is returned twice.
        """
        return [
            mount
            for ours, theirs in ((other.lines, self.lines), (self.lines, other.lines))
            for line, mount in ours.items()
            if theirs.get(line) is not mount
        ]

    def at(self, mount_point: str) -> Mount | None:
        """Return the mount that is in sight at exactly this directory, if any."""
        mount = self.covering(mount_point)
        if mount is not None and mount.mount_point == mount_point:
            return mount
        return None


def parse(
    text: bytes,
    before: MountTable | None = None,
    ids: Mapping[int, int] = _NO_IDS,
) -> MountTable:
    """Return the table in the text of mountinfo.

    Mounts that were also in the table ``before`` are not parsed again, so that a storm
    of mounts on a machine with thousands of them costs little. A line that cannot be
    understood is left out: it must not hide the others.

    A line that reads as before is another mount when its unique id is another one.
    Without ids, it is when it stands behind one that it stood before: the kernel lists
    mounts in the order in which they were made.
    """
    known = before.lines if before is not None else {}
    # Asking for a line passes all before it.
    in_order = iter(known)
    lines: dict[bytes, Mount] = {}
    for line in text.split(b"\n"):
        mount = known.get(line)
        if mount is not None and not (
            mount.unique_id == ids.get(mount.id, 0) if ids else line in in_order
        ):
            mount = None
        if mount is None and line:
            try:
                mount = parse_line(line, ids)
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
        # What is mounted here tells nothing of a table that lies elsewhere.
        self._ids = MountIds() if source == MOUNTINFO else None
        self._has_ids = False
        self._table = self._read()

    def current(self) -> MountTable:
        """Return the table as it is now; costs one system call when it is the same."""
        with self._lock:
            if self._poll.poll(0):
                self._table = self._changed()
            return self._table

    def refreshed(self) -> MountTable:
        """Return the table after reading it whatever the kernel says.

        A filesystem that turns itself read-only after an error changes the table
        without a word to those who wait for changes.
        """
        with self._lock:
            # Asked before it is read: a change in between is then told next time.
            if self._poll.poll(0):
                self._table = self._changed()
            else:
                self._table = self._read(self._table)
            return self._table

    def wait(self, timeout_seconds: float | None) -> bool:
        """Wait until the table changes; return False when the time is over.

        Only one thread may wait, with its own ``Mounts``: the kernel tells each open
        file once.
        """
        milliseconds = None if timeout_seconds is None else int(timeout_seconds * 1000)
        return bool(self._poll.poll(milliseconds))

    def read(self) -> MountTable:
        """Return the table, read just now, and remember it.

        For who waits: what changed did so a moment ago.
        """
        with self._lock:
            self._table = self._changed(is_fresh=True)
            return self._table

    def _changed(self, *, is_fresh: bool = False) -> MountTable:
        """Return the table after a change that the kernel told of.

        Where it reads as before and there are no ids to tell by, something may have been
        unmounted and be back, or be another thing by the same name: then nothing in it is
        what it was. If that took but a moment, it is the mount that was made last.
        """
        before = self._table
        table = self._read(before)
        if table is not before or self._has_ids:
            return table
        kept = list(before.lines.items())[:-1] if is_fresh else []
        return parse(b"\n".join(before.lines), MountTable(dict(kept)))

    def close(self) -> None:
        """Close the kernel's file."""
        os.close(self._descriptor)

    def _read(self, before: MountTable | None = None) -> MountTable:
        """Return the table as it reads now: the one before when that still holds."""
        text = self._text()
        # Asked after the text is read. A mount that came in between is told of next
        # time, and till then its id makes the line that it has taken over a new one.
        ids = self._ids.current() if self._ids is not None else _NO_IDS
        self._has_ids = bool(ids)
        table = parse(text, before, ids)
        return before if before is not None and not table.unlike(before) else table

    def _text(self) -> bytes:
        # The kernel hands out a page at a time, so a long table can be torn by a
        # change in the middle; the same change makes the next poll report it.
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._descriptor, 1 << 20):
            parts.append(part)
        return b"".join(parts)
