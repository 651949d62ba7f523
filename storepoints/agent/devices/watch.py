"""Keeping what is known of the devices fresh, so that a probe only looks it up.

- *Sweeps* read the kernel's files of all filesystems every five seconds. What has not
  changed since costs a few reads; only what has is resolved anew, and everything once
  in a minute. They run in the pool, in a lane of their own: a file of a dying device
  that hangs costs a thread and its filesystem's health, and holds up nothing else.
- *Programs* are asked by one thread, one after the other, each with its deadline and
  at its own slow pace.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from storepoints.agent.devices import btrfs, smart, zfs
from storepoints.agent.devices.blocks import MAPPER, SMART, Ask, judge_mapper
from storepoints.agent.devices.filesystems import BTRFS, POOL, resolve
from storepoints.agent.devices.sysfs import Sysfs
from storepoints.agent.devices.tools import BROKEN, RAN, Result, Tools
from storepoints.agent.devices.tree import (
    DEGRADED,
    FAILING,
    UNKNOWN,
    Devices,
    Level,
    finding_in,
    summary,
    walk,
)

if TYPE_CHECKING:
    from storepoints.agent.messages import DeviceFinding, Spec
    from storepoints.agent.mounts import Mount, Mounts, MountTable
    from storepoints.agent.pool import Pool, Task

logger = logging.getLogger("storepoints.agent.devices")

SWEEP_SECONDS = 5.0
#: How often it is seen whether there are other store points or mounts.
LOOK_SECONDS = 0.5
#: How soon it is seen that the sweep before is over.
BUSY_SECONDS = 0.05
#: Sweeps take at most this part of the time: 1,000 filesystems are looked at rarer.
SHARE = 0.02
#: So long nothing is said of a filesystem while a program has yet to answer: half of
#: the truth after a restart would look like the end of a trouble.
PENDING_SECONDS = 60.0
#: A tree is resolved again after this, though nothing that is watched has changed.
RESOLVE_SECONDS = 60.0
#: Filesystems in one call of the pool, and how long these may take.
BATCH = 50
DEADLINE_SECONDS = 5.0

#: How often each kind of program is asked about the same device.
PACE_SECONDS = {SMART: 600.0, BTRFS: 600.0, POOL: 60.0, MAPPER: 60.0}
#: What was well is believed for so many times that, while a program says nothing.
BELIEF_PACES = 3
#: The kinds that are asked at once when the kernel's files have changed.
ASKED_ON_CHANGE = frozenset({BTRFS, POOL, MAPPER})

_BAD = (DEGRADED, FAILING)
_NO_STORE_POINT = "no store point lies on it"


@dataclass(slots=True)
class _Entry:
    """What is known of one filesystem."""

    mount: Mount
    is_asked: bool
    watched: dict[str, str | None]
    asks: list[Ask]
    resolved_at: float
    first_at: float
    #: The newest answer when it was resolved: what came later is not in it yet.
    version: int


@dataclass(slots=True)
class _Known:
    """What was said last of one filesystem, and the mount table at that time."""

    table: MountTable
    devices: Devices
    finding: DeviceFinding

    def is_of(self, mount: Mount) -> bool:
        """Return whether it was said of this mount.

        The number of a device is given to another one as soon as it is free. A table
        keeps the very same ``Mount`` for a line that has not changed.
        """
        return self.table.by_id.get(mount.id) is mount


@dataclass(slots=True)
class _Answer:
    """What a program said last, and when it is asked again (monotonic seconds).

    ``said_at`` is when it last said something of its own.
    """

    value: object = None
    due_at: float = 0.0
    said_at: float = 0.0
    version: int = 0


class DeviceWatch:
    """Knows the health of what lies below each mount; a look-up asks nothing."""

    def __init__(
        self,
        pool: Pool,
        mounts: Mounts,
        store_points: Callable[[], Mapping[str, Spec]],
        changed: Callable[[list[str]], None],
        *,
        root: str = "/",
        tools: Tools | None = None,
    ) -> None:
        """``changed(ids)`` is told the store points whose devices' health changed.

        It is called with none when there is only something new to list.
        """
        self._pool = pool
        self._mounts = mounts
        self._store_points = store_points
        self._changed = changed
        self._root = root
        self._tools = tools or Tools()
        self._lock = threading.Lock()
        self._sweep_due = threading.Event()
        self._tool_due = threading.Event()
        self._entries: dict[str, _Entry] = {}
        self._known: dict[str, _Known] = {}
        self._answers: dict[Ask, _Answer] = {}
        self._listed: list[Mount] = []
        self._sweep: _Sweep | None = None
        self._hanging: set[str] = set()
        self._sweep_seconds = 0.0
        self._version = 0

    def start(self) -> None:
        """Start the two threads."""
        for name, target in (("devices", self._look), ("tools", self._ask_programs)):
            threading.Thread(target=target, name=name, daemon=True).start()

    def stop(self) -> None:
        """End the programs that run; the threads end with the process."""
        self._tools.stop()

    def finding_of(self, mount: Mount) -> DeviceFinding | None:
        """Return the health of what lies below a mount, or None while it is not known."""
        known = self._known.get(mount.device)
        return known.finding if known is not None and known.is_of(mount) else None

    def devices_of(self, mount: Mount) -> Devices | None:
        """Return the tree below a mount, or None while it is not known."""
        known = self._known.get(mount.device)
        return known.devices if known is not None and known.is_of(mount) else None

    def look_at_listed(self, mounts: Iterable[Mount]) -> None:
        """Look at these mounts too, though no store point lies on them."""
        self._listed = list(mounts)

    # -- what is to be looked at --------------------------------------------------

    def _look(self) -> None:
        names: set[str] = set()
        table: MountTable | None = None
        listed: list[Mount] = []
        swept_at = 0.0
        while True:
            self._sweep_due.wait(LOOK_SECONDS)
            try:
                now = time.monotonic()
                is_new = (
                    self._mounts.current() is not table
                    or self._listed is not listed
                    or self._store_points().keys() != names
                )
                pause = max(SWEEP_SECONDS, self._sweep_seconds / SHARE)
                if self._sweep is not None and not self._sweep.is_over:
                    time.sleep(BUSY_SECONDS)
                elif (
                    self._sweep_due.is_set()
                    or now - swept_at >= pause
                    or (is_new and now - swept_at >= 2 * LOOK_SECONDS)
                ):
                    self._sweep_due.clear()
                    swept_at = now
                    table, listed = self._mounts.current(), self._listed
                    names = set(self._store_points())
                    self._start_sweep(table)
            except Exception:
                logger.exception("the devices could not be looked at")
                time.sleep(SWEEP_SECONDS)

    def _start_sweep(self, table: MountTable) -> None:
        wanted = self._wanted(table)
        with self._lock:
            for known in (self._entries, self._known):
                for device in known.keys() - wanted.keys():
                    known.pop(device, None)
            queue = deque(
                each for device, each in wanted.items() if device not in self._hanging
            )
            self._sweep = _Sweep(table, Sysfs(self._root), queue)
        self._go_on(self._sweep)

    def _wanted(self, table: MountTable) -> dict[str, tuple[Mount, bool]]:
        """Return a mount of each filesystem, and whether store points lie on it."""
        wanted: dict[str, tuple[Mount, bool]] = {}
        for spec in self._store_points().values():
            mount = table.covering(spec.path)
            if mount is not None and mount.device not in wanted:
                wanted[mount.device] = (mount, True)
        for mount in self._listed:
            there = table.by_id.get(mount.id)
            if there is not None and there.device not in wanted:
                wanted[there.device] = (there, False)
        return wanted

    # -- sweeps, in the pool ------------------------------------------------------

    def _go_on(self, sweep: _Sweep) -> None:
        if sweep.queue:
            sweep.batch += 1
            self._pool.submit(_SweepTask(self, sweep))
        else:
            sweep.is_over = True
            self._sweep_seconds = sweep.seconds
            if sweep.has_news:
                self._changed([])
            self._forget_answers()
            self._tool_due.set()

    def finish_batch(self, sweep: _Sweep, seconds: float) -> None:
        """Go on with the rest of a sweep."""
        sweep.seconds += seconds
        self._go_on(sweep)

    def give_up(self, sweep: _Sweep, mount: Mount | None) -> None:
        """Go on without the filesystem whose devices do not answer.

        With none when the lane is full of calls that hang: then nothing is asked.
        """
        if mount is None:
            sweep.queue.clear()
        else:
            with self._lock:
                self._hanging.add(mount.device)
            said = self.devices_of(mount)
            note = "the kernel's own files about it do not answer"
            # What was wrong is not over by that; what was well may not be any more.
            is_bad = said is not None and said["health"] in _BAD
            self._publish(
                sweep.table,
                mount,
                Devices(
                    health=said["health"] if said and is_bad else UNKNOWN,
                    reason=said["reason"] if said and is_bad else "",
                    text=said["text"] if said and is_bad else note,
                    stack=said["stack"] if said else None,
                    notes=[note],
                ),
            )
        self._go_on(sweep)

    def come_back(self, mount: Mount | None) -> None:
        """Look again at a filesystem whose devices answer again."""
        if mount is not None:
            with self._lock:
                self._hanging.discard(mount.device)
            self._sweep_due.set()

    def look_at(self, sweep: _Sweep, mount: Mount, *, is_asked: bool) -> None:
        """Resolve what lies below a mount if anything of it has changed."""
        now = time.monotonic()
        entry = self._entries.get(mount.device)
        has_changed = False
        if entry is not None and entry.mount is not mount:
            # Another volume may have got its number.
            entry = None
        if entry is not None and entry.is_asked == is_asked:
            has_changed = sweep.sysfs.has_changed(entry.watched)
            is_old = now - entry.resolved_at > RESOLVE_SECONDS
            if not has_changed and not is_old and not self._is_outdated(entry):
                if (known := self._known.get(mount.device)) is not None:
                    known.table = sweep.table
                return
        version = self._version
        answers = self._answer if is_asked else self._answer_unasked
        resolved = resolve(mount, sweep.table, sweep.sysfs, answers)
        first_at = entry.first_at if entry is not None else now
        self._entries[mount.device] = _Entry(
            mount, is_asked, resolved.watched, resolved.asks, now, first_at, version
        )
        if is_asked:
            self._want(resolved.asks, is_urgent=has_changed)
        devices = summary(resolved.top)
        if (
            devices["health"] not in _BAD
            and now - first_at < PENDING_SECONDS
            and any(level.is_pending for level in walk(resolved.top))
        ):
            return
        if self._publish(sweep.table, mount, devices):
            sweep.has_news = True

    def _is_outdated(self, entry: _Entry) -> bool:
        return any(
            answer.version > entry.version
            for ask in entry.asks
            if (answer := self._answers.get(ask)) is not None
        )

    def _publish(self, table: MountTable, mount: Mount, devices: Devices) -> bool:
        """Keep what was found; return whether it is new. Bad news is told at once."""
        finding = finding_in(devices)
        before = self.finding_of(mount)
        if finding["health"] in _BAD and finding != before:
            mounted = self._mounts.current().by_id.values()
            if not any(each.device == mount.device for each in mounted):
                # Unmounted meanwhile: a device that goes then is no news.
                return False
        self._known[mount.device] = _Known(table, devices, finding)
        if before == finding:
            return False
        was = before["health"] if before else UNKNOWN
        # Other numbers in the text are told with the next probe: errors that are
        # counted all the time are no reason to probe all the time.
        if finding["health"] != was and (finding["health"] in _BAD or was in _BAD):
            self._tell(mount)
        return True

    def _tell(self, mount: Mount) -> None:
        table = self._mounts.current()
        ids = []
        for spec in self._store_points().values():
            covering = table.covering(spec.path)
            if covering is not None and covering.device == mount.device:
                ids.append(spec.id)
        self._changed(ids)

    # -- programs -----------------------------------------------------------------

    def _answer(self, ask: Ask) -> object:
        answer = self._answers.get(ask)
        return answer.value if answer is not None else None

    def _answer_unasked(self, ask: Ask) -> object:
        """Return what is known anyway: no program is run for a volume without use."""
        if (value := self._answer(ask)) is not None:
            return value
        why = f"{ask.what} was not asked: {_NO_STORE_POINT}"
        match ask.kind:
            case "smart":
                return smart.Reading(note=why)
            case "mapper":
                return Result(BROKEN, why=_NO_STORE_POINT)
            case _:
                return None, why

    def _want(self, asks: list[Ask], *, is_urgent: bool) -> None:
        with self._lock:
            for ask in asks:
                answer = self._answers.setdefault(ask, _Answer())
                if is_urgent and ask.kind in ASKED_ON_CHANGE:
                    answer.due_at = 0.0

    def _forget_answers(self) -> None:
        wanted = {
            ask
            for entry in list(self._entries.values())
            if entry.is_asked
            for ask in entry.asks
        }
        with self._lock:
            for ask in self._answers.keys() - wanted:
                del self._answers[ask]

    def _ask_programs(self) -> None:
        while True:
            self._tool_due.wait(LOOK_SECONDS)
            self._tool_due.clear()
            now = time.monotonic()
            with self._lock:
                due = sorted(
                    (answer.due_at, ask)
                    for ask, answer in self._answers.items()
                    if answer.due_at <= now
                )
            for _, ask in due:
                try:
                    self._ask(ask)
                except Exception:
                    logger.exception("%s of %s could not be asked", ask.kind, ask.what)
            if due:
                self._sweep_due.set()

    def _ask(self, ask: Ask) -> None:
        answer = self._answers.get(ask)
        if answer is None:
            return
        answer.due_at = time.monotonic() + PACE_SECONDS[ask.kind]
        value = answered(ask, self._tools)
        now = time.monotonic()
        if _says_something(value):
            answer.said_at = now
        elif answer.value is not None:
            is_old = now - answer.said_at > BELIEF_PACES * PACE_SECONDS[ask.kind]
            value = _kept(value, answer.value, is_old=is_old)
        answer.value = value
        self._version += 1
        answer.version = self._version


def answered(ask: Ask, tools: Tools) -> object:
    """Return what a program says now."""
    match ask.kind:
        case "smart":
            result = tools.run(
                ask.what, "smartctl", *smart.ARGUMENTS, f"/dev/{ask.what}"
            )
            reading = smart.read(ask.what, result)
            if reading.health is not None:
                reading.facts["asked"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            return reading
        case "btrfs":
            return btrfs.ask(ask.what, ask.argument, tools)
        case "pool":
            return zfs.ask(ask.what, tools)
        case "mapper":
            return tools.run(ask.what, "dmsetup", "status", ask.what)
        case other:
            raise ValueError(f"unknown question {other!r}")


def _says_something(answer: object) -> bool:
    match answer:
        case smart.Reading():
            return answer.health is not None
        case Result():
            return answer.how == RAN
        case (told, _):
            return told is not None
    return False


def _kept(answer: object, before: object, *, is_old: bool) -> object:
    """Return the last answer that said something, with why there is none now.

    What was well is believed for a while only, unless the drive sleeps. What was wrong
    stays so until something is said.
    """
    match answer, before:
        case smart.Reading(), smart.Reading():
            if is_old and not answer.is_asleep and not before.problems:
                return answer
            return replace(before, note=answer.note, is_asleep=answer.is_asleep)
        case Result(), Result():
            asked = Level(name="", kind="")
            judge_mapper(asked, before.output)
            return answer if is_old and not asked.problems else before
        case (None, why), (told, _):
            return (None if is_old and not _is_bad(told) else told), why
    return answer


def _is_bad(told: object) -> bool:
    """Return whether a pool or counters of errors say that something is wrong."""
    if isinstance(told, Level):
        return any(level.problems for level in walk(told))
    counts = told.values() if isinstance(told, dict) else ()
    return any(number for counters in counts for number in counters.values())


@dataclass(slots=True)
class _Sweep:
    """One look at all filesystems; its batches share what they have read."""

    table: MountTable
    sysfs: Sysfs
    queue: deque[tuple[Mount, bool]]
    batch: int = 0
    seconds: float = 0.0
    has_news: bool = False
    is_over: bool = False


@dataclass(slots=True)
class _SweepTask:
    """A batch of a sweep: a call of the pool."""

    watch: DeviceWatch
    sweep: _Sweep
    current: Mount | None = None
    is_abandoned: bool = False
    lane: str = "devices"
    repeats: bool = False
    deadline_seconds: float = field(init=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.deadline_seconds = DEADLINE_SECONDS
        # No path, and never the same: a batch that hangs must not hold up the next.
        self.key = f"devices {id(self.sweep)} {self.sweep.batch}"

    def run(self) -> object:
        """Look at the next filesystems; returns the seconds of processor time."""
        began = time.thread_time()
        for _ in range(BATCH):
            if self.is_abandoned or not self.sweep.queue:
                break
            self.current, is_asked = self.sweep.queue.popleft()
            try:
                self.watch.look_at(self.sweep, self.current, is_asked=is_asked)
            except Exception:
                logger.exception("%s could not be resolved", self.current.described())
        return time.thread_time() - began

    def deliver(self, result: object) -> None:
        """Go on with the next batch."""
        seconds: float = result  # type: ignore[assignment]
        self.watch.finish_batch(self.sweep, seconds)

    def late(self, _since: float, _running: Task | None, _waiting_for: str) -> None:
        """Leave this filesystem alone until its devices answer, and do the others."""
        if not self.is_abandoned:
            self.is_abandoned = True
            self.watch.give_up(self.sweep, self.current)

    def recovered(self) -> None:
        """Look at it again."""
        self.watch.come_back(self.current)

    def replaces(self, _other: Task) -> bool:
        """Return False: no two batches are the same."""
        return False

    def covers(self, _other: Task) -> bool:
        """Return False: no two batches are the same."""
        return False
