"""What was written below a store point's path while its volume was not mounted.

Such data lies on the filesystem underneath, fills it, and is out of sight as soon as
the volume is mounted again. It is measured after the verdict is out, by a task that
nobody waits for. Whoever writes there may be hostile: directories are opened one below
the other without following links, other mounts are not entered, and the time, the
number of entries and the depth are bounded.
"""

from __future__ import annotations

import errno as errnos
import os
import stat
import time
from typing import TYPE_CHECKING

from storepoints.agent import disk
from storepoints.agent.messages import FallThrough

if TYPE_CHECKING:
    from storepoints.agent.messages import Spec
    from storepoints.agent.mounts import Mount, MountTable

#: Filesystems that answer without another machine or a program that may be dead.
LOCAL = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs"),
        *("reiserfs", "nilfs2", "vfat", "exfat", "ntfs3", "tmpfs", "ramfs", "rootfs"),
        *("overlay", "squashfs", "erofs", "iso9660"),
    }
)

#: A measure ends after this, and says that it is not complete.
MEASURE_SECONDS = 2.0
MAXIMUM_ENTRIES = 100_000
#: Each level costs an open file, and eight measures may run at once.
MAXIMUM_DEPTH = 32
#: It is measured again after this, and after so many times what it took.
PAUSE_SECONDS = 30.0
PAUSE_TIMES = 20

#: The master's estimate of this clock is a little off. Nothing can have been written
#: below a mounted volume in the moment before it was last found well.
SLACK_SECONDS = 2.0

#: What becomes of a name that somebody removes or replaces while it is looked at.
_GONE = frozenset({errnos.ENOENT, errnos.ENOTDIR, errnos.ELOOP})


def covering_below(spec: Spec, table: MountTable) -> Mount | None:
    """Return the local mount that the path falls through to.

    None when the volume is mounted, or when what lies there might hang.
    """
    if spec.volume is None or table.at(spec.volume["mount_point"]) is not None:
        return None
    below = table.covering(spec.path)
    return below if below is not None and below.fs_type in LOCAL else None


def measure(
    path: str,
    table: MountTable,
    *,
    since: float | None,
    seconds: float = MEASURE_SECONDS,
    entries: int = MAXIMUM_ENTRIES,
) -> FallThrough | None:
    """Return what was written below a path since an instant in epoch seconds.

    None when the path does not lie on the mount that the table says: something was
    mounted meanwhile.
    """
    measured = _Measure(table, since, time.monotonic() + seconds, entries)
    try:
        directory = disk.open_directory(path)
    except FileNotFoundError:
        return measured.result()
    except OSError:
        measured.is_complete = False
        return measured.result()
    try:
        below = table.covering(path)
        measured.mount = disk.mount_id(directory)
        if below is None or measured.mount != below.id:
            return None
        measured.walk(directory, path, MAXIMUM_DEPTH)
    except OSError as error:
        measured.could_not(error)
    finally:
        os.close(directory)
    return measured.result()


class _Measure:
    """The sums of one walk, and how much of its allowance is left."""

    def __init__(
        self, table: MountTable, since: float | None, until: float, entries: int
    ) -> None:
        self.mount = -1
        self._mount_points = {mount.mount_point for mount in table.by_id.values()}
        self._since = -1.0 if since is None else since - SLACK_SECONDS
        self._until = until
        self._entries_left = entries
        self._linked: set[tuple[int, int]] = set()
        self._bytes = self._files = 0
        self._newest: float | None = None
        self.is_complete = True

    def result(self) -> FallThrough:
        return FallThrough(
            bytes=self._bytes,
            files=self._files,
            newest_at=self._newest,
            is_complete=self.is_complete,
        )

    def could_not(self, error: OSError) -> None:
        """Take note of something that could not be looked at."""
        if error.errno not in _GONE:
            self.is_complete = False

    def walk(self, directory: int, path: str, depth: int) -> None:
        """Count what an open directory holds, then what lies further below."""
        below = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if not self._may_go_on():
                    return
                try:
                    # Of the open directory: the path may be somebody else's by now.
                    status = os.stat(
                        entry.name, dir_fd=directory, follow_symlinks=False
                    )
                except OSError as error:
                    self.could_not(error)
                    continue
                if stat.S_ISDIR(status.st_mode):
                    below.append(entry.name)
                else:
                    self._count(status)
        if below and depth == 1:
            self.is_complete = False
            return
        for name in below:
            if not self._may_go_on():
                return
            self._enter(directory, name, f"{path}/{name}", depth - 1)

    def _enter(self, above: int, name: str, path: str, depth: int) -> None:
        # Left alone by what the table says, and not only by where one arrives: to
        # open a dead mount hangs, and to open an automount point mounts something.
        if path in self._mount_points:
            return
        try:
            directory = os.open(name, disk.DIRECTORY, dir_fd=above)
        except OSError as error:
            self.could_not(error)
            return
        try:
            if disk.mount_id(directory) == self.mount:
                self.walk(directory, path, depth)
        except OSError as error:
            self.could_not(error)
        finally:
            os.close(directory)

    def _may_go_on(self) -> bool:
        self._entries_left -= 1
        if self._entries_left < 0 or time.monotonic() >= self._until:
            self.is_complete = False
            return False
        return True

    def _count(self, status: os.stat_result) -> None:
        # The time of the inode's change is what counts: a copy gives its files the
        # old times of modification (rsync -a, tar), and nobody can set this one back.
        # Some filesystems keep the time of creation in its place, hence the later.
        written_at = max(status.st_ctime, status.st_mtime)
        if written_at < self._since:
            return
        if status.st_nlink > 1:
            inode = status.st_dev, status.st_ino
            if inode in self._linked:
                return
            self._linked.add(inode)
        self._files += 1
        # What it takes, and not how long it is: a file may have holes.
        self._bytes += status.st_blocks * 512
        # A time of modification may be set to any year.
        written_at = min(written_at, time.time())
        self._newest = max(self._newest or 0.0, written_at)
