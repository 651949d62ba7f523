"""The disposable process in which everything happens that may hang.

The agent starts it as ``python -m storepoints.agent.prober``, writes orders as JSON
lines to its standard input and reads findings as JSON lines from its standard output.
It ends when its input ends, and the kernel kills it when the agent is gone. Killing it
loses nothing: the agent tells the next one what to go on with.

In:  ``settings`` (hook), ``probe`` (store points), ``inspect``, ``adopt``, ``hold`` and
     ``release`` (paths on which the prober before this one is stuck).
Out: ``finding``, ``answer``, ``volumes``, ``alive`` (with the stuck paths).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from storepoints.agent.inbound import Switch
from storepoints.agent.messages import Finding, Spec, Volume, spec_of, volume_of
from storepoints.agent.mounts import Mounts
from storepoints.agent.pool import Pool
from storepoints.agent.tasks import OrderTask, ProbeTask, VolumeTask, lane_of
from storepoints.agent.volumes import real_mounts
from storepoints.agent.watcher import Watcher

if TYPE_CHECKING:
    from storepoints.agent.mounts import Mount

logger = logging.getLogger("storepoints.agent.prober")

ALIVE_SECONDS = 2.0
#: How often the list of volumes is sent when nothing changes, and at most.
VOLUMES_SECONDS = 60.0
VOLUMES_PAUSE_SECONDS = 1.0

_PR_SET_PDEATHSIG = 1


class Prober:
    """The orders of this process, the store points they named, and the way out."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._output_lock = threading.Lock()
        self._lock = threading.Lock()
        self._specs: dict[str, Spec] = {}
        self._raw: dict[str, dict[str, Any]] = {}
        self.mounts = Mounts()
        self.switch = Switch(self._hook_finished)
        self.pool = Pool()
        self._watcher = Watcher(self._mounts_changed)
        self._volumes_due = threading.Event()

    def serve(self, lines: Any) -> None:
        """Carry out orders until the input ends."""
        self._watcher.start()
        for target in (self._say_alive, self._list_volumes):
            threading.Thread(target=target, daemon=True).start()
        for line in lines:
            try:
                self._carry_out(json.loads(line))
            except Exception:
                logger.exception("an order was not understood")
        self.switch.stop()

    # -- orders -------------------------------------------------------------------

    def _carry_out(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "probe":
                self._probe(order)
            case "inspect" | "adopt":
                self._answer(order)
            case "settings":
                self.switch.configure(order["hook"], order["hook_timeout_seconds"])
            case "hold":
                self._hold(order["paths"])
            case "release":
                self.pool.release(order["paths"])
            case other:
                raise ValueError(f"unknown order {other!r}")

    def _probe(self, order: dict[str, Any]) -> None:
        specs = self._remember(order["store_points"])
        if order["complete"]:
            self._forget_others({spec.id for spec in specs})
        self._watcher.watch(self._specs)
        table = self.mounts.refreshed()
        for spec in specs:
            lane = lane_of(spec.path, table)
            self.pool.submit(ProbeTask(self, spec, order["cause"], lane))

    def _remember(self, entries: list[dict[str, Any]]) -> list[Spec]:
        """Return the specs in an order; the same objects as long as nothing changes."""
        with self._lock:
            changed: dict[str, Spec] = {}
            for data in entries:
                if self._raw.get(data["id"]) != data:
                    changed[data["id"]] = spec_of(data)
                    self._raw[data["id"]] = data
            if changed:
                self._specs = {**self._specs, **changed}
            return [self._specs[data["id"]] for data in entries]

    def _forget_others(self, known: set[str]) -> None:
        with self._lock:
            gone = self._specs.keys() - known
            if not gone:
                return
            self._specs = {
                name: spec for name, spec in self._specs.items() if name in known
            }
            for name in gone:
                del self._raw[name]
        self.switch.forget(known)

    def _answer(self, order: dict[str, Any]) -> None:
        lane = lane_of(order["path"], self.mounts.current())
        volume = volume_of(order.get("volume"))
        task = OrderTask(self, order["order"], order["do"], order, lane, volume)
        self.pool.submit(task)

    def _hold(self, paths: list[dict[str, Any]]) -> None:
        for held in paths:
            spec = spec_of(held["store_point"])
            self.pool.hold(ProbeTask(self, spec, "due", ""), held["since"])

    # -- what happens by itself ---------------------------------------------------

    def probe_again(self, store_point: str) -> None:
        """Probe a store point whose call came back."""
        self._probe_now(store_point, cause="due")

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
        self.pool.submit(
            ProbeTask(self, spec, cause, lane, insists=True, runs_hook=runs_hook)
        )

    def _say_alive(self) -> None:
        while True:
            self._send({"is": "alive", "stuck": self.pool.stuck()})
            time.sleep(ALIVE_SECONDS)

    def _list_volumes(self) -> None:
        while True:
            self._volumes_due.clear()
            with contextlib.suppress(OSError):
                _Listing(self).start()
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
        rest = memoryview(
            json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
        )
        with self._output_lock:
            try:
                while rest:
                    rest = rest[os.write(self._output, rest) :]
            except BrokenPipeError:
                os._exit(0)


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
