"""What nobody has seen is in a list, and what was told is told to its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from alerts import selectors, services
from alerts.models import Alert, AlertEvent, NotificationSetting
from alerts.selectors import active_alerts
from alerts.services import reconcile_alerts
from console.kit import clock
from notifications.models import Recipient
from notifications.services import route_events
from storepoints import services as fleet
from storepoints.models import StorePoint
from tests import people
from tests.alerts.test_hold_children import (
    FAILED,
    WELL,
    alert_of,
    answer,
    events_of,
    follow,
    silence,
)
from tests.factories import make_alert, make_server, make_store_point
from tests.notifications.factories import set_up_mail

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

MINUTE = timedelta(minutes=1)


def put(tank: StorePoint, now: datetime, **fields: Any) -> None:
    """Let a store point be as the fields say, and its alerts follow."""
    StorePoint.objects.filter(pk=tank.pk).update(**fields)
    reconcile_alerts(store_points=[tank.pk], servers=[], now=now)


def acknowledge_server(now: datetime) -> None:
    keys = Alert.objects.filter(kind="server-offline").values_list("pk", flat=True)
    services.acknowledge_alerts(keys, actor=people.operator(), now=now)


def test_it_shows_what_is_held_under_an_alert_that_somebody_has_seen() -> None:
    now = clock.now()
    tank = make_store_point()
    silence(tank.server, now)
    acknowledge_server(now + MINUTE)
    answer(tank.server, now + 2 * MINUTE, **FAILED)

    # It comes back within the window, so its acknowledgement stands.
    silence(tank.server, now + 5 * MINUTE)

    assert alert_of(tank) in active_alerts(now + 6 * MINUTE)


def test_it_shows_what_was_raised_after_its_parent_was_acknowledged() -> None:
    now = clock.now()
    tank = make_store_point()
    silence(tank.server, now)
    acknowledge_server(now + MINUTE)
    late = make_store_point(server=tank.server)
    silence(tank.server, now + 2 * MINUTE)

    answer(tank.server, now + 3 * MINUTE)

    assert alert_of(late) in active_alerts(now + 4 * MINUTE)


def test_it_does_not_take_a_failure_of_its_own_for_seen_with_the_server() -> None:
    now = clock.now()
    tank = make_store_point()
    put(tank, now, **FAILED)
    silence(tank.server, now + MINUTE)
    acknowledge_server(now + 2 * MINUTE)

    answer(tank.server, now + 3 * MINUTE, **FAILED)

    assert not alert_of(tank).is_acknowledged(now + 4 * MINUTE)


@pytest.mark.parametrize(("is_shown", "is_mailed"), [(False, True), (True, False)])
def test_it_tells_the_children_of_an_alert_that_is_switched_off(
    is_shown: bool, is_mailed: bool
) -> None:
    now = clock.now()
    NotificationSetting.objects.create(
        kind="server-offline", is_shown=is_shown, is_mailed=is_mailed, changed_at=now
    )
    tank = make_store_point()

    silence(tank.server, now)

    alert = alert_of(tank)
    assert (alert in active_alerts(now)) is not is_shown
    assert alert.events.get().is_withheld is is_mailed


def test_it_believes_no_single_good_probe_of_a_destination() -> None:
    now = clock.now()
    server = make_server()
    tanks = [make_store_point(server=server) for _ in range(2)]
    for tank in tanks:
        put(tank, now, **FAILED)

    put(tanks[0], now + MINUTE, **{**WELL, "is_believed": True})
    put(tanks[0], now + 2 * MINUTE, **FAILED)

    offline = Alert.objects.get(kind="destination-offline")
    assert (offline.cleared_at, events_of(offline)) == (None, ["raised"])


def test_it_counts_a_destination_anew_when_a_store_point_is_removed() -> None:
    now = clock.now()
    server = make_server()
    tanks = [make_store_point(server=server) for _ in range(3)]
    for tank in tanks[1:]:
        put(tank, now, **FAILED)

    fleet.remove_store_points([tanks[0].pk], actor=people.administrator(), now=now)

    assert Alert.objects.filter(kind="destination-offline", cleared_at=None).exists()


def test_it_gives_no_acknowledgement_back_to_what_has_got_worse() -> None:
    now = clock.now()
    alert = make_alert("warning")
    actor = people.operator()
    services.acknowledge_alerts([alert.pk], actor=actor, now=now)
    services.unacknowledge_alerts([alert.pk], actor=actor, now=now + MINUTE)
    AlertEvent.objects.create(alert=alert, at=now + 2 * MINUTE, kind="worsened")

    result = services.undo_unacknowledgement(now + MINUTE, actor=actor, now=now)

    assert result.done == 0
    assert result.skipped[0].why == "has got worse or come back since"


def test_it_says_that_it_is_down_when_a_silence_kept_that_it_flaps() -> None:
    set_up_mail(25)
    now = clock.now()
    Recipient.objects.create(address="ops@example.org", added_at=now)
    tank = make_store_point()

    def live(minute: int, **fields: Any) -> None:
        put(tank, now + minute * MINUTE, **fields)
        route_events(now=now + minute * MINUTE)

    for minute in range(6):
        live(minute, **(WELL if minute % 2 else FAILED))
    services.create_silence(
        {
            "name": "Array rebuild",
            "subjects": [f"store-point:{tank.pk}"],
            "starts_at": now + 6 * MINUTE,
            "ends_at": now + 10 * MINUTE,
            "repeats": "",
            "time_zone": "UTC",
        },
        actor=people.operator(),
        now=now + 6 * MINUTE,
    )
    live(7, **FAILED)
    live(8, **WELL)
    services.follow_silences(now=now + 11 * MINUTE)
    live(12, **FAILED)

    services.settle_flapping(now=now + 200 * MINUTE)

    said = alert_of(tank).events.filter(kind__in=AlertEvent.NEWS, is_withheld=False)
    assert said.order_by("-pk")[0].kind == "reopened"


def test_it_tells_nobody_anew_of_what_somebody_has_acknowledged() -> None:
    now = clock.now()
    tank = make_store_point()
    put(tank, now, **FAILED)
    services.acknowledge_alerts([alert_of(tank).pk], actor=people.operator(), now=now)
    put(tank, now + MINUTE, **WELL)

    put(tank, now + 2 * MINUTE, **FAILED)

    event = alert_of(tank).events.get(kind="reopened")
    assert event.routing == "not mailed: operator has acknowledged it"


def test_it_locks_in_the_order_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    make_alert(subject="store-point:2")
    make_alert(subject="store-point:1")
    monkeypatch.setattr(selectors, "MANY", 1)

    held = selectors.held_alerts(["store-point:1", "store-point:2"], now=now)

    keys = [alert.id for alert in held]
    assert keys == sorted(keys)


def test_it_makes_as_many_statements_for_two_children_as_for_twenty() -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def statements(count: int) -> tuple[int, int]:
        now = clock.now()
        server = make_server()
        for _ in range(count):
            make_store_point(server=server)
        silence(server, now)
        with CaptureQueriesContext(connection) as back:
            answer(server, now + MINUTE, **FAILED)
        with CaptureQueriesContext(connection) as away:
            silence(server, now + 2 * MINUTE)
        return len(back), len(away)

    assert statements(2) == statements(20)


def test_it_follows_nothing_for_nothing() -> None:
    server = make_server()

    follow(server, clock.now())

    assert not Alert.objects.exists()
