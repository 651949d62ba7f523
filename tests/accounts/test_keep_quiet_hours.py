"""Quiet hours: on one's own account page, and by administrators."""

from __future__ import annotations

from datetime import time

import pytest
from django.db import IntegrityError, transaction

from console.accounts.models import User
from console.kit.models import AuditEntry
from tests import people

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

OWN = {"theme": "auto", "email": "viewer@example.org", "time_zone": "Europe/Berlin"}


def test_it_lets_people_set_their_own(db: None) -> None:
    mine = people.client_of("viewer")

    answer = mine.post(
        "/account/", {**OWN, "quiet_from": "22:00", "quiet_until": "07:00"}
    )

    assert answer.status_code == 302
    viewer = people.viewer()
    assert (viewer.quiet_from, viewer.quiet_until) == (time(22), time(7))
    assert not viewer.quiet_lets_critical
    assert viewer.quiet_words == "22:00 to 07:00"
    entry = AuditEntry.objects.get(verb="user.change")
    assert entry.data == {"quiet_hours": ["", "22:00 to 07:00"]}
    page = mine.get("/account/").content.decode()
    assert 'value="22:00"' in page
    mine.post("/account/", {**OWN, "quiet_from": "", "quiet_until": ""})
    assert people.viewer().quiet_words == ""


def test_it_lets_administrators_set_those_of_others(db: None) -> None:
    viewer = people.viewer()
    browser = people.client_of("administrator")

    browser.post(
        f"/settings/users/{viewer.pk}/",
        {
            "role": "viewer",
            "is_active": "on",
            "email": viewer.email,
            "quiet_from": "20:00",
            "quiet_until": "06:30",
            "quiet_lets_critical": "on",
        },
    )

    assert people.viewer().quiet_words == (
        "20:00 to 06:30, except for what is Critical"
    )


@pytest.mark.parametrize(
    ("starts", "ends", "words"),
    [
        ("22:00", "", "Expected two times, or none for no quiet hours."),
        ("", "07:00", "Expected two times, or none for no quiet hours."),
        ("22:00", "22:00", "Expected another time than that at which they begin."),
        ("25:00", "07:00", "Expected a time of day, such as 22:00."),
    ],
)
def test_it_refuses_what_are_no_hours(
    starts: str, ends: str, words: str, db: None
) -> None:
    answer = people.client_of("viewer").post(
        "/account/", {**OWN, "quiet_from": starts, "quiet_until": ends}
    )

    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert people.viewer().quiet_from is None


@pytest.mark.parametrize(
    "fields",
    [{"quiet_from": time(22)}, {"quiet_from": time(7), "quiet_until": time(7)}],
)
def test_it_keeps_both_ends(fields: dict[str, time], db: None) -> None:
    viewer = people.viewer()

    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=viewer.pk).update(**fields)
