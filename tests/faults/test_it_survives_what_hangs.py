"""Calls that never return: nobody else waits, nothing grows, it mends by itself."""

from __future__ import annotations

import collections
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.agent.harness import AgentProcess, Broker, Master
from tests.faults import breaking as by
from tests.faults.breaking import Scene, Way
from tests.faults.conftest import Watch, adopted, wait_until
from tests.faults.volumes import (
    Disk,
    HungFuse,
    Tmpfs,
    Volume,
    mount_tmpfs,
    run,
    umount,
)

pytestmark = pytest.mark.faults

#: How long the agent waits for an answer in these tests.
DEADLINE_SECONDS = 0.3


# --- how it hangs -----------------------------------------------------------------------


@dataclass(frozen=True)
class Hang:
    """A row of the matrix: how it hangs, and at which layer and call that is seen."""

    begins: Way
    on: Callable[[Path], Volume]
    layer: int
    found: str

    @property
    def is_anywhere(self) -> bool:
        """Whether each call is slow and none hangs: it comes back, always too late."""
        return not self.layer


# fmt: off
HANGS = [
    Hang(by.frozen, by.ext4, 6, "no answer from open for writing"),
    Hang(by.frozen, by.xfs, 6, "no answer from open for writing"),
    Hang(by.frozen, by.btrfs, 6, "no answer from open for writing"),
    Hang(by.its_server_stopped, by.faulty, 2, "no answer from open"),
    Hang(by.told(write="hangs"), by.faulty, 6, "no answer from write"),
    Hang(by.told(fsync="hangs"), by.faulty, 6, "no answer from fsync"),
    Hang(by.told(read_of_probe="hangs"), by.faulty, 6, "no answer from read"),
    Hang(by.told(read_of_identity__json="hangs"), by.faulty, 4, "no answer from read marker"),
    Hang(by.told(statfs="hangs"), by.faulty, 5, "no answer from statvfs"),
    Hang(by.told(everything=0.2), by.faulty, 0, "no answer from"),
    # As a dying disk does it: the process is in state D and cannot be killed.
    Hang(by.its_disk_silent, by.dying_disk, 6, "no answer from fsync"),
]
# fmt: on

#: One for each way to hang in the kernel: the others differ in the name of the call.
KINDS = [HANGS[number] for number in (0, 3, 5, 9, 10)]


def name_of(hang: Hang) -> str:
    return f"{hang.begins.__name__} on {hang.on.__name__}"


@pytest.fixture
def other(yard: Path) -> dict[str, Any]:
    """A store point that works, on another volume."""
    disk = Disk(yard, "other")
    disk.mount()
    return adopted(disk.place)


def hanging(scene: Scene, hang: Hang) -> Iterator[None]:
    """Return the way it hangs, after shortening the deadline."""
    scene.spec["deadline_seconds"] = DEADLINE_SECONDS
    return hang.begins(scene)


def threads_and_files(pid: int) -> tuple[int, int]:
    return (
        len(list(Path(f"/proc/{pid}/task").iterdir())),
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
    )


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- verdict, evidence, recovery --------------------------------------------------------


@pytest.mark.parametrize("hang", HANGS, ids=name_of)
def test_it_tells_what_hangs_and_recovers(yard: Path, watch: Watch, hang: Hang) -> None:
    scene = Scene(yard, hang.on(yard))
    way = hanging(scene, hang)
    # Not in the middle of a probe: it would hang in whatever call it was just in.
    watch.verdict(scene.spec, state="online")
    before = time.time()

    next(way)
    with watch.asking(scene.spec):
        first = watch.wait(scene.spec, state="not-responding")
        watch.sink.findings.clear()
        later = watch.wait(scene.spec)
        next(way, None)
        watch.sink.findings.clear()
        well = watch.wait(scene.spec, state="online")

    (check,) = [check for check in first["checks"] if check["ok"] is False]
    assert (first["reason"], first["errno"]) == ("", "")
    assert first["layer"] == check["layer"]
    assert first["layer"] == hang.layer or hang.is_anywhere
    assert check["expected"] == "an answer"
    assert hang.found in check["found"]
    assert first["duration_seconds"] >= DEADLINE_SECONDS
    assert before <= first["since"] <= first["at"]
    assert later["state"] == "not-responding"
    assert later["duration_seconds"] >= first["duration_seconds"] or hang.is_anywhere
    assert well["since"] is None


def test_it_tells_a_hung_mount_then_a_dead_one_then_none(
    yard: Path, needs_fuse: None, watch: Watch, other: dict[str, Any]
) -> None:
    fuse = HungFuse(yard)
    fuse.mount()
    spec = hung_spec(fuse)

    with watch.asking(spec):
        hung = watch.wait(spec, state="not-responding", seconds=2)
        assert watch.verdict(other, seconds=1)["state"] == "online"
        fuse.die()
        # The call that hung is aborted; those that come later have nobody to ask.
        aborted = watch.wait(spec, state="offline", seconds=2)
        dead = watch.wait(spec, errno="ENOTCONN", seconds=2)
        umount(fuse.place)
        gone = watch.wait(spec, reason="marker-missing", seconds=2)

    assert (hung["layer"], dead["layer"], gone["layer"]) == (2, 2, 4)
    assert aborted["reason"] == dead["reason"] == "io-error"
    assert aborted["errno"] in ("ECONNABORTED", "ENOTCONN")


def hung_spec(fuse: HungFuse, **fields: Any) -> dict[str, Any]:
    return {
        "id": "hung",
        "name": "hung",
        "path": str(fuse.place),
        "volume": None,
        "deadline_seconds": DEADLINE_SECONDS,
        "write": True,
        "inbound": "enabled",
        **fields,
    }


def test_it_tells_a_server_that_hangs_and_then_dies(yard: Path, watch: Watch) -> None:
    scene = Scene(yard, by.faulty(yard))
    way = hanging(scene, HANGS[3])
    with watch.asking(scene.spec):
        watch.wait(scene.spec, state="online")
        next(way)
        watch.wait(scene.spec, state="not-responding")

        scene.volume.die()
        aborted = watch.wait(scene.spec, state="offline")
        dead = watch.wait(scene.spec, errno="ENOTCONN")
        umount(scene.place)
        watch.wait(scene.spec, reason="not-mounted")
        scene.volume.mount()
        watch.sink.findings.clear()
        watch.wait(scene.spec, state="online")

    assert aborted["reason"] == dead["reason"] == "io-error"
    assert aborted["errno"] in ("ECONNABORTED", "ENOTCONN")


# --- nobody else waits ------------------------------------------------------------------

#: What the others are asked in; and what may lie between two answers on a machine that
#: does other things beside.
INTERVAL_SECONDS = 0.25
GAP_SECONDS = 3 * INTERVAL_SECONDS


@contextmanager
def twenty_others(yard: Path) -> Iterator[list[dict[str, Any]]]:
    """Twenty store points on four volumes that work."""
    specs = []
    for number in range(4):
        volume: Volume = (
            Disk(yard, f"other {number}")
            if number % 2
            else Tmpfs(yard, f"other {number}")
        )
        volume.mount()
        for name in "abcde":
            path = volume.place / name
            path.mkdir()
            specs.append(adopted(path))
    yield specs


def longest_gap(findings: list[dict[str, Any]], specs: list[dict[str, Any]]) -> float:
    """Return the longest time between two findings on the same of some store points."""
    at: dict[str, list[float]] = collections.defaultdict(list)
    for finding in findings:
        at[finding["id"]].append(finding["received_at"])
    return max(
        later - earlier
        for spec in specs
        for earlier, later in zip(at[spec["id"]], at[spec["id"]][1:], strict=False)
    )


@pytest.mark.parametrize("hang", HANGS, ids=name_of)
def test_it_keeps_the_interval_of_all_others(
    yard: Path, watch: Watch, hang: Hang
) -> None:
    scene = Scene(yard, hang.on(yard))
    way = hanging(scene, hang)
    with twenty_others(yard) as others:
        watch.verdict(scene.spec, state="online")
        watch.sink.findings.clear()
        with watch.asking(scene.spec, *others, every=INTERVAL_SECONDS):
            next(way)
            time.sleep(6 * INTERVAL_SECONDS)
            watch.wait(scene.spec, state="not-responding")
            findings = list(watch.sink.findings)
            next(way, None)
            watch.wait(scene.spec, state="online")

    states = {
        spec["id"]: {f["state"] for f in findings if f["id"] == spec["id"]}
        for spec in others
    }
    assert set(map(frozenset, states.values())) == {frozenset({"online"})}
    assert longest_gap(findings, others) < GAP_SECONDS


# --- nothing grows ----------------------------------------------------------------------


@pytest.mark.parametrize("hang", KINDS, ids=name_of)
def test_it_does_not_grow_over_a_thousand_probes(
    yard: Path, watch: Watch, other: dict[str, Any], hang: Hang
) -> None:
    scene = Scene(yard, hang.on(yard))
    way = hanging(scene, hang)
    watch.verdict(scene.spec, state="online")
    watch.verdict(other, state="online")
    next(way)
    watch.verdict(scene.spec, state="not-responding")
    before = threads_and_files(watch.pid)
    watch.sink.findings.clear()

    for _ in range(1000):
        watch.probe(scene.spec, other)
        time.sleep(0.001)

    watch.wait(other)
    time.sleep(DEADLINE_SECONDS)
    threads, files = threads_and_files(watch.pid)
    assert threads <= before[0] + 2
    assert files <= before[1] + 2
    states = collections.defaultdict(set)
    for finding in watch.sink.findings:
        states[finding["id"]].add(finding["state"])
    assert states == {scene.spec["id"]: {"not-responding"}, other["id"]: {"online"}}
    next(way, None)
    watch.sink.findings.clear()
    watch.wait(scene.spec, state="online")


def test_it_serves_others_while_a_thousand_paths_hang(
    yard: Path, needs_fuse: None, watch: Watch, other: dict[str, Any]
) -> None:
    fuse = HungFuse(yard)
    fuse.mount()
    hung = [
        hung_spec(fuse, id=f"hung {number}", path=f"{fuse.place}/{number}")
        for number in range(1000)
    ]
    try:
        watch.probe(*hung)

        for _ in range(10):
            assert watch.verdict(other, seconds=1)["state"] == "online"
            time.sleep(0.1)
        watch.sink.findings.clear()
        watch.probe(*hung)

        wait_until(lambda: len({f["id"] for f in watch.sink.findings}) >= 1000)
        assert {f["state"] for f in watch.sink.findings} == {"not-responding"}
        assert threads_and_files(watch.pid)[0] < 30
    finally:
        fuse.die()


def test_it_makes_no_second_call_after_its_prober_was_killed(
    disk: Disk, watch: Watch, other: dict[str, Any]
) -> None:
    spec = {**adopted(disk.place), "deadline_seconds": DEADLINE_SECONDS}
    watch.verdict(spec, state="online")
    run("fsfreeze", "-f", disk.place)
    try:
        since = watch.verdict(spec, state="not-responding")["since"]
        before = watch.pid
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: watch.client.pid not in (None, before))
        finding = watch.verdict(spec, seconds=2)
        assert watch.verdict(other, seconds=1)["state"] == "online"
        assert (finding["state"], finding["since"]) == ("not-responding", since)
        assert Path(f"/proc/{before}").exists()
    finally:
        run("fsfreeze", "-u", disk.place)

    watch.wait(spec, state="online", seconds=3)
    wait_until(lambda: not Path(f"/proc/{before}").exists(), 3)


# --- it stops ---------------------------------------------------------------------------


@pytest.mark.parametrize("hang", KINDS, ids=name_of)
def test_it_stops_within_ten_seconds_while_a_probe_hangs(
    yard: Path, other: dict[str, Any], hang: Hang
) -> None:
    scene = Scene(yard, hang.on(yard))
    way = hanging(scene, hang)
    broker = Broker(yard)
    broker.start()
    master = Master(broker)
    agent = AgentProcess(yard, master)
    try:
        master.probe(scene.spec, other)
        master.wait_finding(scene.spec["id"], state="online")
        next(way)
        master.probe(scene.spec, other)
        master.wait_finding(scene.spec["id"], state="not-responding")
        path = scene.spec["path"]
        assert master.ask("inspect", path=path)["problem"] == "not-responding"

        seconds = agent.stop()
    finally:
        next(way, None)
        if agent.process.poll() is None:
            agent.process.kill()
        broker.stop()

    assert seconds < 10
    assert agent.process.returncode == 0


# --- a storm ----------------------------------------------------------------------------


def test_it_survives_a_thousand_mounts_and_unmounts(yard: Path, watch: Watch) -> None:
    place = yard / "storm"
    place.mkdir()
    with twenty_others(yard) as others:
        watch.probe(*others)
        wait_until(lambda: len({f["id"] for f in watch.sink.findings}) == 20)
        before = threads_and_files(watch.pid)
        spent, began = cpu_seconds(watch.pid), time.monotonic()
        watch.sink.findings.clear()

        with watch.asking(*others, every=INTERVAL_SECONDS):
            for _ in range(1000):
                mount_tmpfs(place)
                umount(place)
                # A sixth of the minute that a thousand are given.
                time.sleep(0.008)
            took = time.monotonic() - began
            share = (cpu_seconds(watch.pid) - spent) / took

        time.sleep(INTERVAL_SECONDS)
        findings = list(watch.sink.findings)
        after = threads_and_files(watch.pid)

    assert {finding["state"] for finding in findings} == {"online"}
    assert longest_gap(findings, others) < GAP_SECONDS
    assert took < 60
    assert share < 0.3
    # Each lane that works may have its threads.
    assert after[0] <= before[0] + 8
    assert after[1] <= before[1] + 8
