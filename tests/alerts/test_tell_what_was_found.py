"""What an alert carries: evidence and cure as they were, and whom it concerns."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from alerts import services as alert_services
from alerts.models import Alert, AlertEvent
from alerts.views.overview import matching
from console.kit import clock
from storepoints import services
from storepoints.models import Filesystem, Server, StorePoint
from tests import people
from tests.factories import (
    make_filesystem,
    make_finding,
    make_report,
    make_server,
    make_store_point,
)

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


@pytest.fixture(autouse=True)
def _no_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what would be sent to agents: these tests are about what comes from them."""
    monkeypatch.setattr(
        "storepoints.services.checks.send_order", lambda *_a, **_k: True
    )


def record(server: Server, *findings: dict[str, Any]) -> None:
    services.record_report(make_report(server, *findings), now=clock.now())


def offline(store_point: StorePoint, **fields: Any) -> dict[str, Any]:
    check = {
        "layer": 3,
        "name": "volume",
        "ok": False,
        "seconds": 0.0002,
        "expected": "ext4 a1b2 on /dev/sdd1",
        "found": "the root filesystem",
        "errno": "EIO",
        **fields,
    }
    return make_finding(
        store_point,
        state="offline",
        reason="not-mounted",
        layer=3,
        errno="EIO",
        duration_seconds=0.0002,
        checks=[check],
    )


def make_tank(**fields: Any) -> StorePoint:
    return make_store_point("Tank-07", volume={"mount_point": "/srv/tank"}, **fields)


def test_it_keeps_layer_error_and_cure_of_the_moment_it_was_raised() -> None:
    tank = make_tank()

    record(tank.server, offline(tank))

    alert = Alert.objects.get()
    assert alert.data == {
        "state": "offline",
        "reason": "not-mounted",
        "evidence": {
            "layer": 3,
            "check": "Right volume",
            "errno": "EIO",
            "expected": "ext4 a1b2 on /dev/sdd1",
            "found": "the root filesystem",
            "cure": (
                "Mount the volume again at /srv/tank. Until then nothing must be written "
                "below the path: it would land on the file system underneath."
            ),
            "command": "mount /srv/tank",
        },
    }


def test_it_keeps_it_after_the_store_point_has_recovered_and_gone() -> None:
    tank = make_tank()
    record(tank.server, offline(tank))
    for _ in range(2):
        record(tank.server, make_finding(tank))
    services.remove_store_points([tank.pk], actor=None, now=clock.now())
    alert = Alert.objects.get()

    page = people.client_of("viewer").get(alert.get_absolute_url()).content.decode()

    assert alert.cleared_at is not None
    assert "Layer 3, Right volume: expected ext4 a1b2 on /dev/sdd1" in page
    assert "found the root filesystem (EIO)" in page
    assert "mount /srv/tank" in page


def test_it_does_not_update_an_alert_at_each_probe() -> None:
    tank = make_tank()
    record(tank.server, offline(tank))

    record(tank.server, offline(tank, found="the root filesystem, 5 s later"))

    alert = Alert.objects.get()
    assert alert.data["evidence"]["found"] == "the root filesystem"
    assert AlertEvent.objects.count() == 1


def test_it_takes_new_evidence_when_something_else_is_wrong() -> None:
    tank = make_tank()
    record(tank.server, offline(tank))

    worse = offline(tank, found="another disk") | {"reason": "different-volume"}
    record(tank.server, worse)

    alert = Alert.objects.get()
    assert alert.data["reason"] == "different-volume"
    assert alert.data["evidence"]["found"] == "another disk"


def test_it_takes_new_evidence_when_it_comes_back() -> None:
    tank = make_tank()
    record(tank.server, offline(tank))
    for _ in range(2):
        record(tank.server, make_finding(tank))

    record(tank.server, offline(tank, found="the other root"))

    alert = Alert.objects.get()
    assert alert.times == 2
    assert alert.data["evidence"]["found"] == "the other root"


# --- filesystems ---------------------------------------------------------------------------


def make_low(count: int, *, server: Server | None = None) -> Filesystem:
    """A filesystem that is low on space, with so many store points and their alert."""
    filesystem = make_filesystem(
        server=server or make_server(),
        free_bytes=70,
        used_bytes=930,
        limits=["low-space"],
    )
    for _ in range(count):
        make_store_point(server=filesystem.server, filesystem=filesystem)
    reconcile(filesystem)
    return filesystem


def reconcile(filesystem: Filesystem) -> None:
    alert_services.reconcile_alerts(
        store_points=[], servers=[], filesystems=[filesystem.pk], now=clock.now()
    )


def test_it_counts_an_alert_of_a_filesystem_for_every_store_point_on_it() -> None:
    filesystem = make_low(3)
    make_low(1)
    alert = Alert.objects.get(filesystem=filesystem)
    client = people.client_of("viewer")

    for tank in filesystem.store_points.all():
        page = client.get("/alerts/", {"store_point": tank.pk})

        assert [row.pk for row in page.context["rows"]] == [alert.pk]


def test_it_lists_the_store_points_on_the_alerts_page_in_constant_queries() -> None:
    client = people.client_of("viewer")
    counts = []
    for number in (2, 40):
        alert = Alert.objects.get(filesystem=make_low(number))
        with CaptureQueriesContext(connection) as queries:
            page = client.get(alert.get_absolute_url()).content.decode()
        counts.append(len(queries))

        assert alert.filesystem is not None
        for tank in alert.filesystem.store_points.all():
            assert f'href="{tank.get_absolute_url()}"' in page

    assert counts[0] == counts[1]


def test_it_makes_the_same_queries_for_2_filesystems_as_for_40() -> None:
    def queries(number: int) -> int:
        server = make_server()
        keys = [make_low(2, server=server).pk for _ in range(number)]
        with CaptureQueriesContext(connection) as captured:
            alert_services.reconcile_alerts(
                store_points=[], servers=[], filesystems=keys, now=clock.now()
            )
        return len(captured)

    assert queries(2) == queries(40)


@pytest.mark.parametrize("on_itself", [True, False])
def test_it_lists_the_store_points_in_alert(on_itself: bool) -> None:
    filesystem = make_low(2)
    tank = make_store_point()
    if on_itself:
        record(tank.server, offline(tank))
    make_store_point()
    expected = {*filesystem.store_points.values_list("name", flat=True)}
    expected |= {tank.name} if on_itself else set()

    page = people.client_of("viewer").get(
        "/destinations/store-points/", {"show": "in-alert"}
    )

    assert {row.name for row in page.context["rows"]} == expected


def test_it_asks_indexes_for_the_alerts_of_a_store_point() -> None:
    tank = make_low(1).store_points.get()

    plan = matching(QueryDict(f"store_point={tank.pk}&view=all")).explain()

    # PostgreSQL rightly scans a table of one row.
    if connection.vendor == "sqlite":
        assert "alerts_alert_store_point_id" in plan
        assert "alerts_alert_filesystem_id" in plan


@pytest.mark.parametrize("what", ["server", "store points"])
def test_it_neither_raises_nor_clears_what_it_cannot_know(what: str) -> None:
    known = make_low(1)
    unknown = make_low(1)
    for filesystem in (known, unknown):
        Filesystem.objects.filter(pk=filesystem.pk).update(limits=[])
    if what == "server":
        unknown.server.offline_since = clock.now()
        unknown.server.save()
    else:
        unknown.store_points.update(
            state="offline", reason="not-mounted", is_online=False
        )

    reconcile(known)
    reconcile(unknown)

    assert Alert.objects.get(filesystem=known).cleared_at is not None
    assert Alert.objects.get(filesystem=unknown).cleared_at is None


def test_it_reconciles_filesystems_with_everything() -> None:
    filesystem = make_low(1)
    Alert.objects.all().delete()

    alert_services.reconcile_everything(now=clock.now())

    assert Alert.objects.get().filesystem == filesystem


def test_it_clears_when_the_filesystem_has_gone() -> None:
    filesystem = make_low(1)
    key = filesystem.pk
    filesystem.delete()

    alert_services.reconcile_alerts(
        store_points=[], servers=[], filesystems=[key], now=clock.now()
    )

    alert = Alert.objects.get()
    assert alert.cleared_at is not None
    assert people.client_of("viewer").get(alert.get_absolute_url()).status_code == 200


def test_it_says_how_slow_and_how_fast_usually_without_telling_each_probe() -> None:
    tank = make_store_point(
        "Tank-07",
        state="degraded",
        limits=["slow"],
        baseline={"log_mean": -3.9, "log_now": 0.1},
    )

    for log_now in (0.1, 0.15, 0.05, 0.2):
        tank.baseline = {**tank.baseline, "log_now": log_now}
        tank.save()
        alert_services.reconcile_alerts(
            store_points=[tank.pk], servers=[], now=clock.now()
        )

    alert = Alert.objects.get()
    assert (
        alert.text
        == "Store point is slow: Tank-07 (a write takes 1.0 s, usually 20 ms)"
    )
    assert alert.events.count() == 1


# --- texts ---------------------------------------------------------------------------------


def test_it_shows_the_numbers_of_its_rules() -> None:
    page = people.client_of("viewer").get("/settings/notifications/").content.decode()

    assert "free share below 10 % · free space of 1 TB below 100 GB" in page
    assert "and fewer than 1,000,000" in page
