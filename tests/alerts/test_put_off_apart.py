"""What is put off of parts of the console, and of what explains others."""

from __future__ import annotations

from typing import Any

import pytest

from alerts import services
from alerts.models import Alert, WaitingCondition
from alerts.settings import Choice
from console.kit import clock
from storepoints.models import Server
from tests import people
from tests.factories import make_server, make_store_point

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

FAILING, EXPORT = "notification-delivery-failing", "console-database-export-failed"
OFFLINE, SERVER = "store-point-offline", "server-offline"


def put_off(*kinds: str, **values: Any) -> None:
    services.change_notification_settings(
        {kind: Choice(delay_seconds=600, **values) for kind in kinds},
        actor=people.administrator(),
        now=clock.now(),
    )


def test_it_raises_what_is_put_off_of_parts_of_the_console(
    frozen: clock.FrozenClock,
) -> None:
    put_off(FAILING, EXPORT)
    for part in ("channel:7", "channel:8", ""):
        services.reconcile_console({FAILING: "it refuses"}, now=clock.now(), part=part)
    services.reconcile_console({EXPORT: "the disk is full"}, now=clock.now())
    assert not Alert.objects.exists()

    frozen.tick(600)
    services.raise_waiting(now=clock.now())

    assert sorted(Alert.objects.values_list("kind", "subject")) == [
        (EXPORT, "console"),
        (FAILING, "console"),
        (FAILING, "console:channel:7"),
        (FAILING, "console:channel:8"),
    ]
    assert not WaitingCondition.objects.exists()


def test_it_raises_the_store_points_with_their_server_that_was_put_off(
    frozen: clock.FrozenClock,
) -> None:
    put_off(SERVER)
    server = make_server()
    tank = make_store_point(server=server)
    Server.objects.update(offline_since=clock.now())
    server.store_points.update(
        state="server-offline", reason="server-offline", is_online=False
    )
    services.reconcile_alerts(
        store_points=[tank.pk], servers=[server.pk], now=clock.now()
    )
    assert not Alert.objects.exclude(kind="destination-offline").exists()

    frozen.tick(600)
    services.raise_waiting(now=clock.now())

    assert Alert.objects.get(kind=OFFLINE).parent == Alert.objects.get(kind=SERVER)
