"""Asking agents: what is due, once, through a real broker; and who does not answer."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
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


def test_it_asks_a_moment_early_rather_than_a_tick_late(valkey: Any) -> None:
    now = clock.now()
    server = make_server(due_at=now + timedelta(seconds=30))
    make_store_point(server=server, due_at=now + timedelta(seconds=0.9))
    make_store_point(server=server, due_at=now + timedelta(seconds=1.1))

    asked = services.send_due_probes(now=now)

    assert asked == 1


def test_it_pings_a_server_that_has_nothing_due(valkey: Any) -> None:
    server = make_server(due_at=None)

    services.send_due_probes(now=clock.now())

    (order,) = orders_of(valkey, server)
    assert order["store_points"] == []


def test_it_asks_the_others_when_the_key_of_one_cannot_be_read(
    valkey: Any, caplog: pytest.LogCaptureFixture
) -> None:
    now = clock.now()
    damaged = make_server(name="stor-3", sealed_key="none", due_at=None)
    make_store_point(server=damaged, due_at=now)
    well = make_server(name="stor-4", due_at=None)
    make_store_point(server=well, due_at=now)

    asked = services.send_due_probes(now=now)

    assert asked == 1
    assert len(orders_of(valkey, well)) == 1
    assert "stor-3: no probe order was sent, for its key cannot be read" in caplog.text


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

    alert, child = Alert.objects.order_by("pk")
    assert alert.text == "Server is offline: stor-3"
    assert (child.text, child.parent) == (
        "Store point is unavailable: Tank-07",
        alert,
    )
    tank.refresh_from_db()
    assert (tank.state, tank.is_online) == ("server-offline", False)
    assert StatusChange.objects.get().cause == "silence"


def test_it_clears_when_the_server_answers(valkey: Any) -> None:
    now = clock.now()
    heartbeat.beat("tick", now)
    server = make_server(awaiting_since=now - timedelta(seconds=200))
    tank = make_store_point(server=server)
    sweep()
    assert Alert.objects.filter(cleared_at__isnull=True).count() == 2

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


def test_it_asks_everything_when_the_clock_was_set_back(valkey: Any) -> None:
    now = clock.now()
    later = now + timedelta(hours=2)
    heartbeat.beat("tick", later)
    server = make_server(due_at=later)
    make_store_point(server=server, due_at=later, checked_at=later)

    asked = services.send_due_probes(now=now)

    assert asked == 1


def test_it_alerts_when_nobody_hears_of_a_store_point(valkey: Any) -> None:
    """The server answers, but this store point's findings never arrive."""
    now = clock.now()
    heartbeat.beat("tick", now)
    tank = make_store_point("Tank-07", checked_at=now - timedelta(seconds=100))

    sweep()
    sweep()

    tank.refresh_from_db()
    assert (tank.state, tank.reason, tank.is_online) == ("unknown", "stale", False)
    assert Alert.objects.get().text == "Store point is unavailable: Tank-07"

    for _ in range(2):
        services.record_report(
            make_report(tank.server, make_finding(tank)), now=clock.now()
        )
    assert Alert.objects.get().cleared_at is not None


def test_it_blames_no_store_point_right_after_checks_run_again(valkey: Any) -> None:
    now = clock.now()
    tank = make_store_point(checked_at=now - timedelta(hours=1))

    services.send_due_probes(now=now)
    sweep()

    tank.refresh_from_db()
    assert tank.state == "online"
    assert not Alert.objects.exists()


def test_it_asks_for_an_adoption_again_but_not_at_every_tick(valkey: Any) -> None:
    tank = make_store_point(adopted_at=None, checked_at=None)
    asked = []
    with clock.freeze(clock.now()) as frozen:
        for _ in range(5):
            services.ask_for_adoption(now=clock.now())
            asked.append(len(orders_of(valkey, tank.server)))
            frozen.tick(2)

    assert asked == [1, 0, 1, 0, 1]


def test_it_lets_orders_expire_by_the_clock_of_the_agent(valkey: Any) -> None:
    server = make_server(due_at=None, clock_offset_seconds=3600.0)

    services.send_due_probes(now=clock.now())

    (order,) = orders_of(valkey, server)
    assert order["expires_at"] == pytest.approx(time.time() - 3600 + 30, abs=5)


def test_it_asks_a_server_at_once_when_its_interval_is_changed(valkey: Any) -> None:
    now = clock.now()
    server = make_server(check_seconds=3600, due_at=now + timedelta(hours=1))

    services.edit_server(server, check_seconds=5, actor=None, now=now)

    server.refresh_from_db()
    assert server.due_at == now


def test_it_removes_many_and_tells_their_server_once(valkey: Any) -> None:
    server = make_server()
    store_points = [make_store_point(server=server) for _ in range(5)]

    removed = services.remove_store_points(
        [row.pk for row in store_points], actor=None, now=clock.now()
    )
    again = services.remove_store_points(
        [row.pk for row in store_points], actor=None, now=clock.now()
    )

    assert (removed, again) == (5, 0)
    (order,) = orders_of(valkey, server)
    assert (order["complete"], order["store_points"]) == (True, [])


def test_it_says_since_when_a_store_point_is_not_well(valkey: Any) -> None:
    now = clock.now()
    # What happened at 10 by this clock, happened at 7 by the agent's.
    server = make_server(due_at=now, clock_offset_seconds=3.0)
    well_at = now - timedelta(seconds=50)
    gone = make_store_point(
        server=server,
        state="offline",
        reason="not-mounted",
        due_at=now,
        well_at=well_at,
    )
    well = make_store_point(server=server, due_at=now, well_at=well_at)

    services.send_due_probes(now=now)

    (order,) = orders_of(valkey, server)
    specs = {spec["id"]: spec for spec in order["store_points"]}
    assert specs[str(gone.guid)]["well_at"] == int(well_at.timestamp() - 3)
    # It would be another one to the agent at each look.
    assert "well_at" not in specs[str(well.guid)]


def test_it_says_it_in_the_same_words_though_the_clocks_jitter() -> None:
    row: dict[str, Any] = dict.fromkeys(services.checks.SPECIFIED)
    row |= {"is_online": False, "well_at": datetime.fromtimestamp(1_000_000, UTC)}

    said = {
        services.checks.specification(row, clock_offset_seconds=offset)["well_at"]
        for offset in (-0.01, 0.0, 0.01, None)
    }

    assert said == {1_000_000}


def test_it_says_how_long_a_write_is_good(valkey: Any) -> None:
    now = clock.now()
    server = make_server(due_at=now)
    make_store_point(server=server, due_at=now, write_seconds=120)

    services.send_due_probes(now=now)

    (order,) = orders_of(valkey, server)
    assert order["store_points"][0]["write_seconds"] == 120
