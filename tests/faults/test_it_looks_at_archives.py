"""A real prober looks at archives, and a disk that hangs meanwhile harms nobody."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Watch, adopted, wait_until
from tests.faults.volumes import Faulty

pytestmark = pytest.mark.faults

DAY = 86_400


def make_archives(place: Path) -> None:
    now = time.time()
    for name, days in (("device-1", 0), ("device-2", 5), ("device-3", 9)):
        (place / name).mkdir()
        os.utime(place / name, (now - days * DAY, now - days * DAY))


def test_it_tells_what_it_found(watch: Watch, needs_fuse: None, yard: Path) -> None:
    volume = Faulty(yard, "tank")
    place = volume.mount()
    make_archives(volume.below)
    spec = adopted(place)

    with watch.asking(spec):
        found = wait_until(
            lambda: next((f for f in watch.sink.findings if f["archives"]), None)
        )["archives"]
        time.sleep(1)

    assert (found["count"], found["warning"], found["critical"]) == (3, 2, 1)
    assert [each["name"] for each in found["oldest"]] == ["device-3", "device-2"]
    told = [finding for finding in watch.sink.findings if finding["archives"]]
    assert 1 <= len(told) <= 3
    assert len(watch.sink.findings) > 4


def test_a_look_that_hangs_keeps_no_probe_waiting(
    watch: Watch, needs_fuse: None, yard: Path
) -> None:
    volume = Faulty(yard, "tank")
    place = volume.mount()
    make_archives(volume.below)
    spec = adopted(place)
    volume.order(readdir="hangs")

    with watch.asking(spec):
        time.sleep(2)
        watch.sink.findings.clear()
        time.sleep(1)
        findings = list(watch.sink.findings)
        volume.withdraw()

    assert len(findings) > 4
    assert {finding["state"] for finding in findings} == {"online"}
    assert {finding["archives"] is None for finding in findings} == {True}
