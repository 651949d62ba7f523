"""The watch over devices: what it says, when it says it, and what cannot hold it up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent.devices import watch as watching
from storepoints.agent.devices.tools import Tools
from storepoints.agent.devices.watch import DeviceWatch
from storepoints.agent.messages import Spec
from storepoints.agent.mounts import Mount, Mounts
from storepoints.agent.pool import Pool
from tests.agent.recorded import Kernel


class Machine:
    """A recorded kernel with a watch over it, and programs that are scripts."""

    def __init__(self, root: Path) -> None:
        self.kernel = Kernel(root / "root")
        self.programs = root / "bin"
        self.programs.mkdir()
        self.calls = root / "calls"
        self.table = root / "mountinfo"
        self.specs: dict[str, Spec] = {}
        self.told: list[list[str]] = []
        self.mounts: Mounts
        self.watch: DeviceWatch

    def program(self, name: str, text: str) -> None:
        file = self.programs / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.calls}\n{text}\n')
        file.chmod(0o755)

    def called(self, name: str) -> int:
        text = self.calls.read_text() if self.calls.exists() else ""
        return sum(line.startswith(f"{name} ") for line in text.splitlines())

    def store_point(self, name: str, place: str) -> None:
        self.specs = {**self.specs, name: Spec(name, name, place, None, 5, True, "")}

    def start(self) -> None:
        self.table.write_text("\n".join(self.kernel.lines))
        self.mounts = Mounts(str(self.table))
        self.watch = DeviceWatch(
            Pool(),
            self.mounts,
            lambda: self.specs,
            self.told.append,
            root=str(self.kernel.root),
            tools=Tools(f"{self.programs}:/usr/bin:/bin", deadline_seconds=0.3),
        )
        self.watch.start()

    def mount(self, place: str) -> Mount:
        mount = self.mounts.current().at(place)
        assert mount is not None
        return mount

    def says(self, place: str, health: str) -> Any:
        """Wait until the health of a mount is this; return its tree."""
        mount = self.mount(place)

        def finding() -> Any:
            found = self.watch.finding_of(mount)
            return found is not None and found["health"] == health

        wait_until(finding, lambda: str(self.watch.devices_of(mount)))
        return self.watch.devices_of(mount)

    def notes(self, place: str) -> list[str]:
        devices = self.watch.devices_of(self.mount(place))
        return devices["notes"] if devices is not None else []


def wait_until(
    what: Callable[[], Any], explain: Callable[[], str] = lambda: ""
) -> None:
    until = time.monotonic() + 10
    while not what():
        assert time.monotonic() < until, explain()
        time.sleep(0.01)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(watching, "SWEEP_SECONDS", 0.2)
    monkeypatch.setattr(watching, "DEADLINE_SECONDS", 0.5)
    return Machine(tmp_path)


PASSED = """cat <<'END'
{"smart_status": {"passed": true}, "temperature": {"current": 38}}
END"""
FAILED = """cat <<'END'
{"smart_status": {"passed": false}}
END
exit 8"""


def test_it_tells_the_store_points_whose_devices_changed(machine: Machine) -> None:
    machine.program("smartctl", PASSED)
    sda = machine.kernel.drive("8:0", "sda")
    machine.kernel.drive("8:16", "sdb")
    here = machine.kernel.mount("8:0", "xfs", "/dev/sda")
    there = machine.kernel.mount("8:16", "xfs", "/dev/sdb")
    machine.store_point("a", f"{here}/a")
    machine.store_point("b", f"{here}/b")
    machine.store_point("c", there)
    machine.start()
    machine.says(here, "ok")
    machine.says(there, "ok")
    assert not any(machine.told)

    machine.kernel.write(f"{sda}/device/state", "offline")

    devices = machine.says(here, "failing")
    assert devices["text"] == "drive sda does not answer: the kernel says offline"
    wait_until(lambda: ["a", "b"] in machine.told)

    machine.kernel.write(f"{sda}/device/state", "running")

    machine.says(here, "ok")
    wait_until(lambda: machine.told.count(["a", "b"]) == 2)
    assert ["c"] not in machine.told


def test_it_asks_a_drive_once_for_all_that_lies_on_it(machine: Machine) -> None:
    machine.program("smartctl", FAILED)
    sda = machine.kernel.drive("8:0", "sda")
    places = []
    for part in (1, 2, 3):
        machine.kernel.partition(f"8:{part}", sda, part)
        place = machine.kernel.mount(f"8:{part}", "xfs", f"/dev/sda{part}")
        machine.store_point(str(part), place)
        places.append(place)
    machine.start()

    for place in places:
        assert "fails its SMART check" in machine.says(place, "failing")["text"]

    assert machine.called("smartctl") == 1
    call = machine.calls.read_text()
    assert call == "smartctl -n standby -j -H -A -i /dev/sda\n"


def test_it_asks_no_drive_on_which_no_store_point_lies(machine: Machine) -> None:
    machine.program("smartctl", FAILED)
    machine.kernel.drive("8:0", "sda")
    place = machine.kernel.mount("8:0", "xfs", "/dev/sda")
    machine.start()
    machine.watch.look_at_listed([machine.mount(place)])

    devices = machine.says(place, "unknown")

    assert devices["notes"] == ["sda was not asked: no store point lies on it"]
    assert machine.called("smartctl") == 0


def test_it_keeps_what_a_drive_said_while_it_sleeps(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(watching.PACE_SECONDS, "smart", 0.1)
    machine.program("smartctl", FAILED)
    machine.kernel.drive("8:0", "sda")
    place = machine.kernel.mount("8:0", "xfs", "/dev/sda")
    machine.store_point("a", place)
    machine.start()
    machine.says(place, "failing")

    machine.program(
        "smartctl",
        """echo '{"smartctl": {"messages": [
        {"string": "Device is in STANDBY mode, exit(2)"}]}}'; exit 2""",
    )

    note = ["sda sleeps and was not woken"]
    wait_until(lambda: machine.notes(place) == note)
    assert machine.says(place, "failing")["notes"] == note


def test_it_says_that_a_program_hangs_and_goes_on(machine: Machine) -> None:
    machine.program("smartctl", 'case "$*" in *sda) sleep 60;; esac\n' + PASSED)
    machine.kernel.drive("8:0", "sda")
    machine.kernel.drive("8:16", "sdb")
    first = machine.kernel.mount("8:0", "xfs", "/dev/sda")
    second = machine.kernel.mount("8:16", "xfs", "/dev/sdb")
    machine.store_point("a", first)
    machine.store_point("b", second)
    machine.start()

    assert machine.says(second, "ok")["notes"] == []
    assert machine.says(first, "unknown")["notes"] == [
        "sda: smartctl did not answer within 0.3 s, so the drive was not asked"
    ]


def test_it_asks_a_pool_again_when_the_kernel_says_that_it_changed(
    machine: Machine,
) -> None:
    state = "/proc/spl/kstat/zfs/tank/state"
    machine.kernel.write(state, "ONLINE")
    machine.program("zpool", zpool_before_2_3("ONLINE"))
    place = machine.kernel.mount("0:60", "zfs", "tank/backup")
    machine.store_point("a", place)
    machine.start()
    machine.says(place, "ok")

    machine.program("zpool", zpool_before_2_3("DEGRADED"))
    machine.kernel.write(state, "DEGRADED")

    devices = machine.says(place, "degraded")
    assert devices["text"] == "pool tank is degraded"
    assert devices["notes"] == []
    assert machine.called("zpool") == 6


def zpool_before_2_3(state: str) -> str:
    return (
        f"""case "$*" in
        "status -j"*) echo "invalid option 'j'" >&2; exit 2;;"""
        f"""        "status -p tank") echo "  pool: tank"; echo " state: {state}";;"""
        """        *) exit 1;; esac"""
    )


def test_it_is_not_held_up_by_a_file_that_hangs(machine: Machine) -> None:
    machine.program("smartctl", PASSED)
    sda = machine.kernel.drive("8:0", "sda")
    machine.kernel.drive("8:16", "sdb")
    dying = machine.kernel.mount("8:0", "xfs", "/dev/sda")
    well = machine.kernel.mount("8:16", "xfs", "/dev/sdb")
    machine.store_point("a", dying)
    machine.store_point("b", well)
    machine.start()
    machine.says(dying, "ok")
    state = machine.kernel.root / sda.lstrip("/") / "device/state"
    state.unlink()
    os.mkfifo(state)

    note = ["the kernel's own files about it do not answer"]
    wait_until(lambda: machine.notes(dying) == note)
    machine.kernel.write("/sys/devices/pci0000:00/ata1/host0/sdb/block/sdb/ro", 1)
    sdb = "/sys/devices/pci0000:00/ata1/host0/sdb/block/sdb/device/state"
    machine.kernel.write(sdb, "offline")
    machine.says(well, "failing")

    # Whoever reads gets an answer now, and the file is a file again.
    writer = os.open(state, os.O_WRONLY)
    state.unlink()
    state.write_text("running\n")
    os.close(writer)
    wait_until(lambda: machine.notes(dying) == [])
    machine.says(dying, "ok")


def test_it_reads_little_when_nothing_changes(machine: Machine) -> None:
    """A thousand filesystems on one drive cost a few milliseconds in five seconds."""
    machine.program("smartctl", PASSED)
    sda = machine.kernel.drive("8:0", "sda")
    for part in range(1, 201):
        machine.kernel.partition(f"8:{part}", sda, part)
        place = machine.kernel.mount(f"8:{part}", "ext4", f"/dev/sda{part}")
        machine.kernel.write(f"/sys/fs/ext4/sda{part}/errors_count", 0)
        machine.store_point(str(part), place)
    machine.start()
    machine.says(place, "ok")
    wait_until(lambda: machine.watch._sweep_seconds < 0.05)

    time.sleep(1)

    assert machine.watch._sweep_seconds < 0.05


def test_it_does_not_call_a_drive_well_that_does_not_answer_any_more(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(watching.PACE_SECONDS, "smart", 0.3)
    machine.program("smartctl", PASSED)
    machine.kernel.drive("8:0", "sda")
    place = machine.kernel.mount("8:0", "xfs", "/dev/sda")
    machine.store_point("a", place)
    machine.start()
    machine.says(place, "ok")

    machine.program("smartctl", "echo nothing; exit 2")

    note = ["sda: smartctl (older than 7.0?) gave no JSON"]
    wait_until(lambda: machine.notes(place) == note)
    assert machine.says(place, "unknown")["notes"] == note


def test_it_keeps_what_was_wrong_while_nothing_is_said(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(watching.PACE_SECONDS, "smart", 0.1)
    machine.program("smartctl", FAILED)
    machine.kernel.drive("8:0", "sda")
    place = machine.kernel.mount("8:0", "xfs", "/dev/sda")
    machine.store_point("a", place)
    machine.start()
    machine.says(place, "failing")

    machine.program("smartctl", "echo nothing; exit 2")
    calls = machine.called("smartctl")
    wait_until(lambda: machine.called("smartctl") > calls + 6)

    assert machine.says(place, "failing")["notes"]


def test_it_says_nothing_of_another_volume_with_the_same_number(
    machine: Machine,
) -> None:
    machine.program("smartctl", FAILED)
    machine.kernel.drive("8:0", "sda")
    place = machine.kernel.mount("8:0", "xfs", "/dev/sda")
    machine.store_point("a", place)
    machine.start()
    machine.says(place, "failing")

    again = machine.kernel.table.at(place)
    assert again is not None

    assert again == machine.mount(place)
    assert machine.watch.finding_of(again) is None
    assert machine.watch.devices_of(again) is None


def test_it_asks_a_drive_anew_that_was_put_in_the_place_of_another(
    machine: Machine,
) -> None:
    machine.program("smartctl", FAILED)
    sda = machine.kernel.drive("8:0", "sda")
    machine.kernel.write(f"{sda}/device/wwid", "t10.ATA     ST16000NM001G  ZL2")
    place = machine.kernel.mount("8:0", "xfs", "/dev/sda")
    machine.store_point("a", place)
    machine.start()
    machine.says(place, "failing")

    machine.program("smartctl", PASSED)
    machine.kernel.write(f"{sda}/device/wwid", "t10.ATA     ST16000NM001G  ZL9")

    machine.says(place, "ok")


def _says(machine: Machine, place: str, words: str) -> bool:
    return words in str(machine.watch.devices_of(machine.mount(place)))


def test_it_does_not_ask_for_a_probe_at_each_error_that_is_counted(
    machine: Machine,
) -> None:
    machine.kernel.drive("8:0", "sda")
    place = machine.kernel.mount("8:0", "ext4", "/dev/sda")
    errors = "/sys/fs/ext4/sda/errors_count"
    machine.kernel.write(errors, 1)
    machine.store_point("a", place)
    machine.start()
    machine.says(place, "degraded")

    for number in (2, 3):
        machine.kernel.write(errors, number)
        wait_until(partial(_says, machine, place, f"{number} errors"))

    assert machine.told.count(["a"]) == 1
