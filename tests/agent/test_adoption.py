"""Inspecting and adopting directories."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storepoints.agent.adoption import adopt, inspect
from storepoints.agent.mounts import Mounts, MountTable


@pytest.fixture
def table() -> MountTable:
    return Mounts().read()


def _missing(path: Path) -> None:
    pass


def _file(path: Path) -> None:
    path.write_text("")


def _link(path: Path) -> None:
    (path.parent / "target").mkdir()
    path.symlink_to(path.parent / "target")


def _fifo_marker(path: Path) -> None:
    (path / ".storepoint").mkdir(parents=True)
    os.mkfifo(path / ".storepoint/identity.json")


def _file_in_place_of_meta(path: Path) -> None:
    path.mkdir()
    (path / ".storepoint").write_text("")


def _marker(path: Path) -> None:
    (path / ".storepoint").mkdir(parents=True)
    text = json.dumps({"store_point": "x", "name": "SP-07"})
    (path / ".storepoint/identity.json").write_text(text)


@pytest.mark.parametrize(
    ("make", "problem", "words"),
    [
        (_missing, "missing", "nothing at"),
        (_file, "not-a-directory", "a file"),
        (_link, "symlink", "target"),
        (_fifo_marker, "marker-unreadable", "FIFO"),
        (_file_in_place_of_meta, "marker-unreadable", "a file"),
        (_marker, "has-marker", "SP-07"),
    ],
)
def test_it_says_why_a_path_cannot_be_adopted(
    tmp_path: Path,
    table: MountTable,
    make: Callable[[Path], None],
    problem: str,
    words: str,
) -> None:
    path = tmp_path / "point"
    make(path)

    found = inspect(str(path), table)

    assert (found["adoptable"], found["problem"]) == (False, problem)
    assert words in found["message"]
    assert (found["marker"] is not None) == (problem == "has-marker")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("relative", "not-absolute"),
        ("", "not-absolute"),
        ("/a/../b", "not-absolute"),
        ("/nul\0", "not-absolute"),
        ("/proc", "pseudo-filesystem"),
        ("/proc/self", "pseudo-filesystem"),
        ("/dev/shm", "pseudo-filesystem"),
        ("/" + "x" * 300, "missing"),
    ],
)
def test_it_refuses_paths_that_hold_no_data(
    table: MountTable, path: str, problem: str
) -> None:
    assert inspect(path, table)["problem"] == problem


def test_it_leaves_nothing_behind_when_it_inspects(
    tmp_path: Path, table: MountTable
) -> None:
    found = inspect(str(tmp_path), table)

    assert found["adoptable"]
    assert found["space"] is not None
    assert list(tmp_path.iterdir()) == []


def test_it_adopts_once_and_says_so_twice(tmp_path: Path, table: MountTable) -> None:
    def adopt_as(store_point: str) -> dict[str, object]:
        return adopt(
            str(tmp_path),
            store_point=store_point,
            name="n",
            server="s",
            volume=inspect(str(tmp_path), table)["volume"],
            table=table,
        )

    adopted = {
        "id": "a",
        "adopted": True,
        "volume": inspect(str(tmp_path), table)["volume"],
    }
    assert adopt_as("a") == adopted
    before = (tmp_path / ".storepoint/identity.json").read_bytes()
    assert adopt_as("a") == adopted
    other = adopt_as("b")

    assert (other["adopted"], other["problem"]) == (False, "has-marker")
    assert (tmp_path / ".storepoint/identity.json").read_bytes() == before


def test_it_does_not_adopt_on_another_volume_than_was_shown(
    tmp_path: Path, table: MountTable
) -> None:
    volume = inspect(str(tmp_path), table)["volume"]
    assert volume is not None

    answer = adopt(
        str(tmp_path),
        store_point="a",
        name="n",
        server="s",
        volume={**volume, "fs_type": "xfs", "fs_uuid": "another"},
        table=table,
    )

    assert (answer["adopted"], answer["problem"]) == (False, "different-volume")
    assert list(tmp_path.iterdir()) == []
