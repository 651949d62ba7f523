"""The tasks of the prober's pool: probe, inspect, adopt, look at a volume."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from storepoints.agent import adoption, volumes
from storepoints.agent.messages import Finding, Spec, Volume, VolumeId, tidy_path
from storepoints.agent.probe import Progress, not_responding, probe

if TYPE_CHECKING:
    from storepoints.agent.inbound import Switch
    from storepoints.agent.mounts import Mount, Mounts, MountTable
    from storepoints.agent.pool import Task

#: A person waits for these.
INSPECT_DEADLINE_SECONDS = 4.0
#: A volume that does not answer in this time is not offered.
VOLUME_DEADLINE_SECONDS = 2.0


class Prober(Protocol):
    """What the tasks need of the process that they run in."""

    mounts: Mounts
    switch: Switch

    def send_finding(self, finding: Finding) -> None:
        """Hand a finding to the parent process."""

    def send_answer(self, order: str, kind: str, answer: dict[str, Any]) -> None:
        """Hand the answer to an order to the parent process."""

    def probe_again(self, store_point: str) -> None:
        """Probe a store point whose call came back."""


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
        finding = self._probe(table)
        # An unmount in the middle would be told as what it looks like from inside.
        if finding["state"] != "online" and (again := mounts.current()) is not table:
            finding = self._probe(again)
        return finding

    def _probe(self, table: MountTable) -> Finding:
        return probe(
            self.spec,
            table,
            self.progress,
            cause=self.cause,
            settle=self.prober.switch.settle,
        )

    def deliver(self, result: object) -> None:
        """Send the finding, then start the hook if it is due."""
        finding: Finding = result  # type: ignore[assignment]
        self.prober.send_finding(finding)
        if self.runs_hook and finding["inbound"]["pending"]:
            self.prober.switch.run_hook(self.spec, finding["inbound"])

    def late(self, since: float, running: Task | None, waiting_for: str) -> None:
        """Send the finding that the store point does not respond."""
        progress = self.progress
        if isinstance(running, ProbeTask):
            progress = running.progress
        finding = not_responding(
            self.spec, progress, cause=self.cause, since=since, waiting_for=waiting_for
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
        return True

    def covers(self, other: Task) -> bool:
        """Return whether this probe, which runs, answers the other one's question."""
        return (
            isinstance(other, ProbeTask)
            and not other.insists
            and other.spec is self.spec
        )


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
            return adoption.inspect(self.data["path"], table)
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
    if kind == "adopt":
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
