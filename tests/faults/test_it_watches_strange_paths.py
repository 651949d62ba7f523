"""Paths that break programs: blanks, quotes, line feeds, any bytes, any length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.harness import AgentProcess, Broker, Master
from tests.faults.conftest import Watch, adopted
from tests.faults.volumes import Disk, umount

pytestmark = pytest.mark.faults

NAMES = [
    b"with a blank",
    b" blanks around ",
    b"quotes'\"`$(id)",
    b"new\nline\ttab\rreturn",
    b"back\\slash\\040",
    b"bytes \xff\xfe\x80",
    b"half a letter \xe2\x9c",
    "Hände ✓ 💾".encode(),
    b"-rf",
    b"#comment,option=1",
    b"\x01\x1b[31m",
    b"n" * 255,
]


@pytest.fixture
def master(yard: Path) -> Iterator[Master]:
    """The master's side of a real agent, with a real broker in between."""
    broker = Broker(yard)
    broker.start()
    master = Master(broker)
    agent = AgentProcess(yard, master)
    try:
        yield master
    finally:
        agent.stop()
        broker.stop()


@pytest.mark.parametrize("name", NAMES)
def test_it_watches_a_mount_point_of_any_bytes(
    yard: Path, watch: Watch, name: bytes
) -> None:
    disk = Disk(yard, "tank")
    place = yard / os.fsdecode(name)
    place.mkdir()
    disk.mount(place)
    spec = adopted(place)

    with watch.asking(spec):
        watch.wait(spec, state="online")
        disk.umount(place)
        gone = watch.wait(spec, state="offline")
        disk.mount(place)
        watch.sink.findings.clear()
        well = watch.wait(spec, state="online")

    assert gone["reason"] == "not-mounted"
    (check,) = [each for each in gone["checks"] if each["layer"] == 3]
    assert os.fsdecode(place) in check["expected"]
    assert well["volume"]["mount_point"] == os.fsdecode(place)


def test_it_reports_paths_of_any_bytes_over_the_wire(
    yard: Path, master: Master
) -> None:
    places = []
    for number, name in enumerate(NAMES):
        place = yard / os.fsdecode(name)
        place.mkdir()
        Disk(yard, f"tank {number}").mount(place)
        places.append(place)

    # Inspected, adopted, and probed with what the master was told of the volume.
    specs = [master.adopt(str(place), name=f"{place.name!a}") for place in places]
    master.probe(*specs)
    found = [master.wait_finding(spec["id"], state="online") for spec in specs]
    for place in places:
        umount(place)
    gone = [master.wait_finding(spec["id"], state="offline") for spec in specs]

    assert [each["volume"]["mount_point"] for each in found] == [
        os.fsdecode(place) for place in places
    ]
    assert {each["reason"] for each in gone} == {"not-mounted"}


def deep_directory(place: Path, length: int) -> bytes:
    """Make a directory whose path has so many bytes, and return the path."""
    here = os.open(place, os.O_RDONLY)
    path = os.fsencode(place)
    while len(path) < length:
        # Never leaves one single byte, for which there would be no room for a name.
        size = min(200, length - len(path) - 1)
        if 0 < length - len(path) - 1 - size < 2:
            size -= 2
        name = b"d" * size
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, path = below, path + b"/" + name
    os.close(here)
    assert len(path) == length
    return path


@pytest.mark.parametrize("length", [4095, 4096, 5000])
def test_it_watches_a_path_as_long_as_the_kernel_takes_and_longer(
    disk: Disk, watch: Watch, length: int
) -> None:
    spec = adopted(deep_directory(disk.place, length))

    with watch.asking(spec):
        watch.wait(spec, state="online")
        disk.umount()
        gone = watch.wait(spec, state="offline")
        disk.mount()
        watch.sink.findings.clear()
        watch.wait(spec, state="online")

    assert gone["reason"] == "not-mounted"


def test_it_reports_a_long_path_over_the_wire(disk: Disk, master: Master) -> None:
    path = deep_directory(disk.place, 4096)

    spec = master.adopt(os.fsdecode(path))
    master.probe(spec)
    master.wait_finding(spec["id"], state="online")
    disk.umount()
    gone = master.wait_finding(spec["id"], state="offline")

    assert gone["reason"] == "not-mounted"
