"""The pages about store points: what they show, to whom, in how many queries."""

from __future__ import annotations

import csv
import io
import itertools
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from console.kit import clock, heartbeat
from storepoints import selectors
from storepoints.engine import shown
from storepoints.models import StorePoint
from storepoints.states import Reason, State
from tests import people
from tests.factories import (
    make_destination,
    make_filesystem,
    make_server,
    make_store_point,
)

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

OVERVIEW = "/destinations/store-points/"


@pytest.fixture(autouse=True)
def checks_running() -> None:
    heartbeat.beat("tick", clock.now())


@pytest.mark.parametrize("are_checks_running", [True, False])
def test_it_says_in_sql_what_the_engine_says(are_checks_running: bool) -> None:
    now = clock.now()
    ages = [None, -7200, 10, 89, 91, 400]
    silences = [None, 10, 89, 91, 400]
    states = [State.ONLINE, State.OFFLINE, State.SERVER_OFFLINE]
    for age, silence, state in itertools.product(ages, silences, states):
        make_store_point(
            server=make_server(
                awaiting_since=None if silence is None else _ago(now, silence)
            ),
            state=state,
            checked_at=None if age is None else _ago(now, age),
        )
    pulse = selectors.Pulse(are_checks_running, now, now)

    rows: list[Any] = list(selectors.store_points(now=now, pulse=pulse))

    assert len(rows) == 90
    for row in rows:
        expected = shown(
            state=State(row.state),
            reason=Reason(row.reason),
            checked_at=row.checked_at,
            stale_at=row.stale_at,
            silent_at=row.server.silent_at,
            are_checks_running=are_checks_running,
            now=now,
        )
        assert (row.shown_state, row.shown_reason) == expected


def _ago(now: datetime, seconds: float) -> datetime:
    return now - timedelta(seconds=seconds)


def test_it_never_shows_a_stale_green_when_nobody_is_alive_to_say_so() -> None:
    tank = make_store_point("Tank-07", checked_at=_ago(clock.now(), 91))
    heartbeat.beat("tick", _ago(clock.now(), 91))

    page = people.client_of("viewer").get(OVERVIEW).content.decode()

    assert tank.state == State.ONLINE
    assert 'data-name="Tank-07" data-state="unknown" data-reason="stale"' in page
    assert "Health checks are not running" in page


def test_it_counts_each_store_point_once() -> None:
    for state in ("online", "online", "degraded", "offline"):
        make_store_point(state=state, reason="" if state == "online" else "slow")

    page = people.client_of("viewer").get(OVERVIEW).content.decode()

    counts = page[page.index('id="store-point-counts"') :].split("</p>")[0]
    words = " ".join(re.sub(r"(?s)<[^>]+>", " ", counts).split())
    assert words.endswith("> 4 2 online 1 degraded 1 not online")


def test_it_says_since_when_nothing_is_known_any_more() -> None:
    now = clock.now()
    silent = make_server(awaiting_since=_ago(now, 7200))
    for name, server in (("Tank-07", make_server()), ("Tank-08", silent)):
        make_store_point(
            name, server=server, since=_ago(now, 86_400), checked_at=_ago(now, 690)
        )
    client = people.client_of("viewer")

    pages = {
        name: client.get(f"{OVERVIEW}?q={name}").content.decode()
        for name in ("Tank-07", "Tank-08")
    }

    # The reading was believed for 90 s, the server waited for as long; the day for
    # which it had been online says nothing of that.
    for name, state, since in (
        ("Tank-07", "unknown", "10 min"),
        ("Tank-08", "server-offline", "1 h"),
    ):
        assert f'data-name="{name}" data-state="{state}"' in pages[name]
        assert f">{since}</time>" in pages[name]
        assert ">24 h</time>" not in pages[name]


@pytest.mark.parametrize(
    ("state", "reason", "level"),
    [
        ("online", "", "ok"),
        ("offline", "not-mounted", "not-mounted"),
        ("offline", "different-volume", "not-mounted"),
        ("offline", "wrong-store-point", "ok"),
        ("not-responding", "", "ok"),
        ("offline", "io-error", "ok"),
    ],
)
def test_it_says_when_what_lies_below_is_as_last_seen(
    state: str, reason: str, level: str
) -> None:
    server = make_server()
    store_point = make_store_point(
        server=server,
        state=state,
        reason=reason,
        filesystem=make_filesystem(
            server=server,
            devices_at=clock.now(),
            devices={
                "health": "ok",
                "text": "",
                "stack": {"name": "/srv/a", "kind": "ext4", "health": "ok"},
            },
        ),
    )

    page = people.client_of("viewer").get(store_point.get_absolute_url())

    text = page.content.decode()
    is_now = (state, reason) in {("online", ""), ("offline", "io-error")}
    assert f'data-devices="{level}"' in text
    assert ("as last seen" in text) is not is_now
    assert ("The volume is not mounted." in text) is (level == "not-mounted")
    assert ('data-health="ok"' in text) is (level == "ok")


@pytest.mark.parametrize(
    "url", [OVERVIEW, "/destinations/servers/", "/destinations/", "/"]
)
def test_it_asks_as_many_queries_for_two_rows_as_for_forty(url: str) -> None:
    client = people.client_of("administrator")
    for _ in range(2):
        make_store_point()
    few = _queries(client, url)
    for _ in range(38):
        make_store_point()

    many = _queries(client, url)

    assert few == many


def _queries(client: Any, url: str) -> int:
    from django.db import connection

    client.get(url)  # what a process reads once
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 200
    return len(queries)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"alpha", "beta", "gamma"}),
        ("?show=offline", {"beta"}),
        ("?show=inbound-disabled", {"gamma"}),
        ("?show=attention", {"beta", "gamma"}),
        ("?state=online", {"alpha", "gamma"}),
        ("?q=alp", {"alpha"}),
        ("?q=%25", set()),
        ("?q=/srv/b", {"beta"}),
    ],
)
def test_it_narrows_the_list_down(query: str, names: set[str]) -> None:
    make_store_point("alpha", path="/srv/a")
    make_store_point("beta", path="/srv/b", state="offline", reason="not-mounted")
    make_store_point("gamma", path="/srv/c", accepts_inbound=False)

    response = people.client_of("viewer").get(OVERVIEW + query)

    assert {row.name for row in response.context["rows"]} == names


def test_it_narrows_down_by_server_and_destination() -> None:
    berlin = make_destination("Berlin")
    tank = make_store_point(server=make_server("stor-3", destination=berlin))
    make_store_point()
    client = people.client_of("viewer")

    for query in (f"?server={tank.server_id}", f"?destination={berlin.pk}"):
        rows = client.get(OVERVIEW + query).context["rows"]
        assert [row.pk for row in rows] == [tank.pk]


@pytest.mark.parametrize(
    "query",
    [
        "?show=everything",
        "?state=splendid",
        "?server=999999",
        "?server=x",
        "?destination=-1",
        "?sort=colour",
        "?page=0",
        "?page=x",
        "?size=7",
        "?q=" + "x" * 300,
    ],
)
def test_it_says_what_was_expected_in_a_wrong_query_string(query: str) -> None:
    response = people.client_of("viewer").get(OVERVIEW + query)

    assert response.status_code == 400
    assert "Traceback" not in response.content.decode()


@pytest.mark.parametrize(
    "sort",
    ["name", "-name", "server", "online", "-used", "free", "inbound", "-checked"],
)
def test_it_sorts_by_every_column(sort: str) -> None:
    make_store_point("alpha", free_bytes=1)
    make_store_point("beta", free_bytes=2)

    response = people.client_of("viewer").get(f"{OVERVIEW}?sort={sort}")

    assert response.status_code == 200


def test_it_escapes_whatever_a_store_point_is_called() -> None:
    make_store_point("<script>alert(1)</script>")

    page = people.client_of("viewer").get(OVERVIEW).content.decode()

    assert "<script>alert" not in page


def test_it_exports_what_the_filter_matches() -> None:
    make_store_point("=cmd()", path="/srv/a")
    make_store_point("beta", state="offline", path="/srv/b")

    response = people.client_of("viewer").get(
        reverse("storepoints:export_store_points") + "?show=offline"
    )

    rows = list(csv.DictReader(io.StringIO(b"".join(response).decode())))
    assert [row["name"] for row in rows] == ["beta"]
    everything = people.client_of("viewer").get(
        reverse("storepoints:export_store_points")
    )
    assert "'=cmd()" in b"".join(everything).decode()


def test_it_shows_why_and_what_to_do() -> None:
    tank = make_store_point(
        state="offline",
        reason="not-mounted",
        volume={"mount_point": "/srv/t 1", "fs_type": "ext4", "source": "/dev/sdd1"},
        evidence={
            "checks": [
                {
                    "layer": 3,
                    "name": "volume",
                    "ok": False,
                    "seconds": 0.0002,
                    "expected": "ext4 a1b2 at /srv/t 1",
                    "found": "the root file system",
                    "errno": "",
                }
            ]
        },
    )

    page = people.client_of("viewer").get(tank.get_absolute_url()).content.decode()

    assert "expected ext4 a1b2 at /srv/t 1, found the root file system" in page
    assert "mount &#x27;/srv/t 1&#x27;" in page


def test_it_says_that_a_write_was_skipped_and_which_limits_are_passed() -> None:
    skipped = {
        "layer": 6,
        "name": "write",
        "ok": None,
        "seconds": 0.0,
        "expected": "",
        "found": "skipped: written and read back 7 s ago",
        "errno": "",
    }
    tank = make_store_point(
        state="degraded",
        reason="low-space",
        limits=["low-space"],
        evidence={"checks": [skipped]},
    )

    page = people.client_of("viewer").get(tank.get_absolute_url()).content.decode()

    assert "skipped: written and read back 7 s ago" in page
    assert 'class="step step-skipped"' in page
    assert 'Within its limits<span class="visually-hidden">: failed</span>' in page


def test_it_answers_404_for_a_store_point_that_is_gone() -> None:
    response = people.client_of("viewer").get("/destinations/store-points/999/")

    assert response.status_code == 404


def act(who: str, action: str, *store_points: StorePoint, **data: str) -> Any:
    return people.client_of(who).post(
        reverse("storepoints:store_point_actions"),
        {"action": action, "ids": [row.pk for row in store_points], **data},
        follow=True,
    )


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "storepoints.services.checks.send_order", lambda *args, **kwargs: True
    )


@pytest.mark.usefixtures("no_broker")
def test_it_asks_before_it_disables_inbound_backup() -> None:
    tank = make_store_point(
        "Tank-07", server=make_server(destination=make_destination())
    )

    asked = act("operator", "storepoint.disable_inbound", tank)
    assert StorePoint.objects.filter(accepts_inbound=True).exists()
    assert "cannot back up at all" in asked.content.decode()

    done = act("operator", "storepoint.disable_inbound", tank, confirm="1")
    tank.refresh_from_db()
    assert not tank.accepts_inbound
    assert "Disabling inbound backup of 1 store point." in done.content.decode()
    assert tank.inbound_changed_by == "operator"
    assert tank.alerts.get().text == "Inbound backup is disabled: Tank-07"


@pytest.mark.usefixtures("no_broker")
def test_it_says_disabling_until_the_agent_has_applied_it() -> None:
    make_store_point(accepts_inbound=False, inbound_applied="enabled")
    client = people.client_of("viewer")

    assert 'data-inbound="disabling"' in client.get(OVERVIEW).content.decode()
    StorePoint.objects.update(inbound_applied="disabled", is_inbound_pending=True)
    assert 'data-inbound="disabling"' in client.get(OVERVIEW).content.decode()
    StorePoint.objects.update(is_inbound_pending=False)
    assert 'data-inbound="disabled"' in client.get(OVERVIEW).content.decode()


def test_it_removes_from_the_console_and_keeps_the_history(
    no_broker: None, tmp_path: Any
) -> None:
    tank = make_store_point("Tank-07", path=str(tmp_path), accepts_inbound=False)
    act("operator", "storepoint.remove", tank, confirm="1")
    assert StorePoint.objects.filter(pk=tank.pk).exists()

    act("administrator", "storepoint.remove", tank, confirm="1")

    assert not StorePoint.objects.filter(pk=tank.pk).exists()
    assert tmp_path.exists()


@pytest.mark.parametrize(
    ("who", "action", "status"),
    [
        ("viewer", "storepoint.check", 403),
        ("viewer", "storepoint.disable_inbound", 403),
        ("operator", "storepoint.remove", 403),
        ("operator", "storepoint.explode", 400),
    ],
)
def test_it_lets_only_those_act_who_may(who: str, action: str, status: int) -> None:
    assert act(who, action, make_store_point(), confirm="1").status_code == status
