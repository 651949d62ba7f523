"""The Alerts Overview: what it shows, folds, narrows down, exports, prints and undoes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts import services
from alerts.models import Alert, AlertEvent
from console.kit import clock
from notifications.models import Delivery
from tests import people
from tests.factories import make_alert, make_server, make_store_point

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

OVERVIEW = "/alerts/"
ACTIONS = "/alerts/actions/"


def keys(query: str = "") -> list[int]:
    """The alerts that the list has for a query string."""
    page = people.client_of("viewer").get(OVERVIEW + query)
    assert page.status_code == 200
    return [row.pk for row in page.context["rows"]]


def text(query: str = "", who: str = "viewer") -> str:
    return people.client_of(who).get(OVERVIEW + query).content.decode()


def make_offline_server(children: int) -> tuple[Alert, list[Alert]]:
    """An offline server with as many store points, whose alerts are held under its."""
    server = make_server()
    parent = make_alert(kind="server-offline", server=server, text="Server is offline")
    held = [
        make_alert(
            server=server, store_point=make_store_point(server=server), parent=parent
        )
        for _ in range(children)
    ]
    return parent, held


@pytest.mark.parametrize(
    ("children", "words"), [(1, "▸ 1 store point<"), (2, "▸ 2 store points<")]
)
def test_it_folds_what_is_held_under_another(children: int, words: str) -> None:
    parent, held = make_offline_server(children)

    page = text()

    assert keys() == [parent.pk]
    assert words in page
    assert sorted(keys(f"?parent={parent.pk}")) == [row.pk for row in held]
    assert "1 Critical" in page


def test_it_says_nothing_of_folding_where_nothing_is_held() -> None:
    make_alert()

    assert "▸" not in text()


@pytest.mark.parametrize("by", ["server", "store_point", "kind", "q"])
def test_it_unfolds_what_is_asked_for_by_name(by: str) -> None:
    _, held = make_offline_server(1)
    child = held[0]
    value = {
        "server": child.server_id,
        "store_point": child.store_point_id,
        "kind": child.kind,
        "q": child.text,
    }[by]

    assert child.pk in keys(f"?{by}={value}")


def test_it_exports_and_acts_on_the_very_rows_that_it_lists() -> None:
    parent, held = make_offline_server(2)
    client = people.client_of("operator")

    def exported(query: str) -> int:
        answer: Any = client.get(f"/alerts/export/{query}")
        return len(b"".join(answer).decode().strip().splitlines()) - 1

    asked = client.post(
        ACTIONS, {"action": "alert.acknowledge", "all_matching": "1", "query": ""}
    )

    assert exported("") == 1
    assert exported(f"?parent={parent.pk}") == len(held)
    assert asked.context["ids"] == str(parent.pk)


def test_it_narrows_down_by_when_an_alert_was_raised() -> None:
    now = clock.now()
    new = make_alert(raised_at=now - timedelta(minutes=10))
    old = make_alert(raised_at=now - timedelta(days=3))
    between = (now - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")

    assert keys("?within=1h") == [new.pk]
    assert sorted(keys("?within=7d")) == [new.pk, old.pk]
    assert keys(f"?since={between}Z") == [new.pk]
    assert keys(f"?until={between}Z") == [old.pk]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?since=yesterday", "Expected a time such as"),
        ("?until=2026-13-45", "Expected a time such as"),
        ("?within=2h", "Expected one of: 1h, 24h, 7d, 30d"),
        ("?parent=0", "parent"),
        ("?destination=x", "destination"),
    ],
)
def test_it_says_what_a_filter_cannot_be(query: str, expected: str) -> None:
    answer = people.client_of("viewer").get(OVERVIEW + query)

    assert answer.status_code == 400
    assert expected in answer.content.decode()


def test_it_links_each_object_and_says_how_it_stands() -> None:
    store_point = make_store_point()
    now = clock.now()
    make_alert(store_point=store_point, flapping_since=now, times=4)
    make_alert(
        acknowledged_at=now - timedelta(hours=2),
        acknowledged_by_name="ben",
        acknowledged_until=now - timedelta(hours=1),
    )

    page = text()

    assert f'href="/destinations/store-points/{store_point.pk}/"' in page
    assert "flapping since" in page
    assert "4 times" in page
    assert "acknowledgement by ben expired" in page


def test_it_says_how_many_were_mailed_and_shows_no_address() -> None:
    alert = make_alert()
    now = clock.now()
    event = AlertEvent.objects.create(
        alert=alert, at=now, kind="raised", routed_at=now, routing="to ana@example.org"
    )
    for name in ("ana", "ben"):
        Delivery.objects.create(
            event=event,
            recipient=f"{name}@example.org",
            state="sent",
            sent_at=now,
            created_at=now,
            due_at=now,
            give_up_at=now,
        )
    quiet = make_alert()
    AlertEvent.objects.create(
        alert=quiet,
        at=now,
        kind="raised",
        routed_at=now,
        routing="not mailed: silenced",
    )

    page = text()

    assert "mailed to 2" in page
    assert "not mailed: silenced" in page
    assert "@example.org" not in page


def test_it_asks_as_many_queries_for_two_rows_as_for_a_hundred() -> None:
    client = people.client_of("operator")

    def queries() -> int:
        client.get(OVERVIEW + "?size=100")
        with CaptureQueriesContext(connection) as captured:
            client.get(OVERVIEW + "?size=100")
        return len(captured)

    make_offline_server(1)
    make_alert()
    few = queries()
    for _ in range(49):
        make_offline_server(1)
        make_alert()

    assert queries() == few


def test_it_prints_all_that_matches_with_the_filter_and_the_time() -> None:
    for _ in range(60):
        make_alert()
    make_alert("low", text="Not on the paper")

    page = text("?severity=critical&print=1")

    assert page.count("<tr>") == 61
    assert "severity: critical" in page
    assert "60 alerts, printed" in page
    assert "Not on the paper" not in page


def undo(page: str, who: str = "operator") -> str:
    """Press the button that a page offers, and return the next page."""
    name = re.search(r'name="undo" value="([^"]+)"', page)
    at = re.search(r'name="at" value="([^"]+)"', page)
    assert name
    assert at
    return (
        people.client_of(who)
        .post(ACTIONS, {"undo": name[1], "at": at[1]}, follow=True)
        .content.decode()
    )


def acknowledge(*alerts: Alert) -> str:
    return (
        people.client_of("operator")
        .post(
            ACTIONS,
            {
                "action": "alert.acknowledge",
                "ids": [alert.pk for alert in alerts],
                "confirm": "1",
                "note": "seen",
            },
            follow=True,
        )
        .content.decode()
    )


def test_it_undoes_an_acknowledgement_with_one_click() -> None:
    alerts = [make_alert() for _ in range(3)]
    page = acknowledge(*alerts)

    told = undo(page)

    assert "Took back the acknowledgement of 3 alerts." in told
    assert Alert.objects.filter(acknowledged_at__isnull=True).count() == 3


def test_it_skips_what_does_not_stand_any_more_and_says_so() -> None:
    first, second = make_alert(), make_alert()
    page = acknowledge(first, second)
    ben = people.administrator()
    services.unacknowledge_alerts([first.pk], actor=ben, now=clock.now())
    services.acknowledge_alerts([first.pk], actor=ben, now=clock.now())

    told = undo(page)

    first.refresh_from_db()
    assert "Took back the acknowledgement of 1 alert." in told
    assert "is acknowledged by administrator again" in told
    assert first.acknowledged_by_name == "administrator"


def test_it_gives_back_an_acknowledgement_that_was_taken_back() -> None:
    alert = make_alert()
    acknowledge(alert)
    page = (
        people.client_of("operator")
        .post(ACTIONS, {"action": "alert.unacknowledge", "ids": alert.pk}, follow=True)
        .content.decode()
    )

    undo(page)

    alert.refresh_from_db()
    assert (alert.acknowledged_by_name, alert.note) == ("operator", "seen")


def test_it_undoes_for_nobody_else() -> None:
    alert = make_alert()
    page = acknowledge(alert)

    told = undo(page, who="administrator")

    alert.refresh_from_db()
    assert "There was nothing left to undo." in told
    assert alert.acknowledged_at is not None


@pytest.mark.parametrize("at", ["", "now", "2026-07-15T10:00:00", "2020-01-01T00:00Z"])
def test_it_refuses_to_undo_what_it_cannot_find(at: str) -> None:
    answer = people.client_of("operator").post(
        ACTIONS, {"undo": "alert.acknowledge", "at": at}
    )

    assert answer.status_code == 400


def test_it_lets_a_viewer_undo_nothing() -> None:
    answer = people.client_of("viewer").post(
        ACTIONS, {"undo": "alert.acknowledge", "at": clock.now().isoformat()}
    )

    assert answer.status_code == 403
