"""Markers on filesystems that lack hard links and modes, or fail while one is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent import adoption
from storepoints.agent.mounts import Mounts
from tests.faults.volumes import Faulty

pytestmark = pytest.mark.faults

WHO = {"store_point": "a", "name": "Tank-07", "server": "a server"}


@pytest.fixture
def volume(yard: Path, needs_fuse: None) -> Faulty:
    volume = Faulty(yard, "tank")
    volume.mount()
    return volume


def adopt(place: Path) -> dict[str, Any]:
    return adoption.adopt(str(place), **WHO, volume=None, table=Mounts().read())


def readopt(place: Path, seen: Any) -> dict[str, Any]:
    return adoption.readopt(
        str(place), **WHO, expects=dict(seen), table=Mounts().read()
    )


def look(place: Path) -> Any:
    return adoption.look(str(place), Mounts().read())


def test_it_adopts_without_hard_links_and_modes(volume: Faulty) -> None:
    volume.order(link="EPERM", chmod="EPERM")

    answer = adopt(volume.place)

    assert answer["adopted"], answer
    meta = volume.below / ".storepoint"
    assert [each.name for each in meta.iterdir()] == ["identity.json"]
    assert json.loads((meta / "identity.json").read_text())["store_point"] == "a"


def test_it_re_adopts_without_hard_links_and_modes(volume: Faulty) -> None:
    meta = volume.below / ".storepoint"
    meta.mkdir()
    (meta / "identity.json").write_text('{"store_point": "b"}')
    volume.order(link="EPERM", chmod="EPERM")

    answer = readopt(volume.place, look(volume.place))

    assert answer["adopted"], answer
    (kept,) = meta.glob("*.old")
    assert kept.read_text() == '{"store_point": "b"}'
    assert json.loads((meta / "identity.json").read_text())["store_point"] == "a"


@pytest.mark.parametrize(
    ("order", "problem"),
    [("write", "io-error"), ("fsync", "io-error"), ("link", "io-error")],
)
def test_it_leaves_the_marker_alone_when_it_cannot_be_replaced(
    volume: Faulty, order: str, problem: str
) -> None:
    meta = volume.below / ".storepoint"
    meta.mkdir()
    (meta / "identity.json").write_text('{"store_point": "b"}')
    seen = look(volume.place)
    volume.order(**{order: "EIO"})

    answer = readopt(volume.place, seen)

    assert (answer["adopted"], answer["problem"]) == (False, problem)
    assert [each.name for each in meta.iterdir()] == ["identity.json"]
    assert (meta / "identity.json").read_text() == '{"store_point": "b"}'


def test_it_says_that_the_marker_cannot_be_read(volume: Faulty) -> None:
    meta = volume.below / ".storepoint"
    meta.mkdir()
    (meta / "identity.json").write_text('{"store_point": "b"}')
    seen = look(volume.place)
    volume.order(read="EIO")

    answer = readopt(volume.place, seen)

    assert not answer["adopted"]
    assert answer["problem"] in ("marker-unreadable", "io-error")
