"""Asking agents: what is due, once, through a real broker; and who does not answer."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from alerts.models import Alert
from alerts.tasks import sweep
from console.kit import clock, heartbeat, secrets
from storepoints import services, wire
from storepoints.models import Server, StatusChange, StorePoint
from tests.factories import (
    KEY,
    make_finding,
    make_report,
    make_server,
    make_store_point,
)

pytestmark = pytest.mark.django_db(transaction=True)


def orders_of(valkey: Any, server: Server) -> list[dict[str, Any]]:
    """Take the orders out of a server's queue, opened with its key."""
    client = valkey.connect()
    orders = []
    while raw := client.lpop(wire.queue_of(str(server.guid))):
        message = json.loads(raw)
        import base64

        arguments, _, _ = json.loads(base64.b64decode(message["body"]))
        orders.append(wire.unseal(arguments[0], server=str(server.guid), key=KEY))
    return orders


def test_it_asks_what_is_due_and_only_once(valkey: Any) -> None:
    now = clock.now()
    server = make_server(due_at=now + timedelta(seconds=30))
    due = make_store_point(server=server, due_at=now)
    make_store_point(server=server, due_at=now + timedelta(seconds=9))

    asked = services.send_due_probes(now=now)
    again = services.send_due_probes(now=now)

    assert (asked, again) == (1, 0)
    (order,) = orders_of(valkey, server)
    (spec,) = order["store_points"]
    assert spec["id"] == str(due.guid)
    assert spec["inbound"] == "enabled"
    due.refresh_from_db()
    assert due.due_at == now + timedelta(seconds=30)


def test_it_pings_a_server_that_has_nothing_due(valkey: Any) -> None:
    server = make_server(due_at=None)

    services.send_due_probes(now=clock.now())

    (order,) = orders_of(valkey, server)
    assert order["store_points"] == []


def test_it_asks_again_what_the_broker_did_not_take(valkey: Any) -> None:
    now = clock.now()
    server = make_server(due_at=now)
    tank = make_store_point(server=server, due_at=now)
    valkey.kill()

    services.send_due_probes(now=now)

    tank.refresh_from_db()
    assert tank.due_at == now


def test_it_calls_a_server_offline_after_three_unanswered_intervals(
    valkey: Any,
) -> None:
    tank = make_store_point("Tank-07", server=make_server("stor-3"))
    with clock.freeze(clock.now()) as frozen:
        for _ in range(46):
            services.send_due_probes(now=clock.now())
            sweep()
            assert not Alert.objects.exists()
            frozen.tick(2)

        services.send_due_probes(now=clock.now())
        sweep()
        sweep()

    alert = Alert.objects.get()
    assert alert.text == "Server is offline: stor-3"
    tank.refresh_from_db()
    assert (tank.state, tank.is_online) == ("server-offline", False)
    assert StatusChange.objects.get().cause == "silence"


def test_it_clears_when_the_server_answers(valkey: Any) -> None:
    now = clock.now()
    heartbeat.beat("tick", now)
    server = make_server(awaiting_since=now - timedelta(seconds=200))
    tank = make_store_point(server=server)
    sweep()
    assert Alert.objects.filter(cleared_at__isnull=True).count() == 1

    services.record_report(make_report(server, make_finding(tank)), now=clock.now())

    assert Alert.objects.filter(cleared_at__isnull=True).count() == 0
    tank.refresh_from_db()
    assert tank.state == "online"
    (order,) = orders_of(valkey, server)
    assert order["complete"] is True


def test_it_blames_no_server_for_a_silence_of_its_own(valkey: Any) -> None:
    """The console was down for an hour: the servers were not asked meanwhile."""
    an_hour_ago = clock.now() - timedelta(hours=1)
    heartbeat.beat("tick", an_hour_ago)
    make_server(awaiting_since=an_hour_ago, last_report_at=an_hour_ago)

    sweep()
    services.send_due_probes(now=clock.now())
    sweep()

    assert not Alert.objects.exists()


def test_it_sends_the_wish_for_inbound_backup_at_once(valkey: Any) -> None:
    tank = make_store_point()

    services.change_inbound([tank.pk], is_enabled=False, actor=None, now=clock.now())

    (order,) = orders_of(valkey, tank.server)
    (spec,) = order["store_points"]
    assert (spec["inbound"], spec["inbound_revision"]) == ("disabled", 2)
    assert order["cause"] == "asked"


def test_it_changes_nothing_that_is_already_so(valkey: Any) -> None:
    tank = make_store_point()

    changed = services.change_inbound(
        [tank.pk], is_enabled=True, actor=None, now=clock.now()
    )

    assert changed == []
    assert StorePoint.objects.get().inbound_revision == 1


def test_it_signs_with_the_servers_own_key(valkey: Any) -> None:
    server = make_server(sealed_key=secrets.encrypt("another key"), due_at=None)

    services.send_due_probes(now=clock.now())

    with pytest.raises(wire.Refused, match="signature"):
        orders_of(valkey, server)
