"""Settings > Channels: forms, secrets, tests, and the outbound heartbeat."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from alerts.models import Alert
from console import doctor, tasks, vitals
from console.kit import clock, heartbeat, secrets
from console.kit.models import AuditEntry
from notifications import selectors, services
from notifications.models import Channel, Delivery, OutboundHeartbeat
from tests import people
from tests.conftest import Valkey
from tests.factories import make_server, make_store_point
from tests.notifications.factories import (
    later,
    make_alert,
    make_channel,
    make_user,
    set_up_mail,
)
from tests.notifications.mailserver import free_port
from tests.notifications.webserver import DROP, Reply, WebServer

pytestmark = pytest.mark.django_db

CHANNELS = "/settings/channels/"
LOG = "/settings/notifications/deliveries/"
SECRET = "T0P5ECRET"


@pytest.fixture
def ana() -> Client:
    """An administrator's browser."""
    return people.client_of("administrator")


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", response.content.decode())


def form(**fields: Any) -> dict[str, Any]:
    return {"name": "pager", "per_hour": "60", "is_enabled": "on", **fields}


def test_it_adds_a_webhook_and_shows_its_key_once(
    ana: Client, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://{web.address}/{SECRET}"

    added = ana.post(
        f"{CHANNELS}add/webhook/", form(url=url, allows_private="on"), follow=True
    )

    channel = Channel.objects.get()
    secret = secrets.decrypt(channel.sealed_secret)
    assert secret.startswith("spc_")
    assert secret in text(added)
    assert added["Cache-Control"] == "no-store"
    assert SECRET not in text(added)
    assert secrets.decrypt(channel.sealed_url) == url
    assert SECRET not in channel.sealed_url
    tested = ana.post(f"{CHANNELS}{channel.pk}/test/")
    assert "Test sent." in text(tested)
    assert "answered 200 OK: ok" in text(tested)
    assert web.requests[0].json["type"] == "test"
    # Nowhere else, ever.
    pages = [CHANNELS, f"{CHANNELS}{channel.pk}/", LOG, "/settings/audit-log/"]
    for page in pages:
        shown = text(ana.get(page))
        assert SECRET not in shown
        assert secret not in shown
    entries = json.dumps(list(AuditEntry.objects.values("note", "data")))
    assert SECRET not in entries
    assert secret not in entries
    assert SECRET not in caplog.text
    assert list(AuditEntry.objects.order_by("pk").values_list("verb", flat=True)) == [
        "channel.add",
        "channel.test",
    ]


def test_it_adds_a_service_of_apprise(ana: Client, web: WebServer) -> None:
    added = ana.post(
        f"{CHANNELS}add/apprise/",
        form(name="chat", url=f"json://{web.address}/{SECRET}", allows_private="on"),
        follow=True,
    )

    channel = Channel.objects.get()
    assert channel.kind == "apprise"
    assert "Saved." in text(added)
    tested = ana.post(f"{CHANNELS}{channel.pk}/test/")
    assert "JSON took it" in text(tested)
    assert SECRET not in text(tested)


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("webhook", {"url": ""}, "Expected an address."),
        ("webhook", {"url": "hooks.example.org"}, "it has to begin with https://"),
        ("webhook", {"url": "ftp://example.org/"}, "it has to begin with https://"),
        ("webhook", {"url": "https:///path"}, "Expected an address such as"),
        ("webhook", {"url": "https://a b/"}, "without spaces"),
        ("webhook", {"url": "https://e.org/", "name": ""}, "Expected a name"),
        ("webhook", {"url": "https://e.org/", "name": "a\tb"}, "one line"),
        (
            "webhook",
            {"url": "https://e.org/", "per_hour": "0"},
            "greater than or equal",
        ),
        ("webhook", {"url": "https://e.org/", "per_hour": "x"}, "whole number"),
        ("apprise", {"url": "nonsense"}, "no service of Apprise begins so"),
        ("apprise", {"url": "slack://x"}, "none that slack:// understands"),
        ("apprise", {"url": "dbus://"}, "speaks to this machine"),
        ("apprise", {"url": "jsons://example.org/?verify=no"}, "without verify=no"),
        ("apprise", {"url": "json://e.org/\x00"}, "Null characters"),
    ],
)
def test_it_says_what_is_wrong_and_saves_nothing(
    ana: Client, kind: str, fields: dict[str, str], said: str
) -> None:
    answer = ana.post(f"{CHANNELS}add/{kind}/", form(**fields))

    assert answer.status_code == 422
    assert said in text(answer)
    assert not Channel.objects.exists()


def test_it_refuses_a_name_twice_in_whatever_case(ana: Client) -> None:
    make_channel("Pager")

    answer = ana.post(f"{CHANNELS}add/webhook/", form(url="https://example.org/"))

    assert answer.status_code == 422
    assert "Another channel has this name." in text(answer)
    assert Channel.objects.count() == 1


def test_it_knows_no_other_kind(ana: Client) -> None:
    assert ana.get(f"{CHANNELS}add/pigeon/").status_code == 404


def test_it_keeps_address_and_key_that_are_not_typed_again(ana: Client) -> None:
    channel = make_channel(url=f"https://example.org/{SECRET}")
    page = f"{CHANNELS}{channel.pk}/"
    assert SECRET not in text(ana.get(page))

    ana.post(page, form(name="beeper", per_hour="7", url=""))

    changed = Channel.objects.get()
    assert (changed.name, changed.per_hour) == ("beeper", 7)
    assert changed.sealed_url == channel.sealed_url
    assert changed.sealed_secret == channel.sealed_secret
    entry = AuditEntry.objects.get(verb="channel.change")
    assert entry.data["name"] == ["pager", "beeper"]
    assert entry.data["allows_private"] == [True, False]


def test_it_makes_a_new_key(ana: Client) -> None:
    channel = make_channel(url="https://example.org/")

    answer = ana.post(f"{CHANNELS}{channel.pk}/", form(makes_secret="on", url=""))

    secret = secrets.decrypt(Channel.objects.get().sealed_secret)
    assert secret != "spc_secret"
    assert secret in text(answer)
    entry = AuditEntry.objects.get(verb="channel.change")
    assert entry.data["secret"] == "changed"


def test_it_switches_on_what_the_console_has_switched_off(ana: Client) -> None:
    channel = make_channel(
        is_enabled=False,
        disabled_at=clock.now(),
        failing_since=clock.now(),
        last_error="example.org answered 410 Gone",
    )
    listed = text(ana.get(CHANNELS))
    assert "switched off by the console" in listed
    assert "answered 410 Gone" in listed
    assert "was switched off by the console" in text(ana.get("/"))

    ana.post(f"{CHANNELS}{channel.pk}/switch/", {"to": "on"})

    channel.refresh_from_db()
    assert channel.is_enabled
    assert channel.disabled_at is None
    assert AuditEntry.objects.get().verb == "channel.switch_on"
    wrong = ana.post(f"{CHANNELS}{channel.pk}/switch/", {"to": "sideways"})
    assert wrong.status_code == 400


def test_it_says_when_what_was_mended_is_still_off(ana: Client, web: WebServer) -> None:
    channel = make_channel(is_enabled=False, disabled_at=clock.now())
    sent = form(url=f"http://{web.address}/new", is_enabled="")

    answer = ana.post(f"{CHANNELS}{channel.pk}/", sent, follow=True)

    assert "pager is off: nothing is sent by it." in text(answer)


def test_it_asks_before_it_removes(ana: Client) -> None:
    channel = make_channel()
    make_alert("Tank-07", at=later(-5))
    services.route_events(now=clock.now())

    asked = ana.get(f"{CHANNELS}{channel.pk}/remove/")
    assert "1 message that was not sent will not be sent" in text(asked)
    assert Channel.objects.exists()
    ana.post(f"{CHANNELS}{channel.pk}/remove/")

    assert not Channel.objects.exists()
    assert not Delivery.objects.exists()
    entry = AuditEntry.objects.get(verb="channel.remove")
    assert entry.data["not_sent"] == 1
    again = ana.post(f"{CHANNELS}{channel.pk}/remove/", follow=True)
    assert "no longer there" in text(again)


def test_it_shows_the_channel_in_the_log_and_filters_by_it(
    ana: Client, web: WebServer
) -> None:
    set_up_mail(free_port())
    make_user("ben")
    make_channel("pager", f"http://{web.address}/")
    make_channel("other", f"http://{web.address}/")
    make_alert("Tank-07", at=later(-5))
    services.route_events(now=clock.now())

    page = text(ana.get(LOG))
    assert ">pager</a>" in page
    pager = Channel.objects.get(name="pager")
    only = text(ana.get(LOG, {"channel": pager.pk}))
    assert only.count("<tr data-id") == 1
    mail = text(ana.get(LOG, {"channel": "mail"}))
    assert "ben@example.org" in mail
    assert 'data-recipient="pager"' not in mail
    found = text(ana.get(LOG, {"recipient": "page"}))
    assert found.count("<tr data-id") == 1
    assert ana.get(LOG, {"channel": "x"}).status_code == 400
    viewer = people.client_of("viewer")
    assert ">pager<" not in text(viewer.get(LOG))
    assert "p…@…" not in text(viewer.get(LOG))
    assert viewer.get(LOG, {"channel": pager.pk}).status_code == 403


def test_it_says_on_the_alert_by_what_it_was_told(ana: Client) -> None:
    make_channel("pager")
    alert = make_alert("Tank-07", at=later(-5))
    services.route_events(now=clock.now())

    page = text(ana.get(alert.get_absolute_url()))

    assert "; by pager" in page
    assert "pager: pending" in page


def test_it_lists_any_number_of_channels_with_as_many_queries(ana: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert ana.get(CHANNELS).status_code == 200
        return len(queries)

    ana.get(CHANNELS)
    make_channel("one")
    make_channel("two")
    few = count()
    for number in range(40):
        make_channel(f"more {number}")

    assert count() == few


@pytest.mark.parametrize(("is_set_up", "most"), [(True, 4), (False, 2)])
def test_it_asks_little_on_every_page_while_all_is_well(
    is_set_up: bool, most: int
) -> None:
    if is_set_up:
        set_up_mail(free_port())
        make_channel("one")

    with CaptureQueriesContext(connection) as queries:
        problem = selectors.delivery_problem(clock.now())

    assert problem is None
    assert len(queries) == most


def test_it_serves_the_schema(ana: Client) -> None:
    answer = ana.get(f"{CHANNELS}webhook.schema.json")

    assert answer["Content-Type"] == "application/schema+json"
    assert answer.json()["title"] == "Store Point Console webhook"


# --- the outbound heartbeat ----------------------------------------------------------


@pytest.fixture
def beating(web: WebServer, ana: Client) -> OutboundHeartbeat:
    """A heartbeat that calls the fake, saved by the page."""
    answer = ana.post(
        f"{CHANNELS}heartbeat/",
        {
            "heartbeat-is_enabled": "on",
            "heartbeat-url": f"http://{web.address}/ping/{SECRET}?a=b",
            "heartbeat-every_seconds": "60",
            "heartbeat-allows_private": "on",
            "heartbeat-says_failure": "on",
        },
        follow=True,
    )
    assert "Saved." in text(answer)
    assert SECRET not in text(answer)
    return OutboundHeartbeat.objects.get()


def call(troubles: list[str], seconds: float) -> None:
    with clock.travel(later(seconds)):
        services.call_out(troubles, now=clock.now())


def paths(web: WebServer) -> list[str]:
    return [f"{each.method} {each.path}" for each in web.requests]


def test_it_calls_while_all_is_well(
    web: WebServer, beating: OutboundHeartbeat, ana: Client
) -> None:
    for seconds in range(0, 130, 10):
        call([], seconds)

    assert paths(web) == [f"GET /ping/{SECRET}?a=b"] * 3
    page = text(ana.get(CHANNELS))
    assert "all is well" in page
    assert "answered 200 OK: ok" in page
    assert SECRET not in page


def test_it_says_a_failure_once_and_then_nothing_until_it_is_well(
    web: WebServer, beating: OutboundHeartbeat, ana: Client
) -> None:
    call([], 0)

    # At once, though the last call was only a moment ago.
    call(["checks are not running"], 5)
    assert paths(web)[1:] == [f"GET /ping/{SECRET}/fail?a=b"]
    for seconds in range(70, 600, 10):
        call(["checks are not running"], seconds)
    page = text(ana.get(CHANNELS))
    call([], 610)

    ping = f"GET /ping/{SECRET}?a=b"
    assert paths(web) == [ping, f"GET /ping/{SECRET}/fail?a=b", ping]
    assert "not called for" in page
    assert "checks are not running" in page
    beating.refresh_from_db()
    assert beating.unhealthy_since is None


def test_it_calls_nothing_when_failures_are_not_to_be_said(
    web: WebServer, beating: OutboundHeartbeat
) -> None:
    OutboundHeartbeat.objects.update(says_failure=False)

    for seconds in range(0, 600, 10):
        call(["the broker does not answer"], seconds)

    assert not web.requests


def test_it_says_a_failure_until_somebody_takes_it(
    web: WebServer, beating: OutboundHeartbeat
) -> None:
    web.on_request = lambda _: 500
    for seconds in range(0, 130, 10):
        call(["checks are not running"], seconds)
    web.on_request = lambda _: 200
    for seconds in range(130, 600, 10):
        call(["checks are not running"], seconds)

    assert paths(web) == [f"GET /ping/{SECRET}/fail?a=b"] * 4


@pytest.mark.parametrize("answer", [DROP, 500, Reply(404, body=SECRET.encode())])
def test_it_shows_why_a_call_was_not_taken(
    web: WebServer, beating: OutboundHeartbeat, ana: Client, answer: Any
) -> None:
    web.on_request = lambda _: answer

    call([], 0)

    beating.refresh_from_db()
    assert beating.last_failure_at is not None
    assert beating.last_success_at is None
    assert beating.last_answer in text(ana.get(CHANNELS)).replace("&#x27;", "'")
    assert SECRET not in beating.last_answer


def test_it_calls_by_hand(
    web: WebServer, beating: OutboundHeartbeat, ana: Client
) -> None:
    answer = ana.post(f"{CHANNELS}heartbeat/test/")

    assert "The address was called." in text(answer)
    assert len(web.requests) == 1
    assert AuditEntry.objects.filter(verb="heartbeat.test").count() == 1
    data = json.dumps(list(AuditEntry.objects.values_list("data", flat=True)))
    assert SECRET not in data


def test_it_wants_an_address_to_call(ana: Client) -> None:
    answer = ana.post(
        f"{CHANNELS}heartbeat/",
        {"heartbeat-is_enabled": "on", "heartbeat-every_seconds": "60"},
    )

    assert answer.status_code == 422
    assert "Expected an address to call." in text(answer)
    assert not OutboundHeartbeat.objects.exists()


@pytest.fixture
def well(valkey: Valkey, settings: Any) -> None:
    """A console whose checks run and whose broker answers."""
    settings.BROKER_URL = valkey.url
    heartbeat.beat("tick", clock.now())


@pytest.mark.usefixtures("well")
def test_it_finds_what_is_wrong_with_the_console(web: WebServer) -> None:
    assert vitals.troubles(clock.now()) == []
    assert vitals.troubles(later(600)) == ["checks are not running"]
    server = make_server("stor-1")
    make_store_point("Tank-07", server=server)
    assert vitals.troubles(clock.now()) == []
    server.offline_since = clock.now()
    server.save()
    assert vitals.troubles(clock.now()) == ["no server reports"]
    make_channel(is_enabled=False, disabled_at=clock.now())
    assert vitals.troubles(clock.now()) == [
        "no server reports",
        "a channel was switched off by the console",
    ]


@pytest.mark.usefixtures("well")
def test_it_notices_a_queue_that_nobody_works_off() -> None:
    tasks.sweep_out.apply_async()

    assert vitals.troubles(clock.now()) == []
    heartbeat.beat("tick", later(100))
    assert vitals.troubles(later(100)) == [
        "what is in the queue console has waited for 1 min"
    ]


@pytest.mark.usefixtures("well")
def test_it_calls_from_the_worker(web: WebServer, beating: OutboundHeartbeat) -> None:
    tasks.call_out()
    tasks.call_out()

    assert len(web.requests) == 1


def test_it_tells_in_its_guide_which_channel_fails(ana: Client) -> None:
    make_channel(
        "pager",
        is_enabled=False,
        disabled_at=clock.now() - timedelta(minutes=5),
        last_error="example.org answered 410 Gone",
        last_cure="Type a new address.",
    )
    services.reconcile_delivery(now=clock.now())
    alert = Alert.objects.get()

    page = text(ana.get(alert.get_absolute_url()))

    assert "Channel pager was switched off by the console" in page
    assert "/settings/channels/" in page
    viewer = text(people.client_of("viewer").get(alert.get_absolute_url()))
    assert "answered 410" not in viewer


def test_it_is_written_down_what_the_schema_file_is() -> None:
    docs = (Path(__file__).parents[2] / "docs/channels.md").read_text()
    named = re.findall(r"\]\((\.\./notifications/[^)]+)\)", docs)

    assert named
    assert all((Path(__file__).parents[2] / "docs" / each).is_file() for each in named)


@pytest.mark.usefixtures("well")
def test_it_tells_the_doctor_of_a_channel_that_fails() -> None:
    make_channel("fine")
    make_channel("pager", is_enabled=False, disabled_at=clock.now(), last_cure="Mend.")

    found = [each for each in doctor.examine(clock.now()) if each.check == "channels"]

    assert [each.found for each in found] == [
        "Channel pager was switched off by the console"
    ]
