"""The pages of silences: preview, save, compare, end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts import services
from alerts.models import Silence
from console.kit import clock
from tests import people
from tests.factories import make_alert, make_store_point

pytestmark = [pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _still(frozen: clock.FrozenClock) -> None:
    """Let the clock stand still."""


def form(**fields: Any) -> dict[str, Any]:
    return {
        "name": "Array rebuild",
        "severities": ["1"],
        "time_zone": "Europe/Berlin",
        "starts_at": "2026-07-15T15:00",
        "ends_at": "2026-07-15T18:00",
        **fields,
    }


def test_it_shows_what_is_covered_before_it_is_saved() -> None:
    make_alert()
    make_alert("low")

    answer = people.client_of("operator").post(
        "/alerts/silences/add/", form(preview="1")
    )

    text = answer.content.decode()
    assert 'data-covered="1"' in text
    assert "2026-07-15 15:00 to 2026-07-15 18:00 CEST" in text
    assert "2026-07-15 13:00 to 2026-07-15 16:00 UTC" in text
    assert not Silence.objects.exists()


def test_it_refreshes_the_preview_alone() -> None:
    answer = people.client_of("operator").post(
        "/alerts/silences/add/",
        form(
            repeats="daily",
            first_day="2026-07-01",
            starts_local="22:00",
            ends_local="06:00",
        ),
        headers={"HX-Request": "true"},
    )

    text = answer.content.decode()
    assert "<form" not in text
    assert text.count("data-window") == 5


def test_it_saves_and_shows_it() -> None:
    tank = make_store_point("Tank-07")
    client = people.client_of("operator")

    answer = client.post(
        "/alerts/silences/add/", form(objects="Tank-07", save="1"), follow=True
    )

    silence = Silence.objects.get()
    assert silence.subjects == [f"store-point:{tank.pk}"]
    assert f"{silence.starts_at:%H:%M}" == "13:00"
    assert "Coming" in answer.content.decode()
    page = client.get(f"/alerts/silences/{silence.pk}/edit/").content.decode()
    assert "Tank-07" in page
    assert "2026-07-15T15:00" in page


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"severities": []}, "would silence every alert"),
        ({"objects": "Nothing"}, "There is no store point named “Nothing”."),
        ({"ends_at": "2026-07-15T14:00"}, "It ends before it begins"),
        ({"starts_at": "soon"}, "Expected a date and a time without a zone"),
    ],
)
def test_it_says_what_is_wrong(fields: dict[str, Any], expected: str) -> None:
    answer = people.client_of("operator").post(
        "/alerts/silences/add/", form(save="1", **fields)
    )

    assert answer.status_code == 422
    assert expected in answer.content.decode()
    assert not Silence.objects.exists()


@pytest.mark.parametrize(
    ("hours", "until"), [("4", "15 16:00"), ("tomorrow", "16 08:00")]
)
def test_it_silences_from_the_action_menu(hours: str, until: str) -> None:
    alert = make_alert()

    people.client_of("operator").post(
        "/alerts/actions/",
        {
            "action": "alert.silence",
            "ids": alert.pk,
            "confirm": "1",
            "name": "Array rebuild",
            "hours": hours,
        },
    )

    silence = Silence.objects.get()
    assert (silence.subjects, f"{silence.ends_at:%d %H:%M}") == ([alert.subject], until)


def test_it_silences_store_points_from_their_own_menu() -> None:
    points = [make_store_point(name=name) for name in ("Tank-07", "Tank-08")]
    asked = {
        "action": "storepoint.silence",
        "ids": [point.pk for point in points],
        "name": "Array rebuild",
        "hours": "4",
    }
    address = "/destinations/store-points/actions/"

    refused = people.client_of("viewer").post(address, asked)
    shown = people.client_of("operator").post(address, asked)
    people.client_of("operator").post(address, {**asked, "confirm": "1"})

    assert refused.status_code == 403
    assert "Nobody is told of any alert of theirs" in shown.content.decode()
    assert Silence.objects.get().subjects == [
        f"store-point:{each.pk}" for each in points
    ]


def test_it_says_on_an_alert_that_it_is_silenced() -> None:
    alert = make_alert()
    page = people.client_of("viewer").get(f"/alerts/{alert.pk}/").content.decode()
    assert 'id="silenced"' not in page

    silence = _silence(1)

    page = people.client_of("viewer").get(f"/alerts/{alert.pk}/").content.decode()
    assert 'id="silenced"' in page
    assert silence.get_absolute_url() in page


def test_it_ends_and_compares() -> None:
    alert = make_alert()
    silence = _silence(1)
    client = people.client_of("operator")

    client.post(
        "/alerts/silences/actions/", {"action": "silence.end", "ids": silence.pk}
    )

    page = client.get(f"/alerts/silences/{silence.pk}/").content.decode()
    assert "0 new, 0 gone, 0 worse, 1 unchanged" in page
    assert "ended by operator" in page
    assert alert.text in page


def test_it_asks_as_often_for_forty_as_for_two() -> None:
    client = people.client_of("viewer")
    figures = []
    for count in (2, 38):
        for number in range(count):
            _silence(1 + number % 3)
        client.get("/alerts/silences/")
        with CaptureQueriesContext(connection) as queries:
            client.get("/alerts/silences/")
        figures.append(len(queries))

    assert figures[0] == figures[1]


def _silence(severity: int) -> Silence:
    return services.create_silence(
        {
            "name": f"Silence {severity}",
            "severities": [severity],
            "starts_at": clock.now(),
            "ends_at": clock.now() + timedelta(hours=1),
        },
        actor=people.operator(),
        now=clock.now(),
    )
