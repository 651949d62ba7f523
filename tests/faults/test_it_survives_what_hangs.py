"""Calls that never return: nobody else waits, nothing grows, it mends by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.harness import AgentProcess, Broker, Master
from tests.faults.conftest import Disk, HungFuse, Watch, adopted, run, wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def other(yard: Path) -> dict[str, Any]:
    """A store point that works, on another volume."""
    disk = Disk(yard, "other")
    disk.mount()
    return adopted(disk.place)


@pytest.fixture
def fuse(yard: Path, needs_fuse: None) -> Iterator[HungFuse]:
    place = yard / "fuse"
    place.mkdir()
    fuse = HungFuse(place)
    yield fuse
    fuse.die()
    fuse.umount()


def hung_spec(fuse: HungFuse, **fields: Any) -> dict[str, Any]:
    return {
        "id": "hung",
        "name": "hung",
        "path": str(fuse.place),
        "volume": None,
        "deadline_seconds": 0.3,
        "write": True,
        "inbound": "enabled",
        **fields,
    }


def threads_and_files(pid: int) -> tuple[int, int]:
    return (
        len(list(Path(f"/proc/{pid}/task").iterdir())),
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
    )


def test_it_tells_a_frozen_filesystem_and_its_thaw(
    disk: Disk, watch: Watch, other: dict[str, Any]
) -> None:
    spec = {**adopted(disk.place), "deadline_seconds": 0.3}
    watch.verdict(spec, state="online")
    run("fsfreeze", "-f", disk.place)
    frozen_at = time.time()
    try:
        finding = watch.verdict(spec)
        for _ in range(5):
            assert watch.verdict(other, seconds=1)["state"] == "online"
        again = watch.verdict(spec, seconds=1)
    finally:
        run("fsfreeze", "-u", disk.place)

    assert finding["state"] == "not-responding"
    assert finding["layer"] == 6
    assert frozen_at <= finding["since"] <= finding["at"]
    assert "open for writing" in finding["checks"][-1]["found"]
    assert again["since"] == finding["since"]
    watch.wait(spec, state="online", cause="due", seconds=2)


def test_it_tells_a_hung_mount_then_a_dead_one_then_none(
    fuse: HungFuse, watch: Watch, other: dict[str, Any]
) -> None:
    spec = hung_spec(fuse)

    finding = watch.verdict(spec, seconds=2)
    assert watch.verdict(other, seconds=1)["state"] == "online"
    fuse.die()
    dead = watch.wait(spec, state="offline", seconds=2)

    assert (finding["state"], finding["layer"]) == ("not-responding", 2)
    assert (dead["reason"], dead["errno"]) == ("io-error", "ENOTCONN")


def test_it_does_not_grow_over_a_thousand_probes(
    fuse: HungFuse, watch: Watch, other: dict[str, Any]
) -> None:
    spec = hung_spec(fuse)
    watch.verdict(spec, state="not-responding")
    watch.verdict(other, state="online")
    pid = watch.client.pid
    assert pid is not None
    before = threads_and_files(pid)
    watch.sink.findings.clear()

    for _ in range(1000):
        watch.probe(spec, other)
        time.sleep(0.001)

    wait_until(lambda: len(watch.sink.findings) > 1000)
    time.sleep(0.3)
    threads, files = threads_and_files(pid)
    assert threads <= before[0] + 2
    assert files <= before[1] + 1
    assert {f["state"] for f in watch.sink.findings if f["id"] == "hung"} == {
        "not-responding"
    }
    assert {f["state"] for f in watch.sink.findings if f["id"] != "hung"} == {"online"}


def test_it_serves_others_while_a_thousand_paths_hang(
    fuse: HungFuse, watch: Watch, other: dict[str, Any]
) -> None:
    hung = [
        hung_spec(fuse, id=f"hung {number}", path=f"{fuse.place}/{number}")
        for number in range(1000)
    ]
    watch.probe(*hung)

    for _ in range(10):
        assert watch.verdict(other, seconds=1)["state"] == "online"
        time.sleep(0.1)
    watch.sink.findings.clear()
    watch.probe(*hung)

    wait_until(lambda: len({f["id"] for f in watch.sink.findings}) >= 1000)
    assert {f["state"] for f in watch.sink.findings} == {"not-responding"}
    pid = watch.client.pid
    assert pid is not None
    assert threads_and_files(pid)[0] < 30


def test_it_makes_no_second_call_after_its_prober_was_killed(
    disk: Disk, watch: Watch, other: dict[str, Any]
) -> None:
    spec = {**adopted(disk.place), "deadline_seconds": 0.3}
    watch.verdict(spec, state="online")
    run("fsfreeze", "-f", disk.place)
    try:
        since = watch.verdict(spec, state="not-responding")["since"]
        before = watch.client.pid
        assert before is not None
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


def test_it_stops_within_seconds_while_a_probe_hangs(
    disk: Disk, yard: Path, other: dict[str, Any]
) -> None:
    broker = Broker(yard)
    broker.start()
    master = Master(broker)
    agent = AgentProcess(yard, master)
    spec = {**adopted(disk.place), "deadline_seconds": 0.3}
    try:
        master.probe(spec, other)
        master.wait_finding(spec["id"], state="online")
        run("fsfreeze", "-f", disk.place)
        master.probe(spec, other)
        master.wait_finding(spec["id"], state="not-responding")
        assert master.ask("inspect", path=spec["path"])["problem"] == "not-responding"

        seconds = agent.stop()
    finally:
        subprocess.run(["fsfreeze", "-u", str(disk.place)], check=False)
        if agent.process.poll() is None:
            agent.process.kill()
        broker.stop()

    assert seconds < 10
    assert agent.process.returncode == 0


def test_it_survives_a_storm_of_mounts(
    yard: Path, watch: Watch, other: dict[str, Any]
) -> None:
    watch.verdict(other, state="online")
    pid = watch.client.pid
    assert pid is not None
    before = _cpu_seconds(pid)
    place = yard / "storm"
    place.mkdir()
    began = time.monotonic()

    for number in range(300):
        run("mount", "-t", "tmpfs", "none", place)
        run("umount", place)
        if number % 50 == 0:
            assert watch.verdict(other, seconds=1)["state"] == "online"

    took = time.monotonic() - began
    assert (_cpu_seconds(pid) - before) / took < 0.3


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
