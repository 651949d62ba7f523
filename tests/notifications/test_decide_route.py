"""Who hears of an event, when, and how long a retry waits: pure decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.accounts.models import User
from console.accounts.roles import Role
from console.kit import clock
from notifications import selectors
from notifications.engine import (
    FIRST_RETRY,
    LAST_RETRY,
    LEASE,
    News,
    Person,
    Waiting,
    back_off,
    decide_route,
    may_send,
    without_names,
)
from notifications.models import Recipient
from notifications.transports import smtp

NOW = datetime(2026, 7, 15, 12, 0, tzinfo=UTC)
ANA = Person("ana@example.org", "ana")
BEN = Person("ben@example.org", "ben")
GONE = Person("gone@example.org", "gone")
OPS = Person("ops@example.org", "ops@example.org")


@pytest.mark.parametrize(
    ("news", "told", "is_mailed", "why_no_mail", "people", "sentence"),
    [
        (News.RAISED, (), True, "", (ANA, BEN, OPS), "to ana, ben, ops@example.org"),
        (
            News.REOPENED,
            (ANA,),
            True,
            "",
            (ANA, BEN, OPS),
            "to ana, ben, ops@example.org",
        ),
        (
            News.WORSENED,
            (ANA,),
            True,
            "",
            (ANA, BEN, OPS),
            "to ana, ben, ops@example.org",
        ),
        (
            News.RAISED,
            (),
            False,
            "",
            (),
            "not mailed: Send Email is off for this kind",
        ),
        (
            News.RAISED,
            (),
            True,
            "no mail server is set up (Settings > Email)",
            (),
            "not mailed: no mail server is set up (Settings > Email)",
        ),
        (News.CLEARED, (ANA, BEN), True, "", (ANA, BEN), "to ana, ben"),
        (
            News.CLEARED,
            (BEN,),
            False,
            "",
            (BEN,),
            "to ben, who were mailed that it was raised (Send Email is off for this "
            "kind now)",
        ),
        (
            News.CLEARED,
            (ANA, GONE),
            True,
            "sending mail is switched off (Settings > Email)",
            (ANA,),
            "to ana, as soon as mail is sent again: sending mail is switched off "
            "(Settings > Email)",
        ),
        (
            News.CLEARED,
            (GONE,),
            True,
            "",
            (),
            "not mailed: who was mailed that it was raised is mailed no longer",
        ),
        (
            News.CLEARED,
            (Person("ANA@example.org", "ana"), Person("old@example.org", "ben")),
            True,
            "",
            (ANA, BEN),
            "to ana, ben",
        ),
        (
            News.CLEARED,
            (),
            True,
            "",
            (),
            "not mailed: nobody was mailed that it was raised",
        ),
    ],
)
def test_it_decides_who_hears(
    news: News,
    told: tuple[Person, ...],
    is_mailed: bool,
    why_no_mail: str,
    people: tuple[Person, ...],
    sentence: str,
) -> None:
    route = decide_route(
        news,
        audience=[ANA, BEN, OPS],
        told=told,
        is_mailed=is_mailed,
        why_no_mail=why_no_mail,
    )

    assert route.people == people
    assert route.sentence == sentence


def test_it_says_that_there_is_nobody() -> None:
    route = decide_route(
        News.RAISED, audience=[], told=[], is_mailed=True, why_no_mail=""
    )

    assert route.people == ()
    assert "there are no recipients" in route.sentence


def test_it_counts_names_beyond_twenty() -> None:
    people = [Person(f"p{n}@example.org", f"p{n}") for n in range(23)]

    route = decide_route(
        News.RAISED, audience=people, told=[], is_mailed=True, why_no_mail=""
    )

    assert len(route.people) == 23
    assert route.sentence.endswith("p18, p19 and 3 more")


@pytest.mark.django_db
def test_it_tells_each_address_once_whatever_its_case() -> None:
    User.objects.create(
        username="ana", email="ana@example.org", role=Role.ADMINISTRATOR
    )
    for address in ("ANA@example.org", "ops@example.org"):
        Recipient.objects.create(address=address, added_at=clock.now())

    found = [(each.name, each.address) for each in selectors.audience()]

    assert found == [("ana", "ana@example.org"), ("ops@example.org",) * 2]


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_it_waits_between_half_a_minute_and_an_hour(
    attempts: int, jitter: float
) -> None:
    wait = back_off(attempts, jitter=jitter)

    assert FIRST_RETRY <= wait <= LAST_RETRY
    assert back_off(attempts + 1, jitter=jitter) >= wait


@pytest.mark.parametrize(
    ("due_in", "attempted_ago", "may"),
    [
        (None, None, False),
        (1, None, False),
        (0, None, True),
        (-60, 29, False),
        (-60, 30, True),
        (5, 300, False),
    ],
)
def test_it_keeps_the_distance_between_mails(
    due_in: float | None, attempted_ago: float | None, may: bool
) -> None:
    waiting = Waiting(
        due_at=None if due_in is None else NOW + timedelta(seconds=due_in),
        attempted_at=None
        if attempted_ago is None
        else NOW - timedelta(seconds=attempted_ago),
    )

    assert may_send(waiting, group=timedelta(seconds=30), now=NOW) is may


@pytest.mark.parametrize(
    ("sentence", "count", "shown"),
    [
        ("to ana, ops@example.org", 2, "to 2 recipients"),
        ("to ops@example.org", 1, "to 1 recipient"),
        ("not mailed: Send Email is off", 0, "not mailed: Send Email is off"),
        ("", 0, ""),
    ],
)
def test_it_names_nobody_to_those_who_may_not_know(
    sentence: str, count: int, shown: str
) -> None:
    assert without_names(sentence, count) == shown


def test_it_holds_a_lease_for_longer_than_a_mail_takes() -> None:
    assert timedelta(seconds=smtp.DEADLINE_SECONDS + 5) <= LEASE
