"""What fails is in the database within an interval: a real console, real volumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.console import Console
from tests.faults import breaking as by
from tests.faults.breaking import Scene, Way
from tests.faults.conftest import wait_until
from tests.faults.volumes import Volume

pytestmark = [pytest.mark.faults, pytest.mark.e2e]

INTERVAL_SECONDS = 5
#: Promised is the interval and two seconds more, and `make bench` measures it. A test
#: that runs on a machine that does other things beside asserts three times that.
PATIENCE_SECONDS = 3 * (INTERVAL_SECONDS + 2)


@dataclass(frozen=True)
class Fault:
    """How a store point is broken, and what its row says then."""

    broken: Way
    on: Callable[[Path], Volume]
    state: str
    reason: str
    below: str = ""


# fmt: off
FAULTS = [
    Fault(by.remounted_read_only, by.ext4, "offline", "read-only"),
    Fault(by.full, by.ext4_without_reserve, "offline", "full"),
    Fault(by.removed, by.ext4, "offline", "path-missing", "it's \"odd\"\n✓"),
    Fault(by.its_marker(Path.unlink), by.ext4, "offline", "marker-missing"),
    Fault(by.frozen, by.ext4, "not-responding", ""),
    Fault(by.error_of_the_filesystem, by.ext4_that_stops_at_errors, "offline", "read-only"),
    Fault(by.shut_down_after_an_error, by.xfs, "offline", "io-error"),
    Fault(by.told(write="EIO"), by.faulty, "offline", "io-error"),
]
# fmt: on


@pytest.fixture
def console() -> Iterator[Console]:
    console = Console()
    try:
        console.start()
        yield console
    finally:
        console.clean_up()


def test_it_says_in_every_row_what_failed_and_that_it_is_well_again(
    console: Console, yard: Path
) -> None:
    person = console.set_up()
    scenes: dict[str, Scene] = {}
    for number, fault in enumerate(FAULTS):
        beside = yard / str(number)
        beside.mkdir()
        name = f"SP-{number:02}"
        scene = Scene(beside, fault.on(beside), fault.below, is_for_a_console=True)
        scenes[name] = scene
        key = person.add_store_point(name, scene.path)
        person.set_interval(key, name, INTERVAL_SECONDS)
    # A write is spared when the last one is young, by default for half an interval.
    console.shell(
        "from storepoints.models import StorePoint\n"
        "StorePoint.objects.update(write_seconds=0)"
    )
    expected = {
        name: (fault.state, fault.reason)
        for name, fault in zip(scenes, FAULTS, strict=True)
    }
    wait_until(
        lambda: {console.state(name)[0] for name in scenes} <= {"online", "degraded"},
        30,
        lambda: str({name: console.state(name) for name in scenes}),
    )

    ways = {
        name: fault.broken(scenes[name])
        for name, fault in zip(scenes, FAULTS, strict=True)
    }
    broken_at: dict[str, float] = {}
    known_after: dict[str, float] = {}
    for name, way in ways.items():
        next(way)
        broken_at[name] = time.monotonic()

    def all_known() -> bool:
        for name in scenes.keys() - known_after.keys():
            if console.state(name) == expected[name]:
                known_after[name] = time.monotonic() - broken_at[name]
        return len(known_after) == len(scenes)

    wait_until(
        all_known,
        PATIENCE_SECONDS,
        lambda: str({name: console.state(name) for name in scenes} | known_after),
    )
    print({name: f"{seconds:.1f} s" for name, seconds in sorted(known_after.items())})
    for way in ways.values():
        next(way, None)

    wait_until(
        lambda: {console.state(name)[0] for name in scenes} <= {"online", "degraded"},
        PATIENCE_SECONDS,
        lambda: str({name: console.state(name) for name in scenes}),
    )
    console.assert_no_traceback()
