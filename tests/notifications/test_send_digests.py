"""Groups, routes, quiet hours and digests, down to the mails."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, time, timedelta

import jsonschema
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts.engine import Severity
from alerts.models import AlertEvent
from console.accounts.models import User
from console.accounts.roles import Role
from console.kit import clock
from notifications import dryrun, messages, selectors, services
from notifications.models import Delivery
from notifications.pace import Clock, Pace, Turn, Waits
from notifications.rules import Appointment, Listener, Rule, sentence
from notifications.transports import webhook
from notifications.words import Told, digest_subject
from tests.factories import make_server
from tests.notifications.factories import (
    clear,
    happens,
    make_alert,
    make_channel,
    make_group,
    make_recipient,
    make_route,
    make_user,
    set_up_mail,
)
from tests.notifications.mailserver import MailServer, html_of, text_of

pytestmark = pytest.mark.django_db

WARNING = Severity.WARNING


@pytest.fixture(autouse=True)
def _noon(frozen: clock.FrozenClock) -> None:
    at(frozen, "2026-07-15T12:00:00+00:00")


def at(frozen: clock.FrozenClock, text: str) -> None:
    frozen.move_to(datetime.fromisoformat(text))


def route() -> None:
    services.route_events(now=clock.now())


def sweep(frozen: clock.FrozenClock, seconds: float = 0) -> services.Sent:
    frozen.tick(seconds)
    return services.sweep(now=clock.now())


def of(event: AlertEvent) -> list[str]:
    return sorted(event.deliveries.values_list("recipient", flat=True))


def operator(name: str = "olga", **fields: object) -> User:
    return make_user(name, role=Role.OPERATOR, time_zone="UTC", **fields)


# --- who -------------------------------------------------------------------------------


@pytest.mark.postgres
def test_it_tells_groups_by_their_routes_and_everybody_else_everything() -> None:
    set_up_mail(25)
    make_user("ana")
    make_recipient("all@example.org")
    olga = operator()
    make_group("idle", recipients=["idle@example.org"])
    ops = make_group("ops", users=[olga], recipients=["ops@example.org"])
    make_route("Night shift", groups=[ops], severities=[1])
    critical, warning = make_alert(), make_alert(severity=WARNING)

    route()

    event = critical.events.get()
    assert of(event) == [
        *("all@example.org", "ana@example.org"),
        *("olga@example.org", "ops@example.org"),
    ]
    assert event.routing == (
        "to ana, all@example.org; by route “Night shift” to olga, ops@example.org"
    )
    assert of(warning.events.get()) == ["all@example.org", "ana@example.org"]


@pytest.mark.postgres
def test_it_matches_destination_and_server(db: None) -> None:
    set_up_mail(25)
    here, there = make_server("stor-1"), make_server("stor-2")
    ops = make_group("ops", recipients=["ops@example.org"])
    dev = make_group("dev", recipients=["dev@example.org"])
    make_route("By server", groups=[ops], server=here)
    make_route("By destination", groups=[dev], destination=there.destination)
    one, other = make_alert(server=here), make_alert(server=there)

    route()

    assert "ops@example.org" in of(one.events.get())
    assert "ops@example.org" not in of(other.events.get())
    assert "dev@example.org" in of(other.events.get())


def test_it_says_that_no_route_tells_anybody() -> None:
    set_up_mail(25)
    make_route("R", groups=[make_group(recipients=["ops@example.org"])], severities=[1])
    alert = make_alert(severity=WARNING)

    route()

    assert alert.events.get().routing == "not mailed: no route tells anybody of it"


def test_it_tells_channels_also_when_no_mail_can_be_sent() -> None:
    make_user("ana")
    pager, chat = make_channel("pager"), make_channel("chat")
    make_channel("off", is_enabled=False)
    make_route("Pager", channels=[pager], severities=[1])
    alert, warning = make_alert(), make_alert(severity=WARNING)

    route()

    event = alert.events.get()
    assert of(event) == sorted([pager.lane, chat.lane])
    assert event.routing == (
        "not mailed: no mail server is set up (Settings > Email); by chat; by route "
        "“Pager” to channel “pager”"
    )
    row = event.deliveries.get(channel=pager)
    assert (row.recipient, row.recipient_name) == (pager.lane, "pager")
    assert of(warning.events.get()) == [chat.lane]
    close = clear(alert)
    route()
    assert of(close) == sorted([pager.lane, chat.lane])


def test_it_tells_the_close_whatever_became_of_the_route() -> None:
    set_up_mail(25)
    ops = make_group(recipients=["ops@example.org"])
    rule = make_route("R", groups=[ops])
    alert = make_alert()
    route()
    rule.delete()
    event = clear(alert)
    route()

    assert of(event) == ["ops@example.org"]


def test_it_does_not_take_a_person_for_a_channel_of_the_same_name() -> None:
    set_up_mail(25)
    make_user("ops")
    channel = make_channel("ops")
    alert = make_alert()
    route()
    Delivery.objects.filter(channel__isnull=True).delete()
    channel.is_enabled = False
    channel.save()
    event = clear(alert)
    route()

    assert of(event) == []


def test_it_routes_five_hundred_events_by_fifty_routes_in_constant_queries() -> None:
    set_up_mail(25)
    figures = []
    for events, routes in ((2, 2), (500, 48)):
        for number in range(routes):
            make_route(
                f"Route {events} {number}",
                groups=[
                    make_group(
                        f"g {events} {number}",
                        recipients=[f"g{events}-{number}@example.org"],
                    )
                ],
                severities=[1 + number % 3],
            )
        for _ in range(events):
            make_alert()
        with CaptureQueriesContext(connection) as queries:
            route()
        figures.append(
            sum(
                not each["sql"].startswith("INSERT")
                for each in queries.captured_queries
            )
        )

    # A second look whether there is more, because 500 are a full batch.
    assert figures[1] <= figures[0] + 1
    assert Delivery.objects.count() > 500


# --- when ------------------------------------------------------------------------------


@pytest.mark.postgres
def test_it_waits_for_the_end_of_quiet_hours(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    User.objects.filter(username="ana").update(
        time_zone="Europe/Berlin", quiet_from="22:00", quiet_until="07:00"
    )
    at(frozen, "2026-07-15T21:00:00+00:00")
    warning = make_alert("Tank-01", severity=WARNING)
    gone = make_alert("Tank-02", severity=WARNING)
    sweep(frozen, 5)
    clear(gone)
    sweep(frozen, 60)
    assert mailbox.mails == []
    assert selectors.delivery_lag(clock.now()) is None
    assert warning.events.get().routing == (
        "to ana; ana waits for quiet hours until 2026-07-16 07:00 CEST"
    )

    # What is urgent breaks through, and does not take the rest along.
    make_alert("Tank-03")
    sweep(frozen)
    sweep(frozen, 2)
    assert [mail["Subject"] for mail in mailbox.mails] == [
        "[Critical] Store point is unavailable: Tank-03"
    ]

    at(frozen, "2026-07-16T05:00:00+00:00")
    sweep(frozen)
    assert len(mailbox.mails) == 2
    assert mailbox.mails[1]["Subject"] == (
        "[Warning] Store point is unavailable: Tank-01 (1 cleared)"
    )
    assert Delivery.objects.exclude(state="sent").count() == 0


@pytest.mark.postgres
@pytest.mark.postgres
def test_it_keeps_the_quiet_hours_of_a_person_whose_address_is_a_recipient(
    frozen: clock.FrozenClock,
) -> None:
    at(frozen, "2026-07-15T23:00:00+00:00")
    set_up_mail(25)
    vera = operator("vera", quiet_from="22:00", quiet_until="07:00")
    make_recipient("Vera@Example.org")
    event = make_alert(severity=WARNING).events.get()

    route()

    (delivery,) = event.deliveries.all()
    assert (delivery.recipient, delivery.waits_for) == (vera.email, "quiet")
    assert f"{delivery.due_at:%H:%M}" == "07:00"


def test_it_gathers_a_day_in_a_digest(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    ops = make_group("ops", recipients=["ops@example.org"])
    make_route("Daily", groups=[ops], pace="daily", digest_at="08:00", time_zone="UTC")
    open_one, gone = make_alert("Tank-01"), make_alert("Tank-02")
    sweep(frozen, 60)
    clear(gone)
    sweep(frozen, 60)
    make_alert("Tank-03", severity=WARNING)
    sweep(frozen, 60)
    sweep(frozen, 60)
    assert mailbox.of("ops@example.org") == []
    assert mailbox.of("ana@example.org")
    assert open_one.events.get().routing == (
        "to ana; by route “Daily” to ops@example.org in the daily digest of "
        "2026-07-16 08:00 UTC"
    )

    at(frozen, "2026-07-16T08:00:00+00:00")
    sweep(frozen)

    (mail,) = mailbox.of("ops@example.org")
    assert mail["Subject"] == "Digest: 2 open, 1 cleared"
    body = text_of(mail)
    assert body.index("Still open") < body.index("Tank-01") < body.index("Cleared")
    assert body.count("Tank-02") == 1
    assert (
        "raised 2026-07-15 12:00:00, cleared 2026-07-15 12:01:00, lasted 1 min" in body
    )
    assert "Tank-02" in html_of(mail)


def test_it_tells_what_waits_together_with_worse_news(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    ops = make_group("ops", recipients=["ops@example.org"])
    make_route("Daily", groups=[ops], pace="daily", severities=[2])
    make_route("Now", groups=[ops], severities=[1])
    alert = make_alert("Tank-01", severity=WARNING)
    make_alert("Tank-02", severity=WARNING)
    sweep(frozen, 60)
    alert.severity = 1
    alert.save()
    happens(alert, AlertEvent.Kind.WORSENED)
    sweep(frozen, 60)
    sweep(frozen, 60)

    (mail,) = mailbox.of("ops@example.org")
    assert mail["Subject"] == "[Critical] Store point is unavailable: Tank-01"
    assert "raised" in text_of(mail)
    assert "got worse" in text_of(mail)
    left = Delivery.objects.filter(recipient="ops@example.org", state="pending")
    assert left.get().event.alert.object_name == "Tank-02"


def test_it_sends_the_close_of_what_was_told_in_the_next_digest(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    ops = make_group("ops", recipients=["ops@example.org"])
    make_route("Hourly", groups=[ops], pace="hourly")
    alert = make_alert("Tank-01")
    sweep(frozen)
    at(frozen, "2026-07-15T13:00:00+00:00")
    sweep(frozen)
    clear(alert)
    sweep(frozen, 120)
    at(frozen, "2026-07-15T14:00:00+00:00")
    sweep(frozen)

    assert [mail["Subject"] for mail in mailbox.of("ops@example.org")] == [
        "Digest: 1 open: Store point is unavailable: Tank-01",
        "Digest: 1 cleared: Store point is unavailable: Tank-01",
    ]


def test_it_tells_the_close_with_the_sooner_of_two_digests(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    ops = make_group(recipients=["ops@example.org"])
    make_route("Hourly", groups=[ops], severities=[1], pace="hourly")
    make_route("Daily", groups=[ops], severities=[2], pace="daily", digest_at="18:00")
    alert = make_alert(severity=WARNING)
    sweep(frozen, 60)
    alert.severity = Severity.CRITICAL
    alert.save()
    worse = happens(alert, AlertEvent.Kind.WORSENED)
    sweep(frozen, 60)
    foretold = dryrun.dry_run(clock.now())
    closed = clear(alert)
    sweep(frozen)
    later = dryrun.dry_run(clock.now())

    at(frozen, "2026-07-15T13:00:00+00:00")
    sweep(frozen)

    (mail,) = mailbox.of("ops@example.org")
    assert mail["Subject"].startswith("Digest: 1 cleared: ")
    words = "by route “Hourly” to ops@example.org in the hourly digest of 13:00 UTC"
    for event in (worse, closed):
        event.refresh_from_db()
        assert words in event.routing
    for run in (foretold, later):
        (count,) = [each for each in run.counts if "ops" in each.listener.lane]
        assert (count.mails, count.digests) == (1, 1)


def test_it_says_of_each_who_waits_for_which_digest() -> None:
    rule = Rule(7, "Daily", clock=Clock(Pace.DAILY, time(8)))
    at_eight = Turn(clock.now() + timedelta(hours=20), Waits.DAILY)
    at_one = Turn(clock.now() + timedelta(hours=1), Waits.HOURLY)

    words = sentence(
        [
            Appointment(Listener("a", "a"), at_eight, rule),
            Appointment(Listener("b", "b"), at_one, rule),
            Appointment(Listener("c", "c"), Turn(clock.now()), rule),
        ],
        now=clock.now(),
    )

    assert words == (
        "by route “Daily” to a in the daily digest of 2026-07-16 08:00 UTC; "
        "by route “Daily” to b in the hourly digest of 13:00 UTC; "
        "by route “Daily” to c"
    )


@pytest.mark.postgres
def test_it_does_not_tell_the_close_of_an_escalation_that_was_taken_back(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    boss = make_group(recipients=["boss@example.org"])
    make_route("Later", groups=[boss], pace="hourly", after_seconds=1800)
    alert = make_alert()
    sweep(frozen, 2)
    frozen.tick(1800)
    services.follow_alerts(now=clock.now())
    sweep(frozen)
    event = alert.events.get(kind="escalated")
    assert of(event) == ["boss@example.org"]

    closed = clear(alert)
    sweep(frozen, 2)
    sweep(frozen, 3600)

    assert of(closed) == ["ana@example.org"]
    assert mailbox.recipients == ["ana@example.org"] * 2
    assert "acknowledged or cleared" in event.deliveries.get().error


@pytest.mark.postgres
def test_it_names_nothing_that_is_none_of_their_business(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    here, there = make_server("stor-1"), make_server("stor-2")
    theirs = make_group(recipients=["theirs@example.org"])
    make_route("Theirs", groups=[theirs], destination=here.destination)
    make_recipient("all@example.org")
    make_alert("Elsewhere", server=there)
    make_alert("Silenced", server=here, event=False)
    make_alert("News", server=here)

    sweep(frozen, 2)

    (narrow,), (wide,) = mailbox.of("theirs@example.org"), mailbox.of("all@example.org")
    assert "Elsewhere" in text_of(wide)
    for part in (text_of(narrow), html_of(narrow)):
        assert "Silenced" in part
        assert "Elsewhere" not in part


def test_it_gives_up_a_digest_a_day_after_it_was_due() -> None:
    set_up_mail(25)
    ops = make_group("ops", recipients=["ops@example.org"])
    make_route("Daily", groups=[ops], pace="daily", digest_at="11:00")
    make_alert()
    route()

    row = Delivery.objects.get(recipient="ops@example.org")
    assert row.due_at == clock.now() + timedelta(hours=23)
    assert row.give_up_at == row.due_at + timedelta(hours=24)


@pytest.mark.parametrize(
    ("ongoing", "cleared", "line"),
    [
        (0, 0, "Digest: nothing"),
        (1, 0, "Digest: 1 open: Store point is unavailable: Tank-07"),
        (0, 1, "Digest: 1 cleared: Store point is unavailable: Tank-07"),
        (1, 1, "Digest: 1 open, 1 cleared"),
        (2, 0, "Digest: 2 open"),
        (2, 5, "Digest: 2 open, 5 cleared"),
    ],
)
def test_it_words_the_subject_of_a_digest(
    ongoing: int, cleared: int, line: str
) -> None:
    told = [
        Told("Store point is unavailable: Tank-07", "Tank-07", WARNING, is_cleared=gone)
        for gone, count in ((False, ongoing), (True, cleared))
        for _ in range(count)
    ]

    assert digest_subject(told) == line


def test_it_says_in_a_channel_that_it_is_a_digest_and_since_when(
    frozen: clock.FrozenClock,
) -> None:
    chat = make_channel("chat")
    make_route("Hourly", channels=[chat], pace="hourly")
    alert = make_alert("Tank-01")
    make_alert("Tank-02")
    frozen.tick(4 * 3600)
    services.follow_alerts(now=clock.now())
    route()
    batch = uuid.uuid4()
    waiting = Delivery.objects.filter(channel=chat)

    waiting.update(batch=batch)
    digest = messages.compose(batch, now=clock.now())
    waiting.filter(event__kind="raised").update(batch=None)
    waiting.exclude(event__alert=alert).update(batch=None)
    reminder = messages.compose(batch, now=clock.now())

    assert digest.title == "Digest: 2 open"
    assert reminder.title == ("Digest: 1 open: Store point is unavailable: Tank-01")
    assert "Since 2026-07-15 12:00:00" in reminder.body
    schema = json.loads(webhook.SCHEMA.read_text())
    jsonschema.validate(reminder.payload, schema)
    assert reminder.payload["alerts"][0]["events"][0]["type"] == "reminded"
