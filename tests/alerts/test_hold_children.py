"""Alerts behind an offline server: raised, recorded, and told as one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from alerts import services
from alerts.engine import RULES
from alerts.models import Alert, AlertEvent
from alerts.selectors import active_alerts
from alerts.services import reconcile_alerts
from console.kit import clock
from storepoints.models import Server, StorePoint
from tests import people
from tests.factories import make_destination, make_server, make_store_point

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


def silence(server: Server, now: datetime) -> None:
    """Let a server be offline, with all its store points."""
    Server.objects.filter(pk=server.pk).update(offline_since=now)
    server.store_points.update(
        state="server-offline", reason="server-offline", is_online=False, since=now
    )
    follow(server, now)


def answer(server: Server, now: datetime, **fields: object) -> None:
    """Let a server answer again, and its store points be as the fields say."""
    Server.objects.filter(pk=server.pk).update(offline_since=None)
    server.store_points.update(**{**WELL, "since": now, **fields})
    follow(server, now)


def follow(server: Server, now: datetime) -> None:
    reconcile_alerts(
        store_points=server.store_points.values_list("pk", flat=True),
        servers=[server.pk],
        now=now,
    )


FAILED: dict[str, Any] = {
    "state": "offline",
    "reason": "not-mounted",
    "is_online": False,
    "is_believed": True,
}
WELL = {"state": "online", "reason": "", "is_online": True, "is_believed": False}


def alert_of(tank: StorePoint) -> Alert:
    return Alert.objects.get(subject=f"store-point:{tank.pk}")


def events_of(alert: Alert) -> list[str]:
    return list(alert.events.values_list("kind", flat=True))


def test_it_counts_what_is_not_shown_when_that_is_asked_for() -> None:
    server = make_server("stor-9")
    for _ in range(3):
        make_store_point(server=server)
    silence(server, clock.now())
    Alert.objects.filter(kind="store-point-offline").update(is_shown=False)
    client = people.client_of("viewer")

    plain = client.get("/alerts/?view=all").context["rows"]
    asked = client.get("/alerts/?view=all&hidden=1").context["rows"]

    of_server = {row.kind: row for row in plain}["server-offline"]
    assert (of_server.held, of_server.held_url) == ("", "")
    of_server = {row.kind: row for row in asked}["server-offline"]
    assert of_server.held == "3 store points"
    assert len(client.get(of_server.held_url).context["rows"]) == 3
    Alert.objects.update(is_shown=False)
    assert [row.kind for row in client.get("/alerts/?hidden=1").context["rows"]].count(
        "store-point-offline"
    ) == 0
    printed = client.get("/alerts/?view=all&hidden=1&print=1").content.decode()
    assert "hidden: what is not shown too" in printed


def test_it_holds_the_store_points_under_their_server() -> None:
    now = clock.now()
    server = make_server("stor-9")
    tanks = [make_store_point(server=server) for _ in range(3)]

    silence(server, now)

    parent = Alert.objects.get(kind="server-offline")
    children = Alert.objects.filter(kind="store-point-offline")
    assert [child.parent for child in children] == [parent] * len(tanks)
    assert active_alerts(now).filter(kind="store-point-offline").count() == 0
    event = children[0].events.get()
    assert (event.kind, event.is_withheld) == ("raised", True)
    assert event.routing == "not mailed: held under “Server is offline: stor-9”"


def test_it_clears_them_when_server_and_store_points_are_back() -> None:
    now = clock.now()
    tank = make_store_point()
    silence(tank.server, now)

    answer(tank.server, now + timedelta(minutes=2))

    assert Alert.objects.filter(cleared_at__isnull=True).count() == 0
    assert events_of(alert_of(tank)) == ["raised", "cleared"]


def test_it_holds_them_again_when_the_server_is_offline_again() -> None:
    now = clock.now()
    tank = make_store_point()
    silence(tank.server, now)
    answer(tank.server, now + timedelta(minutes=1))

    for seconds in (0, 0, 5):
        silence(tank.server, now + timedelta(minutes=2, seconds=seconds))

    alert = alert_of(tank)
    assert alert.parent == Alert.objects.get(kind="server-offline")
    # Said once, however often it is reconciled.
    assert events_of(alert) == ["raised", "cleared", "reopened"]


def test_it_releases_what_has_failed_by_itself() -> None:
    now = clock.now()
    tank = make_store_point()
    silence(tank.server, now)
    services.acknowledge_alerts(
        Alert.objects.filter(kind="server-offline").values_list("pk", flat=True),
        actor=people.operator(),
        now=now,
    )
    assert alert_of(tank).is_acknowledged(now)

    answer(tank.server, now + timedelta(minutes=2), **FAILED)

    alert = alert_of(tank)
    assert (alert.parent, alert.is_presumed) == (None, False)
    assert not alert.is_acknowledged(now)
    assert events_of(alert) == ["raised", "acknowledged", "released", "lapsed"]
    assert alert.events.get(kind="released").routed_at is None


def test_it_leaves_an_alert_that_was_there_before_as_it_was() -> None:
    now = clock.now()
    tank = make_store_point(**FAILED)
    follow(tank.server, now)
    services.acknowledge_alerts([alert_of(tank).pk], actor=people.operator(), now=now)

    silence(tank.server, now + timedelta(minutes=1))
    held = alert_of(tank)
    answer(tank.server, now + timedelta(minutes=2), **FAILED)

    assert held.parent is not None
    assert held.data["reason"] == "not-mounted"
    alert = alert_of(tank)
    assert alert.parent is None
    assert alert.is_acknowledged(now)
    assert events_of(alert) == ["raised", "acknowledged", "held", "updated"]


def test_it_says_nothing_of_a_store_point_whose_server_has_just_answered() -> None:
    now = clock.now()
    tank = make_store_point()
    silence(tank.server, now)
    Server.objects.filter(pk=tank.server_id).update(offline_since=None)

    follow(tank.server, now)

    assert Alert.objects.get(kind="server-offline").cleared_at is not None
    assert alert_of(tank).cleared_at is None


def test_it_acknowledges_and_unacknowledges_children_with_their_parent() -> None:
    now = clock.now()
    tank = make_store_point()
    silence(tank.server, now)
    parent = Alert.objects.get(kind="server-offline")

    done = services.acknowledge_alerts([parent.pk], actor=people.operator(), now=now)
    assert (done.done, alert_of(tank).acknowledged_by_name) == (2, "operator")

    services.unacknowledge_alerts([parent.pk], actor=people.operator(), now=now)
    assert not alert_of(tank).is_acknowledged(now)


@pytest.mark.parametrize(
    ("down", "disabled", "kinds"),
    [
        (0, 0, set()),
        (2, 0, set()),
        (3, 0, {"destination-at-risk"}),
        (0, 3, {"destination-at-risk"}),
        (2, 1, {"destination-at-risk"}),
        (3, 1, {"destination-at-risk"}),
        (4, 0, {"destination-offline"}),
    ],
)
def test_it_tells_a_destination_that_is_at_risk_or_offline(
    down: int, disabled: int, kinds: set[str]
) -> None:
    destination = make_destination("Berlin")
    servers = [make_server(destination=destination) for _ in range(2)]
    tanks = [make_store_point(server=servers[each % 2]) for each in range(4)]
    for tank in tanks[:down]:
        StorePoint.objects.filter(pk=tank.pk).update(**FAILED)
    for tank in tanks[down : down + disabled]:
        StorePoint.objects.filter(pk=tank.pk).update(accepts_inbound=False)

    for server in servers:
        follow(server, clock.now())

    found = Alert.objects.filter(subject=f"destination:{destination.pk}")
    assert set(found.values_list("kind", flat=True)) == kinds
    if down == 3 and not disabled:
        text = "Destination is at risk: Berlin (1 of 4 store points accepting data)"
        assert found.get().text == text


def test_it_clears_a_destination_when_one_store_point_is_back() -> None:
    tanks = [make_store_point(**FAILED)]
    tanks.append(make_store_point(server=tanks[0].server, **FAILED))
    now = clock.now()
    follow(tanks[0].server, now)
    assert Alert.objects.filter(kind="destination-offline").count() == 1

    StorePoint.objects.filter(pk=tanks[0].pk).update(**WELL)
    follow(tanks[0].server, now)

    assert Alert.objects.get(kind="destination-offline").cleared_at is not None


class TestFlapping:
    """One that comes and goes: said once, and closed once it is steady."""

    def flap(self, tank: StorePoint, times: int, now: datetime) -> datetime:
        for _ in range(times):
            for fields in (FAILED, WELL):
                StorePoint.objects.filter(pk=tank.pk).update(**fields)
                reconcile_alerts(store_points=[tank.pk], servers=[], now=now)
                now += timedelta(minutes=1)
        return now

    def test_it_says_so_once(self) -> None:
        tank = make_store_point()

        self.flap(tank, 6, clock.now())

        alert = alert_of(tank)
        assert (alert.flapping_since is not None, alert.times) == (True, 6)
        told = alert.events.filter(routed_at__isnull=True).values_list(
            "kind", flat=True
        )
        assert list(told) == [
            *("raised", "cleared", "reopened", "cleared", "reopened", "cleared"),
            "flapping",
        ]
        quiet = alert.events.filter(is_withheld=True).values_list("kind", flat=True)
        assert list(quiet) == ["cleared", "reopened", "cleared", "reopened", "cleared"]

    def test_it_says_that_it_is_over(self) -> None:
        tank = make_store_point()
        now = self.flap(tank, 6, clock.now())
        services.settle_flapping(now=now)
        assert alert_of(tank).flapping_since is not None

        assert services.settle_flapping(now=now + RULES.flap_window) == 1
        assert services.settle_flapping(now=now + RULES.flap_window) == 0

        alert = alert_of(tank)
        assert alert.flapping_since is None
        last = list(alert.events.order_by("pk"))[-2:]
        assert [event.kind for event in last] == ["steadied", "cleared"]
        assert last[-1].routed_at is None

    def test_it_owes_no_close_while_it_still_fails(self) -> None:
        tank = make_store_point()
        now = self.flap(tank, 6, clock.now())
        StorePoint.objects.filter(pk=tank.pk).update(**FAILED)
        reconcile_alerts(store_points=[tank.pk], servers=[], now=now)

        services.settle_flapping(now=now + RULES.flap_window)

        assert alert_of(tank).events.order_by("pk").last().kind == "steadied"  # type: ignore[union-attr]


def test_it_undoes_an_acknowledgement_and_its_opposite() -> None:
    now = clock.now()
    tanks = [make_store_point(**FAILED) for _ in range(2)]
    for tank in tanks:
        follow(tank.server, now)
    actor = people.operator()
    keys = [alert_of(tank).pk for tank in tanks]
    services.acknowledge_alerts(keys, actor=actor, now=now, note="disk is on its way")

    undone = services.undo_acknowledgement(now, actor=actor, now=now)
    assert undone.done == 2
    assert not alert_of(tanks[0]).is_acknowledged(now)

    redone = services.undo_unacknowledgement(now, actor=actor, now=now)
    alert = alert_of(tanks[0])
    assert redone.done == 2
    assert (alert.acknowledged_at, alert.note) == (now, "disk is on its way")
    assert AlertEvent.objects.filter(note="undone").count() == 4
