"""The archives in a store point: real directories, and what is said of them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent import archives
from storepoints.agent.mounts import Mounts
from storepoints.archives import NAMED

DAY = 86_400


def make(place: Path, name: str, days: float, *inside: float) -> Path:
    """An archive that changed so many days ago, with entries that changed then."""
    archive = place / name
    archive.mkdir()
    now = time.time()
    for number, age in enumerate(inside):
        entry = archive / f"entry-{number}"
        entry.write_text("data")
        os.utime(entry, (now, now - age * DAY))
    os.utime(archive, (now, now - days * DAY))
    return archive


def look(place: Path, **limits: Any) -> Any:
    return archives.look(str(place), Mounts().read(), **limits)


def test_an_empty_store_point_has_none(tmp_path: Path) -> None:
    found = look(tmp_path)

    assert (found["count"], found["newest_at"]) == (0, None)
    assert (found["warning"], found["critical"], found["oldest"]) == (0, 0, [])
    assert found["is_complete"]


def test_it_counts_what_is_an_archive_only(tmp_path: Path) -> None:
    make(tmp_path, "device-1", 0)
    for name in (".storepoint", ".hidden", "lost+found"):
        make(tmp_path, name, 30)
    (tmp_path / "a file").write_text("")
    (tmp_path / "a link").symlink_to("/")

    found = look(tmp_path)

    assert found["count"] == 1
    assert found["warning"] == 0


def test_it_tells_stale_ones_by_the_limits(tmp_path: Path) -> None:
    for name, days in (("a", 2.9), ("b", 3.1), ("c", 6.9), ("d", 7.1), ("e", 400)):
        make(tmp_path, name, days, days)

    found = look(tmp_path)

    assert (found["count"], found["warning"], found["critical"]) == (5, 4, 2)
    assert [each["name"] for each in found["oldest"]] == ["e", "d", "c", "b"]
    assert found["oldest"][0]["changed_at"] == pytest.approx(
        time.time() - 400 * DAY, abs=60
    )
    assert found["newest_at"] == pytest.approx(time.time() - 2.9 * DAY, abs=60)


def test_it_counts_by_other_limits_and_says_by_which(tmp_path: Path) -> None:
    for name, days in (("a", 2.9), ("b", 5.1), ("c", 29), ("d", 31)):
        make(tmp_path, name, days, days)

    found = look(tmp_path, warning_days=5, critical_days=30)

    assert (found["warning"], found["critical"]) == (3, 1)
    assert (found["warning_days"], found["critical_days"]) == (5, 30)


def test_a_change_directly_inside_counts_and_one_further_below_does_not(
    tmp_path: Path,
) -> None:
    make(tmp_path, "inside", 30, 30, 0.1, 30)
    deep = make(tmp_path, "deep", 30, 30)
    (deep / "sub").mkdir()
    (deep / "sub" / "file").write_text("new")
    old = time.time() - 30 * DAY
    os.utime(deep / "sub", (old, old))
    os.utime(deep, (old, old))

    found = look(tmp_path)

    assert [each["name"] for each in found["oldest"]] == ["deep"]
    assert found["newest_at"] == pytest.approx(time.time() - 0.1 * DAY, abs=60)


def test_a_time_in_the_future_is_now(tmp_path: Path) -> None:
    make(tmp_path, "a", -1000)

    assert look(tmp_path)["newest_at"] <= time.time()


def test_it_names_the_oldest_few(tmp_path: Path) -> None:
    for number in range(NAMED + 5):
        make(tmp_path, f"device-{number}", 10 + number)

    found = look(tmp_path)

    assert found["critical"] == NAMED + 5
    assert len(found["oldest"]) == NAMED
    assert found["oldest"][0]["name"] == f"device-{NAMED + 4}"


def test_it_claims_nothing_of_what_it_did_not_see(tmp_path: Path) -> None:
    for number in range(10):
        make(tmp_path, f"device-{number}", 10, *[10.0] * 10)

    found = look(tmp_path, entries=45)

    assert found["count"] == 10
    assert found["warning"] == 3
    assert not found["is_complete"]
    assert not look(tmp_path, seconds=0)["is_complete"]


def test_what_cannot_be_read_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert look(tmp_path / "missing") is None
    assert look(tmp_path / "file") is None


def test_names_that_are_not_utf8_are_told(tmp_path: Path) -> None:
    name = os.fsdecode(b"dev\xffice")
    make(tmp_path, name, 10)

    assert look(tmp_path)["oldest"][0]["name"] == name
