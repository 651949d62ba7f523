"""Real mails to a real SMTP server: grouping, words, threading, the log."""

from __future__ import annotations

import re
from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from alerts.engine import Severity
from alerts.models import Alert, AlertEvent
from console.kit import clock
from notifications import selectors, services
from notifications.models import Delivery, EmailSettings
from tests.notifications.factories import (
    clear,
    happens,
    make_alert,
    make_recipient,
    make_user,
    set_up_mail,
)
from tests.notifications.mailserver import MailServer, html_of, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _still(frozen: clock.FrozenClock) -> None:
    """Let the clock stand still."""


def sweep(frozen: clock.FrozenClock, seconds: float = 0) -> services.Sent:
    frozen.tick(seconds)
    return services.sweep(now=clock.now())


def unwrapped(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_it_mails_an_alert_two_seconds_after_it(
    mailbox: MailServer, frozen: clock.FrozenClock, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://console.example.org"
    alert = make_alert("Tank-07")

    sweep(frozen)
    sweep(frozen, 1)
    assert mailbox.mails == []
    sweep(frozen, 1)

    (mail,) = mailbox.mails
    assert mail["Subject"] == "[Critical] Store point is unavailable: Tank-07"
    assert mail["To"] == "ana@example.org"
    assert mail["From"] == "Store Points <console@example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Auto-Response-Suppress"] == "All"
    assert mail["Precedence"] is None
    assert mail["List-Id"] == "Store Point Console <alerts.console.example.org>"
    assert parsedate_to_datetime(mail["Date"]) == clock.now()
    url = f"https://console.example.org/alerts/{alert.pk}/"
    assert url in text_of(mail)
    assert f'href="{url}"' in html_of(mail)
    row = Delivery.objects.get()
    assert (row.state, row.sent_at, row.attempts) == ("sent", clock.now(), 1)
    assert row.message_id == mail["Message-ID"]
    assert row.message_id.endswith("@example.org>")


def test_it_gathers_a_storm_into_one_mail_and_the_rest_into_another(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    for number in range(1, 13):
        make_alert(f"Tank-{number:02}")
    sweep(frozen, 2)
    for number in range(13, 15):
        make_alert(f"Tank-{number:02}")

    for _ in range(29):
        sweep(frozen, 1)
    assert len(mailbox.mails) == 1
    sweep(frozen, 1)

    assert mailbox.subjects == [
        "[Critical] 12 alerts: Tank-01, Tank-02, Tank-03 and 9 more",
        "[Critical] 2 alerts: Tank-13 and Tank-14",
    ]


def test_it_keeps_the_distance_that_was_set(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    EmailSettings.objects.update(group_seconds=300)
    make_alert()
    sweep(frozen, 2)
    make_alert()

    sweep(frozen, 299)
    assert len(mailbox.mails) == 1
    sweep(frozen, 1)

    assert len(mailbox.mails) == 2


def test_it_keeps_each_persons_distance_by_itself(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_alert()
    sweep(frozen, 2)
    make_recipient("ops@example.org")
    make_alert("Vault")

    sweep(frozen, 2)

    assert mailbox.recipients == ["ana@example.org", "ops@example.org"]


def test_it_tells_raise_and_clear_in_one_mail_when_both_wait(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    alert = make_alert("Tank-07")
    frozen.tick(1)
    clear(alert)

    sweep(frozen, 1)

    (mail,) = mailbox.mails
    assert mail["Subject"] == "[Cleared] Store point is unavailable: Tank-07"
    text = text_of(mail)
    assert "raised 2026-" in text
    assert "cleared 2026-" in text
    assert "lasted 1 s" in text
    assert Delivery.objects.filter(state="sent").count() == 2


def test_it_threads_raise_clear_and_come_back(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    alert = make_alert("Tank-07")
    sweep(frozen, 2)
    clear(alert)
    sweep(frozen, 60)
    happens(alert, AlertEvent.Kind.REOPENED)
    sweep(frozen, 60)

    raised, cleared, again = mailbox.mails
    assert "References" not in raised
    assert cleared["In-Reply-To"] == raised["Message-ID"]
    assert cleared["References"] == raised["Message-ID"]
    assert again["In-Reply-To"] == cleared["Message-ID"]
    assert again["References"].split() == [raised["Message-ID"], cleared["Message-ID"]]
    assert mailbox.subjects[1:] == [
        "[Cleared] Store point is unavailable: Tank-07",
        "[Critical] Store point is unavailable: Tank-07 (came back)",
    ]
    assert "after 2 s" in html_of(cleared)


def test_it_mails_no_close_twice_and_nothing_for_updates(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    alert = make_alert()
    sweep(frozen, 2)
    AlertEvent.objects.create(
        alert=alert,
        at=clock.now(),
        kind=AlertEvent.Kind.UPDATED,
        routed_at=clock.now(),
    )

    for _ in range(5):
        sweep(frozen, 60)

    assert len(mailbox.mails) == 1


def test_it_gives_the_reason_and_the_cure(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_alert(
        "Tank-07",
        data={
            "state": "offline",
            "reason": "not-mounted",
            "evidence": {
                "check": "Right volume",
                "expected": "ext4 on /dev/sdd1",
                "found": "nothing mounted",
                "errno": "EIO",
                "cure": "Mount the volume again at /srv/tank.",
                "command": "mount /srv/tank",
            },
        },
    )

    sweep(frozen, 2)

    for body in map(unwrapped, (text_of(mailbox.mails[0]), html_of(mailbox.mails[0]))):
        assert "Offline: not mounted: Right volume: expected ext4 on /dev/sdd1" in body
        assert "found nothing mounted (EIO)." in body
        assert "Mount the volume again at /srv/tank." in body
        assert "mount /srv/tank" in body
        assert "Users whose archives are in this store point" in body


def test_it_gives_what_the_devices_said_and_the_cure(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_alert(
        kind="drive-failing",
        text="Drive is failing: Tank-07 (sdd fails its SMART check)",
        data={
            "text": "sdd fails its SMART check",
            "evidence": {
                "check": "Drive, array, volume",
                "expected": "every level well",
                "found": "sdd fails its SMART check",
                "cure": "Replace the drive.",
                "command": "smartctl -a /dev/sdd",
            },
        },
    )

    sweep(frozen, 2)

    for body in map(unwrapped, (text_of(mailbox.mails[0]), html_of(mailbox.mails[0]))):
        assert (
            "Drive, array, volume: expected every level well, found sdd fails" in body
        )
        assert "Replace the drive." in body
        assert "smartctl -a /dev/sdd" in body


def test_it_lists_what_else_is_down(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_alert("Old-1")
    make_alert("Hint", severity=Severity.LOW, text="A low one: Hint")
    gone = make_alert("Gone")
    sweep(frozen, 2)
    clear(gone)
    make_alert("New-1")

    sweep(frozen, 60)

    text = text_of(mailbox.mails[1]).replace("\r", "")
    news, _, still = text.partition("\nStill open")
    assert "[Critical] Store point is unavailable: Old-1" in still
    assert "New-1" not in still
    assert "Gone" not in still
    assert "Hint" not in still
    # What is new and what is over have a heading each.
    new, _, cleared = news.partition("\nCleared\n")
    assert "\nNew\n" in new
    assert "New-1" in new
    assert "Gone" in cleared


def test_it_tells_apart_what_was_mailed_before_and_what_never(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_alert("Told")
    sweep(frozen, 2)
    make_alert("Untold", event=False)
    make_alert("News")

    sweep(frozen, 60)

    text = text_of(mailbox.mails[1])
    _, _, rest = text.partition("\nStill open")
    still, _, also = rest.partition("\nAlso down, not mailed to you")
    assert "Told" in still
    assert "Untold" not in still
    assert "Untold" in also
    assert "<h2>Still open</h2>" in html_of(mailbox.mails[1])
    assert "<h2>Also down, not mailed to you</h2>" in html_of(mailbox.mails[1])


def test_it_names_ten_others_and_counts_the_rest(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    for number in range(8):
        make_alert(f"Told-{number}")
    sweep(frozen, 2)
    for number in range(5):
        make_alert(f"Untold-{number}", severity=Severity.WARNING, event=False)
    make_alert("News")

    sweep(frozen, 60)

    for body in map(unwrapped, (text_of(mailbox.mails[1]), html_of(mailbox.mails[1]))):
        assert len(set(re.findall(r"Told-\d", body))) == 8
        assert len(set(re.findall(r"Untold-\d", body))) == 2
        assert "3 more that are open." in re.sub(r"<[^>]+>", "", body)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, "Also down with it, 1: Child-0."),
        (2, "Also down with it, 2: Child-0 and Child-1."),
        (12, "Also down with it, 12: Child-0, Child-1, Child-10 and 9 more."),
    ],
)
def test_it_says_what_is_down_with_a_server(
    mailbox: MailServer, frozen: clock.FrozenClock, count: int, words: str
) -> None:
    server = make_alert("stor-9", kind="server-offline", text="Server is offline: 9")
    for number in range(count):
        make_alert(f"Child-{number}", parent=server, is_presumed=True, event=False)
    over = make_alert("Child-x", parent=server, event=False)
    Alert.objects.filter(pk=over.pk).update(cleared_at=clock.now())

    sweep(frozen, 2)

    for body in map(unwrapped, (text_of(mailbox.mails[0]), html_of(mailbox.mails[0]))):
        assert words in body
        assert "Child-x" not in body
        assert "not mailed to you" not in body


@pytest.mark.parametrize(
    ("new", "cleared", "title", "subject"),
    [
        (1, 0, "[Critical] Store", "[Critical] Store point is unavailable: N0"),
        (2, 0, "2 alerts", "[Critical] 2 alerts: N0 and N1"),
        (0, 1, "[Cleared] Store", "[Cleared] Store point is unavailable: C0"),
        (0, 2, "2 alerts cleared", "[Cleared] 2 alerts: C0 and C1"),
        (1, 1, "1 alert, 1 cleared", "[Critical] ... N0 (1 cleared)"),
        (2, 2, "2 alerts, 2 cleared", "[Critical] 2 alerts: N0 and N1 (2 cleared)"),
    ],
)
def test_it_counts_in_words_that_fit(
    mailbox: MailServer,
    frozen: clock.FrozenClock,
    new: int,
    cleared: int,
    title: str,
    subject: str,
) -> None:
    gone = [make_alert(f"C{number}") for number in range(cleared)]
    if gone:
        sweep(frozen, 2)
    for alert in gone:
        clear(alert)
    for number in range(new):
        make_alert(f"N{number}")

    sweep(frozen, 60)

    mail = mailbox.mails[-1]
    wanted = subject.replace("...", "Store point is unavailable:")
    assert mail["Subject"] == wanted
    assert text_of(mail).startswith(title)
    assert len(mailbox.mails) == (2 if gone else 1)


def test_it_has_no_line_of_text_that_a_terminal_would_break(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    word = "a-name-of-one-word-" * 8
    make_alert("many words " * 9, text=f"Store point is unavailable: {'word ' * 50}")
    make_alert(word, text=f"Store point is unavailable: {word}")

    sweep(frozen, 2)

    lines = text_of(mailbox.mails[0]).splitlines()
    long = [line for line in lines if len(line) > 76]
    # What has no place to break, and what is to be copied as a whole.
    assert long
    assert all(" " not in line.strip() or line.startswith("      ") for line in long), (
        long
    )
    assert "-- " in lines


def test_it_lists_fifty_in_full_and_counts_the_rest(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    for number in range(60):
        make_alert(f"Tank-{number:02}", at=clock.now() + timedelta(milliseconds=number))

    sweep(frozen, 3)

    (mail,) = mailbox.mails
    assert mail["Subject"].startswith("[Critical] 60 alerts: Tank-00, Tank-01, Tank-02")
    assert text_of(mail).count("reported by") == 50
    assert "And 10 more: " in text_of(mail)
    assert "<strong>And 10 more</strong>" in html_of(mail)


def test_it_says_when_an_alert_has_cleared_before_its_late_mail(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    alert = make_alert()
    services.route_events(now=clock.now())
    clear(alert)
    frozen.tick(60)

    services.send_due(now=clock.now())

    assert "It has cleared since, at " in text_of(mailbox.mails[0])


HOSTILE = [
    "Tank\nBcc: victim@example.org",
    "Tank\r\n\r\n<script>alert(1)</script>",
    "Tank\x00\x07\x1b[31m",
    "Tank \U0001f4a5\U0001f468\u200d\U0001f469",
    "<b>Tank</b> & {{ settings.SECRET_KEY }} {% now %}",
    "x" * 10_000,
    "\u202eknaT",
    "=?utf-8?b?QmNjOiBh?=",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_it_sends_hostile_names_unharmed(
    mailbox: MailServer, frozen: clock.FrozenClock, name: str
) -> None:
    make_alert(name, text=f"Store point is unavailable: {name}".replace("\x00", ""))

    sweep(frozen, 2)

    (mail,) = mailbox.mails
    assert mail["Bcc"] is None
    assert mailbox.recipients == ["ana@example.org"]
    assert "\n" not in mail["Subject"]
    assert len(mail["Subject"]) < 220
    html = html_of(mail)
    assert "<script>" not in html
    assert "<b>" not in html
    assert "SECRET_KEY }}" not in text_of(mail) or "{{" in text_of(mail)
    assert all(len(line) <= 998 for line in mailbox.raw[0].split(b"\r\n"))


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_it_sends_any_name(
    mailbox: MailServer, frozen: clock.FrozenClock, name: str
) -> None:
    before = len(mailbox.mails)
    make_alert(text=f"Store point is unavailable: {name}")

    sweep(frozen, 31)

    assert len(mailbox.mails) == before + 1
    subject = str(mailbox.mails[-1]["Subject"]).strip()
    assert subject.startswith("[Critical] Store point is unavailable:")


def test_it_says_how_late_the_oldest_news_is(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    assert selectors.delivery_lag(clock.now()) is None
    make_alert()
    frozen.tick(40)
    assert selectors.delivery_lag(clock.now()) == timedelta(seconds=40)

    sweep(frozen)

    assert selectors.delivery_lag(clock.now()) is None


def test_it_asks_as_often_for_forty_alerts_as_for_two(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    figures = []
    for count in (2, 40):
        for _ in range(count):
            clear(make_alert())
        services.route_events(now=clock.now())
        frozen.tick(60)
        with CaptureQueriesContext(connection) as queries:
            services.send_due(now=clock.now())
        figures.append(len(queries))

    assert len(mailbox.mails) == 2
    assert figures[0] == figures[1]


def test_it_uses_one_connection_for_everybody(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    for number in range(5):
        make_recipient(f"p{number}@example.org")
    make_alert()

    sent = sweep(frozen, 2)

    assert sent == services.Sent(mails=6)
    assert mailbox.connections == 1


def test_it_sends_a_test_mail_even_when_sending_is_off(
    mailbox: MailServer,
) -> None:
    EmailSettings.objects.update(is_enabled=False)
    ben = make_user("ben")

    tested = services.send_test("x@example.org", actor=ben, now=clock.now())

    assert tested.is_sent
    assert mailbox.recipients == ["x@example.org"]
    assert mailbox.subjects == ["[Test] Store Point Console can send mail"]
    assert EmailSettings.objects.get().last_success_at is not None


def test_it_sends_nothing_while_sending_is_off(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_alert()
    services.route_events(now=clock.now())
    set_up_mail(mailbox.port, is_enabled=False)

    sweep(frozen, 60)
    assert mailbox.mails == []
    set_up_mail(mailbox.port, is_enabled=True)
    sweep(frozen, 60)

    assert len(mailbox.mails) == 1


def test_it_tells_times_in_the_readers_zone_and_names_it(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_user("kat", time_zone="Asia/Kathmandu")
    make_user("gone", time_zone="Mars/Base")
    make_recipient("ops@example.org")
    make_alert()

    sweep(frozen, 2)

    (kat,) = mailbox.of("kat@example.org")
    assert "raised 2026-07-15 17:45:00" in text_of(kat)
    assert "Times are in Asia/Kathmandu (+0545)." in text_of(kat)
    assert "Asia/Kathmandu" in html_of(kat)
    assert parsedate_to_datetime(kat["Date"]) == clock.now()
    for address in ("ops@example.org", "ana@example.org", "gone@example.org"):
        (others,) = mailbox.of(address)
        assert "raised 2026-07-15 12:00:00" in text_of(others)
        assert "Times are in UTC." in text_of(others)
