"""Filesystems over other things: the network, memory, overlays, Btrfs and ZFS.

ZFS is read from recorded forms; Btrfs of this machine is asked in
``tests/faults/test_it_knows_the_devices_below.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent.devices import btrfs, zfs
from storepoints.agent.devices.tree import summary
from tests.agent.recorded import Kernel, find, names


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


# --- filesystems over others ---------------------------------------------------------


def test_it_says_how_a_network_filesystem_behaves(kernel: Kernel) -> None:
    place = kernel.mount(
        "0:50",
        "nfs4",
        "nas-1.example.org:/export/tank",
        "rw,vers=4.2,hard,proto=tcp,addr=192.0.2.7",
    )

    devices = kernel.devices(place)

    assert (devices["health"], devices["reason"]) == ("unknown", "")
    assert find(devices, place)["facts"] == {
        "version": "4.2",
        "protocol": "tcp",
        "without an answer": "waits for ever (hard)",
    }
    server = find(devices, "nas-1.example.org")
    assert server["kind"] == "NFS server"
    assert server["facts"]["address"] == "192.0.2.7"


def test_it_reads_the_options_of_nfs_from_its_statistics(kernel: Kernel) -> None:
    place = kernel.mount("0:50", "nfs", "nas:/tank")
    kernel.write(
        "/proc/self/mountstats",
        "device /dev/sda1 mounted on / with fstype ext4\n"
        f"device nas:/tank mounted on {place} with fstype nfs statvers=1.1\n"
        "\topts:\trw,vers=3,soft,timeo=50\n",
    )

    facts = find(kernel.devices(place), place)["facts"]

    assert facts["without an answer"] == "gives an error (soft)"


@pytest.mark.parametrize(
    ("fs_type", "source", "server"),
    [
        ("cifs", "//files/backup", "files"),
        ("nfs4", "[2001:db8::7]:/tank", "2001:db8::7"),
        ("ceph", "192.0.2.1:6789,192.0.2.2:6789:/tank", "192.0.2.1"),
        ("ceph", "admin@b3acfc0d.tank=/", "b3acfc0d.tank=/"),
        ("fuse.sshfs", "backup@store:/srv", "store"),
        ("virtiofs", "tank", "the host of this machine"),
    ],
)
def test_it_names_the_server(
    kernel: Kernel, fs_type: str, source: str, server: str
) -> None:
    place = kernel.mount("0:50", fs_type, source)

    stack = kernel.devices(place)["stack"]

    assert stack is not None
    assert stack["below"][0]["name"] == server


def test_it_calls_memory_memory(kernel: Kernel) -> None:
    place = kernel.mount("0:50", "tmpfs", "tmpfs")

    devices = kernel.devices(place)

    assert devices["health"] == "ok"
    assert devices["stack"] is not None
    assert devices["stack"]["kind"] == "tmpfs (memory)"


def test_it_looks_below_an_overlay(kernel: Kernel) -> None:
    kernel.drive("8:0", "sda", state="offline")
    upper = kernel.mount("8:0", "xfs", "/dev/sda")
    place = kernel.mount("0:51", "overlay", "overlay", f"rw,upperdir={upper}/up")

    devices = kernel.devices(place)

    assert names(devices["stack"]) == [place, [upper, ["sda"]]]
    assert devices["reason"] == "drive-failing"


def test_it_does_not_follow_a_loop_device_into_itself(kernel: Kernel) -> None:
    place = kernel.mount("7:0", "ext4", "/dev/loop0")
    kernel.device(
        "7:0",
        "/sys/devices/virtual/block/loop0",
        loop__backing_file=f"{place}/image",
    )

    devices = kernel.devices(place)

    assert names(devices["stack"]) == [place, ["loop0"]]


# --- Btrfs ---------------------------------------------------------------------------

UUID = "503de5a0-1d67-4ec4-b8f8-6803f29bc206"


def raid1(kernel: Kernel, profile: str = "raid1", missing: int = 0) -> str:
    for number, name in ((0, "sda"), (16, "sdb")):
        place = kernel.drive(f"8:{number}", name)
        if name == "sda" or not missing:
            kernel.link(f"/sys/fs/btrfs/{UUID}/devices/{name}", place)
    for what in ("data", "metadata"):
        kernel.write(f"/sys/fs/btrfs/{UUID}/allocation/{what}/{profile}/used", 0)
    for number in (1, 2):
        here = f"/sys/fs/btrfs/{UUID}/devinfo/{number}"
        kernel.write(f"{here}/missing", int(number == 2 and missing))
        kernel.write(f"{here}/error_stats", "write_errs 0\nread_errs 0")
    return kernel.mount("0:40", "btrfs", "/dev/sda")


@pytest.mark.parametrize(
    ("profile", "health"),
    [("raid1", "degraded"), ("raid6", "degraded"), ("raid0", "failing")],
)
def test_it_says_whether_btrfs_can_do_without_a_device(
    kernel: Kernel, profile: str, health: str
) -> None:
    place = raid1(kernel, profile, missing=1)

    devices = kernel.devices(place)

    assert devices["health"] == health
    assert devices["text"] == f"Btrfs at {place} lacks 1 of 2 devices"
    assert find(devices, "device 2")["text"] == "missing"


def test_it_reads_the_counters_of_btrfs_from_the_kernel(kernel: Kernel) -> None:
    place = raid1(kernel)
    kernel.write(
        f"/sys/fs/btrfs/{UUID}/devinfo/2/error_stats",
        "write_errs 3\nread_errs 0\nflush_errs 0\ncorruption_errs 1\ngeneration_errs 0",
    )

    devices = kernel.devices(place)

    assert devices["text"] == f"Btrfs at {place} counted errors: 3 write, 1 corruption"
    assert find(devices, place)["facts"]["errors of device 2"] == (
        "3 write, 1 corruption"
    )


def test_it_takes_the_counters_of_the_program_where_the_kernel_has_none(
    kernel: Kernel,
) -> None:
    place = raid1(kernel)
    for number in (1, 2):
        kernel.remove(f"/sys/fs/btrfs/{UUID}/devinfo/{number}/error_stats")
    said = btrfs.from_text(
        "[/dev/sda].write_io_errs    0\n[/dev/sda].corruption_errs  7\n"
        "[/dev/sda].generation_errs  0\n"
    )

    devices = kernel.devices(place, {("btrfs", UUID): (said, "")})

    assert devices["text"] == f"Btrfs at {place} counted errors: 7 corruption"


def test_it_says_that_the_counters_of_btrfs_were_not_asked(kernel: Kernel) -> None:
    place = raid1(kernel)
    for number in (1, 2):
        kernel.remove(f"/sys/fs/btrfs/{UUID}/devinfo/{number}/error_stats")

    devices = kernel.devices(place, {("btrfs", UUID): (None, "btrfs is not installed")})

    assert devices["notes"] == [f"{place}: btrfs is not installed"]


@pytest.mark.parametrize("zero", [0, "0"])
def test_it_reads_the_json_of_btrfs(zero: object) -> None:
    entry = {
        "device": "/dev/sdb",
        "devid": "2" if zero == "0" else 2,
        "write_io_errs": zero,
        "read_io_errs": "4",
        "corruption_errs": zero,
    }

    counts = btrfs.from_json(json.dumps({"device-stats": [entry]}))

    assert counts == {"2": {"write": 0, "read": 4, "corruption": 0}}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"device-stats": 3}', "[" * 9999])
def test_it_takes_no_nonsense_for_counters(text: str) -> None:
    assert btrfs.from_json(text) is None


# --- ZFS -----------------------------------------------------------------------------


def vdev(name: str, kind: str, state: str = "ONLINE", **fields: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(("read_errors", "write_errors", "checksum_errors"), 0)
    return {"name": name, "vdev_type": kind, "state": state, **numbers, **fields}


def pool_json(state: str, *leaves: dict[str, Any], **fields: Any) -> str:
    mirror = vdev("mirror-0", "mirror", state, vdevs={v["name"]: v for v in leaves})
    root = vdev("tank", "root", state, vdevs={"mirror-0": mirror})
    pool = {"name": "tank", "state": state, "vdevs": {"tank": root}, **fields}
    return json.dumps({"output_version": {"vers_major": 0}, "pools": {"tank": pool}})


TEXT = """  pool: tank
 state: DEGRADED
status: One or more devices could not be opened.
action: Attach the missing device and online it using 'zpool online'.
  scan: scrub repaired 0B in 00:00:01 with 0 errors on Sun Nov  1 00:24:02 2026
config:

\tNAME                      STATE     READ WRITE CKSUM
\ttank                      DEGRADED     0     0     0
\t  mirror-0                DEGRADED     0     0     0
\t    sda                   ONLINE       0     0     0
\t    1234567890            UNAVAIL      3     1     0  was /dev/sdb1
\tlogs
\t  sdc                     ONLINE       0     0     0

errors: No known data errors
"""


def test_it_reads_a_pool_in_json() -> None:
    output = pool_json(
        "DEGRADED",
        vdev("sda", "disk"),
        vdev("sdb", "disk", "FAULTED", read_errors=3, path="/dev/sdb1"),
        scan_stats={"function": "SCRUB", "state": "FINISHED"},
        error_count=0,
    )

    level = zfs.from_json("tank", output)

    assert level is not None
    devices = summary(level)
    assert devices["text"] == "pool tank is degraded (sdb)"
    assert devices["reason"] == "volume-degraded"
    assert names(devices["stack"]) == ["tank", ["mirror-0", ["sda"], ["sdb"]]]
    assert find(devices, "tank")["facts"] == {
        "scan": "scrub finished",
        "devices": "1 of 2",
    }
    assert find(devices, "sdb")["facts"]["errors"] == "3 read, 0 write, 0 checksum"


def test_it_reads_a_pool_in_text() -> None:
    level = zfs.from_text("tank", TEXT)

    assert level is not None
    devices = summary(level)
    assert devices["text"] == "pool tank is degraded (1234567890)"
    assert names(devices["stack"]) == [
        "tank",
        ["mirror-0", ["sda"], ["1234567890"]],
        ["logs", ["sdc"]],
    ]
    assert find(devices, "1234567890")["text"] == "unavail: was /dev/sdb1"
    assert find(devices, "tank")["facts"]["devices"] == "2 of 3"


@pytest.mark.parametrize(
    ("state", "health"),
    [("ONLINE", "ok"), ("SUSPENDED", "failing"), ("UNAVAIL", "failing")],
)
def test_it_judges_a_pool_by_its_state(state: str, health: str) -> None:
    level = zfs.from_json("tank", pool_json(state, vdev("sda", "disk")))

    assert level is not None
    assert summary(level)["health"] == health


def test_it_tells_of_data_errors_in_a_pool_that_is_online() -> None:
    level = zfs.from_json("tank", pool_json("ONLINE", error_count="2"))
    text = TEXT.replace("DEGRADED", "ONLINE").replace(
        "No known data errors", "2 data errors, use '-v' for a list"
    )
    same = zfs.from_text("tank", text)

    assert level is not None
    assert same is not None
    assert summary(level)["text"] == "pool tank has 2 data errors"
    assert summary(same)["text"].startswith("pool tank has 2 data errors")


def test_it_puts_the_drives_below_a_pool(kernel: Kernel) -> None:
    sda = kernel.drive("8:0", "sda")
    kernel.partition("8:1", sda, 1)
    level = zfs.from_json(
        "tank", pool_json("ONLINE", vdev("sda1", "disk", path="/dev/sda1"))
    )
    place = kernel.mount("0:60", "zfs", "tank/backup")

    devices = kernel.devices(place, {("pool", "tank"): (level, "")})

    assert names(devices["stack"]) == [
        place,
        ["tank", ["mirror-0", ["sda1", ["sda1", ["sda"]]]]],
    ]


def test_it_takes_the_state_that_the_kernel_gives_when_zpool_says_nothing(
    kernel: Kernel,
) -> None:
    kernel.write("/proc/spl/kstat/zfs/tank/state", "SUSPENDED")
    place = kernel.mount("0:60", "zfs", "tank/backup")
    why = "zpool did not answer within 5 s, so the pool was not asked"

    devices = kernel.devices(place, {("pool", "tank"): (None, why)})

    assert (devices["health"], devices["text"]) == (
        "failing",
        "pool tank is suspended",
    )
    assert devices["notes"] == [why]


@pytest.mark.parametrize("text", ["", "{}", '{"pools": []}', "[" * 9999, "no pools"])
def test_it_takes_no_nonsense_for_a_pool(text: str) -> None:
    assert zfs.from_json("tank", text) is None
    assert zfs.from_text("tank", text) is None
