"""Reminders and escalation: once for each step, until somebody acknowledges."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts import services as alerts
from alerts.engine import Severity
from alerts.models import Alert, AlertEvent, NotificationSetting, Silence
from console.kit import clock
from notifications import services
from notifications.models import Delivery, ReminderSettings
from notifications.services import sending
from tests.notifications.factories import (
    clear,
    happens,
    make_alert,
    make_group,
    make_recipient,
    make_route,
    make_user,
    set_up_mail,
)
from tests.races import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


@pytest.fixture(autouse=True)
def _mail(db: None, frozen: clock.FrozenClock) -> None:
    set_up_mail(25)


def tick(frozen: clock.FrozenClock, hours: float) -> None:
    frozen.tick(hours * 3600)


def follow() -> int:
    return services.follow_alerts(now=clock.now())


def route() -> None:
    services.route_events(now=clock.now())


def said(alert: Alert) -> list[str]:
    return list(alert.events.order_by("pk").values_list("kind", flat=True))


def told(event: AlertEvent) -> list[str]:
    return sorted(event.deliveries.values_list("recipient", flat=True))


def test_it_reminds_of_critical_after_four_hours_and_again(
    frozen: clock.FrozenClock,
) -> None:
    make_user("ana")
    alert = make_alert()
    route()
    figures = []

    for minutes in (239, 1, 0, 239, 1):
        frozen.tick(minutes * 60)
        figures.append(follow())

    assert figures == [0, 1, 0, 0, 1]
    assert said(alert) == ["raised", "reminded", "reminded"]
    first, second = alert.events.filter(kind="reminded")
    assert first.note == "nobody has acknowledged it for 4 h"
    assert second.note == "nobody has acknowledged it for 8 h"
    route()
    assert told(first) == ["ana@example.org"]


@pytest.mark.parametrize(
    ("severity", "hours"), [(Severity.CRITICAL, 4), (Severity.WARNING, 24)]
)
def test_it_reminds_by_severity(
    severity: Severity, hours: int, frozen: clock.FrozenClock
) -> None:
    make_alert(severity=severity)

    frozen.tick(hours * 3600 - 1)
    early = follow()
    frozen.tick(1)

    assert (early, follow()) == (0, 1)


def test_it_never_reminds_of_low_nor_when_switched_off(
    frozen: clock.FrozenClock,
) -> None:
    make_alert(severity=Severity.LOW)
    make_alert(severity=Severity.WARNING)
    ReminderSettings.objects.create(pk=1, critical_seconds=3600, warning_seconds=None)
    tick(frozen, 30 * 24)

    assert follow() == 0


@pytest.mark.parametrize("ends", ["acknowledged", "cleared", "held", "switched off"])
def test_it_stops(ends: str, frozen: clock.FrozenClock) -> None:
    ana = make_user("ana")
    alert = make_alert()
    tick(frozen, 3)
    if ends == "acknowledged":
        alerts.acknowledge_alerts([alert.pk], actor=ana, now=clock.now())
    elif ends == "cleared":
        clear(alert)
    elif ends == "held":
        parent = make_alert(kind="server-offline")
        Alert.objects.filter(pk=alert.pk).update(parent=parent)
    else:
        NotificationSetting.objects.create(
            kind=alert.kind, is_mailed=False, changed_at=clock.now()
        )
    tick(frozen, 3)
    follow()

    assert "reminded" not in said(alert)


def test_it_counts_anew_when_an_acknowledgement_ends(
    frozen: clock.FrozenClock,
) -> None:
    ana = make_user("ana")
    alert = make_alert()
    until = clock.now() + timedelta(hours=6)
    alerts.acknowledge_alerts([alert.pk], actor=ana, now=clock.now(), until=until)

    frozen.tick(9 * 3600 + 59 * 60)
    early = follow()
    frozen.tick(60)

    assert (early, follow()) == (0, 1)


def test_it_counts_anew_when_it_gets_worse(frozen: clock.FrozenClock) -> None:
    alert = make_alert(severity=Severity.WARNING)
    tick(frozen, 20)
    Alert.objects.filter(pk=alert.pk).update(severity=Severity.CRITICAL)
    happens(alert, AlertEvent.Kind.WORSENED)

    tick(frozen, 3)
    early = follow()
    tick(frozen, 1)

    assert (early, follow()) == (0, 1)


def test_it_escalates_anew_after_an_acknowledgement_that_ended_long_ago(
    frozen: clock.FrozenClock,
) -> None:
    ana = make_user("ana")
    make_route("Later", groups=[make_group("later")], after_seconds=1800)
    alert = make_alert(severity=Severity.LOW)
    until = clock.now() + timedelta(minutes=10)
    alerts.acknowledge_alerts([alert.pk], actor=ana, now=clock.now(), until=until)
    tick(frozen, 1)
    first = follow()
    frozen.tick(60)
    happens(alert, AlertEvent.Kind.UNSILENCED)

    frozen.tick(1799)
    early = follow()
    frozen.tick(1)

    assert (first, early, follow(), follow()) == (1, 0, 1, 0)


def test_it_does_not_tell_what_was_acknowledged_before_it_was_routed(
    frozen: clock.FrozenClock,
) -> None:
    ana = make_user("ana")
    alert = make_alert()
    tick(frozen, 4)
    follow()
    alerts.acknowledge_alerts([alert.pk], actor=ana, now=clock.now())
    route()

    event = alert.events.get(kind="reminded")
    assert told(event) == []
    assert event.routing == "not mailed: ana has acknowledged it meanwhile"


def test_it_withholds_what_a_silence_covers(frozen: clock.FrozenClock) -> None:
    make_user("ana")
    alert = make_alert()
    route()
    tick(frozen, 3)
    Silence.objects.create(
        name="Array rebuild",
        starts_at=clock.now(),
        ends_at=clock.now() + timedelta(hours=2),
        created_at=clock.now(),
    )
    tick(frozen, 1)
    follow()
    route()

    event = alert.events.get(kind="reminded")
    assert (event.is_withheld, told(event)) == (True, [])
    assert "silenced by “Array rebuild”" in event.routing


def test_it_escalates_once_to_the_next_route(frozen: clock.FrozenClock) -> None:
    make_user("ana")
    make_recipient("second@example.org")
    make_recipient("third@example.org")
    for minutes, name in ((30, "second"), (60, "third")):
        make_route(
            name.capitalize(),
            groups=[make_group(name, recipients=[f"{name}@example.org"])],
            after_seconds=minutes * 60,
            severities=[1],
        )
    alert = make_alert()
    warning = make_alert(severity=Severity.WARNING)
    route()
    figures = []

    for minutes in (29, 1, 0, 30, 60):
        frozen.tick(minutes * 60)
        figures.append(follow())
    route()

    assert figures == [0, 1, 0, 1, 0]
    second, third = alert.events.filter(kind="escalated")
    assert told(alert.events.get(kind="raised")) == ["ana@example.org"]
    assert told(second) == ["second@example.org"]
    assert told(third) == ["third@example.org"]
    assert second.note == "by route “Second”, nobody has acknowledged it for 30 min"
    assert second.routing == "by route “Second” to second@example.org"
    assert said(warning) == ["raised"]
    Delivery.objects.update(state="sent", sent_at=clock.now())
    event = clear(alert)
    route()
    assert told(event) == ["ana@example.org", "second@example.org", "third@example.org"]


def test_it_reminds_those_who_were_escalated_to(frozen: clock.FrozenClock) -> None:
    make_user("ana")
    make_recipient("second@example.org")
    group = make_group("second", recipients=["second@example.org"])
    make_route("Second", groups=[group], after_seconds=1800)
    alert = make_alert()
    tick(frozen, 1)
    follow()
    route()
    tick(frozen, 3)
    follow()
    route()

    assert told(alert.events.get(kind="reminded")) == [
        "ana@example.org",
        "second@example.org",
    ]


def test_it_takes_back_all_that_waited_however_many(
    frozen: clock.FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MANY", 2)
    ana = make_user("ana")
    rows = [make_alert() for _ in range(5)]
    tick(frozen, 4)
    follow()
    route()
    alerts.acknowledge_alerts([row.pk for row in rows], actor=ana, now=clock.now())
    frozen.tick(2)

    count = sending.give_up_moot(now=clock.now())

    reminders = Delivery.objects.filter(event__kind="reminded")
    assert (count, reminders.filter(state="failed").count()) == (5, 5)


def test_it_takes_back_a_reminder_that_waited_for_too_long(
    frozen: clock.FrozenClock,
) -> None:
    frozen.move_to(datetime.fromisoformat("2026-07-15T18:30:00+00:00"))
    ana = make_user(
        "ana",
        time_zone="UTC",
        quiet_from="22:00",
        quiet_until="07:00",
        quiet_lets_critical=False,
    )
    alert = make_alert()
    route()
    tick(frozen, 4)
    follow()
    route()
    alerts.acknowledge_alerts([alert.pk], actor=ana, now=clock.now())
    frozen.move_to(datetime.fromisoformat("2026-07-16T07:00:01+00:00"))

    services.send_due(now=clock.now())

    row = Delivery.objects.get(event__kind="reminded")
    assert row.state == "failed"
    assert row.error == (
        "Not sent: while it waited, the alert was acknowledged or cleared."
    )


def test_it_makes_as_many_queries_for_forty_alerts_as_for_two(
    frozen: clock.FrozenClock,
) -> None:
    make_route("Later", groups=[make_group("ops")], after_seconds=60)
    figures = []
    for count in (2, 40):
        for _ in range(count):
            make_alert()
        tick(frozen, 4)
        with CaptureQueriesContext(connection) as queries:
            follow()
        figures.append(len(queries))

    assert figures[0] == figures[1]


@pytest.mark.postgres(only=True)
@pytest.mark.django_db(transaction=True)
def test_it_makes_one_of_each_with_four_workers(frozen: clock.FrozenClock) -> None:
    make_route("Later", groups=[make_group("ops")], after_seconds=60)
    for _ in range(50):
        make_alert()
    tick(frozen, 5)

    failures = at_once(*([follow] * 3 for _ in range(4)))

    assert failures == []
    events = AlertEvent.objects.filter(kind__in=["reminded", "escalated"])
    assert events.filter(kind="reminded").count() == 50
    assert events.filter(kind="escalated").count() == 50
    assert events.values("alert", "kind").distinct().count() == 100
