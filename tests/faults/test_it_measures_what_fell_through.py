"""What was written below a path while its volume was not mounted, and skipped writes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Watch, adopted, wait_until
from tests.faults.volumes import Disk, mount_tmpfs

pytestmark = pytest.mark.faults

KIB = 1024


def measured(watch: Watch, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the first measure that a finding of a volume gone carries."""

    def newest() -> dict[str, Any] | None:
        for finding in reversed(watch.sink.findings):
            if finding["id"] == spec["id"] and finding["fall_through"] is not None:
                assert finding["reason"] == "not-mounted"
                fall_through: dict[str, Any] = finding["fall_through"]
                return fall_through
        return None

    found: dict[str, Any] = wait_until(newest)
    return found


def _write(path: Path, kib: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(os.urandom(kib * KIB))
        os.fsync(file.fileno())


def test_it_says_that_nothing_fell_through(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    watch.verdict(spec, state="online")
    watch.sink.findings.clear()

    disk.umount()
    first = watch.wait(spec, state="offline", seconds=2)
    found = measured(watch, spec)

    assert first["reason"] == "not-mounted"
    assert found == {"bytes": 0, "files": 0, "newest_at": None, "is_complete": True}
    assert watch.verdict(spec)["fall_through"] == found


def test_it_measures_what_fell_through_and_forgets_it_when_the_volume_is_back(
    disk: Disk, watch: Watch
) -> None:
    spec = adopted(disk.place)
    disk.umount()
    _write(disk.place / "archive" / "1", 256)

    watch.probe(spec)

    found = measured(watch, spec)
    assert (found["files"], found["is_complete"]) == (1, True)
    assert 256 * KIB <= found["bytes"] < 300 * KIB
    assert abs(found["newest_at"] - time.time()) < 10
    disk.mount()
    back = watch.wait(spec, state="online")
    assert back["fall_through"] is None


def test_it_leaves_out_what_was_below_before(yard: Path, watch: Watch) -> None:
    disk = Disk(yard, "tank")
    _write(disk.place / "old", 64)
    disk.mount()
    spec = adopted(disk.place)
    # More than clocks may differ by.
    time.sleep(2.2)
    watch.verdict(spec, state="online")
    watch.sink.findings.clear()

    disk.umount()

    assert measured(watch, spec)["files"] == 0


def test_it_believes_the_master_when_it_has_seen_nothing_itself(
    yard: Path, watch: Watch
) -> None:
    disk = Disk(yard, "tank")
    disk.mount()
    spec = adopted(disk.place)
    disk.umount()
    _write(disk.place / "old", 64)
    time.sleep(2.2)
    well_at = time.time()
    _write(disk.place / "new", 16)

    watch.probe({**spec, "well_at": well_at})

    assert measured(watch, spec)["files"] == 1


def test_it_enters_no_other_mount(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    disk.umount()
    inside = disk.place / "inside"
    inside.mkdir()
    mount_tmpfs(inside)
    _write(inside / "file", 64)
    _write(disk.place / "file", 16)

    watch.probe(spec)

    found = measured(watch, spec)
    assert found["files"] == 1
    assert found["bytes"] < 64 * KIB


def test_it_does_not_measure_again_at_each_probe(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place)
    disk.umount()
    watch.probe(spec)
    before = measured(watch, spec)
    _write(disk.place / "file", 16)

    for _ in range(5):
        assert watch.verdict(spec)["fall_through"] == before


def test_it_skips_the_write_until_the_mount_changes(disk: Disk, watch: Watch) -> None:
    spec = adopted(disk.place, write_seconds=600)

    said = [watch.verdict(spec)["wrote"] for _ in range(3)]
    said.append(_asked(watch, spec)["wrote"])
    said.append(watch.verdict(spec)["wrote"])
    disk.umount()
    watch.wait(spec, state="offline")
    watch.sink.findings.clear()
    disk.mount()
    said.append(watch.wait(spec, state="online")["wrote"])
    said.append(watch.verdict(spec)["wrote"])

    assert said == [True, False, False, True, False, True, False]


def _asked(watch: Watch, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the finding of a probe that a person asked for."""
    watch.sink.findings.clear()
    watch.probe(spec, cause="asked")
    return watch.wait(spec)
