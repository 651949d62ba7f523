"""How store points are broken, and mended again, one function for each way.

What stands before ``yield`` breaks a store point that is online, what stands behind it
does what an administrator would do to mend it. Nothing here speaks to the agent.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent.mounts import Mounts
from tests import needs
from tests.faults.conftest import NOBODY, adopted
from tests.faults.volumes import (
    BtrfsMirror,
    Disk,
    DyingDisk,
    Faulty,
    ThinDisk,
    Tmpfs,
    Volume,
    mount_tmpfs,
    run,
    umount,
)

# --- volumes that store points lie on ---------------------------------------------------


def ext4(yard: Path) -> Volume:
    return Disk(yard, "tank")


def ext4_that_stops_at_errors(yard: Path) -> Volume:
    return Disk(yard, "tank", mount_options="errors=remount-ro")


def ext4_without_reserve(yard: Path) -> Volume:
    return Disk(yard, "tank", "-m", "0")


def ext4_with_reserve(yard: Path) -> Volume:
    return Disk(yard, "tank", "-m", "30")


def ext4_with_few_inodes(yard: Path) -> Volume:
    return Disk(yard, "tank", "-N", "32")


def xfs(yard: Path) -> Volume:
    need_xfs()
    return Disk(yard, "tank", fs="xfs")


def need_xfs() -> None:
    if not needs.knows_filesystem("xfs"):
        needs.leave_out_for_the_kernel("XFS")
    needs.need_programs(mkfs__xfs="xfsprogs", xfs_io="xfsprogs")


def btrfs(yard: Path) -> Volume:
    need_btrfs()
    return Disk(yard, "tank", fs="btrfs")


def need_btrfs() -> None:
    if not needs.knows_filesystem("btrfs"):
        needs.leave_out_for_the_kernel("Btrfs")
    needs.need_programs(mkfs__btrfs="btrfs-progs", btrfs="btrfs-progs")


def tmpfs(yard: Path) -> Volume:
    return Tmpfs(yard, "tank")


def tmpfs_with_few_inodes(yard: Path) -> Volume:
    return Tmpfs(yard, "tank", "size=4m,nr_inodes=30")


def faulty(yard: Path) -> Faulty:
    need_fuse()
    return Faulty(yard, "tank")


def dying_disk(yard: Path) -> DyingDisk:
    need_fuse()
    return DyingDisk(yard, "tank")


def dying_btrfs(yard: Path) -> DyingDisk:
    need_fuse()
    need_btrfs()
    return DyingDisk(yard, "tank", fs="btrfs")


def dying_xfs(yard: Path) -> DyingDisk:
    need_fuse()
    need_xfs()
    return DyingDisk(yard, "tank", fs="xfs")


def need_fuse() -> None:
    if not Path("/dev/fuse").exists():
        pytest.skip("needs /dev/fuse")
    needs.need_programs(fusermount3="fuse3")


def thin_disk(yard: Path) -> Volume:
    return ThinDisk(yard, "tank")


def mirror(yard: Path) -> BtrfsMirror:
    need_btrfs()
    return BtrfsMirror(yard, "tank")


# --- the scene --------------------------------------------------------------------------


@dataclass
class Scene:
    """A store point on a volume of its own, and room beside it."""

    yard: Path
    volume: Any
    below: str = ""
    #: Whether the test has it adopted by a console, and does not adopt it itself.
    is_for_a_console: bool = False
    spec: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.volume.mount()
        self.path.mkdir(parents=True, exist_ok=True)
        self.spec = {} if self.is_for_a_console else adopted(self.path)

    @property
    def place(self) -> Path:
        """Where the volume is mounted."""
        return Path(self.volume.place)

    @property
    def path(self) -> Path:
        """The store point's directory."""
        return self.place / self.below

    @property
    def marker(self) -> Path:
        return self.path / ".storepoint/identity.json"

    def give_to_nobody(self) -> None:
        """Let a user who is not root do all that a probe does."""
        run("chown", "-R", f"{NOBODY}:{NOBODY}", self.path)


Way = Callable[[Scene], Iterator[None]]


# --- the volume is not what it was ------------------------------------------------------


def unmounted(scene: Scene) -> Iterator[None]:
    scene.volume.umount()
    yield
    scene.volume.mount()


def unmounted_with_files_left_below(scene: Scene) -> Iterator[None]:
    scene.volume.umount()
    # As a backup leaves it behind that went on, and even the marker is there.
    left = scene.path / ".storepoint"
    left.mkdir(parents=True)
    marker = {"store_point": scene.spec["id"]}
    (left / "identity.json").write_text(json.dumps(marker))
    (scene.path / "archive").write_bytes(bytes(100_000))
    yield
    scene.volume.mount()


def another_disk_in_its_place(scene: Scene) -> Iterator[None]:
    other = Disk(scene.yard, "other", fs=scene.volume.fs)
    scene.volume.umount()
    other.mount(scene.place)
    yield
    other.umount(scene.place)
    scene.volume.mount()


def the_disk_of_another_store_point_in_its_place(scene: Scene) -> Iterator[None]:
    other = Disk(scene.yard, "other", fs=scene.volume.fs)
    other.mount()
    adopted(other.place, name="SP-07")
    other.umount()
    scene.volume.umount()
    other.mount(scene.place)
    yield
    other.umount(scene.place)
    scene.volume.mount()


def another_disk_mounted_over_it(scene: Scene) -> Iterator[None]:
    other = Disk(scene.yard, "other")
    other.mount(scene.place)
    yield
    other.umount(scene.place)


def another_disk_mounted_in_between(scene: Scene) -> Iterator[None]:
    mount_tmpfs(scene.path)
    yield
    umount(scene.path)


def hidden_by_a_mount_above(scene: Scene) -> Iterator[None]:
    mount_tmpfs(scene.place.parent)
    yield
    umount(scene.place.parent)


def mounted_elsewhere(scene: Scene) -> Iterator[None]:
    elsewhere = scene.yard / "elsewhere"
    elsewhere.mkdir()
    scene.volume.umount()
    scene.volume.mount(elsewhere)
    yield
    scene.volume.umount(elsewhere)
    scene.volume.mount()


# --- the path is not what it was --------------------------------------------------------


def removed(scene: Scene) -> Iterator[None]:
    kept = scene.yard / "kept"
    shutil.copytree(scene.path, kept)
    shutil.rmtree(scene.path)
    yield
    shutil.copytree(kept, scene.path)


def replaced_by_a_file(scene: Scene) -> Iterator[None]:
    with _put_away(scene.path):
        scene.path.write_text("")
        yield


def replaced_by_a_link(scene: Scene) -> Iterator[None]:
    with _put_away(scene.path) as away:
        scene.path.symlink_to(away.name)
        yield


def replaced_by_a_link_to_nothing(scene: Scene) -> Iterator[None]:
    with _put_away(scene.path):
        scene.path.symlink_to("nothing")
        yield


def replaced_by_a_loop(scene: Scene) -> Iterator[None]:
    with _put_away(scene.path):
        scene.path.symlink_to(scene.path.name)
        yield


def a_loop_on_the_way(scene: Scene) -> Iterator[None]:
    way = scene.path.parent
    with _put_away(way):
        way.symlink_to(way.name)
        yield


def a_file_on_the_way(scene: Scene) -> Iterator[None]:
    way = scene.path.parent
    with _put_away(way):
        way.write_text("")
        yield


@contextlib.contextmanager
def _put_away(path: Path) -> Iterator[Path]:
    away = path.with_name("away")
    path.rename(away)
    yield away
    path.unlink()
    away.rename(path)


# --- the store point is another one -----------------------------------------------------


def swapped_with_another(scene: Scene) -> Iterator[None]:
    other = scene.place / "other"
    other.mkdir()
    adopted(other, name="SP-07")
    away = scene.place / "away"

    def swap() -> None:
        scene.path.rename(away)
        other.rename(scene.path)
        away.rename(other)

    swap()
    yield
    swap()


def its_marker_edited(scene: Scene) -> Iterator[None]:
    text = scene.marker.read_text()
    scene.marker.write_text(text.replace(scene.spec["id"], "another"))
    yield
    scene.marker.write_text(text)


def its_marker_with_its_directory_removed(scene: Scene) -> Iterator[None]:
    meta = scene.marker.parent
    kept = scene.yard / "kept"
    shutil.copytree(meta, kept)
    shutil.rmtree(meta)
    yield
    shutil.copytree(kept, meta)


def its_marker(done: Callable[[Path], object]) -> Way:
    """Return the way to break a store point by doing something to its marker."""

    def way(scene: Scene) -> Iterator[None]:
        text = scene.marker.read_bytes()
        done(scene.marker)
        yield
        if scene.marker.is_dir():
            scene.marker.rmdir()
        scene.marker.unlink(missing_ok=True)
        scene.marker.write_bytes(text)

    return way


def put_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def put_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_a_link(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.symlink_to("away")


# --- permission is taken away -----------------------------------------------------------


def closed_to_the_agent(scene: Scene) -> Iterator[None]:
    run("chown", "root:root", scene.path)
    scene.path.chmod(0o700)
    yield
    scene.path.chmod(0o755)


def closed_above(scene: Scene) -> Iterator[None]:
    above = scene.path.parent
    above.chmod(0o700)
    yield
    above.chmod(0o755)


def its_marker_unreadable(scene: Scene) -> Iterator[None]:
    run("chown", "root:root", scene.marker)
    scene.marker.chmod(0o600)
    yield
    scene.marker.chmod(0o644)


def not_writable_by_the_agent(scene: Scene) -> Iterator[None]:
    run("chown", "root:root", scene.marker.parent)
    yield
    run("chown", str(NOBODY), scene.marker.parent)


def immutable(scene: Scene) -> Iterator[None]:
    run("chattr", "+i", scene.marker.parent)
    yield
    run("chattr", "-i", scene.marker.parent)


# --- it cannot be written to ------------------------------------------------------------


def remounted_read_only(scene: Scene) -> Iterator[None]:
    scene.volume.remount("ro")
    yield
    scene.volume.remount("rw")


def bind_mounted_read_only(scene: Scene) -> Iterator[None]:
    for attempt in range(50):
        try:
            run("mount", "-o", "remount,bind,ro", scene.place)
        except RuntimeError:
            if attempt == 49:
                raise
        else:
            break
    yield
    run("mount", "-o", "remount,bind,rw", scene.place)


def error_of_the_filesystem(scene: Scene) -> Iterator[None]:
    mount = Mounts().read().at(str(scene.place))
    assert mount is not None
    device = mount.source.removeprefix("/dev/")
    trigger = Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
    if not trigger.exists():
        needs.leave_out_for_the_kernel("way to make an ext4 fail on purpose")
    trigger.write_text("1")
    yield
    _check_and_mount(scene)


def shut_down_after_an_error(scene: Scene) -> Iterator[None]:
    run("xfs_io", "-x", "-c", "shutdown", scene.place)
    yield
    scene.volume.umount()
    scene.volume.mount()


def full(scene: Scene) -> Iterator[None]:
    _fill(scene.place)
    yield
    (scene.place / "filler").unlink()


def full_but_for_the_reserve(scene: Scene) -> Iterator[None]:
    scene.place.chmod(0o777)
    # What a user who is not root may write.
    subprocess.run(
        [
            "sh",
            "-c",
            'for size in 65536 4096 512; do dd if=/dev/zero bs=$size >>"$1"; done',
            "sh",
            scene.place / "filler",
        ],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        check=False,
    )
    yield
    (scene.place / "filler").unlink()


def _fill(place: Path) -> None:
    with (place / "filler").open("wb", buffering=0) as file:
        for size in (65536, 4096, 512):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
        with contextlib.suppress(OSError):
            os.fsync(file.fileno())


def out_of_inodes(scene: Scene) -> Iterator[None]:
    made: list[Path] = []
    with contextlib.suppress(OSError):
        for number in range(1000):
            path = scene.place / f"file {number}"
            path.touch()
            made.append(path)
    assert len(made) < 1000, "the volume has more inodes than it was made with"
    yield
    for path in made:
        path.unlink()


def over_its_quota(scene: Scene) -> Iterator[None]:
    try:
        run("btrfs", "quota", "enable", scene.place)
    except RuntimeError:
        needs.leave_out_for_the_kernel("Btrfs quotas")
    run("btrfs", "qgroup", "limit", "1M", scene.place)
    _fill(scene.place)
    yield
    run("btrfs", "qgroup", "limit", "none", scene.place)


def the_room_below_it_gone(scene: Scene) -> Iterator[None]:
    # What the volume shows as free was promised to others as well.
    with contextlib.suppress(OSError), (scene.place / "archive").open("wb") as file:
        file.write(os.urandom(20 << 20))
        file.flush()
        os.fsync(file.fileno())
    yield
    run("mount", "-o", "remount,size=80m", scene.volume.below.place)
    _check_and_mount(scene)


def _check_and_mount(scene: Scene) -> None:
    """Do what is to be done after an error: unmount, check, mount."""
    scene.volume.umount()
    if scene.volume.fs == "ext4":
        _check(scene)
    scene.volume.mount()


def _check(scene: Scene) -> None:
    image = (
        scene.volume.blocks.place / "disk.img"
        if isinstance(scene.volume, DyingDisk)
        else scene.volume.image
    )
    # 1: errors were corrected.
    done = subprocess.run(
        ["e2fsck", "-fy", image], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout


# --- it hangs ---------------------------------------------------------------------------


def frozen(scene: Scene) -> Iterator[None]:
    run("fsfreeze", "-f", scene.place)
    yield
    run("fsfreeze", "-u", scene.place)


def its_server_stopped(scene: Scene) -> Iterator[None]:
    scene.volume.suspend()
    yield
    scene.volume.resume()


def its_disk_silent(scene: Scene) -> Iterator[None]:
    scene.volume.blocks.order(write="hangs")
    yield
    scene.volume.blocks.withdraw()


# --- calls that fail --------------------------------------------------------------------


def told(**orders: str | float) -> Way:
    """Return the way to break a store point by orders to the filesystem it is on."""

    def way(scene: Scene) -> Iterator[None]:
        scene.volume.order(**orders)
        yield
        scene.volume.withdraw()

    ((call, order),) = orders.items()
    way.__name__ = f"{call}: {order}".replace("_of_", " ").replace("__", ".")
    return way


def its_server_dead(scene: Scene) -> Iterator[None]:
    scene.volume.die()
    yield
    umount(scene.place)
    scene.volume.mount()


def its_disk_failing_to_write(scene: Scene) -> Iterator[None]:
    scene.volume.blocks.order(write="EIO")
    yield
    scene.volume.blocks.withdraw()
    _check_and_mount(scene)


def its_disk_failing_at_a_commit(scene: Scene) -> Iterator[None]:
    scene.volume.blocks.order(write="EIO")
    # What a filesystem has to write for itself: it gives up when it cannot.
    (scene.place / "archive").touch()
    subprocess.run(["sync", "-f", scene.place], capture_output=True, check=False)
    yield
    scene.volume.blocks.withdraw()
    _check_and_mount(scene)


def its_disk_failing_altogether(scene: Scene) -> Iterator[None]:
    scene.volume.blocks.order(write="EIO", read="EIO", fsync="EIO")
    # Until the kernel has to read it again, it answers from memory.
    with scene.marker.open("rb") as marker:
        os.posix_fadvise(marker.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    yield
    scene.volume.blocks.withdraw()
    _check_and_mount(scene)
