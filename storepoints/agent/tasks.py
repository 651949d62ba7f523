"""The tasks of the prober's pool: probe, measure, inspect, adopt, look at a volume."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from storepoints.agent import adoption, archives, fall_through, volumes
from storepoints.agent.memory import Memory, awake
from storepoints.agent.messages import (
    Archives,
    DeviceFinding,
    FallThrough,
    Finding,
    Spec,
    Volume,
    VolumeId,
    tidy_path,
)
from storepoints.agent.probe import not_responding, probe
from storepoints.agent.progress import Progress
from storepoints.states import Reason

if TYPE_CHECKING:
    from storepoints.agent.inbound import Switch
    from storepoints.agent.mounts import Mount, Mounts, MountTable
    from storepoints.agent.pool import Task

#: A person waits for these.
INSPECT_DEADLINE_SECONDS = 4.0
#: A store point is looked at again while the mount table changes, but so often at most.
PROBES_IN_CHANGE = 4
#: A volume that does not answer in this time is not offered.
VOLUME_DEADLINE_SECONDS = 2.0


class Prober(Protocol):
    """What the tasks need of the process that they run in."""

    mounts: Mounts
    switch: Switch
    #: The guid of this server.
    server: str

    def device_of(self, mount: Mount) -> DeviceFinding | None:
        """Return what is remembered of the devices below a mount."""

    def send_finding(self, finding: Finding) -> None:
        """Hand a finding to the parent process."""

    def send_answer(self, order: str, kind: str, answer: dict[str, Any]) -> None:
        """Hand the answer to an order to the parent process."""

    def probe_again(self, store_point: str, *, runs_hook: bool = True) -> None:
        """Probe a store point of which there is news."""

    def measure(self, spec: Spec, memory: Memory) -> None:
        """Have what was written below a store point's path measured."""

    def look_at_archives(self, spec: Spec, lane: str, memory: Memory) -> None:
        """Have the archives in a store point looked at."""


def lane_of(path: str, table: MountTable) -> str:
    """Return the filesystem that a path lies on, without touching it."""
    mount = table.covering(path)
    return mount.device if mount is not None else ""


@dataclass(slots=True)
class ProbeTask:
    """One probe of one store point; ``spec`` says of what, ``cause`` says why.

    ``insists`` when something happened that a call already running may have missed.
    ``runs_hook`` is off for the probe that follows a hook that failed.
    """

    prober: Prober
    spec: Spec
    cause: str
    lane: str
    memory: Memory
    insists: bool = False
    runs_hook: bool = True
    repeats: bool = True
    key: str = field(init=False)
    deadline_seconds: float = field(init=False)
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.spec.path
        self.deadline_seconds = self.spec.deadline_seconds
        self.progress = Progress()

    def run(self) -> object:
        """Return the finding; a failure is confirmed against a fresh mount table."""
        mounts = self.prober.mounts
        table = mounts.current()
        for _ in range(PROBES_IN_CHANGE):
            finding = self._probe(table)
            if finding["state"] == "online":
                break
            # An unmount in the middle would be told as what it looks like from inside,
            # and so would a remount: the kernel may tell a moment after it is felt.
            is_doubtful = self.progress.known is None and finding["reason"] in (
                Reason.READ_ONLY,
                Reason.NOT_MOUNTED,
                Reason.DIFFERENT_VOLUME,
            )
            before, table = (
                table,
                (mounts.refreshed() if is_doubtful else mounts.current()),
            )
            if table is before:
                break
        return finding

    def _probe(self, table: MountTable) -> Finding:
        return probe(
            self.spec,
            table,
            self.progress,
            cause=self.cause,
            settle=self.prober.switch.settle,
            device_of=self.prober.device_of,
            memory=self.memory,
            server=self.prober.server,
        )

    def deliver(self, result: object) -> None:
        """Send the finding, then start what follows from it."""
        finding: Finding = result  # type: ignore[assignment]
        if finding["state"] == "online":
            mount = self.progress.mount if finding["wrote"] else None
            self.memory.went_well(written_on=mount)
        else:
            self.memory.went_wrong()
        finding = self.prober.switch.fence(self.spec, finding)
        self.prober.send_finding(finding)
        if self.runs_hook and finding["inbound"]["pending"]:
            self.prober.switch.run_hook(self.spec, finding["inbound"])
        if finding["state"] == "online" and awake() >= self.memory.look_at:
            self.prober.look_at_archives(self.spec, self.lane, self.memory)
        is_gone = finding["reason"] == Reason.NOT_MOUNTED
        if is_gone and awake() >= self.memory.measure_at:
            self.prober.measure(self.spec, self.memory)

    def late(self, since: float, running: Task | None, waiting_for: str) -> None:
        """Send the finding that the store point does not respond."""
        progress = self.progress
        if isinstance(running, ProbeTask):
            progress = running.progress
        self.memory.went_wrong()
        finding = not_responding(
            self.spec,
            progress,
            cause=self.cause,
            since=since,
            waiting_for=waiting_for,
            device_of=self.prober.device_of,
            memory=self.memory,
        )
        self.prober.send_finding(finding)

    def recovered(self) -> None:
        """Probe again: what the late call found is old."""
        self.prober.probe_again(self.spec.id)

    def replaces(self, other: Task) -> bool:
        """Return whether this is a newer probe of the same store point."""
        if not isinstance(other, ProbeTask) or other.spec.id != self.spec.id:
            return False
        self.insists = self.insists or other.insists
        self.runs_hook = self.runs_hook or other.runs_hook
        if self.cause == "due":
            self.cause = other.cause
        return True

    def covers(self, other: Task) -> bool:
        """Return whether this probe, which runs, answers the other one's question."""
        return (
            isinstance(other, ProbeTask)
            and not other.insists
            and other.spec is self.spec
            # What a person asks for is not spared the write, as this one may be.
            and (other.cause == "due" or self.cause != "due")
        )


@dataclass(slots=True)
class MeasureTask:
    """Measures what was written below a store point's path; nobody waits for it.

    ``below`` is the mount that the path falls through to.
    """

    prober: Prober
    spec: Spec
    memory: Memory
    below: Mount
    repeats: bool = False
    deadline_seconds: float = 2 * fall_through.MEASURE_SECONDS
    key: str = field(init=False)
    lane: str = field(init=False)

    def __post_init__(self) -> None:
        # Neither the path nor its filesystem: a probe must never wait for this.
        self.key = f"below {self.spec.path}"
        self.lane = f"below on {self.below.device}"
        self.memory.measure_at = awake() + fall_through.PAUSE_SECONDS

    def run(self) -> object:
        """Return a list of what was measured, or of nothing when the volume is back."""
        began = awake()
        table = self.prober.mounts.current()
        if fall_through.covering_below(self.spec, table) is not self.below:
            return []
        since = self.spec.well_at
        if (well_at := self.memory.well_at) is not None:
            # Somebody may have set the clock since, and files are dated by it.
            since = time.time() - (began - well_at)
        found = fall_through.measure(self.spec.path, table, since=since)
        seconds = awake() - began
        pause = max(fall_through.PAUSE_SECONDS, fall_through.PAUSE_TIMES * seconds)
        self.memory.measure_at = awake() + pause
        return [] if found is None else [found]

    def deliver(self, result: object) -> None:
        """Have the store point probed again, so that its finding says what is new."""
        found: list[FallThrough] = result  # type: ignore[assignment]
        table = self.prober.mounts.current()
        if not found or fall_through.covering_below(self.spec, table) is None:
            return
        if found[0] != self.memory.fall_through:
            self.memory.fall_through = found[0]
            self.prober.probe_again(self.spec.id, runs_hook=False)

    def late(self, _since: float, _running: Task | None, _waiting_for: str) -> None:
        """Leave it at what was measured before."""

    def recovered(self) -> None:
        """Do nothing: a later probe has it measured again."""

    def replaces(self, _other: Task) -> bool:
        """Return True: they ask the same."""
        return True

    def covers(self, _other: Task) -> bool:
        """Return True: they ask the same."""
        return True


@dataclass(slots=True)
class ArchivesTask:
    """Looks at the archives in a store point that works; nobody waits for it."""

    prober: Prober
    spec: Spec
    memory: Memory
    below: str
    repeats: bool = False
    deadline_seconds: float = 2 * archives.LOOK_SECONDS
    key: str = field(init=False)
    lane: str = field(init=False)

    def __post_init__(self) -> None:
        # Neither the path nor its filesystem: a probe must never wait for this.
        self.key = f"archives in {self.spec.path}"
        self.lane = f"archives on {self.below}"
        self.memory.look_at = awake() + archives.PAUSE_SECONDS

    def run(self) -> object:
        """Return a list of what was found, or of nothing when it cannot be read."""
        began = awake()
        found = archives.look(
            self.spec.path,
            self.prober.mounts.current(),
            warning_days=self.spec.warning_days,
            critical_days=self.spec.critical_days,
        )
        pause = max(archives.PAUSE_SECONDS, archives.PAUSE_TIMES * (awake() - began))
        self.memory.look_at = awake() + pause
        return [] if found is None else [found]

    def deliver(self, result: object) -> None:
        """Remember it for the next findings: nobody is in a hurry for it."""
        found: list[Archives] = result  # type: ignore[assignment]
        if found:
            self.memory.archives = found[0]
            self.memory.archives_to_tell = archives.TOLD_TIMES

    def late(self, _since: float, _running: Task | None, _waiting_for: str) -> None:
        """Leave it at what was found before."""

    def recovered(self) -> None:
        """Do nothing: they are looked at again later."""

    def replaces(self, _other: Task) -> bool:
        """Return True: they ask the same."""
        return True

    def covers(self, _other: Task) -> bool:
        """Return True: they ask the same."""
        return True


@dataclass(slots=True)
class OrderTask:
    """An inspection or an adoption: an order with an answer."""

    prober: Prober
    order: str
    kind: str
    data: dict[str, Any]
    lane: str
    volume: VolumeId | None = None
    repeats: bool = False
    deadline_seconds: float = INSPECT_DEADLINE_SECONDS
    key: str = field(init=False)

    def __post_init__(self) -> None:
        # One call at a time for a path, whatever the call is.
        self.key = tidy_path(self.data["path"])

    def run(self) -> object:
        """Return the answer."""
        table = self.prober.mounts.refreshed()
        if self.kind == "inspect":
            if self.data.get("looks") is True:
                return adoption.look(self.data["path"], table)
            return adoption.inspect(self.data["path"], table)
        if self.kind == "readopt":
            return adoption.readopt(
                self.data["path"],
                store_point=self.data["id"],
                name=self.data["name"],
                server=self.data["server"],
                expects=self.data["expects"],
                table=table,
            )
        return adoption.adopt(
            self.data["path"],
            store_point=self.data["id"],
            name=self.data["name"],
            server=self.data["server"],
            volume=self.volume,
            table=table,
        )

    def deliver(self, result: object) -> None:
        """Send the answer."""
        answer: dict[str, Any] = result  # type: ignore[assignment]
        self.prober.send_answer(self.order, self.kind, answer)

    def late(self, _since: float, _running: Task | None, _waiting_for: str) -> None:
        """Answer that the path does not respond."""
        self.prober.send_answer(
            self.order, self.kind, not_responding_answer(self.kind, self.data)
        )

    def recovered(self) -> None:
        """Do nothing: the order was answered."""

    def replaces(self, _other: Task) -> bool:
        """Return False: every order is answered."""
        return False

    def covers(self, _other: Task) -> bool:
        """Return False: an inspection says nothing about a probe."""
        return False


def not_responding_answer(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to an order whose path does not respond."""
    message = f"{data['path']} does not respond."
    if kind in ("adopt", "readopt"):
        return {
            "id": data["id"],
            "adopted": False,
            "problem": "not-responding",
            "message": message,
        }
    return {
        "path": data["path"],
        "adoptable": False,
        "problem": "not-responding",
        "message": message,
        "volume": None,
        "space": None,
        "marker": None,
    }


class Sweep(Protocol):
    """Collects the volumes of one listing."""

    def add(self, mount: Mount, volume: Volume | None) -> None:
        """Take one volume, or None when it is none or does not answer."""


@dataclass(slots=True)
class VolumeTask:
    """Asks one volume for its identity and its space."""

    mount: Mount
    table: MountTable
    sweep: Sweep
    lane: str = field(init=False)
    key: str = field(init=False)
    repeats: bool = False
    deadline_seconds: float = VOLUME_DEADLINE_SECONDS

    def __post_init__(self) -> None:
        self.lane = self.mount.device
        # No path: a store point may lie at the mount point itself.
        self.key = f"volume of {self.mount.mount_point}"

    def run(self) -> object:
        """Return a list of the volume or of nothing."""
        volume = volumes.volume_at(self.mount, self.table)
        return [] if volume is None else [volume]

    def deliver(self, result: object) -> None:
        """Add the volume to the listing."""
        found: list[Volume] = result  # type: ignore[assignment]
        self.sweep.add(self.mount, found[0] if found else None)

    def late(self, _since: float, _running: Task | None, _waiting_for: str) -> None:
        """Leave the volume out of the listing."""
        self.sweep.add(self.mount, None)

    def recovered(self) -> None:
        """Do nothing: the next listing has it."""

    def replaces(self, _other: Task) -> bool:
        """Return False: a listing waits for each of its volumes."""
        return False

    def covers(self, _other: Task) -> bool:
        """Return False: a listing waits for each of its volumes."""
        return False
