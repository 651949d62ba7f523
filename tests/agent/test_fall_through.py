"""What was written below a path whose volume is not mounted, on real directories."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from storepoints.agent.fall_through import MAXIMUM_DEPTH, covering_below, measure
from storepoints.agent.messages import FallThrough, Spec, VolumeId
from storepoints.agent.mounts import Mounts, MountTable, parse

HOUR = 3600.0


@pytest.fixture
def table() -> MountTable:
    return Mounts().current()


def measured(
    path: Path, *, since: float | None = None, entries: int = 1000, seconds: float = 5
) -> FallThrough:
    found = measure(
        str(path), Mounts().current(), since=since, seconds=seconds, entries=entries
    )
    assert found is not None
    return found


def _write(path: Path, kilobytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(os.urandom(kilobytes * 1024))
        os.fsync(file.fileno())


def test_it_measures_files_at_all_levels(tmp_path: Path) -> None:
    _write(tmp_path / "a", 64)
    _write(tmp_path / "b" / "c" / "d", 128)
    before = time.time()

    found = measured(tmp_path)

    assert found["files"] == 2
    assert 192 * 1024 <= found["bytes"] <= 224 * 1024
    assert found["is_complete"]
    assert found["newest_at"] is not None
    assert abs(found["newest_at"] - before) < 5


@pytest.mark.parametrize("is_there", [True, False])
def test_it_measures_that_there_is_nothing(tmp_path: Path, *, is_there: bool) -> None:
    path = tmp_path / "point"
    if is_there:
        path.mkdir()

    assert measured(path) == {
        "bytes": 0,
        "files": 0,
        "newest_at": None,
        "is_complete": True,
    }


def test_it_leaves_out_what_was_there_before(tmp_path: Path) -> None:
    _write(tmp_path / "a", 4)

    found = measured(tmp_path, since=time.time() + HOUR)

    assert (found["files"], found["bytes"], found["newest_at"]) == (0, 0, None)


def test_it_counts_copies_that_keep_old_times(tmp_path: Path) -> None:
    _write(tmp_path / "a", 4)
    os.utime(tmp_path / "a", (1e9, 1e9))

    found = measured(tmp_path, since=time.time() - HOUR)

    assert found["files"] == 1
    assert found["newest_at"] is not None
    assert found["newest_at"] > time.time() - HOUR


def test_it_believes_no_time_in_the_future(tmp_path: Path) -> None:
    _write(tmp_path / "a", 4)
    os.utime(tmp_path / "a", (2e10, 2e10))

    newest = measured(tmp_path)["newest_at"]

    assert newest is not None
    assert newest <= time.time()


def test_it_counts_what_a_file_takes_and_that_once(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 30)
    _write(tmp_path / "a", 64)
    (tmp_path / "b").hardlink_to(tmp_path / "a")

    found = measured(tmp_path)

    assert found["files"] == 2
    assert found["bytes"] < 128 * 1024


def test_it_follows_no_link(tmp_path: Path) -> None:
    _write(tmp_path / "elsewhere" / "file", 64)
    point = tmp_path / "point"
    point.mkdir()
    (point / "out").symlink_to(tmp_path / "elsewhere")
    (point / "up").symlink_to("..")

    found = measured(point)

    # The links themselves were written there.
    assert found["files"] == 2
    assert found["bytes"] < 64 * 1024
    assert found["is_complete"]


def test_it_does_not_take_a_link_for_the_path(tmp_path: Path) -> None:
    _write(tmp_path / "elsewhere" / "file", 64)
    (tmp_path / "point").symlink_to("elsewhere")

    found = measured(tmp_path / "point")

    assert (found["files"], found["is_complete"]) == (0, False)


def test_it_blocks_on_nothing_that_lies_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / os.fsdecode(b"\xff\n")).write_bytes(b"x")

    assert measured(tmp_path)["files"] == 2


def test_it_stops_after_so_many_entries(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).touch()

    found = measured(tmp_path, entries=10)

    assert (found["files"], found["is_complete"]) == (10, False)


def test_it_stops_when_its_time_is_over(tmp_path: Path) -> None:
    _write(tmp_path / "a", 4)

    found = measured(tmp_path, seconds=0)

    assert (found["files"], found["is_complete"]) == (0, False)


def test_it_stops_at_a_depth(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(MAXIMUM_DEPTH + 3):
        deep = deep / "d"
        deep.mkdir()
        (deep / "file").touch()

    found = measured(tmp_path)

    assert (found["files"], found["is_complete"]) == (MAXIMUM_DEPTH - 1, False)


def test_it_says_nothing_when_the_path_lies_elsewhere(tmp_path: Path) -> None:
    text = b"999999 1 0:20 / / rw - ext4 /dev/x rw\n"

    assert measure(str(tmp_path), parse(text), since=None) is None


def _spec(path: Path) -> Spec:
    volume = VolumeId(
        mount_point=str(path), fs_type="ext4", fs_uuid="u", source="/dev/x", fsid=""
    )
    return Spec("id", "name", str(path), volume, 5.0, write=True, inbound="")


def test_it_measures_below_local_filesystems_only(
    tmp_path: Path, table: MountTable
) -> None:
    spec = _spec(tmp_path)
    network = parse(b"20 1 0:20 / / rw - nfs4 there:/export rw\n")
    mounted = parse(
        b"20 1 0:20 / / rw - ext4 /dev/y rw\n"
        + f"21 20 0:21 / {tmp_path} rw - ext4 /dev/x rw\n".encode()
    )

    assert covering_below(spec, table) is table.covering(spec.path)
    assert covering_below(spec, network) is None
    assert covering_below(spec, mounted) is None
