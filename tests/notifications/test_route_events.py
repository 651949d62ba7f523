"""From the outbox to deliveries: who is to hear, and the sentence that says so."""

from __future__ import annotations

import pytest

from alerts.models import AlertEvent, NotificationSetting
from console.accounts.models import User
from console.accounts.roles import Role
from console.kit import clock
from notifications import services
from notifications.models import Delivery, EmailSettings
from tests.notifications.factories import (
    clear,
    happens,
    make_alert,
    make_recipient,
    make_user,
    set_up_mail,
)

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


@pytest.fixture(autouse=True)
def _mail(db: None, frozen: clock.FrozenClock) -> None:
    set_up_mail(25)


def route() -> int:
    return services.route_events(now=clock.now())


def switch(kind: str, *, is_mailed: bool) -> None:
    NotificationSetting.objects.update_or_create(
        kind=kind, defaults={"is_mailed": is_mailed, "changed_at": clock.now()}
    )


def of(event: AlertEvent) -> list[str]:
    return sorted(
        Delivery.objects.filter(event=event).values_list("recipient", flat=True)
    )


def test_it_makes_a_delivery_for_everybody_once() -> None:
    make_user("ana", email="ana@example.org")
    make_user("ben", email="ben@example.org")
    make_recipient("OPS@example.org")
    make_recipient("Ana@Example.org")
    alert = make_alert()

    assert route() == 1
    assert route() == 0

    event = alert.events.get()
    assert of(event) == ["OPS@example.org", "ana@example.org", "ben@example.org"]
    assert event.routing == "to ana, ben, OPS@example.org"
    assert event.routed_at == clock.now()


def test_it_leaves_out_who_is_not_an_active_administrator_with_an_address() -> None:
    make_user("ana")
    make_user("gone", is_active=False)
    make_user("silent", email="")
    make_user("op", role=Role.OPERATOR)
    make_user("viewer", role=Role.VIEWER)
    alert = make_alert()

    route()

    assert of(alert.events.get()) == ["ana@example.org"]


def test_it_says_that_no_mail_server_is_set_up() -> None:
    EmailSettings.objects.all().delete()
    make_user("ana")
    alert = make_alert()

    route()

    event = alert.events.get()
    assert of(event) == []
    assert event.routing == "not mailed: no mail server is set up (Settings > Email)"


def test_it_says_that_sending_is_off() -> None:
    set_up_mail(25, is_enabled=False)
    make_user("ana")
    alert = make_alert()

    route()

    assert alert.events.get().routing == (
        "not mailed: sending mail is switched off (Settings > Email)"
    )


def test_it_says_that_the_kind_is_off() -> None:
    make_user("ana")
    switch("store-point-offline", is_mailed=False)
    alert = make_alert()

    route()

    event = alert.events.get()
    assert of(event) == []
    assert event.routing == "not mailed: Send Email is off for this kind"


def test_it_always_tells_the_close_to_who_was_told_the_open() -> None:
    make_user("ana")
    make_recipient("ops@example.org")
    alert = make_alert()
    route()
    switch("store-point-offline", is_mailed=False)
    make_user("late")
    event = clear(alert)

    route()

    assert of(event) == ["ana@example.org", "ops@example.org"]
    assert event.routing == ""
    event.refresh_from_db()
    assert event.routing.startswith("to ana, ops@example.org, who were mailed")


def test_it_tells_nothing_more_to_who_is_no_longer_mailed() -> None:
    ana, ben = make_user("ana"), make_user("ben")
    make_user("carl")
    dora = make_user("dora")
    ops = make_recipient("ops@example.org")
    alert = make_alert()
    route()
    ops.delete()
    User.objects.filter(pk=ana.pk).update(is_active=False)
    User.objects.filter(pk=ben.pk).update(role="viewer")
    User.objects.filter(pk=dora.pk).update(email="dora@elsewhere.example")
    event = clear(alert)

    route()

    assert of(event) == ["carl@example.org", "dora@elsewhere.example"]


def test_it_keeps_the_close_until_mail_is_sent_again() -> None:
    ana = make_user("ana")
    alert = make_alert()
    route()
    set_up_mail(25, is_enabled=False)
    event = clear(alert)

    route()

    assert of(event) == ["ana@example.org"]
    event.refresh_from_db()
    assert event.routing == (
        "to ana, as soon as mail is sent again: sending mail is switched off "
        "(Settings > Email)"
    )
    assert ana.is_administrator


def test_it_tells_no_close_to_who_was_not_told_the_open() -> None:
    make_user("ana")
    switch("store-point-offline", is_mailed=False)
    alert = make_alert()
    route()
    switch("store-point-offline", is_mailed=True)
    event = clear(alert)

    route()

    event.refresh_from_db()
    assert of(event) == []
    assert event.routing == "not mailed: nobody was mailed that it was raised"


def test_it_does_not_tell_the_close_of_an_earlier_spell() -> None:
    make_user("ana")
    alert = make_alert()
    clear(alert)
    route()
    switch("store-point-offline", is_mailed=False)
    happens(alert, AlertEvent.Kind.REOPENED)
    event = clear(alert)

    route()

    assert of(event) == []


def test_it_does_not_tell_the_close_when_the_open_was_refused() -> None:
    make_user("ana")
    make_recipient("wrong@example.org")
    alert = make_alert()
    route()
    Delivery.objects.filter(recipient="wrong@example.org").update(state="failed")
    event = clear(alert)

    route()

    assert of(event) == ["ana@example.org"]


def test_it_routes_open_and_close_of_one_go() -> None:
    make_user("ana")
    alert = make_alert()
    event = clear(alert)

    assert route() == 2

    assert of(event) == ["ana@example.org"]


def test_it_leaves_events_alone_that_are_no_news() -> None:
    make_user("ana")
    alert = make_alert(event=False)
    AlertEvent.objects.create(
        alert=alert, at=clock.now(), kind=AlertEvent.Kind.ACKNOWLEDGED
    )

    route()

    assert not Delivery.objects.exists()


@pytest.mark.parametrize("count", [0, 1, 501])
def test_it_routes_any_number_in_their_order(count: int) -> None:
    make_user("ana")
    for _ in range(count):
        make_alert()

    assert route() == count

    events = Delivery.objects.order_by("pk").values_list("event", flat=True)
    assert list(events) == sorted(events)
    assert len(events) == count


def test_it_asks_as_often_for_forty_events_as_for_two() -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    make_user("ana")
    figures = []
    for count in (1, 20):
        for _ in range(count):
            clear(make_alert())
        with CaptureQueriesContext(connection) as queries:
            route()
        figures.append(len(queries))

    assert figures[0] == figures[1]
    assert User.objects.count() == 1
