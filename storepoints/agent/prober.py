"""The disposable process in which everything happens that may hang.

The agent starts it as ``python -m storepoints.agent.prober``, writes orders as JSON
lines to its standard input and reads findings as JSON lines from its standard output.
It ends when its input ends, and the kernel kills it when the agent is gone. Killing it
loses nothing: the agent tells the next one what to go on with.

In:  ``settings`` (hook), ``probe`` (ids, and the store points that are new or changed), ``inspect``, ``adopt``, ``readopt``,
     ``hold`` and ``release`` (paths on which the prober before this one is stuck).
Out: ``finding``, ``answer``, ``volumes``, ``alive`` (with the stuck paths).
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from storepoints.agent.devices import DeviceWatch
from storepoints.agent.fall_through import covering_below
from storepoints.agent.inbound import Switch
from storepoints.agent.memory import Memory
from storepoints.agent.messages import (
    DeviceFinding,
    Finding,
    Spec,
    Volume,
    spec_of,
    volume_of,
)
from storepoints.agent.mounts import Mounts
from storepoints.agent.pool import Pool
from storepoints.agent.tasks import (
    ArchivesTask,
    MeasureTask,
    OrderTask,
    ProbeTask,
    VolumeTask,
    lane_of,
)
from storepoints.agent.volumes import real_mounts
from storepoints.agent.watcher import Watcher

if TYPE_CHECKING:
    from storepoints.agent.mounts import Mount

logger = logging.getLogger("storepoints.agent.prober")

ALIVE_SECONDS = 2.0
#: How often the list of volumes is sent when nothing changes, and at most.
VOLUMES_SECONDS = 60.0
VOLUMES_PAUSE_SECONDS = 1.0

#: More than this does not wait in memory for the agent to read it.
OUTLET_BYTES = 64 * 1024 * 1024
OUTLET_PAUSE_SECONDS = 0.002

_PR_SET_PDEATHSIG = 1


class Prober:
    """The orders of this process, the store points they named, and the way out."""

    def __init__(self, output: int) -> None:
        self._outlet = _Outlet(output)
        self._lock = threading.Lock()
        self._specs: dict[str, Spec] = {}
        self._memories: dict[str, Memory] = {}
        self.server = ""
        self.mounts = Mounts()
        self.switch = Switch(self._hook_finished)
        self.pool = Pool()
        self._watcher = Watcher(self._mounts_changed)
        self._volumes_due = threading.Event()
        self.devices = DeviceWatch(
            self.pool, self.mounts, lambda: self._specs, self._devices_changed
        )

    def serve(self, lines: Any) -> None:
        """Carry out orders until the input ends."""
        self._watcher.start()
        self.devices.start()
        for target in (self._say_alive, self._list_volumes):
            threading.Thread(target=target, daemon=True).start()
        for line in lines:
            try:
                self._carry_out(json.loads(line))
            except Exception:
                logger.exception("an order was not understood")
        self.devices.stop()
        self.switch.stop()

    # -- orders -------------------------------------------------------------------

    def _carry_out(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "probe":
                self._probe(order)
            case "inspect" | "adopt" | "readopt":
                self._answer(order)
            case "settings":
                self.server = order["server"]
                self.switch.configure(order["hook"], order["hook_timeout_seconds"])
            case "hold":
                self._hold(order["paths"])
            case "release":
                self.pool.release(order["paths"])
            case other:
                raise ValueError(f"unknown order {other!r}")

    def _probe(self, order: dict[str, Any]) -> None:
        self._remember(order["store_points"])
        if order["complete"]:
            self._forget_others(set(order["ids"]))
        specs = [self._specs[name] for name in order["ids"] if name in self._specs]
        self._watcher.watch(self._specs)
        table = self.mounts.refreshed()
        for spec in specs:
            lane = lane_of(spec.path, table)
            memory = self._memory_of(spec.id)
            self.pool.submit(ProbeTask(self, spec, order["cause"], lane, memory))

    def _remember(self, entries: list[dict[str, Any]]) -> None:
        """Take over specs; those of other store points stay the same objects."""
        changed = {data["id"]: spec_of(data) for data in entries}
        if not changed:
            return
        with self._lock:
            for name, spec in changed.items():
                before = self._specs.get(name)
                if before is not None and (before.path, before.volume) != (
                    spec.path,
                    spec.volume,
                ):
                    # Nothing that is remembered was seen there.
                    self._memories.pop(name, None)
            self._specs = {**self._specs, **changed}

    def _forget_others(self, known: set[str]) -> None:
        with self._lock:
            gone = self._specs.keys() - known
            if not gone:
                return
            self._specs = {
                name: spec for name, spec in self._specs.items() if name in known
            }
            for name in gone:
                self._memories.pop(name, None)
        self.switch.forget(known)

    def _memory_of(self, store_point: str) -> Memory:
        """Return what is remembered of a store point; nothing of one just forgotten."""
        with self._lock:
            if store_point not in self._specs:
                return Memory()
            return self._memories.setdefault(store_point, Memory())

    def _answer(self, order: dict[str, Any]) -> None:
        lane = lane_of(order["path"], self.mounts.current())
        volume = volume_of(order.get("volume"))
        task = OrderTask(self, order["order"], order["do"], order, lane, volume)
        self.pool.submit(task)

    def _hold(self, paths: list[dict[str, Any]]) -> None:
        for held in paths:
            spec = spec_of(held["store_point"])
            task = ProbeTask(self, spec, "due", "", Memory())
            self.pool.hold(task, held["since"])

    # -- what happens by itself ---------------------------------------------------

    def probe_again(self, store_point: str, *, runs_hook: bool = True) -> None:
        """Probe a store point of which there is news."""
        self._probe_now(store_point, cause="due", runs_hook=runs_hook)

    def measure(self, spec: Spec, memory: Memory) -> None:
        """Have what was written below a store point's path measured, if it can be."""
        below = covering_below(spec, self.mounts.current())
        if below is not None:
            self.pool.submit(MeasureTask(self, spec, memory, below))

    def look_at_archives(self, spec: Spec, lane: str, memory: Memory) -> None:
        """Have the archives in a store point looked at; probes do not wait for it."""
        self.pool.submit(ArchivesTask(self, spec, memory, lane))

    def device_of(self, mount: Mount) -> DeviceFinding | None:
        """Return what is remembered of the devices below a mount; asks nothing."""
        return self.devices.finding_of(mount)

    def _devices_changed(self, store_points: list[str]) -> None:
        self._volumes_due.set()
        for store_point in store_points:
            self._probe_now(store_point, cause="device")

    def _hook_finished(self, store_point: str, error: str) -> None:
        self._probe_now(store_point, cause="due", runs_hook=not error)

    def _mounts_changed(self, store_points: list[str]) -> None:
        self._volumes_due.set()
        for store_point in store_points:
            self._probe_now(store_point, cause="mount-table")

    def _probe_now(
        self, store_point: str, *, cause: str, runs_hook: bool = True
    ) -> None:
        spec = self._specs.get(store_point)
        if spec is None:
            return
        lane = lane_of(spec.path, self.mounts.current())
        memory = self._memory_of(store_point)
        self.pool.submit(
            ProbeTask(
                self, spec, cause, lane, memory, insists=True, runs_hook=runs_hook
            )
        )

    def _say_alive(self) -> None:
        while True:
            self._send({"is": "alive", "stuck": self.pool.stuck()})
            time.sleep(ALIVE_SECONDS)

    def _list_volumes(self) -> None:
        while True:
            self._volumes_due.clear()
            try:
                _Listing(self).start()
            except Exception:
                logger.exception("the volumes could not be listed")
            time.sleep(VOLUMES_PAUSE_SECONDS)
            self._volumes_due.wait(VOLUMES_SECONDS)

    # -- the way out --------------------------------------------------------------

    def send_finding(self, finding: Finding) -> None:
        """Hand a finding to the agent."""
        self._send({"is": "finding", "finding": finding})

    def send_answer(self, order: str, kind: str, answer: dict[str, Any]) -> None:
        """Hand the answer to an order to the agent."""
        self._send({"is": "answer", "order": order, "kind": kind, "answer": answer})

    def send_volumes(self, volumes: list[Volume]) -> None:
        """Hand the list of volumes to the agent."""
        self._send({"is": "volumes", "volumes": volumes})

    def _send(self, message: dict[str, Any]) -> None:
        self._outlet.put(
            json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
        )


class _Outlet:
    """Writes to the pipe in a thread of its own, many lines at a time.

    A probe's thread that waited for the pipe would look like a disk that is slow, and
    the pool would add threads for it.
    """

    def __init__(self, output: int) -> None:
        self._output = output
        self._condition = threading.Condition()
        self._lines: list[bytes] = []
        self._waiting_bytes = 0
        threading.Thread(target=self._run, name="outlet", daemon=True).start()

    def put(self, line: bytes) -> None:
        """Put a line on its way; waits only when nobody reads for a long time."""
        with self._condition:
            while self._waiting_bytes > OUTLET_BYTES:
                self._condition.wait()
            self._lines.append(line)
            self._waiting_bytes += len(line)
            if len(self._lines) == 1:
                self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._lines:
                    self._condition.wait()
                rest = memoryview(b"".join(self._lines))
                self._lines.clear()
                self._waiting_bytes = 0
                self._condition.notify_all()
            try:
                while rest:
                    rest = rest[os.write(self._output, rest) :]
            except BrokenPipeError:
                os._exit(0)
            # The first line goes at once; those that follow it are gathered.
            time.sleep(OUTLET_PAUSE_SECONDS)


class _Listing:
    """One list of volumes in the making; sent when each has answered or is late."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._table = prober.mounts.refreshed()
        self._lock = threading.Lock()
        self._found: dict[str, Volume] = {}
        self._missing: set[str] = set()

    def start(self) -> None:
        mounts = real_mounts(self._table)
        self._prober.devices.look_at_listed(mounts)
        self._missing = {mount.mount_point for mount in mounts}
        if not mounts:
            self._prober.send_volumes([])
        for mount in mounts:
            self._prober.pool.submit(VolumeTask(mount, self._table, self))

    def add(self, mount: Mount, volume: Volume | None) -> None:
        with self._lock:
            if mount.mount_point not in self._missing:
                return
            self._missing.discard(mount.mount_point)
            if volume is not None:
                volume["devices"] = self._prober.devices.devices_of(mount)
                self._found[mount.mount_point] = volume
            if self._missing:
                return
        self._prober.send_volumes([self._found[key] for key in sorted(self._found)])


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have gone before the kernel was told.
    if os.getppid() != parent:
        os._exit(0)


def main() -> None:
    """Run until the standard input ends."""
    _die_with_parent(int(sys.argv[1]))
    # The agent ends this process; a Ctrl-C in the terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s prober: %(message)s"
    )
    os.chdir("/")
    # Nothing but messages may go to the pipe, whatever a library prints.
    output = os.dup(1)
    os.dup2(2, 1)
    Prober(output).serve(sys.stdin.buffer)
    # Threads that hang would keep a normal exit waiting.
    os._exit(0)


if __name__ == "__main__":
    main()
