"""Every way a store point fails, on a real filesystem: verdict, evidence, recovery."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults import breaking as by
from tests.faults.breaking import Scene, Way
from tests.faults.conftest import Watch, adopted, wait_until
from tests.faults.volumes import Disk, Volume, run

pytestmark = pytest.mark.faults


@dataclass(frozen=True)
class Fault:
    """A row of the matrix: how it is broken, and what is found then.

    ``expected`` and ``found`` are parts of what the evidence says; ``{place}`` stands
    for the mount point, ``{uuid}`` for the adopted volume, ``{id}`` for the store point.
    """

    broken: Way
    on: Callable[[Path], Volume]
    layer: int
    reason: str
    errno: str
    expected: str
    found: str
    #: Where in the volume the store point lies.
    below: str = ""
    #: Whether the agent is not root.
    as_nobody: bool = False


DEVICE = 8

NOT_MOUNTED = "nothing is mounted there; the path lies on"
A_MARKER = "an identity marker"
WRITTEN = "4096 bytes written"

# fmt: off
#: Broken how, on what: layer, reason, errno, what was expected, what was found.
FAULTS = [
    # The volume is not what it was.
    *(
        Fault(by.unmounted, on, 3, "not-mounted", "", "{uuid} at {place}", NOT_MOUNTED)
        for on in (by.ext4, by.xfs, by.btrfs, by.faulty)
    ),
    Fault(by.unmounted, by.ext4, 3, "not-mounted", "", "{uuid}", NOT_MOUNTED, "a/b"),
    Fault(by.unmounted_with_files_left_below, by.ext4, 3, "not-mounted", "", "{uuid}", NOT_MOUNTED),
    Fault(by.mounted_elsewhere, by.ext4, 3, "not-mounted", "", "{uuid} at {place}", NOT_MOUNTED),
    *(
        Fault(by.another_disk_in_its_place, on, 3, "different-volume", "", "{uuid} at {place}", "instead of {uuid}")
        for on in (by.ext4, by.xfs, by.btrfs)
    ),
    Fault(by.another_disk_in_its_place, by.ext4, 3, "different-volume", "", "{uuid} at {place}", "instead of {uuid}", "point"),
    Fault(by.the_disk_of_another_store_point_in_its_place, by.ext4, 3, "different-volume", "", "{uuid}", "instead of {uuid}"),
    Fault(by.another_disk_mounted_over_it, by.btrfs, 3, "different-volume", "", "btrfs {uuid}", "ext4"),
    Fault(by.another_disk_mounted_in_between, by.ext4, 3, "different-volume", "", "{uuid}", "in front of it is none (tmpfs) mounted at", "below"),
    Fault(by.hidden_by_a_mount_above, by.ext4, 3, "different-volume", "", "{uuid}", "hidden by none (tmpfs) mounted at"),
    # The path is not what it was.
    Fault(by.removed, by.ext4, 2, "path-missing", "ENOENT", "a directory", "No such file", "point"),
    Fault(by.replaced_by_a_file, by.ext4, 2, "not-a-directory", "ENOTDIR", "a directory", "a file", "point"),
    Fault(by.replaced_by_a_link, by.ext4, 2, "not-a-directory", "ENOTDIR", "a directory", "a symbolic link to away", "point"),
    Fault(by.replaced_by_a_link_to_nothing, by.ext4, 2, "not-a-directory", "ENOTDIR", "a directory", "a symbolic link to nothing", "point"),
    Fault(by.replaced_by_a_loop, by.ext4, 2, "not-a-directory", "ENOTDIR", "a directory", "a symbolic link to point", "point"),
    Fault(by.a_loop_on_the_way, by.ext4, 2, "not-a-directory", "ELOOP", "a directory", "a loop of symbolic links on the way", "way/point"),
    Fault(by.a_file_on_the_way, by.ext4, 2, "not-a-directory", "ENOTDIR", "a directory", "something on the way is not a directory", "way/point"),
    Fault(by.closed_to_the_agent, by.ext4, 2, "permission-denied", "EACCES", "a directory", "Permission denied", "", as_nobody=True),
    Fault(by.closed_above, by.ext4, 2, "permission-denied", "EACCES", "a directory", "Permission denied", "point", as_nobody=True),
    # It is another store point, or none.
    Fault(by.swapped_with_another, by.ext4, 4, "wrong-store-point", "", "{id}", "-", "point"),
    Fault(by.its_marker_edited, by.ext4, 4, "wrong-store-point", "", "{id}", "another"),
    Fault(by.its_marker_with_its_directory_removed, by.ext4, 4, "marker-missing", "ENOENT", A_MARKER, ".storepoint is missing"),
    Fault(by.its_marker_unreadable, by.ext4, 4, "permission-denied", "EACCES", A_MARKER, "identity.json: Permission denied", as_nobody=True),
    # It cannot be written to.
    *(
        Fault(by.remounted_read_only, on, 5, "read-only", "EROFS", "read-write", "superblock ro")
        for on in (by.ext4, by.xfs, by.btrfs)
    ),
    Fault(by.bind_mounted_read_only, by.ext4, 5, "read-only", "EROFS", "read-write", "mount ro"),
    Fault(by.error_of_the_filesystem, by.ext4_that_stops_at_errors, 5, "read-only", "EROFS", "read-write", "ro"),
    Fault(by.shut_down_after_an_error, by.xfs, 2, "io-error", "EIO", "a directory", "Input/output error"),
    Fault(by.not_writable_by_the_agent, by.ext4, 6, "permission-denied", "EACCES", WRITTEN, "open: Permission denied", as_nobody=True),
    Fault(by.immutable, by.ext4, 6, "permission-denied", "EPERM", WRITTEN, "open: Operation not permitted"),
    *(
        Fault(by.full, on, 6, "full", "ENOSPC", WRITTEN, "No space left on device")
        for on in (by.ext4_without_reserve, by.xfs, by.btrfs, by.tmpfs)
    ),
    Fault(by.full_but_for_the_reserve, by.ext4_with_reserve, 6, "full", "ENOSPC", WRITTEN, "No space left on device", as_nobody=True),
    Fault(by.out_of_inodes, by.ext4_with_few_inodes, 6, "no-inodes", "ENOSPC", WRITTEN, "open: No space left"),
    Fault(by.out_of_inodes, by.tmpfs_with_few_inodes, 6, "no-inodes", "ENOSPC", WRITTEN, "open: No space left"),
    Fault(by.over_its_quota, by.btrfs, 6, "full", "EDQUOT", WRITTEN, "Disk quota exceeded"),
    Fault(by.the_room_below_it_gone, by.thin_disk, 5, "read-only", "EROFS", "read-write", "superblock"),
    # Calls fail.
    Fault(by.its_disk_failing_to_write, by.dying_disk, 6, "io-error", "EIO", WRITTEN, "fsync: Input/output error"),
    Fault(by.its_disk_failing_to_write, by.dying_btrfs, 6, "io-error", "EIO", WRITTEN, "fsync: Input/output error"),
    Fault(by.its_disk_failing_to_write, by.dying_xfs, 6, "io-error", "EIO", WRITTEN, "fsync: Input/output error"),
    Fault(by.its_disk_failing_at_a_commit, by.dying_disk, 5, "read-only", "EROFS", "read-write", "superblock"),
    Fault(by.its_disk_failing_at_a_commit, by.dying_btrfs, 5, "read-only", "EROFS", "read-write", "superblock ro"),
    Fault(by.its_disk_failing_at_a_commit, by.dying_xfs, 2, "io-error", "EIO", "a directory", "Input/output error"),
    Fault(by.its_disk_failing_altogether, by.dying_disk, 4, "io-error", "EIO", A_MARKER, "Input/output error"),
    Fault(by.its_server_dead, by.faulty, 2, "io-error", "ENOTCONN", "a directory", "Transport endpoint is not connected"),
    Fault(by.told(everything="ESTALE"), by.faulty, 2, "io-error", "ESTALE", "a directory", "Stale file handle"),
    Fault(by.told(statfs="EIO"), by.faulty, 5, "io-error", "EIO", "", "Input/output error"),
    Fault(by.told(open_of_identity__json="EIO"), by.faulty, 4, "io-error", "EIO", A_MARKER, "identity.json: Input/output error"),
    Fault(by.told(read_of_identity__json="EIO"), by.faulty, 4, "io-error", "EIO", A_MARKER, "Input/output error"),
    Fault(by.told(create="EIO"), by.faulty, 6, "io-error", "EIO", WRITTEN, "open: Input/output error"),
    Fault(by.told(write="EIO"), by.faulty, 6, "io-error", "EIO", WRITTEN, "write: Input/output error"),
    Fault(by.told(fsync="EIO"), by.faulty, 6, "io-error", "EIO", WRITTEN, "fsync: Input/output error"),
    Fault(by.told(read_of_probe="EIO"), by.faulty, 6, "io-error", "EIO", "", "read: Input/output error"),
    Fault(by.told(read_of_probe="other bytes"), by.faulty, 6, "io-error", "", "the 4096 bytes that were written", "read back other bytes (4096)"),
    Fault(by.told(unlink="EIO"), by.faulty, 6, "io-error", "EIO", "", "unlink: Input/output error"),
    Fault(by.told(flush_of_probe="EIO"), by.faulty, 6, "io-error", "EIO", "", "close: Input/output error"),
    Fault(by.told(flush_of_identity__json="EIO"), by.faulty, 4, "io-error", "EIO", A_MARKER, "Input/output error"),
]
# fmt: on


def name_of(fault: Fault) -> str:
    return f"{fault.broken.__name__} on {fault.on.__name__}"


@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_it_tells_what_failed_and_recovers(
    fault: Fault, yard: Path, request: pytest.FixtureRequest
) -> None:
    watch: Watch = request.getfixturevalue(
        "watch_as_nobody" if fault.as_nobody else "watch"
    )
    scene = Scene(yard, fault.on(yard), fault.below)
    if fault.as_nobody:
        scene.give_to_nobody()

    watch.verdict(scene.spec, state="online")
    way = fault.broken(scene)
    # Not in the middle of a probe: the block that it gives back is not full any more.
    next(way)
    with watch.asking(scene.spec):
        # A filesystem that fails may do so in steps: an error, then read-only.
        first = watch.wait(scene.spec, reason=fault.reason, layer=fault.layer)
        watch.sink.findings.clear()
        later = watch.wait(scene.spec)
        next(way, None)
        watch.sink.findings.clear()
        watch.wait(scene.spec, state="online")

    assert_says(first, fault, scene)
    assert_says(later, fault, scene)


def assert_says(finding: dict[str, Any], fault: Fault, scene: Scene) -> None:
    """Assert the verdict and its evidence; nothing was asked after what failed."""
    verdict = (finding["state"], finding["reason"], finding["layer"], finding["errno"])
    assert verdict == ("offline", fault.reason, fault.layer, fault.errno)
    check = failed(finding)
    words = {
        "uuid": scene.spec["volume"]["fs_uuid"],
        "place": scene.place,
        "id": scene.spec["id"],
    }
    assert (check["layer"], check["errno"]) == (fault.layer, fault.errno)
    assert fault.expected.format(**words) in check["expected"]
    assert fault.found.format(**words) in check["found"]
    assert 0 <= check["seconds"] <= finding["duration_seconds"] < 5
    later = finding["checks"][finding["checks"].index(check) + 1 :]
    # What is known of the devices below stands beside the verdict.
    assert {each["ok"] for each in later if each["layer"] < DEVICE} <= {None}


def failed(finding: dict[str, Any]) -> dict[str, Any]:
    """Return the check that failed in the verdict's own layer."""
    (check,) = [
        check
        for check in finding["checks"]
        if check["ok"] is False and check["layer"] == finding["layer"]
    ]
    found: dict[str, Any] = check
    return found


# --- what a row of the matrix cannot say ------------------------------------------------


@pytest.mark.parametrize("on", [by.ext4, by.xfs, by.btrfs, by.tmpfs, by.faulty])
def test_it_finds_a_good_store_point_online(
    yard: Path, watch: Watch, on: Callable[[Path], Volume]
) -> None:
    scene = Scene(yard, on(yard))

    finding = watch.verdict(scene.spec)

    assert (finding["state"], finding["reason"], finding["layer"]) == ("online", "", 0)
    asked = [check for check in finding["checks"] if check["layer"] < DEVICE]
    assert [check["ok"] for check in asked] == [True] * 6
    assert finding["volume"] == scene.spec["volume"]
    assert 0 < finding["latency_seconds"] < 5
    assert finding["space"]["total_bytes"] > 0
    left = sorted(path.name for path in (scene.path / ".storepoint").iterdir())
    assert left == ["identity.json", "inbound"]


def test_it_tells_an_unmount_at_once_and_the_remount(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    watch.verdict(spec, state="online")
    watch.sink.findings.clear()

    disk.umount()
    at = time.time()

    gone = watch.wait(spec, state="offline", cause="mount-table", seconds=2)
    assert gone["reason"] == "not-mounted"
    assert gone["received_at"] - at < 0.5
    disk.mount()
    watch.wait(spec, state="online", cause="mount-table", seconds=2)


def test_it_tells_another_disk_that_took_the_place_before_anybody_looked(
    disk: Disk, yard: Path, watch: Watch
) -> None:
    spec = adopted(disk.place)
    watch.verdict(spec, state="online")
    other = Disk(yard, "other")
    beside = other.mount()

    # The other disk is at the place by the same line of the mount table, and what was
    # beside it is gone: all that the table says is the latter.
    os.kill(watch.pid, signal.SIGSTOP)
    try:
        other.umount(beside)
        disk.umount()
        other.mount(disk.place)
    finally:
        os.kill(watch.pid, signal.SIGCONT)

    found = watch.wait(spec, state="offline", cause="mount-table", seconds=2)
    assert found["reason"] == "different-volume"
    other.umount(disk.place)


def test_it_tells_a_read_only_remount_at_once(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    watch.verdict(spec, state="online")

    disk.remount("ro")

    finding = watch.wait(spec, state="offline", cause="mount-table", seconds=2)
    assert finding["reason"] == "read-only"
    assert finding["space"]["total_bytes"] > 0
    disk.remount("rw")
    watch.wait(spec, state="online", seconds=2)


def test_it_writes_nothing_where_the_volume_was(yard: Path, watch: Watch) -> None:
    scene = Scene(yard, by.ext4(yard))
    next(by.unmounted_with_files_left_below(scene))
    before = {path: path.stat().st_mtime_ns for path in scene.path.rglob("*")}

    finding = watch.verdict(scene.spec, state="offline")

    assert finding["reason"] == "not-mounted"
    after = {path: path.stat().st_mtime_ns for path in scene.path.rglob("*")}
    assert after == before


def test_it_names_the_store_point_that_it_found_instead(
    yard: Path, watch: Watch
) -> None:
    scene = Scene(yard, by.ext4(yard), "point")
    next(by.swapped_with_another(scene))

    finding = watch.verdict(scene.spec, state="offline")

    assert finding["marker"]["name"] == "SP-07"
    assert finding["marker"]["store_point"] != scene.spec["id"]


@pytest.mark.parametrize(
    ("on", "way", "of"),
    [
        (by.ext4_without_reserve, by.full, "free_bytes"),
        (by.ext4_with_few_inodes, by.out_of_inodes, "free_inodes"),
    ],
)
def test_it_says_what_is_left_and_leaves_nothing_behind(
    yard: Path, watch: Watch, on: Callable[[Path], Volume], way: Way, of: str
) -> None:
    scene = Scene(yard, on(yard))
    broken = way(scene)
    next(broken)

    finding = watch.verdict(scene.spec)

    assert finding["state"] == "offline"
    assert finding["space"][of] < finding["space"][of.replace("free", "total")] / 100
    assert not (scene.path / ".storepoint/probe").exists()
    next(broken, None)
    assert watch.verdict(scene.spec)["state"] == "online"


def test_it_writes_into_the_reserve_when_it_is_root(yard: Path, watch: Watch) -> None:
    scene = Scene(yard, by.ext4_with_reserve(yard))
    way = by.full_but_for_the_reserve(scene)
    next(way)

    finding = watch.verdict(scene.spec)

    # Full for everybody else: the console says so by what is free.
    assert finding["state"] == "online"
    assert finding["space"]["free_bytes"] == 0
    next(way, None)
    assert watch.verdict(scene.spec)["space"]["free_bytes"] > 0


def test_it_says_how_slow_a_volume_is(yard: Path, watch: Watch) -> None:
    scene = Scene(yard, by.faulty(yard))
    quick = watch.verdict(scene.spec)["latency_seconds"]
    scene.volume.order(fsync=0.3)

    slow = watch.verdict(scene.spec)
    scene.volume.withdraw()
    again = watch.verdict(scene.spec)

    assert slow["state"] == "online"
    assert slow["latency_seconds"] > 0.3
    assert slow["checks"][5]["seconds"] > 0.3
    assert quick < 0.3
    assert again["latency_seconds"] < 0.3


def test_it_tells_the_drive_that_a_mirror_lost(yard: Path, watch: Watch) -> None:
    scene = Scene(yard, by.mirror(yard))
    with watch.asking(scene.spec):
        watch.wait(scene.spec, state="online")

        scene.volume.umount()
        watch.wait(scene.spec, reason="not-mounted")
        scene.volume.mount_with_one_missing()
        watch.sink.findings.clear()
        finding = wait_until(
            lambda: next(
                (
                    found
                    for found in reversed(watch.sink.findings)
                    if found["state"] == "online"
                    and (found["device"] or {}).get("health") == "degraded"
                ),
                None,
            ),
            explain=lambda: str([f["device"] for f in watch.sink.findings[-3:]]),
        )
        scene.volume.umount()
        scene.volume.mount_with_both()
        watch.sink.findings.clear()
        wait_until(
            lambda: any(
                found["state"] == "online"
                and (found["device"] or {}).get("health") == "ok"
                for found in watch.sink.findings
            ),
            explain=lambda: str([f["device"] for f in watch.sink.findings[-3:]]),
        )

    assert finding["device"]["reason"] == "volume-degraded"
    assert "1 of 2" in finding["device"]["text"]
    (check,) = [each for each in finding["checks"] if each["layer"] == DEVICE]
    assert check["ok"] is False


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


# --- the marker -------------------------------------------------------------------------

#: What was done to the marker, and what is found.
MARKERS: list[tuple[Callable[[Path], object], str]] = [
    (lambda marker: marker.write_text("{"), "is not JSON"),
    (lambda marker: marker.write_bytes(marker.read_bytes()[:100]), "is not JSON"),
    (lambda marker: marker.write_bytes(b"\xff\xfe\x00"), "is not JSON"),
    (lambda marker: marker.write_text("[" * 60000), "is not JSON"),
    (lambda marker: marker.write_text(""), "is empty"),
    (lambda marker: marker.write_text("[1]"), "is not a JSON object"),
    (lambda marker: marker.write_text("{}"), "names no store point"),
    (lambda marker: marker.write_text(" " * 70_000), "has 70000 bytes"),
    (lambda marker: os.truncate(marker, 1 << 33), f"has {1 << 33} bytes"),
    (Path.unlink, "is missing"),
    (by.put_a_fifo, "is a FIFO"),
    (by.put_a_directory, "is a directory"),
    (by.put_a_link, "is a symbolic link"),
]


@pytest.mark.parametrize(("done", "found"), MARKERS)
def test_it_tells_what_is_wrong_with_the_marker_and_recovers(
    yard: Path, watch: Watch, done: Callable[[Path], object], found: str
) -> None:
    scene = Scene(yard, by.ext4(yard))
    way = by.its_marker(done)(scene)

    watch.verdict(scene.spec, state="online")
    # Not in the middle of a probe: a marker that is just being written is empty.
    next(way)
    with watch.asking(scene.spec):
        finding = watch.wait(scene.spec, state="offline")
        next(way, None)
        watch.sink.findings.clear()
        watch.wait(scene.spec, state="online")

    assert (finding["reason"], finding["layer"]) == ("marker-missing", 4)
    assert failed(finding)["expected"] in (A_MARKER, scene.spec["id"])
    assert found in failed(finding)["found"]


def test_it_never_makes_the_marker(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    run("rm", "-r", disk.place / ".storepoint")

    finding = watch.verdict(spec)

    assert finding["reason"] == "marker-missing"
    assert not (disk.place / ".storepoint").exists()
