"""Which probe answers for which, and what is measured when a volume is gone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent.inbound import Switch
from storepoints.agent.memory import Memory, awake
from storepoints.agent.messages import (
    DeviceFinding,
    FallThrough,
    Finding,
    Spec,
    VolumeId,
)
from storepoints.agent.mounts import Mount, Mounts, MountTable, parse
from storepoints.agent.tasks import MeasureTask, ProbeTask
from tests.faults.conftest import Watch, adopted


class Prober:
    """Keeps what it is handed; its mount table can be another one than this machine's."""

    def __init__(self, table: MountTable | None = None) -> None:
        self.mounts: Any = _Table(table) if table is not None else Mounts()
        self.switch = Switch(lambda _store_point, _error: None)
        self.server = "this server"
        self.findings: list[Finding] = []
        self.measured: list[Spec] = []
        self.asked_again: list[str] = []

    def device_of(self, _mount: Mount) -> DeviceFinding | None:
        return None

    def send_finding(self, finding: Finding) -> None:
        self.findings.append(finding)

    def send_answer(self, order: str, kind: str, answer: dict[str, Any]) -> None:
        raise AssertionError("nobody asked")

    def probe_again(self, store_point: str, *, runs_hook: bool = True) -> None:
        assert not runs_hook, "a measure is no reason to run the hook again"
        self.asked_again.append(store_point)

    def measure(self, spec: Spec, memory: Memory) -> None:
        self.measured.append(spec)

    def look_at_archives(self, spec: Spec, lane: str, memory: Memory) -> None:
        pass


class _Table:
    def __init__(self, table: MountTable) -> None:
        self.table = table

    def current(self) -> MountTable:
        return self.table

    def refreshed(self) -> MountTable:
        return self.table


@pytest.fixture
def gone(tmp_path: Path) -> Spec:
    """A store point whose volume should be mounted at its path and is not."""
    volume = VolumeId(
        mount_point=str(tmp_path), fs_type="ext4", fs_uuid="u", source="/x", fsid=""
    )
    return Spec("id", "name", str(tmp_path), volume, 5.0, write=True, inbound="")


def task(spec: Spec, cause: str = "due", **fields: Any) -> ProbeTask:
    prober = fields.pop("prober", None) or Prober()
    return ProbeTask(
        prober, spec, cause, "lane", fields.pop("memory", Memory()), **fields
    )


@pytest.mark.parametrize(
    ("running", "asked", "covers"),
    [
        ("due", "due", True),
        ("asked", "due", True),
        # The one that runs may have skipped its write.
        ("due", "asked", False),
        ("asked", "asked", True),
        ("mount-table", "asked", True),
    ],
)
def test_it_lets_a_running_probe_answer_what_it_can(
    gone: Spec, running: str, asked: str, *, covers: bool
) -> None:
    assert task(gone, running).covers(task(gone, asked)) is covers


def test_it_lets_no_running_probe_answer_for_another_specification(gone: Spec) -> None:
    assert not task(gone).covers(task(replace(gone, inbound="disabled")))
    assert not task(gone).covers(task(gone, insists=True))


def test_it_does_not_lose_that_somebody_asked(gone: Spec) -> None:
    waiting, newer = task(gone, "asked"), task(gone, "due")

    assert newer.replaces(waiting)

    assert newer.cause == "asked"


def test_it_does_not_lose_that_the_hook_may_run(gone: Spec) -> None:
    waiting, newer = task(gone), task(gone, runs_hook=False)

    assert newer.replaces(waiting)

    assert newer.runs_hook


def _deliver(probe_task: ProbeTask) -> Finding:
    result = probe_task.run()
    probe_task.deliver(result)
    prober: Any = probe_task.prober
    finding: Finding = prober.findings[-1]
    return finding


def test_it_has_measured_what_falls_through_but_not_at_each_probe(gone: Spec) -> None:
    prober, memory = Prober(), Memory()

    first = _deliver(task(gone, prober=prober, memory=memory))
    memory.measure_at = awake() + 30
    _deliver(task(gone, prober=prober, memory=memory))

    assert (first["reason"], first["fall_through"]) == ("not-mounted", None)
    assert prober.measured == [gone]


def _measure(prober: Prober, spec: Spec, memory: Memory) -> MeasureTask:
    below = prober.mounts.current().covering(spec.path)
    return MeasureTask(prober, spec, memory, below)


def test_it_asks_again_when_there_is_something_new_to_say(
    gone: Spec, tmp_path: Path
) -> None:
    prober, memory = Prober(), Memory()
    (tmp_path / "file").write_bytes(bytes(5000))
    measure = _measure(prober, gone, memory)

    measure.deliver(measure.run())
    measure.deliver(measure.run())

    assert prober.asked_again == ["id"]
    assert memory.fall_through is not None
    assert memory.fall_through["files"] == 1
    assert 20 < memory.measure_at - awake() < 40
    assert _deliver(task(gone, prober=prober, memory=memory))["fall_through"] == (
        memory.fall_through
    )


@pytest.mark.parametrize("who", ["the prober", "the master"])
def test_it_counts_since_the_store_point_was_last_well(
    gone: Spec, tmp_path: Path, who: str
) -> None:
    prober, memory = Prober(), Memory()
    (tmp_path / "file").write_bytes(b"x")
    if who == "the prober":
        memory.well_at = awake() + 60
        # By a clock that was set back since.
        gone = replace(gone, well_at=time.time() - 3600)
    else:
        gone = replace(gone, well_at=time.time() + 60)
    measure = _measure(prober, gone, memory)

    measure.deliver(measure.run())

    assert memory.fall_through is not None
    assert memory.fall_through["files"] == 0


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_it_drops_the_measure_when_the_volume_is_back(
    gone: Spec, tmp_path: Path, when: str
) -> None:
    prober, memory = Prober(Mounts().current()), Memory()
    (tmp_path / "file").write_bytes(b"x")
    below = prober.mounts.current().covering(gone.path)
    mounted = parse(
        b"20 1 0:20 / / rw - ext4 /dev/y rw\n"
        + f"21 20 0:21 / {tmp_path} rw - ext4 /dev/x rw\n".encode()
    )
    measure = MeasureTask(prober, gone, memory, below)

    if when == "before":
        prober.mounts.table = mounted
    found = measure.run()
    prober.mounts.table = mounted
    measure.deliver(found)

    assert (memory.fall_through, prober.asked_again) == (None, [])


def test_it_forgets_the_measure_when_the_store_point_is_well() -> None:
    nothing = FallThrough(bytes=0, files=0, newest_at=None, is_complete=True)
    memory = Memory(fall_through=nothing, measure_at=1.0)

    memory.went_well(written_on=None)

    assert memory.fall_through is None
    # A mount that comes and goes is not measured each time.
    assert memory.measure_at == 1.0


def test_it_reads_the_table_again_before_it_claims_what_the_table_denies(
    tmp_path: Path,
) -> None:
    """The kernel may tell of a mount a moment after a path leads there."""
    full = Mounts().current()
    mount = full.covering(str(tmp_path))
    assert mount is not None
    volume = VolumeId(
        mount_point=mount.mount_point,
        fs_type=mount.fs_type,
        fs_uuid="",
        source=mount.source,
        fsid="",
    )
    spec = Spec("id", "name", str(tmp_path), volume, 5.0, write=True, inbound="")
    early = MountTable(
        {
            line: replace(each, id=each.id + 100_000, device="9:99")
            if each is mount
            else each
            for line, each in full.lines.items()
        }
    )
    prober = Prober(early)
    prober.mounts.refreshed = lambda: full

    finding = _deliver(task(spec, prober=prober))

    assert finding["reason"] == "marker-missing"


def test_it_remembers_no_write_of_another_directory(tmp_path: Path) -> None:
    watch = Watch()
    try:
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        spec = {**adopted(first), "write_seconds": 60}
        assert watch.verdict(spec)["wrote"] is True
        assert watch.verdict(spec)["wrote"] is False

        first.rename(second)

        assert watch.verdict({**spec, "path": str(second)})["wrote"] is True
    finally:
        watch.stop()


def _falls_through(tmp_path: Path) -> tuple[Spec, MountTable]:
    """Return a store point below a mount that is in the table, but not there."""
    mounted = Mounts().current()
    path = tmp_path / "volume/point"
    path.mkdir(parents=True)
    line = f"999999 {_root(mounted).id} 9:99 / {path.parent} rw - ext4 /dev/x rw"
    table = parse(b"\n".join([*mounted.lines, line.encode()]))
    volume = VolumeId(
        mount_point=str(path.parent),
        fs_type="ext4",
        fs_uuid="u",
        source="/dev/x",
        fsid="",
    )
    spec = Spec("id", "name", str(path), volume, 5.0, write=True, inbound="")
    return spec, table


def _root(table: MountTable) -> Mount:
    root = table.covering("/")
    assert root is not None
    return root


def test_it_takes_what_falls_through_for_not_mounted_whatever_the_table_says(
    tmp_path: Path,
) -> None:
    spec, table = _falls_through(tmp_path)

    finding = _deliver(task(spec, prober=Prober(table)))

    assert (finding["reason"], finding["layer"]) == ("not-mounted", 3)


def test_it_looks_again_while_the_table_changes(tmp_path: Path) -> None:
    spec, table = _falls_through(tmp_path)
    prober = Prober(table)
    tables = [parse(b"\n".join(table.lines)) for _ in range(2)]
    prober.mounts.refreshed = lambda: tables.pop() if tables else Mounts().current()

    finding = _deliver(task(spec, prober=prober))

    # By the table that came last nothing is mounted there.
    assert "nothing is mounted there" in str(finding["checks"])
