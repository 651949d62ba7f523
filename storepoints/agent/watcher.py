"""Watching the mount table, and telling which store points a change concerns."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from storepoints.agent.mounts import Mounts

if TYPE_CHECKING:
    from storepoints.agent.messages import Spec
    from storepoints.agent.mounts import MountTable

logger = logging.getLogger(__name__)

#: A store point is told of at most once in this time, and once more at the end of it.
PAUSE_SECONDS = 0.1
#: The table is read at most once in this time, however often it changes.
READ_PAUSE_SECONDS = 0.01


class Watcher(threading.Thread):
    """Tells the ids of the store points whose mount changed, as soon as it did."""

    def __init__(self, changed: Callable[[list[str]], None]) -> None:
        """``changed(ids)`` is called for every change of the table, also with none."""
        super().__init__(name="mounts", daemon=True)
        self._changed = changed
        self._mounts = Mounts()
        self._table = self._mounts.read()
        self._lock = threading.Lock()
        self._specs: Mapping[str, Spec] = {}
        self._index: dict[str, set[str]] = {}
        self._told_at: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def watch(self, specs: Mapping[str, Spec]) -> None:
        """Replace the store points that are watched; cheap when they are the same."""
        with self._lock:
            if specs is self._specs:
                return
            self._specs = specs
            self._index = _index(specs)

    def run(self) -> None:
        """Watch for ever."""
        while True:
            try:
                self._wait()
            except Exception:
                logger.exception("the mount table could not be watched")
                time.sleep(1)

    def _wait(self) -> None:
        timeout = None
        if self._due:
            timeout = max(0.0, min(self._due.values()) - time.monotonic())
        has_changed = self._mounts.wait(timeout)
        if has_changed:
            before, self._table = self._table, self._mounts.read()
            concerned = self._concerned(before, self._table)
        else:
            concerned = set()
        tell = self._take(concerned)
        if has_changed or tell:
            self._changed(tell)
        if has_changed:
            time.sleep(READ_PAUSE_SECONDS)

    def _take(self, concerned: set[str]) -> list[str]:
        """Return whom to tell now; the others are due when their pause is over."""
        now = time.monotonic()
        for name in concerned:
            self._due.setdefault(name, self._told_at.get(name, 0.0) + PAUSE_SECONDS)
        tell = [name for name, at in self._due.items() if at <= now]
        for name in tell:
            del self._due[name]
            self._told_at[name] = now
        if len(self._told_at) > 2 * len(tell):
            self._told_at = {
                name: at
                for name, at in self._told_at.items()
                if at + PAUSE_SECONDS > now
            }
        return tell

    def _concerned(self, before: MountTable, after: MountTable) -> set[str]:
        """Return the store points whose covering or adopted mount is another now."""
        places = {mount.mount_point for mount in after.unlike(before)}
        with self._lock:
            specs, index = self._specs, self._index
        near: set[str] = set()
        for place in places:
            near |= index.get(place, set())
        return {name for name in near if _differs(specs[name], before, after)}


def _differs(spec: Spec, before: MountTable, after: MountTable) -> bool:
    # The same object and not an equal one: of two mounts with the same line, the
    # second is another.
    if before.covering(spec.path) is not after.covering(spec.path):
        return True
    if spec.volume is None:
        return False
    place = spec.volume["mount_point"]
    return before.covering(place) is not after.covering(place)


def _index(specs: Mapping[str, Spec]) -> dict[str, set[str]]:
    """Return the store points below each directory that could be a mount point."""
    index: dict[str, set[str]] = {}
    for name, spec in specs.items():
        for path in {spec.path, spec.volume["mount_point"] if spec.volume else "/"}:
            parts = path.split("/")
            for length in range(1, len(parts) + 1):
                index.setdefault("/".join(parts[:length]) or "/", set()).add(name)
    return index
