"""Inspecting and adopting directories."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent import volumes
from storepoints.agent.adoption import adopt, inspect, look, readopt
from storepoints.agent.messages import VolumeId
from storepoints.agent.mounts import Mounts, MountTable
from tests.agent.harness import AgentProcess, Master


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


def test_it_marks_the_very_directory_that_it_looked_at(
    tmp_path: Path, table: MountTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is mounted, or put there, while the marker is written gets none."""
    path, aside = tmp_path / "point", tmp_path / "aside"
    path.mkdir()
    volume = inspect(str(path), table)["volume"]
    difference = volumes.difference

    def put_another_there(adopted: VolumeId, found: VolumeId) -> str:
        path.rename(aside)
        path.mkdir()
        return difference(adopted, found)

    monkeypatch.setattr(volumes, "difference", put_another_there)
    adopt(str(path), store_point="a", name="n", server="s", volume=volume, table=table)

    assert list(path.iterdir()) == []
    assert (aside / ".storepoint/identity.json").exists()


def test_it_leaves_the_mode_of_a_directory_that_was_there(
    tmp_path: Path, table: MountTable
) -> None:
    (tmp_path / ".storepoint").mkdir(mode=0o750)
    (tmp_path / ".storepoint").chmod(0o750)

    readopt_as(tmp_path, dict(look(str(tmp_path), table)), table)

    assert (tmp_path / ".storepoint").stat().st_mode & 0o777 == 0o750


def test_it_keeps_all_that_was_there_however_often_it_is_re_adopted(
    tmp_path: Path, table: MountTable
) -> None:
    meta = tmp_path / ".storepoint"
    _text_marker(b"0")(tmp_path)
    for number in range(1, 4):
        readopt_as(tmp_path, dict(look(str(tmp_path), table)), table)
        (meta / "identity.json").write_text(str(number))

    kept = [file.read_text() for file in sorted(meta.glob("*.old"))]
    assert kept == ["0", "1", "2"]


# --- re-adopting -----------------------------------------------------------------------


def _text_marker(text: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        (path / ".storepoint").mkdir(parents=True)
        (path / ".storepoint/identity.json").write_bytes(text)

    return make


def _directory_marker(path: Path) -> None:
    (path / ".storepoint/identity.json").mkdir(parents=True)


def _link_marker(path: Path) -> None:
    (path / ".storepoint").mkdir(parents=True)
    (path / "elsewhere").write_text('{"store_point": "a"}')
    (path / ".storepoint/identity.json").symlink_to(path / "elsewhere")


def readopt_as(path: Path, expects: dict[str, Any], table: MountTable) -> Any:
    return readopt(
        str(path),
        store_point="a",
        name="Tank-07",
        server="s",
        expects=expects,
        table=table,
    )


DAMAGED = [
    (_text_marker(b"not json"), "is not JSON"),
    (_text_marker(b""), "is empty"),
    (_text_marker(b"[1]"), "is not a JSON object"),
    (_text_marker(b'{"name": "x"}'), "names no store point"),
    (_text_marker(b'{"store_point": ' + b" " * 70_000 + b"1}"), "bytes"),
    (_fifo_marker, "a FIFO"),
    (_directory_marker, "a directory"),
    (_link_marker, "a symbolic link"),
]


@pytest.mark.parametrize(("make", "words"), DAMAGED)
def test_it_replaces_a_damaged_marker_and_keeps_what_was_there(
    tmp_path: Path, table: MountTable, make: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "point"
    make(path)
    seen = look(str(path), table)
    assert (seen["adoptable"], seen["marker"]) == (True, None)
    assert words in seen["damage"]

    answer = readopt_as(path, dict(seen), table)

    assert answer == {"id": "a", "adopted": True, "volume": seen["volume"]}
    after = look(str(path), table)
    assert after["marker"] is not None
    assert after["marker"]["store_point"] == "a"
    (old,) = (path / ".storepoint").glob("identity.json.*.old")
    assert len(list((path / ".storepoint").iterdir())) == 2
    if make is _link_marker:
        assert old.is_symlink()
        assert (path / "elsewhere").read_text() == '{"store_point": "a"}'


def test_it_looks_without_writing_anything(tmp_path: Path, table: MountTable) -> None:
    for name in ("one", "two", ".storepoint"):
        (tmp_path / name).mkdir()
    (tmp_path / "a file").touch()
    before = tmp_path.stat().st_mtime_ns

    seen = look(str(tmp_path), table)

    assert (seen["archives"], seen["fingerprint"]) == (2, "none")
    assert tmp_path.stat().st_mtime_ns == before


def test_it_writes_a_marker_where_there_was_none(
    tmp_path: Path, table: MountTable
) -> None:
    answer = readopt_as(tmp_path, dict(look(str(tmp_path), table)), table)

    assert answer["adopted"]
    file = tmp_path / ".storepoint/identity.json"
    marker = json.loads(file.read_text())
    assert (marker["store_point"], marker["server"]) == ("a", "s")
    assert set(marker) == {
        "store_point",
        "name",
        "server",
        "created_at",
        "filesystem",
    }
    assert file.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in file.parent.iterdir()] == ["identity.json"]


def test_it_leaves_its_own_marker_alone_when_it_says_all(
    tmp_path: Path, table: MountTable
) -> None:
    readopt_as(tmp_path, dict(look(str(tmp_path), table)), table)
    file = tmp_path / ".storepoint/identity.json"
    before = file.stat()

    answer = readopt_as(tmp_path, dict(look(str(tmp_path), table)), table)

    assert answer["adopted"]
    assert file.stat().st_ino == before.st_ino


def test_it_re_adopts_once_though_it_is_told_twice(
    tmp_path: Path, table: MountTable
) -> None:
    _text_marker(b"not json")(tmp_path)
    seen = dict(look(str(tmp_path), table))
    first = readopt_as(tmp_path, seen, table)
    before = (tmp_path / ".storepoint/identity.json").stat()

    second = readopt_as(tmp_path, seen, table)

    assert first["adopted"]
    assert second == first
    after = (tmp_path / ".storepoint/identity.json").stat()
    assert after.st_ino == before.st_ino


def test_it_brings_its_own_marker_up_to_date_and_keeps_when_it_was_made(
    tmp_path: Path, table: MountTable
) -> None:
    old = {"store_point": "a", "server": "s", "created_at": "2020-02-02T02:02:02Z"}
    _text_marker(json.dumps(old).encode())(tmp_path)

    readopt_as(tmp_path, dict(look(str(tmp_path), table)), table)

    marker = json.loads((tmp_path / ".storepoint/identity.json").read_text())
    assert marker["created_at"] == "2020-02-02T02:02:02Z"
    assert marker["filesystem"]["fs_type"]


def _replaced_by_a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_text('{"store_point": "b"}'),
        lambda file: file.unlink(),
        _replaced_by_a_fifo,
    ],
)
def test_it_changes_nothing_when_the_marker_is_not_the_one_that_was_shown(
    tmp_path: Path, table: MountTable, change: Callable[[Path], Any]
) -> None:
    _text_marker(b'{"store_point": "x"}')(tmp_path)
    file = tmp_path / ".storepoint/identity.json"
    seen = look(str(tmp_path), table)
    change(file)
    after = look(str(tmp_path), table)

    answer = readopt_as(tmp_path, dict(seen), table)

    assert (answer["adopted"], answer["problem"]) == (False, "changed")
    again = look(str(tmp_path), table)
    assert (again["fingerprint"], again["marker"]) == (
        after["fingerprint"],
        after["marker"],
    )
    assert not list(file.parent.glob("*.old"))


def test_it_changes_nothing_on_another_volume_than_was_shown(
    tmp_path: Path, table: MountTable
) -> None:
    seen = look(str(tmp_path), table)
    assert seen["volume"] is not None
    expects = {**seen, "volume": {**seen["volume"], "fs_uuid": "another"}}

    answer = readopt_as(tmp_path, expects, table)

    assert (answer["adopted"], answer["problem"]) == (False, "changed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (_missing, "missing"),
        (_file, "not-a-directory"),
        (_link, "symlink"),
        (_file_in_place_of_meta, "marker-unreadable"),
    ],
)
def test_it_says_why_it_cannot_re_adopt(
    tmp_path: Path, table: MountTable, make: Callable[[Path], None], problem: str
) -> None:
    path = tmp_path / "point"
    make(path)

    seen = look(str(path), table)
    answer = readopt_as(path, {"volume": {}, "fingerprint": "none"}, table)

    assert not seen["adoptable"]
    assert not answer["adopted"]
    assert seen["message"]
    assert (seen["problem"], answer["problem"]) == (problem, problem)


def test_it_re_adopts_by_signed_orders(
    tmp_path: Path, master: Master, agent: AgentProcess
) -> None:
    _marker(tmp_path / "point")
    path = str(tmp_path / "point")

    seen = master.ask("inspect", path=path, looks=True)
    body: dict[str, Any] = {"id": "a", "name": "Tank-07", "path": path}
    expects = {name: seen[name] for name in ("volume", "fingerprint")}
    wrong = master.ask("readopt", **body, expects={**expects, "fingerprint": "none"})
    right = master.ask("readopt", **body, expects=expects)

    assert seen["marker"]["name"] == "SP-07"
    assert (wrong["adopted"], wrong["problem"]) == (False, "changed")
    assert right == {"id": "a", "adopted": True, "volume": seen["volume"]}
    marker = json.loads((tmp_path / "point/.storepoint/identity.json").read_text())
    assert (marker["store_point"], marker["server"]) == ("a", master.server)
