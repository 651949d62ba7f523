"""The link of a mail: asks before it does anything, once, for whom it was made."""

from __future__ import annotations

import html
import io
import logging
import re
import threading
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.signing import Signer
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings

from alerts.models import Alert, AlertEvent
from alerts.services import acknowledge_alerts
from console.accounts.models import User
from console.housekeeping import sweep_out
from console.kit import audit, clock
from console.kit.models import AuditEntry
from console.logs import LineFormatter
from notifications import links, services
from notifications.engine import LINK_LIVES
from notifications.models import EmailSettings, MailLink, Recipient
from tests.notifications.factories import clear, make_alert, make_recipient, make_user
from tests.notifications.mailserver import MailServer, html_of, text_of

pytestmark = pytest.mark.django_db

OPS = "ops@example.org"


@pytest.fixture(autouse=True)
def _still(frozen: clock.FrozenClock) -> None:
    """Let the clock stand still."""


@pytest.fixture
def ops(mailbox: MailServer) -> MailServer:
    """A mail server, with a recipient without account besides the administrator."""
    make_recipient(OPS)
    return mailbox


def sweep(frozen: clock.FrozenClock, seconds: float = 2) -> None:
    frozen.tick(seconds)
    services.sweep(now=clock.now())


def path_in(text: str) -> str:
    found = re.search(r"http://[^/\s\"]+(/acknowledge/[A-Za-z0-9_.-]+/)", text)
    assert found, text
    return found[1]


def mailed(
    server: MailServer, frozen: clock.FrozenClock, names: Sequence[str] = ("Tank-07",)
) -> tuple[str, list[Alert]]:
    """Raise alerts, mail them, and return the path of the link in OPS's mail."""
    alerts = [make_alert(name) for name in names]
    sweep(frozen)
    return path_in(text_of(server.of(OPS)[-1])), alerts


def page(response: Any) -> str:
    return html.unescape(re.sub(r"\s+", " ", response.content.decode()))


def ticked(alerts: Sequence[Alert], **more: str) -> dict[str, Any]:
    return {"alerts": [row.pk for row in alerts], "note": "", "hours": "", **more}


def is_acknowledged(alert: Alert) -> bool:
    return Alert.objects.get(pk=alert.pk).is_acknowledged(clock.now())


# --- what stands in the mail ----------------------------------------------------------


def test_it_has_one_link_for_each_recipient_in_both_texts(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    mailed(ops, frozen)

    paths = {path_in(text_of(mail)) for mail in ops.mails}
    assert len(paths) == len(ops.mails) == 2
    for mail in ops.mails:
        assert path_in(text_of(mail)) == path_in(html_of(mail))
        assert "do not forward it" in text_of(mail)
        assert "until 2026-07-22 12:00" in text_of(mail).replace("\n", " ")


def test_it_has_no_link_while_links_are_off(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    EmailSettings.objects.update(has_links=False)
    make_alert()

    sweep(frozen)

    for body in (text_of(ops.mails[0]), html_of(ops.mails[0])):
        assert "/acknowledge/" not in body
        assert "without signing in" not in body.lower()
    assert not MailLink.objects.exists()


def test_it_links_what_the_mail_lists_and_not_what_it_counts(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    names = [f"Tank-{number:02}" for number in range(60)]
    path, alerts = mailed(ops, frozen, names)

    shown = page(Client().get(path))
    answer = Client().post(path, ticked(alerts))

    assert "Acknowledge these 50" in text_of(ops.of(OPS)[0])
    assert shown.count('type="checkbox"') == shown.count(" checked") == 50
    assert "Acknowledge 50 alerts?" in shown
    # What the mail does not list is refused, and nothing is half done.
    assert answer.status_code == 422
    assert not any(map(is_acknowledged, alerts))


def test_it_is_the_same_link_when_the_mail_is_sent_again(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    ops.on_data = lambda address: "DROP"
    ops.keeps_what_it_drops = True
    make_alert()
    sweep(frozen)
    ops.on_data = lambda address: "250 OK"

    sweep(frozen, 45)

    first, again = ops.of(OPS)
    assert path_in(text_of(first)) == path_in(text_of(again))


# --- the page -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (("a",), "Acknowledge 1 alert?"),
        (("a", "b"), "Acknowledge 2 alerts?"),
    ],
)
def test_it_asks_and_a_get_does_nothing(
    ops: MailServer, frozen: clock.FrozenClock, names: Sequence[str], title: str
) -> None:
    path, alerts = mailed(ops, frozen, names)

    with CaptureQueriesContext(connection) as queries:
        for method in ("get", "head", "get"):
            answer = getattr(Client(), method)(path)
            assert answer.status_code == 200

    assert title in page(answer)
    assert f"As <strong>{OPS}</strong>" in page(answer)
    for row in alerts:
        assert row.text in page(answer)
    writes = [
        each["sql"]
        for each in queries
        if each["sql"].startswith(("INSERT", "UPDATE", "DELETE"))
        and "console_cache" not in each["sql"]
    ]
    assert writes == []
    assert not any(map(is_acknowledged, alerts))


def test_it_says_that_nothing_is_left(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, (alert,) = mailed(ops, frozen)
    ana = User.objects.get(username="ana")
    acknowledge_alerts([alert.pk], actor=ana, now=clock.now())

    shown = Client().get(path)
    answer = Client().post(path, ticked([alert]))

    assert "Nothing is left to acknowledge" in page(shown)
    assert "acknowledged by ana" in page(shown)
    assert answer.status_code == 422
    assert MailLink.objects.filter(used_at__isnull=False).count() == 0
    Alert.objects.filter(pk=alert.pk).delete()
    assert "were removed after they were over" in page(Client().get(path))


def test_it_goes_to_no_other_site_no_index_and_no_cache(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, _ = mailed(ops, frozen)

    for answer in (Client().get(path), Client().get("/acknowledge/nonsense/")):
        assert answer["Referrer-Policy"] == "same-origin"
        assert "noindex" in answer["X-Robots-Tag"]
        assert "no-store" in answer["Cache-Control"]
        assert "private" in answer["Cache-Control"]
        assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]
        assert "http://" not in answer.content.decode()
        assert "https://" not in answer.content.decode()


# --- acknowledging ---------------------------------------------------------------------


def test_it_acknowledges_what_is_ticked_as_the_recipient(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, (first, second, third) = mailed(ops, frozen, ("a", "b", "c"))
    client = Client()

    answer = client.post(
        path, ticked([first, third], note="on my way"), REMOTE_ADDR="10.1.2.3"
    )
    shown = page(client.get(path))

    assert (answer.status_code, answer["Location"]) == (302, path)
    assert "Acknowledged 2 alerts." in shown
    assert f"<strong>{OPS}</strong> acknowledged with it" in shown
    row = Alert.objects.get(pk=first.pk)
    assert (row.acknowledged_by, row.acknowledged_by_name) == (None, OPS)
    assert row.note == "By mail link: on my way"
    assert not is_acknowledged(second)
    assert is_acknowledged(third)
    event = AlertEvent.objects.get(alert=first, kind="acknowledged")
    assert (event.actor_name, event.note) == (OPS, "By mail link: on my way")
    entries = AuditEntry.objects.filter(verb="alert.acknowledge", actor_name=OPS)
    assert {entry.object_id for entry in entries} == {str(first.pk), str(third.pk)}
    assert {entry.address for entry in entries} == {"10.1.2.3"}
    assert {entry.actor for entry in entries} == {None}
    used = AuditEntry.objects.get(verb="mail_link.use")
    assert (used.actor_name, used.data) == (OPS, {"acknowledged": 2})


def test_it_acknowledges_for_as_long_as_was_said(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, (alert,) = mailed(ops, frozen)

    Client().post(path, ticked([alert], hours="4"))

    assert is_acknowledged(alert)
    frozen.tick(4 * 3600)
    assert not is_acknowledged(alert)


def test_it_acknowledges_as_the_recipient_whoever_is_signed_in(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, (alert,) = mailed(ops, frozen)
    client = Client()
    client.force_login(
        make_user("ben"),
        backend="allauth.account.auth_backends.AuthenticationBackend",
    )

    client.post(path, ticked([alert]))

    assert Alert.objects.get(pk=alert.pk).acknowledged_by_name == OPS


def test_it_cuts_an_address_that_is_too_long_for_a_name(db: None) -> None:
    alert = make_alert()
    person = audit.Outsider(f"{'x' * 240}@example.org")

    acknowledge_alerts([alert.pk], actor=person, now=clock.now())

    assert len(Alert.objects.get().acknowledged_by_name) == 150
    assert AuditEntry.objects.get().actor_name.endswith("…")


def test_it_wants_something_ticked_and_keeps_what_was_typed(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, alerts = mailed(ops, frozen, ("a", "b"))

    answer = Client().post(path, {"note": "on my way"})
    wrong = Client().post(path, {"alerts": ["x", "999999"]})
    # More digits than Python makes a number of.
    long = Client().post(path, {"alerts": ["9" * 5000, str(alerts[0].pk)]})

    assert answer.status_code == wrong.status_code == long.status_code == 422
    assert page(long).count(" checked") == 1
    assert "Expected at least one alert" in page(answer)
    assert "on my way" in page(answer)
    assert " checked" not in page(answer)
    assert "Expected alerts of this mail" in page(wrong)
    assert not any(map(is_acknowledged, alerts))
    assert Client().post(path, ticked(alerts)).status_code == 302


def test_it_leaves_out_what_somebody_acknowledged_meanwhile(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    _, (first, second) = mailed(ops, frozen, ("a", "b"))
    link = MailLink.objects.get(recipient=OPS)
    ana = User.objects.get(username="ana")
    acknowledge_alerts([first.pk], actor=ana, now=clock.now())

    nothing = services.acknowledge_by_link(link, [first.pk], now=clock.now())
    result = services.acknowledge_by_link(
        link, [first.pk, second.pk, 999_999], now=clock.now()
    )

    assert nothing.done == 0
    assert result.done == 1
    assert result.skipped[0].why == "is already acknowledged by ana"
    assert Alert.objects.get(pk=first.pk).acknowledged_by_name == "ana"


def test_it_wants_the_token_of_a_form(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, (alert,) = mailed(ops, frozen)
    client = Client(enforce_csrf_checks=True)

    assert client.post(path, ticked([alert])).status_code == 403
    form = client.get(path).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
    assert token
    # As "no-referrer" would make browsers say it.
    sent = ticked([alert], csrfmiddlewaretoken=token[1])
    assert client.post(path, sent, HTTP_ORIGIN="null").status_code == 403
    assert not is_acknowledged(alert)
    assert client.post(path, sent, HTTP_ORIGIN="http://testserver").status_code == 302
    assert is_acknowledged(alert)


def test_it_logs_no_token_of_a_link(ops: MailServer, frozen: clock.FrozenClock) -> None:
    path, (alert,) = mailed(ops, frozen)
    handler = next(
        each
        for each in logging.getLogger().handlers
        if isinstance(each, logging.StreamHandler)
        and isinstance(each.formatter, LineFormatter)
    )
    before = handler.setStream(io.StringIO())

    try:
        Client(enforce_csrf_checks=True).post(path, ticked([alert]))
        logged = handler.stream.getvalue()
    finally:
        handler.setStream(before)

    assert "/acknowledge/" in logged
    assert path not in logged
    assert path.split("/")[2] not in logged


# --- links that do nothing --------------------------------------------------------------


def test_it_works_once_and_says_by_whom_and_when_it_was_used(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, (first, second) = mailed(ops, frozen, ("a", "b"))
    Client().post(path, ticked([first]))
    frozen.tick(300)

    shown = Client().get(path)
    again = Client().post(path, ticked([second]))

    for answer, status in ((shown, 200), (again, 410)):
        assert answer.status_code == status
        assert "This link was used" in page(answer)
        assert OPS in page(answer)
        assert "5 min ago" in page(answer)
        assert "2026-07-15 12:00:02" in page(answer)
        assert f"acknowledged by {OPS}" in page(answer)
    assert not is_acknowledged(second)
    # Also when it is as old as no link may be used at.
    frozen.tick(LINK_LIVES.total_seconds())
    assert "This link was used" in page(Client().get(path))


def test_it_expires_after_a_week(ops: MailServer, frozen: clock.FrozenClock) -> None:
    path, (alert,) = mailed(ops, frozen)
    frozen.tick(LINK_LIVES.total_seconds() - 1)
    assert Client().get(path).status_code == 200
    frozen.tick(1)

    for answer in (Client().get(path), Client().post(path, ticked([alert]))):
        assert answer.status_code == 410
        assert "This link has expired" in page(answer)
        assert "for 7 days, until 2026-07-22 12:00 UTC" in page(answer)
    link = MailLink.objects.get(recipient=OPS)
    with pytest.raises(services.LinkRefused, match="expired"):
        services.acknowledge_by_link(link, [alert.pk], now=clock.now())
    assert not is_acknowledged(alert)


def test_it_does_nothing_for_who_is_no_longer_mailed(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, (alert,) = mailed(ops, frozen)
    mine = path_in(text_of(ops.of("ana@example.org")[0]))
    Recipient.objects.all().delete()
    User.objects.filter(username="ana").update(role="operator")
    make_user("ben")

    for each in (path, mine):
        for answer in (Client().get(each), Client().post(each, ticked([alert]))):
            assert answer.status_code == 410
            assert "no longer mailed" in page(answer)
    assert not is_acknowledged(alert)


def test_it_does_nothing_while_links_are_off(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, (alert,) = mailed(ops, frozen)
    EmailSettings.objects.update(has_links=False)

    answer = Client().post(path, ticked([alert]))

    assert answer.status_code == 410
    assert "switched off" in page(answer)
    assert not is_acknowledged(alert)


def _tampered(path: str) -> list[str]:
    token = path.split("/")[2]
    text, signature = token.split(".")
    other = Signer(salt="something.else", sep=".").sign(text)
    with override_settings(SECRET_KEY="another console's key"):
        foreign = Signer(salt=links._SALT, sep=".").sign(text)
    return [
        token[:-1],
        token[1:],
        f"{text}A.{signature}",
        text,
        f".{signature}",
        other,
        foreign,
        Signer(salt=links._SALT, sep=".").sign("short"),
        Signer(salt=links._SALT, sep=".").sign("ü" * 8),
        "x" * 5000,
        "%00",
        "ö",
    ]


@pytest.mark.parametrize("number", range(12))
def test_it_refuses_what_this_console_did_not_sign(
    ops: MailServer, frozen: clock.FrozenClock, number: int
) -> None:
    path, (alert,) = mailed(ops, frozen)
    forged = f"/acknowledge/{_tampered(path)[number]}/"

    for answer in (Client().get(forged), Client().post(forged, ticked([alert]))):
        assert answer.status_code == 403
        assert "This is not a link of this console" in page(answer)
        assert "Nothing was changed." in page(answer)
    assert not is_acknowledged(alert)


def test_it_says_that_a_mail_is_no_longer_known(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, _ = mailed(ops, frozen)
    MailLink.objects.all().delete()

    answer = Client().get(path)

    assert answer.status_code == 410
    assert "no longer known" in page(answer)


def test_it_acknowledges_nothing_of_another_mail(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, _ = mailed(ops, frozen)
    frozen.tick(60)
    _, (other,) = mailed(ops, frozen, ("Vault",))

    answer = Client().post(path, ticked([other]))

    assert answer.status_code == 422
    assert not is_acknowledged(other)


def test_it_lets_an_address_guess_ten_times_a_minute(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, (alert,) = mailed(ops, frozen)

    statuses = [
        Client().get(f"/acknowledge/guess{number}/").status_code for number in range(12)
    ]
    blocked = Client().post(path, ticked([alert]))
    elsewhere = Client().get(path, REMOTE_ADDR="10.9.9.9")

    assert statuses == [403] * 10 + [429] * 2
    assert blocked.status_code == 429
    assert "Too many attempts" in page(blocked)
    assert not is_acknowledged(alert)
    assert elsewhere.status_code == 200


def test_it_never_tires_of_those_who_open_good_links(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, _ = mailed(ops, frozen)

    assert {Client().get(path).status_code for _ in range(30)} == {200}


@pytest.mark.postgres(only=True)
@pytest.mark.django_db(transaction=True)
def test_it_lets_one_of_eight_at_once_use_it(ops: MailServer) -> None:
    alerts = [make_alert(name) for name in ("a", "b", "c")]
    link = services.keep_link(
        uuid.uuid4(),
        recipient=OPS,
        alerts=[row.pk for row in alerts],
        now=clock.now(),
    )
    barrier = threading.Barrier(8)
    done: list[int] = []
    refused: list[str] = []

    def use() -> None:
        try:
            barrier.wait()
            mine = MailLink.objects.get(pk=link.pk)
            result = services.acknowledge_by_link(
                mine, [row.pk for row in alerts], now=clock.now()
            )
            done.append(result.done)
        except services.LinkRefused as error:
            refused.append(error.title)
        finally:
            connection.close()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert done == [3]
    assert refused == ["This link was used already"] * 7
    assert AlertEvent.objects.filter(kind="acknowledged").count() == 3


# --- hostile texts, and keeping ---------------------------------------------------------


def test_it_shows_hostile_names_as_text(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    names = ["<script>alert(1)</script>", "a\r\nSet-Cookie: x=1", "x" * 10_000, "💥"]
    names.append("\u202eknaT")
    alerts = [make_alert(text=f"Unavailable: {name}") for name in names]
    sweep(frozen)
    path = path_in(text_of(ops.of(OPS)[0]))

    shown = Client().get(path)
    Client().post(path, ticked(alerts))

    body = shown.content.decode()
    assert "<script>alert(1)" not in body
    assert "&lt;script&gt;alert(1)" in body
    assert "x" * 400 not in body
    assert "Unavailable: knaT" in body
    assert "💥" in body
    assert all(map(is_acknowledged, alerts))


def test_it_shows_what_has_cleared_since(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    path, (alert,) = mailed(ops, frozen)
    frozen.tick(60)
    clear(alert)
    frozen.tick(120)

    shown = re.sub(r"<[^>]+>", "", page(Client().get(path)))
    assert "cleared 2 min ago" in shown
    Client().post(path, ticked([alert]))
    assert is_acknowledged(alert)


def test_it_removes_links_a_month_after_their_end(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    mailed(ops, frozen)
    end = clock.now() + LINK_LIVES + timedelta(days=30)

    assert sweep_out(now=end)["mail links"] == 0
    assert sweep_out(now=end + timedelta(seconds=1))["mail links"] == 2


def test_it_asks_as_often_for_fifty_alerts_as_for_two(
    ops: MailServer, frozen: clock.FrozenClock
) -> None:
    figures = []
    for count in (2, 50):
        names = [f"Tank-{number:02}" for number in range(count)]
        path, _ = mailed(ops, frozen, names)
        with CaptureQueriesContext(connection) as queries:
            Client().get(path)
        figures.append(len(queries))
        frozen.tick(60)

    assert figures[0] == figures[1]
