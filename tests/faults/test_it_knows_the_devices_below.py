"""The levels below a store point, on devices of this machine: loop, partitions, Btrfs.

What this machine may not have (md, device mapper, NVMe, ZFS) is in
``tests/agent/test_devices.py``, read from recorded forms.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent.devices.blocks import Ask
from storepoints.agent.devices.filesystems import resolve
from storepoints.agent.devices.smart import Reading
from storepoints.agent.devices.sysfs import Sysfs
from storepoints.agent.devices.tools import Tools
from storepoints.agent.devices.tree import Devices, Node, summary
from storepoints.agent.devices.watch import answered
from storepoints.agent.mounts import Mount, Mounts
from storepoints.agent.volumes import volume_at
from tests import needs
from tests.faults.conftest import Watch, adopted, wait_until
from tests.faults.volumes import Disk, run

pytestmark = pytest.mark.faults

#: The devices are looked at every five seconds; the probe follows at once.
SECONDS = 9.0


def mount_at(place: Path) -> Mount:
    mount = Mounts().read().at(str(place))
    assert mount is not None
    return mount


def devices_below(place: Path) -> Devices:
    """Return what lies below, with what the programs of this machine say."""
    mount, table = mount_at(place), Mounts().read()
    asks = resolve(mount, table, Sysfs(), lambda _: None).asks
    answers = {ask: answered(ask, Tools()) for ask in asks}
    return summary(resolve(mount, table, Sysfs(), answers.get).top)


def kinds(node: Node | None) -> list[str]:
    """Return the kinds of the first branch of a tree, from the top."""
    found = []
    while node is not None:
        found.append(node["kind"])
        node = node["below"][0] if node["below"] else None
    return found


def below(node: Node | None, kind: str) -> Node:
    while node is not None and node["kind"] != kind:
        node = node["below"][0] if node["below"] else None
    assert node is not None
    return node


OK = {"health": "ok", "reason": "", "text": ""}


def verdict_later(watch: Watch, spec: dict[str, Any], **fields: Any) -> None:
    """Probe again and again until the finding says this."""
    with watch.asking(spec, every=0.5):
        watch.sink.findings.clear()
        watch.wait(spec, seconds=SECONDS, **fields)


def listed(watch: Watch, place: Path) -> Any:
    """Return the tree in the list of volumes once it is not well, or None."""
    for volume in watch.sink.listed:
        if volume["mount_point"] == str(place) and volume["devices"]:
            devices = volume["devices"]
            return devices["stack"] if devices["health"] != "ok" else None
    return None


class Loops:
    """Loop devices of this test's own."""

    def __init__(self, yard: Path) -> None:
        self._yard = yard
        self._attached: list[str] = []

    def make(self, name: str, megabytes: int) -> Path:
        image = self._yard / f"{name}.img"
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        return image

    def attach(self, image: Path, *options: str) -> str:
        device = run("losetup", "--find", "--show", *options, image).strip()
        self._attached.append(device)
        return device

    def detach(self, device: str) -> None:
        with contextlib.suppress(RuntimeError):
            run("partx", "--delete", device)
        run("losetup", "--detach", device)
        self._attached.remove(device)

    def clean_up(self) -> None:
        for device in list(self._attached):
            with contextlib.suppress(RuntimeError):
                self.detach(device)


@pytest.fixture
def loops(yard: Path) -> Iterator[Loops]:
    loops = Loops(yard)
    yield loops
    for mount in reversed(list(Mounts().read().by_id.values())):
        if mount.mount_point.startswith(f"{yard}/"):
            with contextlib.suppress(RuntimeError):
                run("umount", mount.mount_point)
    loops.clean_up()


# --- one device ----------------------------------------------------------------------


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_it_goes_from_a_filesystem_to_the_file_behind_it(yard: Path, fs: str) -> None:
    needs.need_programs(mkfs__xfs="xfsprogs", mkfs__btrfs="btrfs-progs")
    disk = Disk(yard, "tank", fs=fs)
    place = disk.mount()

    devices = devices_below(place)

    assert (devices["health"], devices["reason"]) == ("ok", "")
    assert kinds(devices["stack"])[:2] == [fs, "loop device"]
    loop = below(devices["stack"], "loop device")
    assert loop["facts"]["file"] == str(disk.image)
    # And on to the filesystem that the file lies on, where it is on a device.
    holding = Mounts().read().covering(str(disk.image))
    assert holding is not None
    assert loop["below"][0]["name"] == holding.mount_point


def test_it_goes_through_a_partition(loops: Loops, yard: Path) -> None:
    image = loops.make("parted", 32)
    with image.open("r+b") as file:
        file.seek(446)
        for start, sectors in ((2048, 16384), (18432, 32768)):
            # An entry in the table of a master boot record: a partition for Linux.
            file.write(struct.pack("<4xB3xII", 0x83, start, sectors))
        file.seek(510)
        file.write(b"\x55\xaa")
    device = loops.attach(image)
    # Not by the kernel: it may have been built without any kind of partition table.
    run("partx", "--add", device)
    part = Path(f"{device}p2")
    run("mkfs.ext4", "-q", part)
    place = yard / "tank"
    place.mkdir()
    run("mount", part, place)

    devices = devices_below(place)

    assert kinds(devices["stack"])[:3] == ["ext4", "partition", "loop device"]
    partition = below(devices["stack"], "partition")
    assert partition["name"] == part.name
    assert partition["facts"]["size"] == "16.8 MB"


def test_it_says_that_a_drive_cannot_be_asked(loops: Loops) -> None:
    needs.need_programs(smartctl="smartmontools")
    device = loops.attach(loops.make("plain", 8))
    name = device.rpartition("/")[2]

    reading = answered(Ask("smart", name), Tools())

    assert isinstance(reading, Reading)
    assert reading.health is None
    assert reading.note.startswith(f"{name}: smartctl cannot ask it: Unable to detect")


def test_it_says_that_the_file_behind_a_device_was_deleted(yard: Path) -> None:
    disk = Disk(yard, "tank")
    place = disk.mount()
    disk.image.unlink()

    devices = devices_below(place)

    assert devices["reason"] == "volume-degraded"
    assert "was deleted" in devices["text"]


def test_it_alerts_when_ext4_records_an_error(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    watch.verdict(spec, state="online")
    verdict_later(watch, spec, device=OK)
    name = mount_at(disk.place).source.rpartition("/")[2]

    began = time.time()
    Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")

    found = watch.wait(spec, seconds=SECONDS, cause="device")
    assert found["received_at"] - began < SECONDS
    assert found["state"] == "online"
    assert found["device"]["reason"] == "volume-degraded"
    assert found["device"]["text"].startswith("the kernel recorded 1 error")

    # Checked, as the cure says: the volume is well and the next probe says so.
    disk.umount()
    device = run("losetup", "--find", "--show", disk.image).strip()
    with contextlib.suppress(RuntimeError):
        # It ends with 1 when it has mended something.
        run("e2fsck", "-fy", device)
    run("losetup", "--detach", device)
    disk.mount()
    verdict_later(watch, spec, state="online", device=OK)


# --- Btrfs ---------------------------------------------------------------------------


class Raid1:
    """Btrfs on two loop devices."""

    def __init__(self, loops: Loops, yard: Path) -> None:
        self.loops = loops
        self.images = [loops.make(f"raid.{n}", 128) for n in (1, 2)]
        self.devices = [loops.attach(image) for image in self.images]
        run("mkfs.btrfs", "-q", "-f", "-d", "raid1", "-m", "raid1", *self.devices)
        self.place = yard / "raid"
        self.place.mkdir()
        self.scan()

    def scan(self) -> None:
        for device in self.devices:
            run("btrfs", "device", "scan", device)

    def mount(self, options: str = "rw") -> None:
        run("mount", "-o", options, self.devices[0], self.place)

    def umount(self) -> None:
        for attempt in range(50):
            try:
                run("umount", self.place)
            except RuntimeError:
                if attempt == 49:
                    raise
                time.sleep(0.02)
            else:
                return

    def lose_the_second(self) -> None:
        self.loops.detach(self.devices.pop())
        # The kernel forgets the device that it saw, as after a restart.
        run("btrfs", "device", "scan", "--forget", self.devices[0])
        self.scan()

    def bring_it_back(self) -> None:
        self.devices.append(self.loops.attach(self.images[1]))
        run("btrfs", "device", "scan", "--forget", self.devices[0])
        self.scan()


@pytest.fixture
def raid1(loops: Loops, yard: Path) -> Raid1:
    needs.need_programs(mkfs__btrfs="btrfs-progs", btrfs="btrfs-progs")
    raid1 = Raid1(loops, yard)
    raid1.mount()
    return raid1


def test_it_knows_the_devices_of_btrfs(raid1: Raid1) -> None:
    devices = devices_below(raid1.place)

    stack = devices["stack"]
    assert stack is not None
    assert stack["facts"]["data"] == stack["facts"]["metadata"] == "raid1"
    assert stack["facts"]["devices"] == "2 of 2"
    assert {f"/dev/{each['name']}" for each in stack["below"]} == set(raid1.devices)
    assert (devices["health"], devices["notes"]) == ("ok", notes_of_the_host())


def notes_of_the_host() -> list[str]:
    """What cannot be asked of the drives that the images of this test lie on."""
    import tempfile

    table = Mounts().read()
    mount = table.covering(tempfile.gettempdir())
    assert mount is not None
    return devices_below(Path(mount.mount_point))["notes"]


def test_it_alerts_when_btrfs_lacks_a_device(raid1: Raid1, watch: Watch) -> None:
    spec = adopted(raid1.place)
    watch.verdict(spec, state="online")
    verdict_later(watch, spec, device=OK)
    raid1.umount()
    raid1.lose_the_second()

    began = time.time()
    raid1.mount("degraded")

    found = watch.wait(spec, seconds=SECONDS, cause="device")
    assert found["received_at"] - began < SECONDS
    assert found["state"] == "online"
    assert found["device"] == {
        "health": "degraded",
        "reason": "volume-degraded",
        "text": f"Btrfs at {raid1.place} lacks 1 of 2 devices",
    }
    missing = wait_until(lambda: listed(watch, raid1.place))["below"][-1]
    assert (missing["text"], missing["health"]) == ("missing", "failing")

    raid1.umount()
    raid1.bring_it_back()
    raid1.mount()
    verdict_later(watch, spec, state="online", device=OK)


def test_it_alerts_when_btrfs_counts_errors(raid1: Raid1, watch: Watch) -> None:
    (raid1.place / "archive").write_bytes(bytes(range(256)) * (32 << 12))
    spec = adopted(raid1.place)
    verdict_later(watch, spec, device=OK)
    run("sync", "--file-system", raid1.place)
    # The second copy rots, but for the superblocks at 64 KiB and 64 MiB.
    with raid1.images[1].open("r+b") as image:
        for start, megabytes in ((1, 63), (65, 63)):
            image.seek(start << 20)
            image.write(b"\xa5" * (megabytes << 20))
    run("sh", "-c", f"btrfs scrub start -B '{raid1.place}' || true")

    found = watch.wait(spec, seconds=SECONDS, cause="device")

    assert found["state"] == "online"
    assert found["device"]["reason"] == "volume-degraded"
    assert " corruption" in found["device"]["text"]
    stats = devices_below(raid1.place)["stack"]
    assert stats is not None
    assert "corruption" in stats["facts"]["errors of device 2"]

    run("btrfs", "device", "stats", "--reset", raid1.place)
    verdict_later(watch, spec, device=OK)


# --- many ----------------------------------------------------------------------------


def test_it_looks_at_each_filesystem_of_many(yard: Path, watch: Watch) -> None:
    specs: list[dict[str, Any]] = []
    for number in range(12):
        disk = Disk(yard, f"tank-{number}")
        specs.append(adopted(disk.mount()))
    watch.probe(*specs)

    for spec in specs:
        verdict_later(watch, spec, device=OK)


def test_it_offers_no_handful_of_files_that_the_system_put_there(yard: Path) -> None:
    def offered(name: str, options: str) -> bool:
        place = yard / name
        place.mkdir()
        run("mount", "-t", "tmpfs", "-o", options, "none", place)
        return volume_at(mount_at(place), Mounts().read()) is not None

    assert not offered("credentials", "ro,size=1m")
    assert offered("scratch", "rw,size=1m")
    assert offered("archive", "ro,size=64m")
