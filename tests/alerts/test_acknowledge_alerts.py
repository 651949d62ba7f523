"""Acknowledging: in bulk, by whom, why, until when, and only once."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.urls import reverse

from alerts import services
from alerts.models import Alert, AlertEvent
from alerts.settings import Choice
from console.kit import clock
from console.kit.models import AuditEntry
from notifications.models import Delivery
from tests import people
from tests.factories import make_alert

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

OVERVIEW = "/alerts/"


def act(who: str, action: str = "alert.acknowledge", **data: Any) -> Any:
    return people.client_of(who).post(
        reverse("alerts:actions"), {"action": action, **data}, follow=True
    )


def test_it_asks_first_and_then_says_who_when_and_why() -> None:
    alert = make_alert()

    asked = act("operator", ids=[alert.pk])
    alert.refresh_from_db()
    assert alert.acknowledged_at is None
    assert "Acknowledge 1 alert?" in asked.content.decode()

    done = act("operator", ids=[alert.pk], confirm="1", note="disk is on its way")
    alert.refresh_from_db()
    assert "Acknowledged 1 alert." in done.content.decode()
    assert alert.acknowledged_by_name == "operator"
    assert alert.note == "disk is on its way"
    assert alert.events.get().kind == AlertEvent.Kind.ACKNOWLEDGED
    entry = AuditEntry.objects.get(verb="alert.acknowledge")
    assert (entry.actor_name, entry.note) == ("operator", "disk is on its way")


def test_it_moves_alerts_from_active_to_acknowledged() -> None:
    alert = make_alert()
    client = people.client_of("viewer")
    services.acknowledge_alerts(
        [alert.pk], actor=people.operator(), now=clock.now(), note="seen"
    )

    active = client.get(OVERVIEW)
    acknowledged = client.get(OVERVIEW + "?view=acknowledged")

    assert active.context["rows"] == []
    assert [row.pk for row in acknowledged.context["rows"]] == [alert.pk]
    assert 'data-acknowledged="true"' in acknowledged.content.decode()
    assert "operator" in acknowledged.content.decode()


def test_it_says_what_it_skipped_and_why() -> None:
    first, second = make_alert(), make_alert()
    services.acknowledge_alerts(
        [first.pk], actor=people.administrator(), now=clock.now()
    )

    page = act("operator", ids=[first.pk, second.pk], confirm="1").content.decode()

    assert "Acknowledged 1 alert." in page
    assert "is already acknowledged by administrator" in page


@pytest.mark.parametrize("ids", ["", "999999"])
def test_it_says_when_nothing_was_selected(ids: str) -> None:
    page = act("operator", ids=ids, confirm="1").content.decode()

    assert "Nothing was selected" in page or "no longer there" in page


def test_it_refuses_ids_that_are_none() -> None:
    assert act("operator", ids="1;drop", confirm="1").status_code == 400


def test_it_acknowledges_all_that_match_and_nothing_else() -> None:
    critical = [make_alert("critical") for _ in range(60)]
    other = make_alert("low")

    asked = act("operator", all_matching="1", query="severity=critical")
    ids = asked.context["ids"]
    act("operator", ids=ids, confirm="1")

    other.refresh_from_db()
    assert other.acknowledged_at is None
    assert (
        Alert.objects.filter(
            pk__in=[alert.pk for alert in critical], acknowledged_at__isnull=False
        ).count()
        == 60
    )


def test_it_is_active_again_when_the_acknowledgement_expires() -> None:
    alert = make_alert()
    client = people.client_of("viewer")
    act("operator", ids=[alert.pk], confirm="1", hours="1")
    assert client.get(OVERVIEW).context["rows"] == []

    Alert.objects.update(acknowledged_until=clock.now() - timedelta(seconds=1))

    assert [row.pk for row in client.get(OVERVIEW).context["rows"]] == [alert.pk]


def test_it_takes_an_acknowledgement_back() -> None:
    alert = make_alert()
    services.acknowledge_alerts([alert.pk], actor=people.operator(), now=clock.now())

    act("operator", action="alert.unacknowledge", ids=[alert.pk])

    alert.refresh_from_db()
    assert alert.acknowledged_at is None
    assert alert.acknowledged_by_name == ""


def test_it_lets_a_viewer_look_only() -> None:
    alert = make_alert()

    assert act("viewer", ids=[alert.pk], confirm="1").status_code == 403
    page = people.client_of("viewer").get(OVERVIEW).content.decode()
    assert "Acknowledge" not in page.replace("Acknowledged", "")


@pytest.mark.django_db(transaction=True)
def test_it_leaves_one_truth_when_two_acknowledge_at_once() -> None:
    alert = make_alert()
    persons = [people.make_person(f"ana{number}") for number in range(4)]
    ready = threading.Barrier(len(persons))
    done: list[int] = []

    def acknowledge(person: Any) -> None:
        ready.wait()
        try:
            result = services.acknowledge_alerts(
                [alert.pk], actor=person, now=clock.now()
            )
            done.append(result.done)
        finally:
            connection.close()

    threads = [threading.Thread(target=acknowledge, args=(each,)) for each in persons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(done) == [0, 0, 0, 1]
    assert alert.events.count() == 1


@pytest.mark.parametrize(
    "query",
    ["?view=some", "?severity=dire", "?kind=x", "?server=0", "?sort=x", "?page=-1"],
)
def test_it_says_what_was_expected_in_a_wrong_query_string(query: str) -> None:
    assert people.client_of("viewer").get(OVERVIEW + query).status_code == 400


def test_it_asks_as_many_queries_for_two_rows_as_for_forty() -> None:
    from django.test.utils import CaptureQueriesContext

    client = people.client_of("operator")

    def queries() -> int:
        client.get(OVERVIEW)
        with CaptureQueriesContext(connection) as captured:
            client.get(OVERVIEW)
        return len(captured)

    for _ in range(2):
        make_alert()
    few = queries()
    for _ in range(38):
        make_alert()

    assert queries() == few


def test_it_records_what_is_switched_off_and_does_not_show_it() -> None:
    alert = make_alert()
    client = people.client_of("viewer")

    services.change_notification_settings(
        {"store-point-offline": Choice(is_shown=False)},
        actor=people.administrator(),
        now=clock.now(),
    )

    assert client.get(OVERVIEW).context["rows"] == []
    assert client.get(f"/alerts/{alert.pk}/").status_code == 200


def test_it_escapes_whatever_an_alert_says() -> None:
    alert = make_alert(text="<img src=x onerror=alert(1)>\n{{7*7}}")
    client = people.client_of("viewer")

    for url in (OVERVIEW, f"/alerts/{alert.pk}/"):
        page = client.get(url).content.decode()
        assert "<img src=x" not in page


def test_it_shows_what_happened_and_what_to_do() -> None:
    alert = make_alert()
    AlertEvent.objects.create(
        alert=alert, at=clock.now(), kind="raised", routing="to ana"
    )

    page = (
        people.client_of("administrator").get(f"/alerts/{alert.pk}/").content.decode()
    )

    for words in ("Raised", "to ana", "not acknowledged", "Users whose archives"):
        assert words in page


def test_it_shows_addresses_to_administrators_only() -> None:
    alert = make_alert()
    event = AlertEvent.objects.create(
        alert=alert, at=clock.now(), kind="raised", routing="to ana@example.org"
    )
    Delivery.objects.create(
        event=event,
        recipient="ana@example.org",
        created_at=clock.now(),
        due_at=clock.now(),
        give_up_at=clock.now(),
    )

    for who, sees in (("viewer", False), ("operator", False), ("administrator", True)):
        page = people.client_of(who).get(f"/alerts/{alert.pk}/").content.decode()
        assert ("ana@example.org" in page) is sees


def test_it_exports_all_that_matches() -> None:
    for _ in range(3):
        make_alert()
    make_alert("low")

    response = people.client_of("viewer").get("/alerts/export/?severity=critical")

    assert len(b"".join(response).decode().strip().splitlines()) == 4
