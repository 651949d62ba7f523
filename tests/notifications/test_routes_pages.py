"""Groups, routes, reminders, the dry run and "what would I get", as people use them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from alerts.engine import Severity
from alerts.models import NotificationOverride, NotificationSetting
from console.accounts.models import User
from console.accounts.roles import Role
from console.kit import clock
from console.kit.models import AuditEntry
from notifications import reach, services
from notifications.models import Group, Recipient, ReminderSettings, Route
from notifications.services import Members, Plan
from tests.factories import make_server
from tests.notifications.factories import (
    make_alert,
    make_channel,
    make_group,
    make_recipient,
    make_route,
    make_user,
    set_up_mail,
)

pytestmark = pytest.mark.django_db

BASE = "/settings/notifications/"
ROUTES, GROUPS = f"{BASE}routes/", f"{BASE}groups/"
MINE = f"{BASE}mine/"


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


def typed(name: str = "Pager", **fields: Any) -> dict[str, Any]:
    """Return the POST of a route's form."""
    return {
        "name": name,
        "is_enabled": "on",
        "pace": "now",
        "digest_at": "08:00",
        "time_zone": "UTC",
        "save": "1",
        **fields,
    }


def names() -> list[str]:
    return list(Route.objects.values_list("name", flat=True))


# --- groups -----------------------------------------------------------------------------


def test_it_makes_changes_and_removes_a_group(ana: Client) -> None:
    olga = make_user("olga", Role.OPERATOR)
    ops = make_recipient("ops@example.org")

    ana.post(f"{GROUPS}add/", {"name": "Night shift", "users": [olga.pk]})
    group = Group.objects.get()
    page = text(ana.get(GROUPS))
    assert "Night shift" in page
    assert "olga" in page
    ana.post(
        f"{GROUPS}{group.pk}/",
        {"name": "Night", "recipients": [ops.pk], "confirm": "1"},
    )
    ana.post(f"{GROUPS}{group.pk}/remove/")

    assert not Group.objects.exists()
    verbs = AuditEntry.objects.order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["group.add", "group.change", "group.remove"]
    assert AuditEntry.objects.get(verb="group.change").data == {
        "name": ["Night shift", "Night"],
        "users": [["olga"], []],
        "recipients": [[], ["ops@example.org"]],
    }


def test_it_asks_before_a_recipient_hears_nothing_any_more(ana: Client) -> None:
    ops = make_recipient("ops@example.org")
    data = {"name": "Night", "recipients": [ops.pk]}

    asked = ana.post(f"{GROUPS}add/", data)
    assert "Nothing would reach these any more" in text(asked)
    assert "ops@example.org" in text(asked)
    assert not Group.objects.exists()
    assert not AuditEntry.objects.exists()
    ana.post(f"{GROUPS}add/", {**data, "confirm": "1"})

    assert Group.objects.get().recipients.get() == ops


def test_it_keeps_a_member_who_may_not_sign_in_for_now(ana: Client) -> None:
    away = make_user("away", Role.OPERATOR, is_active=False)
    gone = make_user("gone", Role.OPERATOR, is_active=False)
    group = make_group("Night", users=[away])

    page = text(ana.get(f"{GROUPS}{group.pk}/"))
    ana.post(f"{GROUPS}{group.pk}/", {"name": "Night shift", "users": [away.pk]})
    refused = ana.post(f"{GROUPS}{group.pk}/", {"name": "N", "users": [gone.pk]})

    assert "away (may not sign in)" in page
    assert "gone" not in page
    assert refused.status_code == 422
    assert list(group.users.all()) == [away]
    group.refresh_from_db()
    assert group.name == "Night shift"


def test_it_does_not_widen_a_route_whose_kind_has_left_the_catalogue(
    ana: Client,
) -> None:
    group = make_group()
    route = make_route("Old", groups=[group], kinds=["old-kind"])
    data = typed("New", groups=[group.pk], kinds=["old-kind"])

    listed = text(ana.get(ROUTES))
    page = text(ana.get(f"{ROUTES}{route.pk}/"))
    answer = ana.post(f"{ROUTES}{route.pk}/", data)

    assert "old-kind (no longer known)" in listed
    assert "Every alert" not in listed
    assert re.search(r'value="old-kind" selected', page)
    assert answer.status_code == 422
    assert "Expected kinds of alerts, found &#x27;old-kind&#x27;." in text(answer)


def test_it_refuses_a_name_that_is_taken(ana: Client) -> None:
    make_group("ops")

    response = ana.post(f"{GROUPS}add/", {"name": "OPS"})

    assert response.status_code == 422
    assert "Another group has this name." in text(response)


# --- routes -----------------------------------------------------------------------------


def test_it_makes_a_route(ana: Client) -> None:
    group, channel = make_group(), make_channel("pager")
    server = make_server()

    response = ana.post(
        f"{ROUTES}add/",
        typed(
            severities=[1],
            kinds=["store-point-offline"],
            server=server.pk,
            groups=[group.pk],
            channels=[channel.pk],
            pace="daily",
            digest_at="07:30",
            time_zone="Europe/Berlin",
            after_minutes=30,
            confirm="1",
        ),
    )

    assert response.status_code == 302
    page = text(ana.get(ROUTES))
    for words in (
        f"Critical; Store point offline; server {server}",
        "group ops and channel pager",
        "In a daily digest at 07:30, Europe/Berlin; only what nobody has acknowledged "
        "after 30 min",
    ):
        assert words in page
    (rule,) = reach.rules()
    assert rule.lanes == {channel.lane}
    assert AuditEntry.objects.get(verb="route.add").data["groups"] == ["ops"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Expected at least one group or channel to tell."),
        ({"groups": ["99"]}, "99 is not one of the available choices"),
        ({"pace": "weekly"}, "weekly is not one of the available choices"),
        ({"time_zone": "Mars/Olympus"}, "Mars/Olympus is not one of"),
        ({"digest_at": "25:00"}, "Expected a time of day, such as 08:00."),
        ({"after_minutes": "0"}, "greater than or equal to 1"),
        ({"after_minutes": "40321"}, "less than or equal to 40320"),
        ({"severities": ["7"]}, "7 is not one of the available choices"),
        ({"name": ""}, "This field is required"),
    ],
)
def test_it_refuses_what_can_be_no_route(
    fields: dict[str, Any], words: str, ana: Client
) -> None:
    data = typed(**fields)

    response = ana.post(f"{ROUTES}add/", data)

    assert response.status_code == 422
    assert words in text(response)
    assert not Route.objects.exists()


@pytest.mark.parametrize("path", [ROUTES, GROUPS])
def test_it_refuses_a_name_of_two_lines(path: str, ana: Client) -> None:
    data = typed("Night\r\nshift", channels=[make_channel().pk], confirm="1")

    answer = ana.post(f"{path}add/", data)

    assert answer.status_code == 422
    assert "Expected one line without control characters." in text(answer)
    assert not Route.objects.exists()
    assert not Group.objects.exists()


def test_it_refuses_a_server_of_another_destination() -> None:
    here, there = make_server("stor-1"), make_server("stor-2")
    plan = Plan("P", groups=[make_group()], server=here, destination=there.destination)

    assert here.destination_id != there.destination_id
    with pytest.raises(ValidationError, match="would match nothing"):
        services.refuse_wrong_route(plan)


def test_it_moves_switches_and_removes_routes(ana: Client) -> None:
    for name in ("A", "B", "C"):
        make_route(name, groups=[make_group(name)])
    b = Route.objects.get(name="B").pk

    ana.post(f"{ROUTES}{b}/move/", {"to": "up"})
    assert names() == ["B", "A", "C"]
    page = text(ana.post(f"{ROUTES}{b}/move/", {"to": "up"}, follow=True))
    assert "It cannot be moved further up." in page
    ana.post(f"{ROUTES}{b}/switch/", {"to": "off"})
    assert not Route.objects.get(pk=b).is_enabled
    assert ana.post(f"{ROUTES}{b}/switch/", {"to": "maybe"}).status_code == 400
    ana.post(f"{ROUTES}{b}/remove/")
    page = text(ana.post(f"{ROUTES}{b}/remove/", follow=True))

    assert "This route is no longer there." in page
    assert names() == ["A", "C"]


@pytest.mark.parametrize("what", ["switch", "remove", "edit", "remove group"])
def test_it_asks_before_nothing_reaches_somebody(what: str, ana: Client) -> None:
    olga = make_user("olga", Role.OPERATOR)
    make_recipient("ops@example.org")
    group = make_group("ops", users=[olga], recipients=["ops@example.org"])
    other = make_group("other", users=[User.objects.get(username="ana")])
    route = make_route("Pager", groups=[group])
    url, data = {
        "switch": (f"{ROUTES}{route.pk}/switch/", {"to": "off"}),
        "remove": (f"{ROUTES}{route.pk}/remove/", {}),
        "edit": (f"{ROUTES}{route.pk}/", typed(groups=[other.pk])),
        "remove group": (f"{GROUPS}{group.pk}/remove/", {}),
    }[what]

    asked = text(ana.post(url, data))
    assert "Nothing would reach these any more" in asked
    assert "olga (olga@example.org)" in asked
    # In no group it would hear everything again.
    assert ("ops@example.org" in asked) is (what != "remove group")
    assert Route.objects.get().is_enabled
    assert list(Route.objects.get().groups.all()) == [group]
    ana.post(url, {**data, "confirm": "1"})

    assert "olga" not in {
        each.name for each in reach.listeners() if each.hears_everything
    }
    assert not any(
        rule.reaches(each)
        for each in reach.listeners()
        for rule in reach.rules()
        if each.name == "olga"
    )


def test_it_shows_routes_to_viewers_without_addresses() -> None:
    make_group("ops", recipients=["ops@example.org"])
    make_route("Pager", groups=[Group.objects.get()])
    viewer = signed_in("vera", Role.VIEWER)

    page = text(viewer.get(ROUTES))

    assert "group ops" in page
    assert "ops@example.org" not in page
    assert "Switch off" not in page
    assert viewer.get(GROUPS).status_code == 403


@pytest.mark.parametrize("path", ["routes/", "groups/"])
def test_it_makes_as_many_queries_for_forty_as_for_two(path: str, ana: Client) -> None:
    figures = []
    for count in (2, 40):
        for number in range(count):
            name = f"{count}-{number}"
            group = make_group(name, recipients=[f"{name}@example.org"])
            make_route(name, groups=[group], channels=[make_channel(name)])
        ana.get(f"{BASE}{path}")
        with CaptureQueriesContext(connection) as queries:
            assert ana.get(f"{BASE}{path}").status_code == 200
        figures.append(len(queries))

    assert figures[0] == figures[1]


# --- reminders --------------------------------------------------------------------------


def test_it_saves_when_people_are_reminded(ana: Client) -> None:
    page = text(ana.get(ROUTES))
    assert "Critical after 4 h, Warning after 24 h" in page

    ana.post(f"{BASE}reminders/", {"critical_minutes": "30", "warning_minutes": ""})

    row = ReminderSettings.objects.get()
    assert (row.critical_seconds, row.warning_seconds) == (1800, None)
    assert "Critical after 30 min." in text(ana.get(ROUTES))
    assert AuditEntry.objects.get().data == {
        "critical_seconds": [14400, 1800],
        "warning_seconds": [86400, None],
    }


def test_it_refuses_a_reminder_every_second(ana: Client) -> None:
    response = ana.post(
        f"{BASE}reminders/", {"critical_minutes": "0", "warning_minutes": "x"}
    )

    assert response.status_code == 422
    assert "greater than or equal to 1" in text(response)
    assert "Enter a whole number" in text(response)
    assert not ReminderSettings.objects.exists()


# --- the dry run ------------------------------------------------------------------------


def test_it_shows_a_dry_run_of_what_is_saved(ana: Client) -> None:
    set_up_mail(25)
    make_recipient("ops@example.org")
    for _ in range(3):
        make_alert()

    page = text(ana.get(f"{BASE}dry-run/"))

    assert "3 events since" in page
    assert "2 mails and messages" in page
    assert 'data-lane="ops@example.org" data-mails="1"' in page


def test_it_shows_a_dry_run_of_what_is_typed_and_saves_nothing(ana: Client) -> None:
    group = make_group("ops", recipients=["ops@example.org"])
    chat = make_channel("chat")
    make_alert()
    make_alert(severity=Severity.LOW)
    data = typed(severities=[1], groups=[group.pk], channels=[chat.pk])
    del data["save"]

    page = text(ana.post(f"{ROUTES}add/", {**data, "preview": "1"}))

    assert 'data-lane="ops@example.org" data-mails="1"' in page
    assert re.search(r'Now">0<', page)
    assert "Pager 1" in page
    assert not Route.objects.exists()
    route = make_route("Pager", groups=[group])
    page = text(ana.post(f"{ROUTES}{route.pk}/", {**data, "preview": "1"}))
    assert "of 1 event" in page
    off = {name: value for name, value in data.items() if name != "is_enabled"}
    page = text(ana.post(f"{ROUTES}{route.pk}/", {**off, "preview": "1"}))
    assert "ops@example.org would have got nothing any more" in page


def test_it_foretells_that_a_channel_that_no_route_names_hears_everything(
    ana: Client,
) -> None:
    set_up_mail(25)
    pager, chat = make_channel("pager"), make_channel("chat")
    ops = make_group(recipients=["ops@example.org"])
    route = make_route("Low", groups=[ops], channels=[pager, chat], severities=[3])
    make_route("Other", channels=[chat], severities=[3], is_enabled=False)
    make_alert()
    data = typed("Low", groups=[ops.pk], severities=["3"])
    del data["save"]

    page = text(ana.post(f"{ROUTES}{route.pk}/", data))

    assert f'data-lane="{pager.lane}" data-mails="1"' in page
    assert f'data-lane="{chat.lane}"' not in page


def test_it_names_the_channel_that_would_get_nothing_any_more(ana: Client) -> None:
    set_up_mail(25)
    pager = make_channel("pager")
    make_alert()
    data = typed("Low", channels=[pager.pk], severities=["3"])
    del data["save"]

    page = text(ana.post(f"{ROUTES}add/", data))

    assert "channel pager would have got nothing any more" in page


def test_it_says_what_is_wrong_instead_of_a_dry_run(ana: Client) -> None:
    data = typed()
    del data["save"]

    response = ana.post(
        f"{ROUTES}add/", {**data, "preview": "1"}, headers={"HX-Request": "true"}
    )

    assert response.status_code == 200
    assert "Expected at least one group or channel" in text(response)


# --- what would I get -------------------------------------------------------------------


def test_it_tells_administrators_that_they_hear_everything(ana: Client) -> None:
    set_up_mail(25)
    make_alert()

    page = text(ana.get(MINE))

    assert "administrators are always included" in page
    assert "that would have been 1 mail of 1 event" in page
    assert 'data-kind="store-point-offline"' in page


def test_it_tells_people_by_which_route_they_hear(ana: Client) -> None:
    olga = signed_in("olga", Role.OPERATOR)
    person = User.objects.get(username="olga")
    User.objects.filter(pk=person.pk).update(
        time_zone="Europe/Berlin", quiet_from="22:00", quiet_until="07:00"
    )
    make_route(
        "Night shift",
        groups=[make_group("night", users=[person])],
        severities=[1],
        pace="hourly",
    )
    make_alert()

    own = text(olga.get(MINE))
    seen = text(ana.get(f"{BASE}people/{person.pk}/"))

    for page in (own, seen):
        assert "Night shift: Critical" in page
        assert "in group night" in page
        assert "route “Night shift”: in an hourly digest" in page
        assert "22:00 to 07:00, except for what is Critical" in page
        assert "1 mail of 1 event, among them 1 digest" in page
    assert "What would I get" in own
    assert "What olga would get" in seen


def test_it_tells_people_by_what_was_chosen_for_each_kind(ana: Client) -> None:
    set_up_mail(25)
    olga = signed_in("olga", Role.OPERATOR)
    person = User.objects.get(username="olga")
    make_route("Pager", groups=[make_group(users=[person])], severities=[1])
    server = make_server("stor-1")
    here = server.destination
    make_route("Here", groups=list(Group.objects.all()), destination=here)
    now = clock.now()
    chosen: dict[str, dict[str, Any]] = {
        "store-point-offline": {"severity": Severity.LOW},
        "server-offline": {"is_mailed": False},
    }
    for kind, fields in chosen.items():
        NotificationSetting.objects.create(kind=kind, changed_at=now, **fields)
    NotificationOverride.objects.create(
        destination=here, kind="server-offline", is_mailed=True, changed_at=now
    )
    with CaptureQueriesContext(connection) as few:
        page = text(olga.get(MINE))
    for number in range(8):
        NotificationOverride.objects.create(
            destination=make_server(f"other-{number}").destination,
            kind="server-offline",
            is_mailed=True,
            changed_at=now,
        )
    with CaptureQueriesContext(connection) as many:
        olga.get(MINE)

    assert row_of(page, "store-point-offline") == (
        f"route “Here”: at once, only destination {here}"
    )
    assert row_of(page, "server-offline") == (
        "not told to anybody: Send Email is off; "
        f"in destination {here} (Critical): route “Pager”: at once; "
        "route “Here”: at once"
    )
    low = page.partition('data-kind="store-point-offline"')[0]
    assert low.rpartition('scope="rowgroup"')[2].count("Low")
    assert len(few) == len(many)


def row_of(page: str, kind: str) -> str:
    """Return what a person's page says that a kind reaches them by."""
    found = re.search(rf'data-kind="{kind}".*?data-label="Reaches">(.*?)</td>', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"email": ""}, "has no email address"),
        ({"is_active": False}, "may not sign in any more"),
        ({}, "is neither an administrator nor in a group"),
    ],
)
def test_it_says_why_somebody_hears_nothing(
    fields: dict[str, Any], words: str, ana: Client
) -> None:
    person = make_user("olga", Role.OPERATOR, **fields)

    assert words in text(ana.get(f"{BASE}people/{person.pk}/"))


# --- races ------------------------------------------------------------------------------


def test_it_refuses_a_name_that_somebody_takes_meanwhile(ana: Client) -> None:
    actor = User.objects.get(username="ana")
    group = make_group()
    services.save_route(
        None, Plan("Pager", groups=[group]), actor=actor, now=clock.now()
    )

    with pytest.raises(ValidationError):
        services.save_route(
            None, Plan("PAGER", groups=[group]), actor=actor, now=clock.now()
        )
    with pytest.raises(Group.DoesNotExist):
        services.save_group(99, Members("x"), actor=actor, now=clock.now())


def test_it_keeps_recipients_that_are_removed_out_of_groups(ana: Client) -> None:
    group = make_group(recipients=["ops@example.org"])

    ana.post(f"{BASE}recipients/{Recipient.objects.get().pk}/remove/")

    assert not group.recipients.exists()
