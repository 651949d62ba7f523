"""The archives in a store point, and which of them have not changed for long.

An archive is a directory directly inside the store point: not a hidden one (the
identity marker's is hidden), not ``lost+found``, not a symbolic link, and not a place
where something else is mounted.

When an archive changed is the newest time of modification of the directory itself and
of its direct entries: every backup program that makes archives writes something there
(a snapshot, an index, a lock) when it backs up. What lies deeper is not looked at,
because that would be millions of files. A program that changes files far below and
nothing above looks stale here; its store point's kinds can be switched off.

The entries of an archive are read only if the directory itself is stale, and only until
one is found that is not. So the usual cost is one call per archive.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from storepoints.agent import disk
from storepoints.agent.messages import Archives, StaleArchive
from storepoints.archives import CRITICAL_DAYS, DAY_SECONDS, NAMED, WARNING_DAYS

if TYPE_CHECKING:
    from storepoints.agent.mounts import MountTable

#: A look ends after this, and says that it is not complete.
LOOK_SECONDS = 10.0
MAXIMUM_ENTRIES = 20_000
#: They are looked at again after this, and after so many times what it took.
PAUSE_SECONDS = 3600.0
PAUSE_TIMES = 100
#: What was found rides in so many findings: one of them may be lost.
TOLD_TIMES = 3

NOT_ARCHIVES = frozenset({"lost+found"})


def look(
    path: str,
    table: MountTable,
    *,
    warning_days: int = WARNING_DAYS,
    critical_days: int = CRITICAL_DAYS,
    seconds: float = LOOK_SECONDS,
    entries: int = MAXIMUM_ENTRIES,
) -> Archives | None:
    """Return what is known of the archives in a store point; None when not readable."""
    try:
        directory = disk.open_directory(path)
    except OSError:
        return None
    try:
        below = table.covering(path)
        if below is None or disk.mount_id(directory) != below.id:
            return None
        look = _Look(path, table, time.monotonic() + seconds, entries)
        return look.look(directory, warning_days, critical_days)
    except OSError:
        return None
    finally:
        os.close(directory)


class _Look:
    """One look: what was counted, and how much of its allowance is left."""

    def __init__(
        self, path: str, table: MountTable, until: float, entries: int
    ) -> None:
        self._path = path
        self._mount_points = {mount.mount_point for mount in table.by_id.values()}
        self._until = until
        self._entries_left = entries
        self._now = time.time()
        self._fresh_since = self._now
        self._is_complete = True

    def look(self, directory: int, warning_days: int, critical_days: int) -> Archives:
        """Count the archives, then look into those that seem stale."""
        self._fresh_since = self._now - warning_days * DAY_SECONDS
        found = self._list(directory)
        newest = max((changed for _, changed in found), default=None)
        stale: list[StaleArchive] = []
        for name, changed in found:
            if changed >= self._fresh_since:
                continue
            inside = self._newest_inside(directory, name)
            if inside is None:
                # Nothing is claimed of one that could not be looked into.
                self._is_complete = False
                continue
            changed_at = max(changed, inside)
            newest = max(newest or 0.0, changed_at)
            if changed_at < self._fresh_since:
                stale.append({"name": name, "changed_at": changed_at})
        stale.sort(key=lambda each: each["changed_at"])
        limit = self._now - critical_days * DAY_SECONDS
        return {
            "at": self._now,
            "count": len(found),
            "newest_at": newest,
            "warning": len(stale),
            "critical": sum(each["changed_at"] < limit for each in stale),
            "warning_days": warning_days,
            "critical_days": critical_days,
            "oldest": stale[:NAMED],
            "is_complete": self._is_complete,
        }

    def _list(self, directory: int) -> list[tuple[str, float]]:
        found = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if not self._may_go_on():
                    self._is_complete = False
                    break
                name = entry.name
                if name.startswith(".") or name in NOT_ARCHIVES:
                    continue
                # A dead mount hangs, and an automount point mounts something.
                if not entry.is_dir(follow_symlinks=False) or (
                    f"{self._path}/{name}" in self._mount_points
                ):
                    continue
                changed = self._changed(directory, name)
                if changed is not None:
                    found.append((name, changed))
        return found

    def _changed(self, directory: int, name: str) -> float | None:
        try:
            # Of the open directory: the path may be somebody else's by now.
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return None
        # A time of modification may be set to any year.
        return max(0.0, min(status.st_mtime, self._now))

    def _newest_inside(self, directory: int, name: str) -> float | None:
        """Return the newest change of the direct entries; None when not all were seen.

        Ends at the first that is not stale.
        """
        try:
            inside = os.open(name, disk.DIRECTORY, dir_fd=directory)
        except OSError:
            return None
        newest = 0.0
        try:
            with os.scandir(inside) as entries:
                for entry in entries:
                    if not self._may_go_on():
                        return None
                    newest = max(newest, self._changed(inside, entry.name) or 0.0)
                    if newest >= self._fresh_since:
                        break
        except OSError:
            return None
        finally:
            os.close(inside)
        return newest

    def _may_go_on(self) -> bool:
        self._entries_left -= 1
        return self._entries_left >= 0 and time.monotonic() < self._until
