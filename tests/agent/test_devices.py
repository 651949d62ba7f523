"""Partitions, drives, md and device mapper: trees of the kernel's own files.

md, device mapper, NVMe and SCSI are read from recorded forms here (recorded.py);
``tests/faults/test_it_knows_the_devices_below.py`` asks the devices of this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storepoints.agent.devices import smart
from storepoints.agent.devices.sysfs import Sysfs
from storepoints.agent.devices.tools import (
    RAN,
    Result,
)
from storepoints.agent.devices.tree import Level, size_text, summary
from tests.agent.recorded import PCI, Kernel, find, names


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


# --- partitions and drives -----------------------------------------------------------


def test_it_goes_from_a_partition_to_the_drive(kernel: Kernel) -> None:
    sda = kernel.drive("8:0", "sda")
    kernel.partition("8:1", sda, 1)
    kernel.write("/sys/fs/ext4/sda1/errors_count", 0)
    place = kernel.mount("8:1", "ext4", "/dev/sda1")

    devices = kernel.devices(place, {("smart", "sda"): smart.Reading(health="ok")})

    assert names(devices["stack"]) == [place, ["sda1", ["sda"]]]
    assert devices["health"] == "ok"
    assert devices["reason"] == devices["text"] == ""
    drive = find(devices, "sda")
    assert drive["health"] == "ok"
    assert drive["text"] == "running"
    assert drive["facts"] == {
        "size": "16.0 TB",
        "type": "hard disk",
        "vendor": "ATA",
        "model": "ST16000NM001G-2K",
        "firmware": "SN03",
    }


def test_it_does_not_call_a_drive_well_that_was_not_asked(kernel: Kernel) -> None:
    kernel.drive("8:0", "sda")
    place = kernel.mount("8:0", "xfs", "/dev/sda")
    note = "sda: smartctl is not installed, so the drive was not asked"

    devices = kernel.devices(place, {("smart", "sda"): smart.Reading(note=note)})

    assert find(devices, "sda")["health"] == "unknown"
    assert devices["notes"] == [note]
    # A partition and a file system without a count of errors tell nothing by being there.
    assert devices["health"] == "unknown"


def test_it_waits_for_the_first_answer_before_it_says_that_all_is_well(
    kernel: Kernel,
) -> None:
    kernel.drive("8:0", "sda")
    place = kernel.mount("8:0", "xfs", "/dev/sda")

    devices = kernel.devices(place, {})

    assert devices["health"] == "unknown"


@pytest.mark.parametrize("state", ["offline", "transport-offline", "blocked"])
def test_it_says_that_a_drive_does_not_answer(kernel: Kernel, state: str) -> None:
    kernel.drive("8:0", "sda", state=state)
    place = kernel.mount("8:0", "xfs", "/dev/sda")

    devices = kernel.devices(place)

    assert devices["reason"] == "drive-failing"
    assert devices["text"] == f"drive sda does not answer: the kernel says {state}"


def test_it_says_that_a_device_is_gone(kernel: Kernel) -> None:
    kernel.drive("8:0", "sda")
    place = kernel.mount("8:17", "ext4", "/dev/sdb1")

    devices = kernel.devices(place)

    assert (devices["health"], devices["text"]) == ("failing", "device sdb1 is gone")


def test_it_claims_nothing_where_the_kernel_shows_no_devices(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    kernel.remove("/sys/dev/block/.keep")
    place = kernel.mount("8:17", "ext4", "/dev/sdb1")

    devices = kernel.devices(place)

    assert devices["reason"] == ""
    assert "/sys" in devices["notes"][0]


def test_it_reads_the_errors_that_ext4_recorded(kernel: Kernel) -> None:
    sda = kernel.drive("8:0", "sda")
    kernel.partition("8:1", sda, 1)
    files: dict[str, str | int] = {
        "errors_count": 2,
        "first_error_time": 1_700_000_000,
        "first_error_func": "ext4_lookup",
        "last_error_time": 1_700_003_600,
    }
    for name, value in files.items():
        kernel.write(f"/sys/fs/ext4/sda1/{name}", value)
    place = kernel.mount("8:1", "ext4", "/dev/sda1")

    devices = kernel.devices(place)

    assert devices["reason"] == "volume-degraded"
    assert "2 errors" in devices["text"]
    assert "e2fsck" in devices["text"]
    facts = find(devices, place)["facts"]
    assert facts["first error"] == "2023-11-14 22:13 UTC in ext4_lookup"
    assert facts["last error"] == "2023-11-14 23:13 UTC"


def nvme(kernel: Kernel, state: str = "live") -> str:
    return kernel.device(
        "259:0",
        f"{PCI}/nvme/nvme0/nvme0n1",
        2_000_409_264,
        device__state=state,
        device__model="SAMSUNG MZVL21T0HCLR-00B00",
        device__serial="S676NX0R123456",
        device__firmware_rev="GXA7801Q",
    )


def test_it_reads_what_an_nvme_drive_is(kernel: Kernel) -> None:
    nvme(kernel)
    place = kernel.mount("259:0", "xfs", "/dev/nvme0n1")

    drive = find(kernel.devices(place), "nvme0n1")

    assert drive["kind"] == "NVMe drive"
    assert drive["text"] == "live"
    assert drive["facts"]["serial"] == "S676NX0R123456"


@pytest.mark.parametrize(
    ("state", "health"), [("dead", "failing"), ("connecting", "degraded")]
)
def test_it_says_that_an_nvme_drive_does_not_answer(
    kernel: Kernel, state: str, health: str
) -> None:
    nvme(kernel, state)
    place = kernel.mount("259:0", "xfs", "/dev/nvme0n1")

    devices = kernel.devices(place)

    assert devices["health"] == health
    assert f"says {state}" in devices["text"]


def test_it_counts_the_controllers_of_an_nvme_drive(kernel: Kernel) -> None:
    drive = kernel.device(
        "259:0",
        f"{PCI}/nvme-subsys0/nvme0n1",
        device__subsysnqn="nqn.2014-08.org.example:x",
        device__nvme0__state="live",
        device__nvme1__state="connecting",
    )
    place = kernel.mount("259:0", "xfs", "/dev/nvme0n1")
    assert drive

    devices = kernel.devices(place)

    assert devices["text"] == "drive nvme0n1 has 1 of 2 paths"
    assert devices["health"] == "degraded"


# --- md ------------------------------------------------------------------------------


def array(kernel: Kernel, *states: str, level: str = "raid1", **md: Any) -> str:
    """An array of partitions of drives; returns where it is mounted."""
    files = {
        "level": level,
        "array_state": "clean",
        "degraded": 0,
        "raid_disks": len(states),
        "sync_action": "idle",
        "sync_completed": "none",
        "mismatch_cnt": 0,
        **md,
    }
    md0 = kernel.device(
        "9:0",
        "/sys/devices/virtual/block/md0",
        **{f"md__{name}": value for name, value in files.items()},
    )
    for number, state in enumerate(states):
        letter = "abcdef"[number]
        drive = kernel.drive(f"8:{16 * number}", f"sd{letter}")
        part = kernel.partition(f"8:{16 * number + 1}", drive, 1)
        kernel.slave(md0, part)
        kernel.write(f"{md0}/md/dev-sd{letter}1/state", state)
        kernel.write(f"{md0}/md/dev-sd{letter}1/errors", 0)
        kernel.link(f"{md0}/md/dev-sd{letter}1/block", part)
    return kernel.mount("9:0", "xfs", "/dev/md0")


def test_it_knows_the_members_of_an_array(kernel: Kernel) -> None:
    place = array(kernel, "in_sync", "in_sync")

    devices = kernel.devices(place)

    assert names(devices["stack"]) == [
        place,
        ["md0", ["sda1", ["sda"]], ["sdb1", ["sdb"]]],
    ]
    md0 = find(devices, "md0")
    assert (md0["kind"], md0["health"]) == ("array (raid1)", "ok")
    assert md0["facts"]["devices"] == "2 of 2"
    assert devices["reason"] == ""


def test_it_says_that_an_array_lost_a_device(kernel: Kernel) -> None:
    place = array(kernel, "in_sync", "faulty", degraded=1)

    devices = kernel.devices(place)

    assert (devices["health"], devices["reason"]) == ("degraded", "volume-degraded")
    assert devices["text"] == "array md0 lacks 1 of 2 devices (faulty: sdb1)"
    assert find(devices, "md0")["facts"]["devices"] == "1 of 2"
    assert find(devices, "sdb1")["health"] == "failing"


def test_it_says_how_far_an_array_is_rebuilt_without_a_new_text_each_time(
    kernel: Kernel,
) -> None:
    place = array(
        kernel,
        "in_sync",
        "spare",
        degraded=1,
        sync_action="recover",
        sync_completed="450 / 1000",
    )

    devices = kernel.devices(place)
    kernel.write("/sys/devices/virtual/block/md0/md/sync_completed", "460 / 1000")
    later = kernel.devices(place)

    assert find(devices, "md0")["facts"]["sync"] == "recover, 45 %"
    assert find(later, "md0")["facts"]["sync"] == "recover, 46 %"
    assert devices["text"] == later["text"]
    assert devices["text"].endswith("and is being rebuilt")


@pytest.mark.parametrize("done", ["delayed", "none", "7 / 0", "x"])
def test_it_takes_any_progress_of_an_array(kernel: Kernel, done: str) -> None:
    place = array(
        kernel, "in_sync", "in_sync", sync_action="check", sync_completed=done
    )

    devices = kernel.devices(place)

    assert devices["reason"] == ""
    assert find(devices, "md0")["facts"]["sync"].startswith("check")


def test_it_says_that_an_array_is_broken(kernel: Kernel) -> None:
    place = array(kernel, "in_sync", "faulty", level="raid0", array_state="broken")

    devices = kernel.devices(place)

    assert (devices["health"], devices["text"]) == ("failing", "array md0 is broken")


def test_it_tells_of_a_failing_drive_in_an_array_that_is_whole(kernel: Kernel) -> None:
    place = array(kernel, "in_sync", "in_sync")
    bad = smart.Reading(health="failing", problems=[("failing", "drive sdb is dying")])
    good = smart.Reading(health="ok")

    devices = kernel.devices(place, {("smart", "sda"): good, ("smart", "sdb"): bad})

    assert (devices["reason"], devices["text"]) == (
        "drive-failing",
        "drive sdb is dying",
    )
    assert find(devices, "md0")["health"] == "ok"


# --- device mapper -------------------------------------------------------------------


def mapped(kernel: Kernel, number: int, uuid: str, name: str, *slaves: str) -> str:
    place = kernel.device(
        f"252:{number}",
        f"/sys/devices/virtual/block/dm-{number}",
        dm__uuid=uuid,
        dm__name=name,
        dm__suspended=0,
    )
    for slave in slaves:
        kernel.slave(place, slave)
    return place


def test_it_goes_through_lvm_and_encryption(kernel: Kernel) -> None:
    sda = kernel.drive("8:0", "sda")
    crypt = mapped(kernel, 0, "CRYPT-LUKS2-0123-tank", "tank_crypt", sda)
    mapped(kernel, 1, "LVM-abcdef", "vg-tank", crypt)
    place = kernel.mount("252:1", "ext4", "/dev/mapper/vg-tank")

    devices = kernel.devices(place)

    assert names(devices["stack"]) == [place, ["vg-tank", ["tank_crypt", ["sda"]]]]
    assert find(devices, "vg-tank")["kind"] == "LVM volume"
    assert find(devices, "tank_crypt")["kind"] == "encrypted device"


def test_it_counts_the_paths_of_a_multipath_device(kernel: Kernel) -> None:
    sda = kernel.drive("8:0", "sda")
    sdb = kernel.drive("8:16", "sdb", state="offline")
    mapped(kernel, 0, "mpath-3600508b4", "mpatha", sda, sdb)
    place = kernel.mount("252:0", "xfs", "/dev/mapper/mpatha")

    devices = kernel.devices(place)

    assert devices["health"] == "degraded"
    assert devices["text"] == "multipath mpatha has 1 of 2 paths"
    assert find(devices, "sdb")["health"] == "failing"


#: Lines of the kernel's dm-raid and multipath targets.
RAID = "0 1960893648 raid raid4 4 AADA 2/490221568 idle 0 0"
PATHS = "0 419430400 multipath 2 0 0 0 2 1 A 0 1 2 8:0 A 0 0 1 E 0 1 2 8:16 F 3 0 1"


def test_it_understands_what_the_mapper_says_of_lvm_raid(kernel: Kernel) -> None:
    legs = [
        mapped(kernel, n, f"LVM-leg{n}", f"vg-tank_rimage_{n}", kernel.drive(d, s))
        for n, d, s in ((1, "8:0", "sda"), (2, "8:16", "sdb"))
    ]
    mapped(kernel, 0, "LVM-tank", "vg-tank", *legs)
    place = kernel.mount("252:0", "xfs", "/dev/mapper/vg-tank")
    said = Result(RAN, output=RAID)

    devices = kernel.devices(place, {("mapper", "vg-tank"): said})

    assert devices["text"] == "LVM volume vg-tank lacks 1 of 4 devices"
    assert find(devices, "vg-tank")["facts"]["devices"] == "3 of 4"


def test_it_understands_what_the_mapper_says_of_paths(kernel: Kernel) -> None:
    drives = [kernel.drive("8:0", "sda"), kernel.drive("8:16", "sdb")]
    mapped(kernel, 0, "mpath-3600508b4", "mpatha", *drives)
    place = kernel.mount("252:0", "xfs", "/dev/mapper/mpatha")

    devices = kernel.devices(place, {("mapper", "mpatha"): Result(RAN, output=PATHS)})

    assert devices["text"] == "multipath mpatha has 1 of 2 paths"


def test_it_ends_where_devices_lie_on_each_other_in_a_circle(kernel: Kernel) -> None:
    first = mapped(kernel, 0, "LVM-a", "a")
    second = mapped(kernel, 1, "LVM-b", "b", first)
    kernel.slave(first, second)
    place = kernel.mount("252:0", "xfs", "/dev/mapper/a")

    devices = kernel.devices(place)

    assert devices["stack"] is not None
    assert len(str(devices)) < 20_000


# --- small things --------------------------------------------------------------------


def test_it_notices_only_what_changed(kernel: Kernel) -> None:
    place = array(kernel, "in_sync", "in_sync")
    watched = kernel.resolved(place).watched
    root = str(kernel.root)
    assert not Sysfs(root).has_changed(watched)

    kernel.write("/sys/devices/virtual/block/md0/md/mismatch_cnt", 8)
    assert not Sysfs(root).has_changed(watched)

    kernel.write("/sys/devices/virtual/block/md0/md/dev-sdb1/state", "faulty")
    assert Sysfs(root).has_changed(watched)


def test_it_keeps_a_tree_within_its_bounds() -> None:
    top = Level("top", "array", below=[Level(f"sd{n}", "drive") for n in range(999)])
    for each in top.below:
        each.has_problem("degraded", f"drive {each.name} is worn")
        each.notes.append(f"{each.name}: a note")

    devices = summary(top)

    assert devices["stack"] is not None
    assert len(devices["stack"]["below"]) == 199
    assert len(devices["notes"]) == 20
    assert devices["text"].endswith("and 996 more")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (16_000_900_661_248, "16.0 TB"),
        (999_999, "1.0 MB"),
        (10**18, "1000.0 PB"),
    ],
)
def test_it_says_sizes_as_drives_are_sold(size: int, words: str) -> None:
    assert size_text(size) == words
