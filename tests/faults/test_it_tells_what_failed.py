"""Every way a store point fails, on a real filesystem: verdict, evidence, recovery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Disk, Watch, adopted, run

pytestmark = pytest.mark.faults


def failed(finding: dict[str, Any]) -> dict[str, Any]:
    """Return the one check that failed."""
    (check,) = [check for check in finding["checks"] if check["ok"] is False]
    found: dict[str, Any] = check
    return found


def test_it_finds_a_good_store_point_online(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)

    finding = watch.verdict(spec)

    assert (finding["state"], finding["reason"], finding["layer"]) == ("online", "", 0)
    assert [check["ok"] for check in finding["checks"]] == [True] * 6
    assert finding["volume"] == spec["volume"]
    assert finding["volume"]["fs_uuid"]
    assert 0 < finding["latency_seconds"] < 5
    assert finding["space"]["total_bytes"] > 0
    assert sorted(path.name for path in (disk.place / ".storepoint").iterdir()) == [
        "identity.json",
        "inbound",
    ]


def test_it_tells_an_unmount_at_once_and_the_remount(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    watch.verdict(spec, state="online")
    watch.sink.findings.clear()

    disk.umount()
    at = time.time()

    gone = watch.wait(spec, state="offline", seconds=2)
    assert (gone["reason"], gone["layer"], gone["cause"]) == (
        "not-mounted",
        3,
        "mount-table",
    )
    assert gone["received_at"] - at < 0.5
    assert failed(gone)["name"] == "volume"
    disk.mount()
    assert watch.wait(spec, state="online", seconds=2)["cause"] == "mount-table"


def test_it_tells_an_unmount_although_the_path_went_with_it(
    disk: Disk, watch: Watch
) -> None:
    below = disk.place / "a" / "b"
    below.mkdir(parents=True)
    spec = adopted(below)
    disk.umount()

    finding = watch.verdict(spec)

    assert (finding["reason"], finding["errno"]) == ("not-mounted", "")


def test_it_tells_an_unmount_although_files_were_left(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    disk.umount()
    (disk.place / ".storepoint").mkdir()
    marker = {"store_point": spec["id"]}
    (disk.place / ".storepoint/identity.json").write_text(json.dumps(marker))

    finding = watch.verdict(spec)

    assert finding["reason"] == "not-mounted"
    assert "lies on" in failed(finding)["found"]
    assert not (disk.place / ".storepoint/inbound").exists()


def test_it_tells_another_disk_mounted_there(
    disk: Disk, watch: Watch, yard: Path
) -> None:
    spec = adopted(disk.place)
    other = Disk(yard, "other")
    disk.umount()
    other.mount(disk.place)

    finding = watch.verdict(spec)

    assert (finding["state"], finding["reason"]) == ("offline", "different-volume")
    assert finding["volume"]["fs_uuid"] != spec["volume"]["fs_uuid"]
    assert spec["volume"]["fs_uuid"] in failed(finding)["expected"]


def test_it_tells_another_disk_mounted_on_top(
    disk: Disk, watch: Watch, yard: Path
) -> None:
    spec = adopted(disk.place)
    other = Disk(yard, "other")
    other.mount(disk.place)

    finding = watch.verdict(spec)
    other.umount(disk.place)

    assert finding["reason"] == "different-volume"
    assert watch.verdict(spec)["state"] == "online"


def test_it_tells_a_disk_mounted_in_between(
    disk: Disk, watch: Watch, yard: Path
) -> None:
    path = disk.place / "below"
    path.mkdir()
    spec = adopted(path)
    other = Disk(yard, "other")
    other.mount(path)

    finding = watch.verdict(spec)

    assert finding["reason"] == "different-volume"
    assert "in front of it" in failed(finding)["found"]


def test_it_tells_a_disk_hidden_by_a_mount_above_it(yard: Path, watch: Watch) -> None:
    above = yard / "above"
    disk = Disk(yard, "tank")
    (above / "tank").mkdir(parents=True)
    disk.mount(above / "tank")
    spec = adopted(above / "tank")
    run("mount", "-t", "tmpfs", "none", above)

    finding = watch.verdict(spec)

    assert finding["reason"] == "different-volume"
    assert "hidden by" in failed(finding)["found"]


def test_it_tells_the_right_disk_at_the_wrong_place(
    disk: Disk, watch: Watch, yard: Path
) -> None:
    spec = adopted(disk.place)
    disk.umount()
    elsewhere = yard / "elsewhere"
    elsewhere.mkdir()
    disk.mount(elsewhere)

    finding = watch.verdict(spec)

    assert finding["reason"] == "not-mounted"


def test_it_tells_a_store_point_that_belongs_elsewhere(
    disk: Disk, watch: Watch
) -> None:
    spec = adopted(disk.place)

    finding = watch.verdict({**spec, "id": "another"})

    assert (finding["reason"], finding["layer"]) == ("wrong-store-point", 4)
    assert finding["marker"]["store_point"] == spec["id"]
    assert finding["marker"]["name"] == "a store point"


def _remove(path: Path) -> None:
    path.rename(path.with_name("away"))


def _put_a_file(path: Path) -> None:
    _remove(path)
    path.write_text("")


def _put_a_link(path: Path) -> None:
    _remove(path)
    path.symlink_to("away")


def _put_a_loop(path: Path) -> None:
    _remove(path)
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("break_it", "reason", "errno", "found"),
    [
        (_remove, "path-missing", "ENOENT", "No such file"),
        (_put_a_file, "not-a-directory", "ENOTDIR", "a file"),
        (_put_a_link, "not-a-directory", "ENOTDIR", "a symbolic link to away"),
        (_put_a_loop, "not-a-directory", "ENOTDIR", "a symbolic link to point"),
    ],
)
def test_it_tells_what_stands_in_place_of_the_directory(
    disk: Disk,
    watch: Watch,
    break_it: Callable[[Path], None],
    reason: str,
    errno: str,
    found: str,
) -> None:
    path = disk.place / "point"
    path.mkdir()
    spec = adopted(path)
    break_it(path)

    finding = watch.verdict(spec)
    if path.is_symlink() or path.exists():
        path.unlink()
    path.with_name("away").rename(path)

    assert (finding["reason"], finding["errno"]) == (reason, errno)
    assert finding["layer"] == 2
    assert found in failed(finding)["found"]
    assert watch.verdict(spec)["state"] == "online"


def test_it_tells_a_loop_on_the_way(disk: Disk, watch: Watch) -> None:
    way = disk.place / "way"
    (way / "point").mkdir(parents=True)
    spec = adopted(way / "point")
    way.rename(disk.place / "away")
    way.symlink_to("way")

    finding = watch.verdict(spec)

    assert (finding["reason"], finding["errno"]) == ("not-a-directory", "ELOOP")


def test_it_tells_a_read_only_remount_at_once(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    watch.verdict(spec, state="online")
    run("mount", "-o", "remount,ro", disk.place)

    finding = watch.wait(spec, state="offline", seconds=2)

    assert (finding["reason"], finding["errno"]) == ("read-only", "EROFS")
    assert (finding["layer"], finding["cause"]) == (5, "mount-table")
    assert finding["space"]["total_bytes"] > 0
    run("mount", "-o", "remount,rw", disk.place)
    watch.wait(spec, state="online", seconds=2)


def test_it_tells_an_error_of_the_filesystem(yard: Path, watch: Watch) -> None:
    disk = Disk(yard, "tank")
    disk.mount(options="errors=remount-ro")
    spec = adopted(disk.place)
    watch.verdict(spec, state="online")
    device = spec["volume"]["source"].removeprefix("/dev/")
    trigger = Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
    if not trigger.exists():
        pytest.skip(f"needs {trigger}")
    trigger.write_text("1")

    finding = watch.verdict(spec)

    assert finding["reason"] in ("read-only", "io-error")


def _fill(place: Path) -> None:
    with (place / "filler").open("wb", buffering=0) as file:
        for size in (65536, 4096, 512):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_it_tells_a_full_volume(yard: Path, watch: Watch) -> None:
    disk = Disk(yard, "tank", "-m", "0")
    disk.mount()
    spec = adopted(disk.place)
    watch.verdict(spec, state="online")
    _fill(disk.place)

    finding = watch.verdict(spec)
    (disk.place / "filler").unlink()

    assert (finding["reason"], finding["errno"]) == ("full", "ENOSPC")
    assert finding["layer"] == 6
    assert finding["space"]["free_bytes"] < 65536
    assert not (disk.place / ".storepoint/probe").exists()
    assert watch.verdict(spec)["state"] == "online"


def test_it_tells_a_volume_without_inodes(yard: Path, watch: Watch) -> None:
    disk = Disk(yard, "tank", "-N", "32")
    disk.mount()
    spec = adopted(disk.place)
    watch.verdict(spec, state="online")
    made = []
    try:
        for number in range(100):
            path = disk.place / f"file {number}"
            path.touch()
            made.append(path)
    except OSError:
        pass

    finding = watch.verdict(spec)
    made[0].unlink()

    assert (finding["reason"], finding["errno"]) == ("no-inodes", "ENOSPC")
    assert finding["space"]["free_inodes"] == 0
    assert watch.verdict(spec)["state"] == "online"


def test_it_tells_that_it_has_no_permission(disk: Disk, scratch_agent: Path) -> None:
    spec = adopted(disk.place)
    disk.place.chmod(0o700)

    finding = _as_nobody(spec)

    assert (finding["reason"], finding["errno"]) == ("permission-denied", "EACCES")
    assert finding["layer"] == 2


def test_it_tells_that_it_may_not_write(disk: Disk, scratch_agent: Path) -> None:
    spec = adopted(disk.place)
    disk.place.chmod(0o755)

    finding = _as_nobody(spec)

    assert (finding["reason"], finding["layer"]) == ("permission-denied", 6)


@pytest.fixture
def scratch_agent(yard: Path) -> Path:
    yard.chmod(0o755)
    return yard


def _as_nobody(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the finding of a probe by a user who is not root."""
    program = (
        "import json,os,sys\n"
        "from storepoints.agent.messages import spec_of\n"
        "from storepoints.agent.mounts import Mounts\n"
        "from storepoints.agent.probe import Progress, probe\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "spec = spec_of(json.load(sys.stdin))\n"
        "print(json.dumps(probe(spec, Mounts().read(), Progress(), cause='due')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        check=True,
    )
    finding: dict[str, Any] = json.loads(done.stdout)
    return finding


def _put_a_fifo(marker: Path) -> None:
    marker.unlink()
    os.mkfifo(marker)


def _put_a_directory(marker: Path) -> None:
    marker.unlink()
    marker.mkdir()


def _put_a_link_to_it(marker: Path) -> None:
    marker.rename(marker.with_name("away"))
    marker.symlink_to("away")


MARKERS: list[tuple[Callable[[Path], object], str]] = [
    (lambda marker: marker.write_text("{"), "is not JSON"),
    (lambda marker: marker.write_bytes(b"\xff\xfe\x00"), "is not JSON"),
    (lambda marker: marker.write_text("[" * 60000), "is not JSON"),
    (lambda marker: marker.write_text(""), "is empty"),
    (lambda marker: marker.write_text("[1]"), "is not a JSON object"),
    (lambda marker: marker.write_text("{}"), "names no store point"),
    (lambda marker: marker.write_text(" " * 70000), "has 70000 bytes"),
    (Path.unlink, "is missing"),
    (_put_a_fifo, "is a FIFO"),
    (_put_a_directory, "is a directory"),
    (_put_a_link_to_it, "is a symbolic link"),
]


@pytest.mark.parametrize(("break_it", "found"), MARKERS)
def test_it_tells_what_is_wrong_with_the_marker(
    disk: Disk, watch: Watch, break_it: Callable[[Path], object], found: str
) -> None:
    spec = adopted(disk.place)
    break_it(disk.place / ".storepoint/identity.json")

    finding = watch.verdict(spec)

    assert (finding["reason"], finding["layer"]) == ("marker-missing", 4)
    assert found in failed(finding)["found"]


def test_it_never_makes_the_marker(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    run("rm", "-r", disk.place / ".storepoint")

    finding = watch.verdict(spec)

    assert finding["reason"] == "marker-missing"
    assert not (disk.place / ".storepoint").exists()


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "file"])
def test_it_never_writes_through_what_lies_in_place_of_its_file(
    disk: Disk, watch: Watch, kind: str
) -> None:
    spec = adopted(disk.place)
    victim = disk.place / "victim"
    victim.write_text("precious")
    probe = disk.place / ".storepoint/probe"
    if kind == "link":
        probe.symlink_to(victim)
    elif kind == "hard link":
        probe.hardlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(probe)
    else:
        probe.write_text("left over")

    finding = watch.verdict(spec)

    assert finding["state"] == "online"
    assert victim.read_text() == "precious"
    assert not os.path.lexists(probe)


@pytest.mark.parametrize(
    "name",
    [
        b"with a blank",
        b"quotes'\"`$(id)",
        b"new\nline\ttab",
        b"back\\slash\\040",
        b"bytes \xff\xfe\x80",
        "Hände ✓".encode(),
    ],
)
def test_it_watches_paths_of_any_bytes(yard: Path, watch: Watch, name: bytes) -> None:
    disk = Disk(yard, "tank")
    place = yard / os.fsdecode(name)
    place.mkdir()
    disk.mount(place)
    spec = adopted(place)

    assert watch.verdict(spec)["state"] == "online"
    disk.umount(place)
    assert watch.wait(spec, state="offline")["reason"] == "not-mounted"


def test_it_watches_a_path_longer_than_the_kernel_takes(
    disk: Disk, watch: Watch
) -> None:
    here = os.open(disk.place, os.O_RDONLY)
    path = os.fsencode(disk.place)
    while len(path) < 4200:
        os.mkdir(b"d" * 200, dir_fd=here)
        below = os.open(b"d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, path = below, path + b"/" + b"d" * 200
    os.close(here)

    spec = adopted(path)

    assert watch.verdict(spec)["state"] == "online"
