"""An alert's page: its state in words, its timeline, who was told, what is related."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts.models import Alert, AlertEvent, Silence
from alerts.words import event_words
from console.kit import clock
from notifications.models import Delivery
from tests import people
from tests.factories import make_alert, make_filesystem, make_server, make_store_point

pytestmark = [pytest.mark.django_db]


def page_of(alert: Alert, who: str = "administrator", **headers: str) -> str:
    answer = people.client_of(who).get(alert.get_absolute_url(), headers=headers)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def happens(alert: Alert, kind: str, **fields: object) -> AlertEvent:
    fields.setdefault("routed_at", clock.now())
    return AlertEvent.objects.create(alert=alert, at=clock.now(), kind=kind, **fields)


def part(page: str, id_: str) -> str:
    """Return what follows an id, up to the end of its section."""
    found = re.search(rf'id="{id_}".*?</(section|ul)>', page)
    assert found, f"no {id_} on the page"
    return found[0]


@pytest.mark.parametrize("kind", AlertEvent.Kind)
def test_it_says_every_event_in_words(kind: AlertEvent.Kind) -> None:
    words = event_words(AlertEvent(kind=kind))

    assert words
    assert words != kind.value
    assert words[0].isupper()


def test_it_says_why_nobody_was_told() -> None:
    alert = make_alert()
    now = clock.now()
    silence = Silence.objects.create(
        name="Array rebuild",
        starts_at=now,
        ends_at=now + timedelta(hours=4),
        created_at=now,
    )
    happens(
        alert,
        "raised",
        is_withheld=True,
        withheld_by=silence,
        routing="not mailed: silenced by “Array rebuild” until 18:00",
    )
    happens(alert, "reopened", routing="not mailed: Send Email is off for this kind")
    happens(alert, "worsened", routed_at=None)

    told = part(page_of(alert), "told")

    assert "Not mailed: silenced by “Array rebuild” until 18:00." in told
    assert "Not mailed: Send Email is off for this kind." in told
    assert "Who is to hear of it is being decided." in told


@pytest.mark.parametrize(
    ("who", "sees"), [("viewer", False), ("operator", False), ("administrator", True)]
)
def test_it_says_who_was_told_and_when_to_whom_may_see(who: str, sees: bool) -> None:
    alert = make_alert()
    event = happens(alert, "raised", routing="to ana")
    now = clock.now()
    Delivery.objects.create(
        event=event,
        recipient="ana@example.org",
        recipient_name="ana",
        state="sent",
        created_at=now,
        due_at=now,
        sent_at=now,
        give_up_at=now,
    )

    page = page_of(alert, who)

    assert ("ana@example.org" in page) is sees
    assert ("To ana." if sees else "To 1 recipient.") in part(page, "told")
    assert "1 sent" in part(page, "told")


def test_it_shows_what_holds_it_and_what_it_holds() -> None:
    server = make_server()
    parent = make_alert(
        kind="server-offline",
        subject=f"server:{server.pk}",
        server=server,
        text="Server is offline: stor-9",
    )
    child = make_alert(server=server, parent=parent, is_presumed=True)

    below, above = page_of(child), page_of(parent)

    assert f'href="{parent.get_absolute_url()}"' in part(below, "held-under")
    assert child.text in part(above, "children")
    assert "explains this one" in part(below, "related")
    assert 'id="related"' not in above


def test_it_says_what_others_have_to_do_with_it() -> None:
    filesystem = make_filesystem()
    server = filesystem.server
    tank, vault = (
        make_store_point(server=server, filesystem=filesystem) for _ in range(2)
    )
    alert = make_alert(store_point=tank, server=server)
    make_alert(store_point=vault, server=server)
    make_alert(kind="volume-degraded", filesystem=filesystem, server=server)
    make_alert(store_point=make_store_point(server=server), server=server)
    make_alert()

    related = part(page_of(alert), "related")

    for how in ("its volume", "on the same volume", "on the same server"):
        assert related.count(f"{how},") == 1
    assert related.count("<li>") == 3


def test_it_lists_earlier_occurrences_and_how_long_they_lasted() -> None:
    alert = make_alert()
    began = clock.now() - timedelta(days=3)
    make_alert(
        subject=alert.subject,
        raised_at=began,
        cleared_at=began + timedelta(minutes=12),
        acknowledged_at=began,
        acknowledged_by_name="ben",
        note="cable",
    )

    earlier = part(page_of(alert), "earlier")

    assert "lasted 12 min, acknowledged by ben: cable" in earlier


def test_it_says_that_it_flaps_and_that_an_acknowledgement_expired() -> None:
    now = clock.now()
    alert = make_alert(
        flapping_since=now,
        acknowledged_at=now - timedelta(hours=2),
        acknowledged_by_name="ana",
        acknowledged_until=now - timedelta(hours=1),
    )

    page = page_of(alert)

    assert "flapping since" in page
    assert "the acknowledgement by ana expired" in page


def test_it_keeps_the_note_that_is_typed_when_the_page_refreshes_itself() -> None:
    alert = make_alert()

    swapped = page_of(alert, "operator", **{"HX-Request": "true"})

    assert "<html" not in swapped
    note = re.search(r"<textarea[^>]*>", swapped)
    assert note
    assert 'id="guide-note"' in note[0]
    assert "hx-preserve" in note[0]


def test_it_acknowledges_from_the_guide_and_comes_back() -> None:
    alert = make_alert()
    here = alert.get_absolute_url()

    answer = people.client_of("operator").post(
        "/alerts/actions/",
        {
            "action": "alert.acknowledge",
            "ids": alert.pk,
            "confirm": "1",
            "next": here,
            "note": "on my way",
        },
    )

    alert.refresh_from_db()
    assert (answer.status_code, answer.headers["Location"]) == (302, here)
    assert (alert.acknowledged_by_name, alert.note) == ("operator", "on my way")


def test_it_makes_the_same_queries_for_2_of_everything_as_for_40() -> None:
    def queries(number: int) -> int:
        filesystem = make_filesystem()
        server = filesystem.server
        alert = make_alert(
            kind="volume-degraded",
            subject=f"filesystem:{filesystem.pk}",
            filesystem=filesystem,
            server=server,
        )
        now = clock.now()
        for _ in range(number):
            tank = make_store_point(server=server, filesystem=filesystem)
            make_alert(store_point=tank, server=server)
            make_alert(store_point=tank, server=server, parent=alert)
            make_alert(
                kind=alert.kind,
                subject=alert.subject,
                filesystem=filesystem,
                cleared_at=now + timedelta(days=1),
            )
            event = happens(alert, "reopened", routing="to ana")
            Delivery.objects.create(
                event=event,
                recipient="ana@example.org",
                created_at=now,
                due_at=now,
                give_up_at=now,
            )
        client = people.client_of("administrator")
        with CaptureQueriesContext(connection) as captured:
            client.get(alert.get_absolute_url())
        return len(captured)

    assert queries(2) == queries(40)
