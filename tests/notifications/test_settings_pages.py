"""Settings > Notifications, Settings > Email and the delivery log, by role."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.policy import default as policy
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.db import connection
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.exceptions import OperationalError

from alerts.catalogue import KINDS
from alerts.models import NotificationSetting
from alerts.signals import events_written
from console.accounts.roles import Role
from console.kit import clock, secrets
from console.kit.models import AuditEntry
from notifications import mail, services, tasks
from notifications.models import Delivery, EmailSettings, Recipient
from tests.notifications.factories import (
    make_alert,
    make_recipient,
    make_user,
    set_up_mail,
)
from tests.notifications.mailserver import MailServer, free_port

pytestmark = pytest.mark.django_db

SETTINGS = "/settings/notifications/"
EMAIL = "/settings/email/"
LOG = "/settings/notifications/deliveries/"


@pytest.fixture
def ana() -> Client:
    """An administrator's browser."""
    return signed_in("ana", Role.ADMINISTRATOR)


def signed_in(name: str, role: Role) -> Client:
    client = Client()
    client.force_login(
        make_user(name, role),
        backend="allauth.account.auth_backends.AuthenticationBackend",
    )
    return client


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", response.content.decode())


def switches(**off: bool) -> dict[str, Any]:
    """Return the POST of the page with everything on, except what is named."""
    data: dict[str, Any] = {"kinds": list(KINDS)}
    for slug in KINDS:
        for prefix in ("show", "mail"):
            name = f"{prefix}-{slug}"
            if not off.get(name.replace("-", "_")):
                data[name] = "on"
    return data


# --- who may --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "method", "viewer", "operator"),
    [
        (SETTINGS, "get", 200, 200),
        (LOG, "get", 200, 200),
        (EMAIL, "get", 403, 403),
        (f"{SETTINGS}save/", "post", 403, 403),
        (f"{SETTINGS}reset/", "get", 403, 403),
        (f"{SETTINGS}reset/", "post", 403, 403),
        (f"{SETTINGS}recipients/", "post", 403, 403),
        (f"{SETTINGS}recipients/1/remove/", "post", 403, 403),
        (f"{LOG}actions/", "post", 403, 403),
        (f"{EMAIL}save/", "post", 403, 403),
        (f"{EMAIL}test/", "post", 403, 403),
    ],
)
def test_it_lets_each_person_do_what_their_role_may(
    path: str, method: str, viewer: int, operator: int
) -> None:
    def ask(client: Client) -> int:
        call: Callable[[str], Any] = getattr(client, method)
        return int(call(path).status_code)

    assert ask(signed_in("vera", Role.VIEWER)) == viewer
    assert ask(signed_in("otto", Role.OPERATOR)) == operator
    assert ask(signed_in("ana", Role.ADMINISTRATOR)) in {200, 302, 400, 422}
    assert ask(Client()) == 302


def test_it_shows_viewers_no_switches() -> None:
    make_recipient()

    page = text(signed_in("vera", Role.VIEWER).get(SETTINGS))

    assert "Store point offline" in page
    assert 'type="checkbox"' not in page
    assert "Remove ops@example.org" not in page


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_it_shows_addresses_to_administrators_only(
    server: MailServer, frozen: clock.FrozenClock, role: Role
) -> None:
    set_up_mail(server.port)
    make_user("ana")
    make_recipient("ops@example.org")
    server.on_recipient = lambda address: (
        "250 OK" if address.startswith("ana") else f"550 <{address}>: unknown"
    )
    alert = make_alert()
    frozen.tick(2)
    services.sweep(now=clock.now())
    vera = signed_in("vera", role)

    page, log = text(vera.get(SETTINGS)), text(vera.get(LOG))
    asked = vera.get(LOG, {"recipient": "ops"})
    sorted_by = vera.get(LOG, {"sort": "recipient"})

    for shown in (page, log):
        assert "ana@example.org" not in shown
        assert "ops@example.org" not in shown
        assert "550" not in shown
        assert "Not everybody is told of alerts by mail now." in shown
    assert "2 people are mailed. Administrators see who." in page
    assert "o…@…" in log
    assert rows(log) == 2
    assert asked.status_code == 403
    assert sorted_by.status_code == 400
    administrator = signed_in("zoe", Role.ADMINISTRATOR)
    assert "Mail to ops@example.org cannot be delivered" in text(administrator.get("/"))
    assert alert.events.get().routing == "to ana, ops@example.org"


@pytest.mark.parametrize(
    ("role", "sentence", "count"),
    [
        (Role.VIEWER, "to 2 recipients", 0),
        (Role.OPERATOR, "to 2 recipients", 0),
        (Role.ADMINISTRATOR, "to ana, ops@example.org", 2),
    ],
)
def test_it_tells_a_page_who_was_told(
    rf: RequestFactory, role: Role, sentence: str, count: int
) -> None:
    set_up_mail(25)
    make_user("ana")
    make_recipient("ops@example.org")
    event = make_alert().events.get()
    services.route_events(now=clock.now())
    event.refresh_from_db()
    request = rf.get("/")
    request.user = make_user("reader", role, email="")

    seen = Template(
        "{% load told %}{% told event as told %}"
        "{{ told.sentence }}|{{ told.deliveries|length }}"
    ).render(Context({"request": request, "event": event}))

    assert seen == f"{sentence}|{count}"


# --- kinds ----------------------------------------------------------------------------


def test_it_lists_both_texts_of_each_kind(ana: Client) -> None:
    page = text(ana.get(SETTINGS))

    assert "Store point offline" in page
    assert "Store point is unavailable: &lt;name&gt;" in page
    assert "Server offline" in page
    for slug in KINDS:
        assert f'name="show-{slug}"' in page
        assert f'name="mail-{slug}"' in page


def test_it_saves_switches_and_says_which(ana: Client) -> None:
    response = ana.post(
        f"{SETTINGS}save/", switches(mail_inbound_backup_disabled=True), follow=True
    )

    setting = NotificationSetting.objects.get(kind="inbound-backup-disabled")
    assert (setting.is_shown, setting.is_mailed) == (True, False)
    assert "Saved: Inbound backup disabled." in text(response)
    entry = AuditEntry.objects.get(verb="notification.change")
    assert entry.data["is_mailed"] == [True, False]
    assert entry.actor_name == "ana"


def test_it_asks_before_a_critical_kind_is_switched_off(ana: Client) -> None:
    data = switches(mail_store_point_offline=True, show_server_offline=True)

    asked = ana.post(f"{SETTINGS}save/", data)

    page = text(asked)
    assert asked.status_code == 200
    assert "Switch off 2 Critical kinds of alerts?" in page
    assert "<strong>Store point offline</strong> is no longer mailed" in page
    assert "<strong>Server offline</strong> is no longer shown" in page
    assert not NotificationSetting.objects.filter(is_mailed=False).exists()

    hidden = dict(re.findall(r'type="hidden" name="([\w-]+)" value="([\w-]*)"', page))
    kinds = re.findall(r'name="kinds" value="([\w-]+)"', page)
    ana.post(f"{SETTINGS}save/", {**hidden, "kinds": kinds})

    assert not NotificationSetting.objects.get(kind="store-point-offline").is_mailed
    assert not NotificationSetting.objects.get(kind="server-offline").is_shown


@pytest.mark.parametrize("data", [{}, {"kinds": ["nonsense"]}])
def test_it_switches_nothing_off_by_a_post_that_is_not_the_pages(
    ana: Client, data: dict[str, Any]
) -> None:
    response = ana.post(f"{SETTINGS}save/", data)

    assert response.status_code == 422
    assert "Expected " in text(response)
    assert not NotificationSetting.objects.exists()


def test_it_asks_before_it_resets_and_then_does(ana: Client) -> None:
    services.change_kinds(
        {"server-offline": services.Choice(is_shown=True, is_mailed=False)},
        actor=make_user("ben"),
        now=clock.now(),
    )

    asked = text(ana.get(f"{SETTINGS}reset/"))
    assert "<strong>Server offline</strong> is not mailed now" in asked
    assert not NotificationSetting.objects.get(kind="server-offline").is_mailed
    ana.post(f"{SETTINGS}reset/")

    assert NotificationSetting.objects.get(kind="server-offline").is_mailed


# --- recipients -----------------------------------------------------------------------


def test_it_adds_and_removes_a_recipient(ana: Client) -> None:
    page = text(
        ana.post(
            f"{SETTINGS}recipients/", {"address": " ops@example.org "}, follow=True
        )
    )
    row = Recipient.objects.get()
    assert row.address == "ops@example.org"
    assert "Remove ops@example.org" in page

    page = text(ana.post(f"{SETTINGS}recipients/{row.pk}/remove/", follow=True))

    assert not Recipient.objects.exists()
    assert "ops@example.org is no longer mailed." in page
    assert list(AuditEntry.objects.values_list("verb", flat=True)) == [
        "recipient.remove",
        "recipient.add",
    ]
    again = text(ana.post(f"{SETTINGS}recipients/{row.pk}/remove/", follow=True))
    assert "no longer there" in again


def test_it_marks_administrators_as_included(ana: Client) -> None:
    page = text(ana.get(SETTINGS))

    assert "administrator, always included" in page
    assert "Remove ana@example.org" not in page


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "Expected an email address"),
        ("nonsense", "Expected an email address"),
        ("a@b\nBcc: c@d.org", "Expected an email address"),
        ("OPS@EXAMPLE.ORG", "a recipient already"),
        ("Ana@example.org", "an administrator who is included already"),
        (f"{'x' * 300}@example.org", "at most 254"),
    ],
)
def test_it_refuses_an_address_and_says_why(
    ana: Client, address: str, words: str
) -> None:
    make_recipient("ops@example.org")

    response = ana.post(f"{SETTINGS}recipients/", {"address": address})

    assert response.status_code == 422
    assert words in text(response)
    assert Recipient.objects.count() == 1


def test_it_does_not_send_what_waits_for_a_removed_recipient(
    frozen: clock.FrozenClock, ana: Client
) -> None:
    set_up_mail(25)
    ops = make_recipient("ops@example.org")
    make_alert()
    services.route_events(now=clock.now())

    ana.post(f"{SETTINGS}recipients/{ops.pk}/remove/")

    row = Delivery.objects.get(recipient="ops@example.org")
    assert row.state == "failed"
    assert row.error == "Not sent: ana removed the recipient."
    assert Delivery.objects.get(recipient="ana@example.org").state == "pending"


# --- the mail server ------------------------------------------------------------------


def server_form(**changes: Any) -> dict[str, Any]:
    return {
        "is_enabled": "on",
        "host": "mail.example.org",
        "port": "587",
        "security": "starttls",
        "username": "console",
        "password": "swordfish",
        "sender": "Store Points <console@example.org>",
        "group_seconds": "30",
        **changes,
    }


def test_it_keeps_the_password_to_itself(ana: Client) -> None:
    ana.post(f"{EMAIL}save/", server_form())

    stored = EmailSettings.objects.get()
    assert secrets.decrypt(stored.sealed_password) == "swordfish"
    assert "swordfish" not in stored.sealed_password
    assert "swordfish" not in text(ana.get(EMAIL))
    refused = ana.post(f"{EMAIL}save/", server_form(port="0", password="other"))
    assert refused.status_code == 422
    assert 'value="other"' not in text(refused)
    assert "swordfish" not in str(AuditEntry.objects.get().data)
    assert AuditEntry.objects.get().data["password"] == "changed"


def test_it_keeps_the_password_when_it_is_left_empty(ana: Client) -> None:
    ana.post(f"{EMAIL}save/", server_form())

    ana.post(f"{EMAIL}save/", server_form(password="", group_seconds="60"))

    stored = EmailSettings.objects.get()
    assert stored.group_seconds == 60
    assert secrets.decrypt(stored.sealed_password) == "swordfish"


def test_it_switches_links_in_mails_on_and_off(ana: Client) -> None:
    ana.post(f"{EMAIL}save/", server_form(has_links="on"))
    assert EmailSettings.objects.get().has_links
    assert re.search(r'name="has_links"[^>]* checked', text(ana.get(EMAIL)))

    ana.post(f"{EMAIL}save/", server_form(password=""))

    assert not EmailSettings.objects.get().has_links
    assert not re.search(r'name="has_links"[^>]* checked', text(ana.get(EMAIL)))
    changed = AuditEntry.objects.filter(verb="email.change").first()
    assert changed is not None
    assert changed.data == {"has_links": [True, False]}


def test_it_removes_the_password_with_the_user_name(ana: Client) -> None:
    ana.post(f"{EMAIL}save/", server_form())

    ana.post(f"{EMAIL}save/", server_form(password="", username=""))

    assert EmailSettings.objects.get().sealed_password == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": "evil.example.net"}, "host has changed"),
        ({"port": "25"}, "port has changed"),
        ({"security": "none"}, "security has changed"),
        (
            {"host": "evil.example.net", "port": "25", "security": "none"},
            "host, port and security have changed",
        ),
    ],
)
def test_it_does_not_give_the_password_to_where_it_was_not_typed_for(
    ana: Client, changes: dict[str, str], words: str
) -> None:
    ana.post(f"{EMAIL}save/", server_form())

    response = ana.post(f"{EMAIL}save/", server_form(password="", **changes))

    assert response.status_code == 422
    assert f"Type the password again: {words}." in text(response)
    stored = EmailSettings.objects.get()
    assert (stored.host, stored.port) == ("mail.example.org", 587)
    assert stored.security == "starttls"


def test_it_asks_for_no_password_when_there_is_no_host(ana: Client) -> None:
    no_host = server_form(host="", port="25", security="none", password="")

    first = ana.post(f"{EMAIL}save/", no_host)
    ana.post(f"{EMAIL}save/", server_form())
    emptied = ana.post(f"{EMAIL}save/", no_host)
    elsewhere = ana.post(
        f"{EMAIL}save/", {**no_host, "host": "evil.example.net", "port": "25"}
    )

    assert (first.status_code, emptied.status_code) == (302, 302)
    assert EmailSettings.objects.get().host == ""
    assert elsewhere.status_code == 422
    assert "Type the password again: host has changed." in text(elsewhere)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": "not a host"}, "Expected a host name"),
        ({"host": "http://mail.example.org"}, "Expected a host name"),
        ({"port": "70000"}, "65535"),
        ({"port": "x"}, "whole number"),
        ({"security": "ssl3"}, "Select a valid choice"),
        ({"sender": "nobody"}, "Expected one address such as"),
        ({"sender": "a@b.org\r\nBcc: c@d.org"}, "Expected one line"),
        ({"sender": ""}, "Expected an address to send as"),
        ({"sender": "a@b.org, c@d.org"}, "Expected one address"),
        ({"sender": "Müller, Ops <a@b.org>"}, "Expected one address"),
        ({"sender": "Team: a@b.org, c@d.org;"}, "Expected one address"),
        ({"sender": "=?utf-8?q?a=0AB?= <a@b.org>"}, "Expected one address"),
        ({"username": ""}, "Expected a user name"),
        ({"password": ""}, "Expected a password"),
        ({"password": "pässword"}, "Expected letters of ASCII"),
        ({"group_seconds": "-1"}, "greater than or equal to 0"),
    ],
)
def test_it_refuses_wrong_settings_and_says_why(
    ana: Client, changes: dict[str, Any], words: str
) -> None:
    response = ana.post(f"{EMAIL}save/", server_form(**changes))

    assert response.status_code == 422
    assert words in text(response)
    assert not EmailSettings.objects.filter(host__gt="").exists()


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        ("a@b.org", ""),
        ("Ünï <a@b.org>", "Ünï"),
        ('"A, B" <a@b.org>', "A, B"),
        ('"Müller, Ops" <a@b.org>', "Müller, Ops"),
        ("St. Ops <a@b.org>", "St. Ops"),
        ('"c@d.org, \\"" <a@b.org>', 'c@d.org, "'),
        ("=?utf-8?q?a=2C_c=40d=2Eorg?= <a@b.org>", "a, c@d.org"),
    ],
)
def test_it_takes_senders_with_and_without_names(
    ana: Client, server: MailServer, sender: str, name: str
) -> None:
    response = ana.post(
        f"{EMAIL}save/",
        server_form(
            host="127.0.0.1",
            port=server.port,
            security="none",
            username="",
            password="",
            sender=sender,
        ),
    )
    assert response.status_code == 302

    page = text(ana.post(f"{EMAIL}test/", {"address": "x@example.org"}))

    assert 'data-sent="true"' in page
    (built,) = server.mails[0]["From"].addresses
    assert (built.display_name, built.addr_spec) == (name, "a@b.org")
    again = ana.post(
        f"{EMAIL}save/",
        server_form(
            host="127.0.0.1",
            port=server.port,
            security="none",
            username="",
            password="",
            sender=EmailSettings.objects.get().sender,
        ),
        follow=True,
    )
    assert "Nothing was changed." in text(again)


@given(sender=st.text(max_size=60) | st.text('a@b.,;:<>"\\() é=?', max_size=40))
@example(".<0")
def test_it_makes_one_address_of_a_sender_or_none(sender: str) -> None:
    read = mail.read_sender(sender)

    if read is not None:
        assert mail.read_sender(read) == read
        built = EmailMessage(from_email=read, to=["x@example.org"]).message()
        header = policy.header_factory("From", built["From"])
        assert len(header.addresses) == 1


def test_it_says_that_a_stored_sender_is_no_address(
    ana: Client, server: MailServer, frozen: clock.FrozenClock
) -> None:
    set_up_mail(server.port, sender="Müller, Ops <a@example.org>")
    make_alert()

    response = ana.post(f"{EMAIL}test/", {"address": "x@example.org"})
    frozen.tick(2)
    services.sweep(now=clock.now())

    assert response.status_code == 200
    assert "The sender is no address: Müller, Ops" in text(response)
    assert Delivery.objects.get().state == "retry"
    assert EmailSettings.objects.get().failing_since is not None


def test_it_shows_the_servers_answer_to_a_test(ana: Client, server: MailServer) -> None:
    set_up_mail(server.port)
    server.on_recipient = lambda address: "550 5.1.1 no <script> such user"

    page = text(ana.post(f"{EMAIL}test/", {"address": "x@example.org"}))

    assert 'data-sent="false"' in page
    assert "550 5.1.1 no &lt;script&gt; such user" in page
    assert AuditEntry.objects.get().verb == "email.test"


def test_it_tells_what_to_do_when_there_is_no_server(ana: Client) -> None:
    set_up_mail(free_port())

    page = text(ana.post(f"{EMAIL}test/", {"address": "x@example.org"}))

    assert "the connection was refused" in page
    assert "Check host and port, and that the mail server is running." in page


def test_it_refuses_to_test_a_wrong_address(ana: Client, server: MailServer) -> None:
    set_up_mail(server.port)

    response = ana.post(f"{EMAIL}test/", {"address": "x"})

    assert response.status_code == 422
    assert server.mails == []


# --- the delivery log -----------------------------------------------------------------


@pytest.fixture
def log(frozen: clock.FrozenClock, server: MailServer, ana: Client) -> Client:
    """A browser, and a log with one sent and one failed message for each of 2 alerts."""
    set_up_mail(server.port)
    make_recipient("gone@example.org")
    server.on_recipient = lambda address: (
        "550 no" if address.startswith("gone") else "250 OK"
    )
    make_alert("Tank-01")
    make_alert("Tank-02")
    frozen.tick(2)
    services.sweep(now=clock.now())
    return ana


def rows(page: str) -> int:
    return len(re.findall(r"<tr data-id=", page))


def test_it_lists_and_filters_messages(log: Client) -> None:
    alert = str(Delivery.objects.order_by("pk")[0].event.alert_id)

    assert rows(text(log.get(LOG))) == 4
    assert rows(text(log.get(LOG, {"state": "failed"}))) == 2
    assert rows(text(log.get(LOG, {"recipient": "GONE@"}))) == 2
    assert rows(text(log.get(LOG, {"alert": alert}))) == 2
    assert rows(text(log.get(LOG, {"state": "sent", "alert": alert}))) == 1
    assert "No message fits the filter" in text(log.get(LOG, {"state": "held"}))


@pytest.mark.parametrize(
    "query",
    [
        {"state": "x"},
        {"alert": "x"},
        {"alert": "9" * 30},
        {"page": "x"},
        {"sort": "x"},
        {"recipient": "x" * 300},
        {"recipient": "\0"},
    ],
)
def test_it_says_what_a_wrong_query_should_be(
    log: Client, query: dict[str, str]
) -> None:
    response = log.get(LOG, query)

    assert response.status_code == 400
    assert "Expected" in text(response)


def test_it_sends_failed_messages_again_from_the_log(log: Client) -> None:
    ids = list(Delivery.objects.values_list("pk", flat=True))

    page = text(
        log.post(
            f"{LOG}actions/",
            {"action": "delivery.send_again", "ids": ids, "next": LOG},
            follow=True,
        )
    )

    assert "Will send again 2 messages. Skipped 2" in page
    assert Delivery.objects.filter(state="pending").count() == 2
    assert AuditEntry.objects.filter(verb="delivery.send_again").count() == 2


def test_it_makes_as_many_queries_for_forty_rows_as_for_two(ana: Client) -> None:
    set_up_mail(25)
    figures = []
    for count in (2, 38):
        for _ in range(count):
            make_alert()
        services.route_events(now=clock.now())
        ana.get(LOG)
        with CaptureQueriesContext(connection) as queries:
            assert ana.get(LOG).status_code == 200
        figures.append(len(queries))

    assert figures[0] == figures[1]


# --- the wake-up ----------------------------------------------------------------------


def test_it_wakes_a_worker_up_after_the_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        tasks.sweep, "apply_async", lambda **options: asked.append(options)
    )

    events_written.send(None, now=clock.now())

    assert asked == [{"countdown": 2.0, "expires": 62.0, "retry": False}]


def test_it_loses_nothing_when_the_broker_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**options: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(tasks.sweep, "apply_async", refuse)

    events_written.send(None, now=clock.now())


def test_it_puts_the_wake_up_into_the_queue_of_the_notifications(valkey: Any) -> None:
    events_written.send(None, now=clock.now())

    assert valkey.connect().llen("notifications") == 1


def test_it_loses_nothing_when_the_broker_is_killed(valkey: Any) -> None:
    events_written.send(None, now=clock.now())
    valkey.kill()

    events_written.send(None, now=clock.now())
