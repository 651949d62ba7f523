"""What was written below an unmounted path is said on the pages about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from console.kit import clock, heartbeat
from storepoints.models import StorePoint
from storepoints.services import record_report
from storepoints.states import Reason, State
from tests import people
from tests.factories import make_finding, make_report, make_server, make_store_point

pytestmark = pytest.mark.django_db

#: What an agent says of three files that were written below the path.
FALLEN = {"bytes": 12_000_000, "files": 3, "newest_at": None, "is_complete": True}


@pytest.fixture(autouse=True)
def checks_running(db: None) -> None:
    heartbeat.beat("tick", clock.now())


def report(store_point: StorePoint, **fields: Any) -> None:
    finding = make_finding(store_point, **fields)
    record_report(make_report(store_point.server, finding), now=clock.now())


def unmount(store_point: StorePoint, **fields: Any) -> None:
    report(store_point, state=State.OFFLINE, reason=Reason.NOT_MOUNTED, **fields)


def page(row: Any) -> str:
    answer = people.client_of("viewer").get(row.get_absolute_url())
    return str(answer.content.decode())


@pytest.mark.parametrize(
    ("fallen", "words"),
    [
        (None, "is being measured"),
        ({**FALLEN, "bytes": 0, "files": 0}, "Nothing has been written below"),
        (FALLEN, "12 MB in 3 files were written below the path"),
        ({**FALLEN, "is_complete": False}, "At least 12 MB in 3 files"),
    ],
)
def test_it_says_it_while_the_volume_is_not_mounted(
    fallen: dict[str, Any] | None, words: str
) -> None:
    store_point = make_store_point(server=make_server())

    unmount(store_point, fall_through=fallen)

    assert words in page(store_point)
    alert = store_point.alerts.get(kind="store-point-offline")
    assert words in page(alert)


def test_it_says_it_when_the_volume_is_back() -> None:
    store_point = make_store_point(server=make_server())

    unmount(store_point, fall_through=FALLEN)
    report(store_point)

    assert "hidden by the volume" in page(store_point)


def test_it_says_nothing_of_an_outage_in_which_nothing_was_written() -> None:
    store_point = make_store_point(server=make_server())

    unmount(store_point, fall_through={**FALLEN, "bytes": 0, "files": 0})
    report(store_point)

    assert 'id="fall-through"' not in page(store_point)


def test_it_does_not_mistake_an_older_outage_for_this_one() -> None:
    old = {**FALLEN, "since": (clock.now() - timedelta(days=1)).timestamp()}
    store_point = make_store_point(server=make_server(), fall_through=old)

    unmount(store_point)

    assert "is being measured" in page(store_point)
