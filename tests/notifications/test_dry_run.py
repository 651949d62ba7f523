"""A dry run: what it says is what real mail would have been, and its work is bounded."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts import services as alerts
from alerts.engine import Severity
from alerts.models import Alert, AlertEvent, NotificationSetting
from console.accounts.models import User
from console.kit import clock
from notifications import dryrun, services, simulation
from notifications.simulation import Simulation
from tests.notifications.factories import (
    clear,
    make_alert,
    make_group,
    make_route,
    make_user,
    set_up_mail,
)
from tests.notifications.mailserver import MailServer

pytestmark = pytest.mark.django_db

START = datetime(2026, 7, 15, 18, 45, tzinfo=UTC)


def mails(run: Simulation) -> dict[str, int]:
    return {each.listener.lane: each.mails for each in run.counts}


@pytest.mark.parametrize("seed", range(2))
def test_it_foretells_the_mails_that_are_sent(
    seed: int, mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    dice = random.Random(seed)
    frozen.move_to(START)
    ana = User.objects.get(username="ana")
    User.objects.filter(pk=ana.pk).update(
        time_zone="Europe/Berlin", quiet_from="22:00", quiet_until="06:30"
    )
    make_user("ben")
    hourly = make_group("hourly", recipients=["hourly@example.org"])
    pager = make_group("pager", recipients=["pager@example.org"])
    both = make_group("both", recipients=["both@example.org"])
    make_route("Hourly", groups=[hourly, both], pace="hourly")
    make_route("Critical", groups=[both], severities=[1])
    make_route("Later", groups=[pager], severities=[1], after_seconds=1800)
    make_route("Daily", groups=[both], pace="daily", digest_at="07:00", severities=[3])
    held: list[Alert] = []

    # Four hours, looked at every half minute.
    for _ in range(4 * 60):
        if dice.random() < 0.08:
            held += [
                make_alert(severity=dice.choice(list(Severity)))
                for _ in range(dice.choice((1, 1, 1, 4)))
            ]
        if held and dice.random() < 0.05:
            clear(held.pop(dice.randrange(len(held))))
        if held and dice.random() < 0.02:
            seen = held.pop(dice.randrange(len(held)))
            alerts.acknowledge_alerts([seen.pk], actor=ana, now=clock.now())
        for _ in range(2):
            services.follow_alerts(now=clock.now())
            # When the wake-up of a new event comes, and until mail may leave again.
            services.sweep(now=clock.now())
            frozen.tick(2)
            services.sweep(now=clock.now())
            frozen.tick(28)
    foretold = mails(dryrun.dry_run(clock.now()))
    # What is still to come is foretold as well.
    for _ in range(32):
        frozen.tick(1800)
        services.sweep(now=clock.now())

    assert foretold == Counter(mailbox.recipients)
    assert len(foretold) == 5


def test_it_leaves_out_what_nobody_is_told_of(frozen: clock.FrozenClock) -> None:
    set_up_mail(25)
    make_user("ana")
    make_alert(at=clock.now() - timedelta(days=31))
    make_alert()
    silenced = make_alert(event=False)
    AlertEvent.objects.create(
        alert=silenced, at=clock.now(), kind="raised", is_withheld=True
    )
    make_alert(kind="server-offline")
    NotificationSetting.objects.create(
        kind="server-offline", is_mailed=False, changed_at=clock.now()
    )

    run = dryrun.dry_run(clock.now())

    (count,) = run.counts
    assert (count.listener.name, count.mails, count.messages) == ("ana", 1, 1)
    assert not run.is_cut


def test_it_tells_the_close_of_what_began_before(frozen: clock.FrozenClock) -> None:
    make_user("ana")
    alert = make_alert(event=False)
    clear(alert)

    assert mails(dryrun.dry_run(clock.now())) == {"ana@example.org": 1}


def test_it_is_quick_about_what_nobody_hears(
    frozen: clock.FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss = make_group(recipients=["boss@example.org"])
    make_route("Low", groups=[boss], severities=[3])
    make_alert(at=clock.now() - timedelta(days=20))
    asked: list[object] = []
    monkeypatch.setattr(simulation, "replay", lambda *args, **_: asked.append(args))

    run = dryrun.dry_run(clock.now())

    assert run.counts == ()
    assert asked == []


def test_it_says_that_it_is_cut(
    frozen: clock.FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_user("ana")
    for _ in range(5):
        make_alert()
        frozen.tick(3600)

    monkeypatch.setattr(dryrun, "MOST_EVENTS", 3)
    by_events = dryrun.dry_run(clock.now())
    monkeypatch.setattr(dryrun, "MOST_EVENTS", 100)
    monkeypatch.setattr(dryrun, "MOST_MESSAGES", 2)
    by_messages = dryrun.dry_run(clock.now())

    assert (by_events.is_cut, by_events.mails) == (True, 3)
    assert (by_messages.is_cut, by_messages.mails) == (True, 2)
    assert by_events.since == clock.now() - timedelta(hours=3)


def test_it_looks_at_a_hundred_thousand_events_in_constant_queries(
    frozen: clock.FrozenClock,
) -> None:
    for number in range(8):
        make_user(f"p{number}")
    for number in range(10):
        group = make_group(f"g{number}", recipients=[f"g{number}@example.org"])
        make_route(
            f"R{number}",
            groups=[group],
            pace=("now", "hourly", "daily")[number % 3],
            severities=[1 + number % 3],
            after_seconds=1800 if number == 9 else None,
        )
    figures = []
    for count in (2, 50_000):
        _fill(count)
        with CaptureQueriesContext(connection) as queries:
            started = time.perf_counter()
            run = dryrun.dry_run(clock.now())
            seconds = time.perf_counter() - started
        figures.append(len(queries))

    print(
        f"{run.events} events, {sum(c.messages for c in run.counts)} messages: {seconds:.1f} s"
    )
    assert figures[0] == figures[1]
    assert run.is_cut
    # Some seconds here; the limit is only against work without bound.
    assert seconds < 60


def _fill(count: int) -> None:
    """Raise and clear so many alerts, spread over 30 days."""
    start = clock.now() - timedelta(days=29)
    step = timedelta(days=28) / count
    first = (
        Alert.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    ) + 1
    Alert.objects.bulk_create(
        [
            Alert(
                pk=first + number,
                kind="store-point-offline",
                subject=f"store-point:{first + number}",
                severity=1 + number % 3,
                text="Store point is unavailable",
                object_name="Tank",
                reported_by="stor-1",
                raised_at=start + step * number,
                last_seen_at=start + step * number,
                cleared_at=start + step * number + timedelta(hours=1),
            )
            for number in range(count)
        ],
        batch_size=1000,
    )
    events = [
        AlertEvent(alert_id=first + number, at=start + step * number + after, kind=kind)
        for number in range(count)
        for kind, after in (("raised", timedelta(0)), ("cleared", timedelta(hours=1)))
    ]
    events.sort(key=lambda event: event.at)
    AlertEvent.objects.bulk_create(events, batch_size=1000)
