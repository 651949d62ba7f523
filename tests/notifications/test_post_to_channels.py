"""Every channel keeps one contract, each against a real server that misbehaves."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.db import OperationalError

from alerts.models import Alert, AlertEvent
from console.kit import clock
from notifications import selectors, services
from notifications.models import Channel, Delivery
from notifications.transports import webhook
from notifications.transports.webhook import sign
from tests.notifications import mailserver, webserver
from tests.notifications.factories import (
    clear,
    later,
    make_alert,
    make_channel,
    make_user,
    set_up_mail,
)
from tests.notifications.mailserver import MailServer, free_port, text_of
from tests.notifications.test_race_senders import Console
from tests.notifications.webserver import Reply, Request, WebServer

pytestmark = pytest.mark.django_db

OFFLINE = "store-point-offline"

#: A name that would be a header, a page and a payload of its own.
HOSTILE = (
    "Tank\r\nBcc: victim@example.org\r\n\r\n<script>alert(1)</script> "
    '"}],"alerts":[] \u202e\u2028\x00 🔥👩‍👩‍👧 '.replace("\x00", "")
    + "x" * 10_000
)


# --- one face for the fakes of all channels ------------------------------------------


@dataclass(frozen=True)
class Got:
    """What a fake was sent: the id of the message, and its text."""

    id: str
    text: str


class Fake:
    """A server behind a channel: what it shall do, and what it got."""

    lane: str

    def behave(self, how: str) -> None:
        raise NotImplementedError

    @property
    def got(self) -> list[Got]:
        raise NotImplementedError


class FakeMail(Fake):
    """aiosmtpd."""

    lane = "ana@example.org"
    _ANSWERS = {
        "accept": "250 OK",
        "temporary": "450 4.2.1 later",
        "permanent": "550 5.1.1 no such user",
        "hang": mailserver.HANG,
        "drop": mailserver.DROP,
    }

    def __init__(self) -> None:
        self.server = MailServer()
        self.server.keeps_what_it_drops = True
        self.server.start()
        set_up_mail(self.server.port)
        make_user("ana")

    def behave(self, how: str) -> None:
        answer = self._ANSWERS[how]
        if how in {"temporary", "permanent"}:
            self.server.on_recipient = lambda _: answer
        else:
            self.server.on_recipient = lambda _: "250 OK"
            self.server.on_data = lambda _: answer

    @property
    def got(self) -> list[Got]:
        return [
            Got(str(mail["Message-ID"]), text_of(mail)) for mail in self.server.mails
        ]


class FakeWeb(Fake):
    """http.server, behind a channel of a kind."""

    _STATUSES = {
        "accept": 204,
        "temporary": 503,
        "permanent": 422,
        "hang": webserver.HANG,
        "drop": webserver.DROP,
    }

    def __init__(self, kind: str) -> None:
        self.server = WebServer()
        self.server.start()
        scheme = "http" if kind == "webhook" else "json"
        self.kind = kind
        self.channel = make_channel(
            "pager", f"{scheme}://{self.server.address}/hook", kind=kind
        )
        self.lane = self.channel.lane

    def behave(self, how: str) -> None:
        status = self._STATUSES[how]
        self.server.on_request = lambda _: status

    @property
    def got(self) -> list[Got]:
        if self.kind == "webhook":
            return [
                Got(
                    each.headers["X-Console-Delivery"],
                    json.dumps(each.json, ensure_ascii=False),
                )
                for each in self.server.requests
            ]
        return [
            Got(
                each.json["message"].rsplit("Message ")[-1],
                f"{each.json['title']}\n{each.json['message']}",
            )
            for each in self.server.requests
        ]


KINDS = ("mail", "webhook", "apprise")


@pytest.fixture(params=KINDS)
def fake(request: pytest.FixtureRequest, db: None) -> Iterator[Fake]:
    made = FakeMail() if request.param == "mail" else FakeWeb(request.param)
    yield made
    made.server.stop()


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait 2 s for a server that hangs; the console waits 10 and 20."""
    monkeypatch.setattr("notifications.transports.http.READ_SECONDS", 1)
    monkeypatch.setattr("notifications.transports.apprise.DEADLINE_SECONDS", 2)


def state_of(lane: str) -> Delivery:
    return Delivery.objects.get(recipient=lane)


def sweep(seconds: float = 0) -> Any:
    with clock.travel(later(seconds)):
        return services.sweep(now=clock.now())


# --- the contract --------------------------------------------------------------------


@pytest.mark.postgres
def test_it_sends_what_is_accepted(fake: Fake) -> None:
    fake.behave("accept")
    make_alert("Tank-07", at=later(-5))

    sent = sweep()

    assert sent.mails == 1
    assert state_of(fake.lane).state == "sent"
    assert len(fake.got) == 1
    assert "Store point is unavailable: Tank-07" in fake.got[0].text
    assert sweep(300).mails == 0


@pytest.mark.postgres
def test_it_tries_again_what_is_refused_for_now(fake: Fake) -> None:
    fake.behave("temporary")
    make_alert("Tank-07", at=later(-5))

    sent = sweep()

    row = state_of(fake.lane)
    assert sent.put_off == 1
    assert row.state == "retry"
    assert timedelta(seconds=25) < row.due_at - clock.now() < timedelta(seconds=45)
    assert sweep(15) == services.Sent()
    fake.behave("accept")
    assert sweep(60).mails == 1
    assert state_of(fake.lane).state == "sent"


@pytest.mark.postgres
def test_it_gives_up_what_is_refused_for_good(fake: Fake) -> None:
    fake.behave("permanent")
    make_alert("Tank-07", at=later(-5))

    sent = sweep()

    row = state_of(fake.lane)
    assert sent.refused == 1
    assert row.state == "failed"
    assert row.error
    assert sweep(86_000) == services.Sent()
    problem = selectors.delivery_problem(clock.now())
    assert problem is not None
    assert problem.error == row.error


@pytest.mark.usefixtures("_short")
def test_it_waits_for_a_server_that_hangs_and_delays_nobody(fake: Fake) -> None:
    fake.behave("hang")
    quick = WebServer()
    quick.start()
    arrived: list[float] = []
    start = time.monotonic()

    def note(_: Request) -> int:
        arrived.append(time.monotonic() - start)
        return 200

    quick.on_request = note
    other = make_channel("quick", f"http://{quick.address}/hook")
    make_alert("Tank-07", at=later(-5))

    sent = sweep()

    took = time.monotonic() - start
    quick.stop()
    row = state_of(fake.lane)
    assert (sent.mails, sent.put_off) == (1, 1)
    assert row.state == "retry"
    assert took < 10
    assert state_of(other.lane).state == "sent"
    assert arrived[0] < 0.8


@pytest.mark.usefixtures("_short")
def test_it_claims_nothing_that_would_wait_for_a_thread(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifications.services.crew.MOST", 1)
    slow = make_channel("slow", f"http://{web.address}/slow")
    other = make_channel("other", f"http://{web.address}/other")
    web.on_request = lambda asked: webserver.HANG if asked.path == "/slow" else 200
    make_alert("Tank-07", at=later(-5))
    services.route_events(now=clock.now())

    services.send_due(now=clock.now())
    before = state_of(other.lane)
    services.send_due(now=clock.now())

    assert state_of(slow.lane).state == "retry"
    assert (before.state, before.attempts) == ("pending", 0)
    assert state_of(other.lane).state == "sent"


def test_it_writes_down_what_is_on_its_way_when_looking_again_fails(
    web: WebServer, hook: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_: Request) -> int:
        time.sleep(2.5)
        return 200

    looks = iter([selectors.due_channels])

    def look(now: Any) -> list[Channel]:
        real = next(looks, None)
        if real is None:
            raise OperationalError("database is locked")
        return real(now)

    web.on_request = answer
    monkeypatch.setattr(selectors, "due_channels", look)
    make_alert("Tank-07", at=later(-5))
    services.route_events(now=clock.now())

    with pytest.raises(OperationalError):
        services.send_due(now=clock.now())

    assert state_of(hook.lane).state == "sent"


@pytest.mark.usefixtures("_short")
def test_it_looks_again_for_what_becomes_due_while_a_server_hangs(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = make_channel("slow", f"http://{web.address}/slow")
    web.on_request = lambda asked: webserver.HANG if asked.path == "/slow" else 200
    monkeypatch.setattr("notifications.transports.http.READ_SECONDS", 3)
    web.hang_seconds = 5
    looks: list[float] = []
    due_recipients = selectors.due_recipients

    def look(now: Any) -> list[str]:
        looks.append(time.monotonic())
        return due_recipients(now)

    monkeypatch.setattr(selectors, "due_recipients", look)
    # Due, but within the distance of the previous mail: there is nothing to claim.
    set_up_mail(free_port(), group_seconds=3600)
    make_user("ana")
    alert = make_alert("Tank-07", at=later(-5))
    services.route_events(now=clock.now())
    Delivery.objects.filter(channel__isnull=True).update(attempted_at=clock.now())
    other = make_channel("quick", f"http://{web.address}/quick")
    Delivery.objects.create(
        event=alert.events.get(),
        channel=other,
        recipient=other.lane,
        recipient_name=other.name,
        created_at=clock.now(),
        due_at=later(1),
        give_up_at=later(3600),
    )

    services.send_due(now=clock.now())

    assert state_of(hanging.lane).state == "retry"
    assert state_of(other.lane).state == "sent"
    # Every second for three, and not all the time.
    assert 2 <= len(looks) <= 6


@pytest.mark.usefixtures("_short")
def test_it_sends_what_breaks_again_under_the_same_id(fake: Fake) -> None:
    fake.behave("drop")
    make_alert("Tank-07", at=later(-5))
    sweep()
    make_alert("Tank-08", at=later(55))
    fake.behave("accept")

    sweep(60)

    assert state_of_first(fake.lane).state == "sent"
    first, again = fake.got[:2]
    assert first.id == again.id
    assert "Tank-08" not in again.text.partition("Also down")[0]


def state_of_first(lane: str) -> Delivery:
    row = Delivery.objects.filter(recipient=lane).order_by("pk").first()
    assert row is not None
    return row


def test_it_lets_no_name_break_out_of_its_place(fake: Fake) -> None:
    fake.behave("accept")
    make_alert(HOSTILE, text=f"Store point is unavailable: {HOSTILE}", at=later(-5))

    sent = sweep()

    assert sent.mails == 1
    text = fake.got[0].text
    assert "Tank Bcc: victim@example.org" in text
    assert "🔥👩‍👩‍👧" in text
    assert "\nBcc" not in text
    assert "\u202e" not in text
    assert len(text) < 8_000


@pytest.mark.postgres
def test_it_sends_again_by_hand(fake: Fake) -> None:
    fake.behave("permanent")
    make_alert("Tank-07", at=later(-5))
    sweep()
    fake.behave("accept")
    row = state_of(fake.lane)

    done = services.send_again([row.pk], actor=make_user("ben"), now=clock.now())
    sent = sweep(60)

    assert done.done == 1
    assert sent.mails == 1
    assert state_of(fake.lane).state == "sent"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("_round", range(2))
def test_it_sends_again_after_it_was_killed_before_it_could_say_so(
    kind: str, _round: int, tmp_path: Path
) -> None:
    console = Console(tmp_path)
    server: Any = MailServer() if kind == "mail" else WebServer()
    server.start()
    assert console.run("channel", f"{kind}:{server.port}") == 0
    assert console.run("raise", "1") == 0

    assert console.run("die") == -9
    assert console.run("later", "40") == 0

    server.stop()
    if kind == "mail":
        ids = [str(mail["Message-ID"]) for mail in server.mails]
    elif kind == "webhook":
        ids = [each.headers["X-Console-Delivery"] for each in server.requests]
    else:
        ids = [each.json["message"].rsplit("Message ")[-1] for each in server.requests]
    assert len(ids) == 2
    assert ids[0] == ids[1]


# --- webhooks ------------------------------------------------------------------------


@pytest.fixture
def hook(web: WebServer, db: None) -> Channel:
    return make_channel("pager", f"http://{web.address}/hook/s3cret-path")


def test_it_signs_what_it_posts_and_keeps_to_its_schema(
    web: WebServer, hook: Channel
) -> None:
    alert = make_alert("Tank-07", at=later(-5))
    clear(make_alert(HOSTILE, at=later(-5)), at=later(-4))

    sweep()

    asked = web.requests[0]
    headers = asked.headers
    timestamp = headers["X-Console-Timestamp"]
    expected = hmac.new(
        b"spc_secret", timestamp.encode() + b"." + asked.body, hashlib.sha256
    ).hexdigest()
    assert headers["X-Console-Signature"] == f"v1={expected}"
    assert abs(int(timestamp) - clock.now().timestamp()) < 10
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    body = asked.json
    validator = jsonschema.Draft202012Validator(
        json.loads(webhook.SCHEMA.read_text()),
        format_checker=jsonschema.FormatChecker(),
    )
    assert list(validator.iter_errors(body)) == []
    assert body["id"] == headers["X-Console-Delivery"]
    told = {each["id"]: each for each in body["alerts"]}
    assert told[alert.pk]["status"] == "open"
    assert [each["type"] for each in told[alert.pk]["events"]] == ["raised"]
    assert {each["status"] for each in body["alerts"]} == {"open", "cleared"}


def test_it_signs_as_the_documentation_says() -> None:
    text = (Path(__file__).parents[2] / "docs/channels.md").read_text()

    signature = sign("spc_example", "1764259200", b'{"version":1}')

    assert signature in text


@pytest.mark.postgres
@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_it_switches_off_a_channel_that_is_closed(
    web: WebServer, hook: Channel, server: MailServer, status: int
) -> None:
    set_up_mail(server.port)
    make_user("ana")
    other = make_channel("other", f"http://{web.address}/other")
    web.on_request = lambda asked: status if "s3cret" in asked.path else 200
    make_alert("Tank-07", at=later(-5))

    sweep()
    services.reconcile_delivery(now=clock.now())
    sweep(60)

    hook.refresh_from_db()
    assert not hook.is_enabled
    assert hook.disabled_at is not None
    assert f"answered {status}" in hook.last_error
    kept = Delivery.objects.filter(channel=hook, event__alert__kind=OFFLINE)
    assert [row.state for row in kept] == ["retry"]
    alert = Alert.objects.get(kind="notification-delivery-failing")
    assert alert.subject == f"console:channel:{hook.pk}"
    assert alert.text == (
        "Notification delivery is failing: channel pager was switched off by the console"
    )
    told = Delivery.objects.filter(event__alert=alert, state="sent")
    assert {row.recipient for row in told} == {"ana@example.org", other.lane}
    assert "Notification delivery is failing" in server.subjects[-1]


def test_it_sends_what_closed_a_channel_when_that_is_mended(
    web: WebServer, hook: Channel
) -> None:
    web.on_request = lambda _: 404
    make_alert("Tank-07", at=later(-5))
    sweep()
    web.on_request = lambda _: 200
    hook.refresh_from_db()
    assert not hook.is_enabled

    services.switch_channel(
        hook.pk, is_enabled=True, actor=make_user("ana"), now=later(86_401 * 2)
    )
    sweep(86_401 * 2 + 1)

    assert state_of(hook.lane).state == "sent"
    assert "Tank-07" in web.requests[-1].json["subject"]


def test_it_tells_by_the_channels_that_mail_fails(
    web: WebServer, hook: Channel
) -> None:
    set_up_mail(free_port())
    make_user("ana")
    make_alert("Tank-07", at=later(-5))
    sweep()
    with clock.travel(later(130)):
        services.reconcile_delivery(now=clock.now())

    sweep(135)

    alert = Alert.objects.get(kind="notification-delivery-failing")
    assert alert.subject == "console"
    rows = Delivery.objects.filter(event__alert=alert)
    assert [(row.recipient, row.state) for row in rows] == [(hook.lane, "sent")]
    assert alert.events.get().routing == "not mailed: mail is what fails; by pager"
    assert "Notification delivery is failing" in web.requests[-1].json["subject"]


def test_it_clears_the_alert_when_the_channel_is_switched_on_and_works(
    web: WebServer, hook: Channel
) -> None:
    ana = make_user("ana")
    web.on_request = lambda _: 410
    make_alert("Tank-07", at=later(-5))
    sweep()
    services.reconcile_delivery(now=clock.now())

    services.switch_channel(hook.pk, is_enabled=True, actor=ana, now=clock.now())
    services.reconcile_delivery(now=clock.now())

    alert = Alert.objects.get(kind="notification-delivery-failing")
    assert alert.cleared_at is not None


@pytest.mark.parametrize("is_a_date", [False, True])
def test_it_leaves_a_server_alone_for_as_long_as_it_asks(
    web: WebServer, hook: Channel, *, is_a_date: bool
) -> None:
    asks = format_datetime(later(600), usegmt=True) if is_a_date else "600"
    web.on_request = lambda _: Reply(429, {"Retry-After": asks})
    make_alert("Tank-07", at=later(-5))

    sweep()

    row = state_of(hook.lane)
    assert row.state == "retry"
    wait = row.due_at - clock.now()
    assert timedelta(seconds=590) < wait < timedelta(seconds=670)
    # What happens meanwhile waits too.
    make_alert("Tank-08", at=later(60))
    sweep(90)
    assert len(web.requests) == 1


def test_it_switches_off_a_channel_whose_secret_cannot_be_read(
    web: WebServer, hook: Channel
) -> None:
    Channel.objects.update(sealed_url="gAAAAABnonsense")
    make_alert("Tank-07", at=later(-5))

    sweep()

    hook.refresh_from_db()
    assert not hook.is_enabled
    assert "another secret key" in hook.last_error
    assert not web.requests


def test_it_keeps_what_waits_for_a_channel_that_is_off(
    web: WebServer, hook: Channel
) -> None:
    web.on_request = lambda _: 503
    make_alert("Tank-07", at=later(-5))
    sweep()
    ana = make_user("ana")
    services.switch_channel(hook.pk, is_enabled=False, actor=ana, now=clock.now())
    sweep(2 * 86_400)
    assert state_of(hook.lane).state == "retry"

    web.on_request = lambda _: 200
    with clock.travel(later(2 * 86_400)):
        services.switch_channel(hook.pk, is_enabled=True, actor=ana, now=clock.now())
        services.sweep(now=clock.now())

    assert state_of(hook.lane).state == "sent"


def test_it_gives_up_after_a_day_and_says_so(web: WebServer, hook: Channel) -> None:
    web.on_request = lambda _: 503
    make_alert("Tank-07", at=later(-5))
    sweep()

    sweep(86_401)

    row = state_of(hook.lane)
    assert row.state == "failed"
    assert row.error.startswith("Given up after 24 h: ")
    with clock.travel(later(86_401)):
        assert selectors.delivery_problem(clock.now()) is not None


def test_it_masks_the_secret_in_what_the_server_says(
    web: WebServer, hook: Channel
) -> None:
    web.on_request = lambda asked: Reply(
        400, body=f"no {asked.path}, spc_secret".encode()
    )
    make_alert("Tank-07", at=later(-5))

    sweep()

    row = state_of(hook.lane)
    assert "answered 400" in row.error
    assert "s3cret" not in row.error
    assert "spc_secret" not in row.error


# --- the budget ----------------------------------------------------------------------


@pytest.mark.postgres
def test_it_folds_a_storm_into_its_budget_and_loses_nothing(
    web: WebServer, hook: Channel
) -> None:
    Channel.objects.update(per_hour=6)
    start = later(0)
    for minute in range(120):
        with clock.travel(start + timedelta(minutes=minute)):
            make_alert(f"Tank-{minute:03}", at=clock.now() - timedelta(seconds=5))
            services.sweep(now=clock.now())
    with clock.travel(start + timedelta(hours=3)):
        services.sweep(now=clock.now())

    times = sorted(int(each.headers["X-Console-Timestamp"]) for each in web.requests)
    for first in times:
        assert sum(first <= each < first + 3600 for each in times) <= 6
    told = [alert["object"] for each in web.requests for alert in each.json["alerts"]]
    assert sorted(told) == [f"Tank-{minute:03}" for minute in range(120)]
    assert not Delivery.objects.exclude(state="sent").exists()


def test_it_makes_few_messages_of_10_000_alerts(web: WebServer, hook: Channel) -> None:
    at = later(-5)
    alerts = Alert.objects.bulk_create(
        Alert(
            kind="store-point-offline",
            subject=f"store-point:{number}",
            severity=1,
            text=f"Store point is unavailable: Tank-{number}",
            object_name=f"Tank-{number}",
            reported_by="stor-1",
            raised_at=at,
            last_seen_at=at,
        )
        for number in range(10_000)
    )
    AlertEvent.objects.bulk_create(
        AlertEvent(alert=alert, at=at, kind="raised", text=alert.text)
        for alert in alerts
    )
    start = time.monotonic()

    sweep()

    took = time.monotonic() - start
    assert len(web.requests) == 1
    body = web.requests[0].json
    assert (len(body["alerts"]), body["more"]) == (50, 9_950)
    assert took < 60


# --- Apprise -------------------------------------------------------------------------


def make_apprise(
    web: WebServer, rest: str = "/hook/s3cret-path", **fields: Any
) -> Channel:
    return make_channel("chat", f"json://{web.address}{rest}", kind="apprise", **fields)


def test_it_shows_what_a_service_answers_without_its_secret(
    web: WebServer, db: None
) -> None:
    channel = make_apprise(web)
    web.on_request = lambda asked: Reply(404, body=f"no {asked.path}".encode())

    tested = services.send_channel_test(
        channel.pk, actor=make_user("ana"), now=clock.now()
    )

    assert tested is not None
    assert not tested.is_sent
    assert "404" in tested.words
    assert "s3cret" not in tested.words


def test_it_lets_apprise_reach_no_private_address(web: WebServer, db: None) -> None:
    channel = make_apprise(web, allows_private=False)

    tested = services.send_channel_test(
        channel.pk, actor=make_user("ana"), now=clock.now()
    )

    assert tested is not None
    assert "is this machine itself, and is not connected to" in tested.words
    assert not web.requests


def test_it_lets_no_redirect_take_apprise_to_a_metadata_service(
    web: WebServer, db: None
) -> None:
    channel = make_apprise(web)
    web.on_request = lambda _: Reply(
        307, {"Location": "http://169.254.169.254/latest/"}
    )

    tested = services.send_channel_test(
        channel.pk, actor=make_user("ana"), now=clock.now()
    )

    assert tested is not None
    assert "metadata service" in tested.words


def test_it_leaves_a_service_alone_for_as_long_as_it_asks(
    web: WebServer, db: None
) -> None:
    channel = make_apprise(web)
    web.on_request = lambda _: Reply(429, {"Retry-After": "1200"})
    make_alert("Tank-07", at=later(-5))

    sweep()

    wait = state_of(channel.lane).due_at - clock.now()
    assert timedelta(seconds=1190) < wait < timedelta(seconds=1330)


@pytest.mark.parametrize(
    "address",
    [
        "dbus://",
        "gnome://",
        "kde://",
        "macosx://",
        "windows://",
        "syslog://",
        "rsyslog://127.0.0.1",
    ],
)
def test_it_refuses_services_that_are_this_machine(address: str) -> None:
    from notifications.transports import apprise

    with pytest.raises(apprise.WrongAddress, match="speaks to this machine"):
        apprise.check(address)


def test_it_gives_apprise_none_of_its_own_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from notifications.transports import apprise

    monkeypatch.setenv("CONSOLE_SECRET_KEY", "s3cret")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")

    environment = apprise._environment()

    assert "s3cret" not in environment.values()
    assert "HTTPS_PROXY" not in environment


def test_it_lets_apprise_start_and_write_nothing(tmp_path: Path) -> None:
    script = f"""
import subprocess, sys
from notifications.transports import apprise_child as child
answer = child._Answer()
sys.addaudithook(child._Guard(answer, allows_private=True))
for attempt in (
    lambda: subprocess.run(["true"]),
    lambda: open({str(tmp_path / "file")!r}, "w"),
    lambda: __import__("os").system("true"),
    lambda: __import__("os").open({str(tmp_path / "file")!r}, 65),
):
    try:
        attempt()
    except PermissionError as error:
        print("no:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.count("no:") == 4
    assert not list(tmp_path.iterdir())


def test_it_lets_no_name_call_people_in_a_chat(web: WebServer, db: None) -> None:
    make_apprise(web)
    make_alert("@everyone <!channel> <@U12345>", at=later(-5))

    sweep()

    sent = web.requests[0].json
    for call in ("@everyone", "!channel", "@U12345"):
        assert call not in sent["title"]
        assert call not in sent["message"]
    assert "@\u200beveryone" in sent["message"]


def test_it_lets_apprise_send_no_file_of_this_machine(
    web: WebServer, tmp_path: Path, db: None
) -> None:
    template = tmp_path / "card.json"
    template.write_text(
        json.dumps(
            {
                "type": "message",
                "attachments": [{"contentType": "text", "content": "s3cret"}],
            }
        )
    )
    channel = make_channel(
        "teams",
        f"workflow://{web.address}/workflow/signature?template={template}",
        kind="apprise",
    )
    user = make_user("ana")

    tested = services.send_channel_test(channel.pk, actor=user, now=clock.now())

    assert tested is not None
    assert "could not be read" in tested.words


def test_it_leaves_no_process_of_apprise_behind_when_it_is_killed(
    web: WebServer,
) -> None:
    web.hang_seconds = 8
    web.on_request = lambda _: webserver.HANG
    script = """
import notifications.transports.apprise_child as child
child.LONGEST_SECONDS = 2
child.main()
"""
    order = {
        "do": "send",
        "url": f"json://{web.address}/?rto=60",
        "title": "t",
        "body": "b",
        "type": "info",
        "allows_private": True,
    }

    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(order).encode(),
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=30,
    )

    assert done.returncode == -signal.SIGALRM


def test_it_logs_no_address_of_a_channel(web: WebServer, hook: Channel) -> None:
    # urllib3 would, at whatever level it is asked to say more.
    assert logging.getLogger("urllib3.connectionpool").getEffectiveLevel() == (
        logging.CRITICAL
    )
    assert not logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.WARNING)
