"""The handover page: all that the next shift has to know, on one page."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from alerts.models import AlertEvent, Silence
from console.kit import clock, heartbeat
from console.kit.clock import FrozenClock
from console.views import handover
from notifications.models import Delivery, EmailSettings
from tests import factories, people

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

PAGE = "/alerts/handover/"
#: An address that a mail server names in its answer.
SECRET = "gone@example.org"


@pytest.fixture(autouse=True)
def _checking(frozen: FrozenClock) -> None:
    heartbeat.beat("tick", clock.now())


def part(client: Client, name: str, query: str = "") -> str:
    content = client.get(PAGE + query).content.decode()
    found = re.search(rf'(?s)data-part="{name}"(.*?)</(?:section|div|p)>', content)
    if name not in {"checks", "channels"}:
        found = re.search(rf'(?s)data-part="{name}"(.*?)</section>', content)
    return found[1] if found else ""


def viewer() -> Client:
    return people.client_of("viewer")


def make_seen(until: float | None = None, **fields: Any) -> Any:
    """An alert that ana has seen, for so many hours."""
    return factories.make_alert(
        acknowledged_at=clock.now(),
        acknowledged_by_name="ana",
        acknowledged_until=clock.now() + timedelta(hours=until) if until else None,
        note="waiting for the disk",
        **fields,
    )


def make_silence(name: str, **fields: Any) -> Silence:
    return Silence.objects.create(name=name, created_at=clock.now(), **fields)


def test_it_lists_what_is_open_the_worst_first_with_what_is_under_it() -> None:
    factories.make_alert("warning", text="Slow")
    parent = factories.make_alert(text="Server is offline: stor-9")
    for _ in range(2):
        factories.make_alert(parent=parent, text="Under it")

    content = part(viewer(), "open")

    assert content.index("Server is offline") < content.index("Slow")
    assert "and 2 alerts under it" in content
    assert "Under it" not in content


def test_it_says_who_has_seen_what_until_when_and_why() -> None:
    make_seen(until=13, text="Until tomorrow")
    make_seen(text="Until its end")
    make_seen(until=11, text="Soon")

    acknowledged, expiring = (
        part(viewer(), name) for name in ("acknowledged", "expiring")
    )

    for words in ("Until tomorrow", "Until its end", "Soon", "ana", "for the disk"):
        assert words in acknowledged
    assert "Soon" in expiring
    assert "Until" not in re.sub("data-label=.Until.|>Until<", "", expiring)


def test_it_lists_silences_in_force_or_beginning_today() -> None:
    now = clock.now()
    hour = timedelta(hours=1)
    for name, start, end in (
        ("Rebuild", now - hour, now + hour),
        ("Later", now + hour, now + 3 * hour),
        ("Over", now - 3 * hour, now - hour),
        ("Tomorrow", now + 24 * hour, now + 25 * hour),
    ):
        make_silence(name, starts_at=start, ends_at=end)
    make_silence(
        "Ended", starts_at=now - hour, ends_at=now + hour, ended_at=now - hour / 2
    )
    for name, weekdays in (("Wednesdays", [2]), ("Fridays", [4])):
        make_silence(
            name,
            repeats="weekly",
            weekdays=weekdays,
            time_zone="Europe/Berlin",
            first_day=now.date() - timedelta(days=60),
            starts_local=time(20),
            ends_local=time(21),
        )

    content = part(viewer(), "silences")

    names = re.findall(r'<th scope="row"><a href="[^"]+">(\w+)</a></th>', content)
    assert names == ["Rebuild", "Later", "Wednesdays"]
    assert content.count("in force") == 1
    assert content.count("begins later") == 2


def test_it_says_what_takes_no_backups_and_why() -> None:
    factories.make_store_point(
        "Closed",
        accepts_inbound=False,
        inbound_changed_at=clock.now(),
        inbound_changed_by="ben",
    )
    factories.make_store_point(
        "Fenced", fenced_at=clock.now(), fence_reason="not-mounted"
    )
    factories.make_store_point("Fine")

    content = part(viewer(), "inbound")

    assert "disabled by a person" in content
    assert "ben" in content
    assert "fenced: its volume is not mounted" in content
    assert "Fine" not in content


def test_it_says_that_nobody_is_mailed() -> None:
    assert "no mail server is set up" in part(viewer(), "channels")


@pytest.mark.parametrize(("who", "sees"), [("viewer", False), ("administrator", True)])
def test_it_says_what_fails_with_addresses_for_those_who_may_see_them(
    who: str, sees: bool
) -> None:
    EmailSettings.objects.create(pk=1, host="mail", sender="console@example.org")
    event = AlertEvent.objects.create(
        alert=factories.make_alert(), at=clock.now(), kind="raised"
    )
    Delivery.objects.create(
        event=event,
        recipient=SECRET,
        state="failed",
        error=f"550 <{SECRET}> unknown",
        attempted_at=clock.now(),
        created_at=clock.now(),
        due_at=clock.now(),
        give_up_at=clock.now(),
    )

    content = people.client_of(who).get(PAGE).content.decode()

    assert "cannot be delivered" in part(people.client_of(who), "channels")
    body = content[content.index('data-part="channels"') :]
    assert (SECRET in body) == sees


def test_it_says_when_checks_are_not_running(frozen: FrozenClock) -> None:
    assert part(viewer(), "checks") == ""
    frozen.tick(3600)

    assert "Checks are not running" in part(viewer(), "checks")


def test_it_lists_what_happened_as_far_back_as_is_asked(frozen: FrozenClock) -> None:
    alert = factories.make_alert(text="Tank-07 went")
    for kind in ("raised", "cleared", "acknowledged"):
        AlertEvent.objects.create(alert=alert, at=clock.now(), kind=kind)
    frozen.tick(5 * 3600)

    assert part(viewer(), "happened").count("data-event=") == 2
    assert "Nothing happened." in part(viewer(), "happened", "?hours=4")
    assert viewer().get(f"{PAGE}?hours=5").status_code == 400


def test_it_names_the_zone_of_its_times() -> None:
    client = viewer()
    person = people.viewer()
    person.time_zone = "Europe/Berlin"
    person.save()

    content = client.get(PAGE).content.decode()

    assert "all times in Europe/Berlin, CEST" in content
    assert "2026-07-15 14:00:00" in content


def test_it_says_that_a_list_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "MOST", 2)
    for _ in range(5):
        factories.make_alert()

    content = part(viewer(), "open")

    assert content.count("data-alert=") == 2
    assert "and 3 more" in content


def test_it_makes_as_many_queries_for_2_rows_as_for_40() -> None:
    client = viewer()

    def add(count: int) -> None:
        for number in range(count):
            alert = factories.make_alert()
            make_seen(until=3)
            AlertEvent.objects.create(alert=alert, at=clock.now(), kind="raised")
            factories.make_store_point(accepts_inbound=False)
            make_silence(
                f"Silence {number}",
                starts_at=clock.now(),
                ends_at=clock.now() + timedelta(hours=1),
            )

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(PAGE)
        return len(captured)

    add(2)
    few = queries()
    add(38)

    assert queries() == few


def test_the_overview_leads_to_it() -> None:
    assert f'href="{PAGE}"' in viewer().get("/alerts/").content.decode()
