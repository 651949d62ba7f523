"""Settings > Notifications, per kind: the page for all destinations, and for one."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from alerts import selectors as alerts
from alerts.catalogue import KINDS, Scope
from alerts.engine import Severity
from alerts.models import AlertEvent, NotificationOverride, NotificationSetting
from console.kit import clock
from console.kit.models import AuditEntry
from notifications import services
from notifications.services import Choice
from storepoints.models import Destination
from tests import people
from tests.factories import make_destination, make_server
from tests.notifications.factories import clear, make_alert, make_user, set_up_mail

pytestmark = pytest.mark.django_db

SETTINGS = "/settings/notifications/"
OFFLINE, LOW = "store-point-offline", "store-point-low-on-space"


@pytest.fixture
def ana() -> Client:
    return people.client_of("administrator")


@pytest.fixture
def berlin() -> Destination:
    return make_destination("Berlin")


def own(destination: Destination) -> str:
    return f"{SETTINGS}destinations/{destination.pk}/"


def text(response: Any) -> str:
    return html.unescape(re.sub(r"\s+", " ", response.content.decode()))


def typed(page: Any) -> dict[str, Any]:
    """Return what a browser sends of a page's form of kinds, as it stands there."""
    source = page.content.decode()
    form = source[source.index('id="kinds"') :]
    form = form[: form.index("</form>")]
    data: dict[str, Any] = {"kinds": re.findall(r'name="kinds" value="([\w-]+)"', form)}
    for tag in re.findall(r"<input[^>]*>", form):
        name = re.search(r'name="([\w-]+)"', tag)
        if name is None or name[1] in {"kinds", "csrfmiddlewaretoken"}:
            continue
        value = re.search(r'value="([^"]*)"', tag)
        if 'type="checkbox"' in tag:
            if "checked" in tag:
                data[name[1]] = "on"
        else:
            data[name[1]] = html.unescape(value[1]) if value else ""
    for name, options in re.findall(
        r'<select name="([\w-]+)"[^>]*>(.*?)</select>', form, re.DOTALL
    ):
        chosen = re.search(r'value="([\w-]*)" selected', options)
        data[name] = chosen[1] if chosen else ""
    return data


def confirmed(page: Any) -> dict[str, Any]:
    """Return what the page that asks sends when it is answered."""
    data: dict[str, Any] = {}
    for name, value in re.findall(
        r'type="hidden" name="([\w-]+)" value="([^"]*)"', page.content.decode()
    ):
        data.setdefault(name, []).append(html.unescape(value))
    return data


def test_it_says_what_holds_to_those_who_may_not_change_it(berlin: Destination) -> None:
    services.change_kinds(
        {LOW: Choice(severity=Severity.LOW, delay_seconds=5400, is_mailed=False)},
        destination=berlin,
        actor=make_user("ben"),
        now=clock.now(),
    )
    vera = people.client_of("viewer")

    page, place = text(vera.get(SETTINGS)), text(vera.get(own(berlin)))

    assert "own settings in <a" in page
    assert 'type="checkbox"' not in page
    for words in ("1 h 30 min", "has settings of its own here", ">Low<"):
        assert words in place
    assert "<select" not in place
    assert "Save" not in place


def test_it_changes_nothing_when_the_page_is_saved_as_it_is(
    ana: Client, berlin: Destination
) -> None:
    services.change_kinds(
        {
            LOW: Choice(
                severity=Severity.CRITICAL,
                delay_seconds=90,
                parameters={"percent": 7.5, "bytes": 60.25},
            ),
            OFFLINE: Choice(is_shown=False),
        },
        actor=make_user("ben"),
        now=clock.now(),
    )
    services.change_kinds(
        {LOW: Choice(is_mailed=True, delay_seconds=0, parameters={"hours": 30.5})},
        destination=berlin,
        actor=make_user("cleo"),
        now=clock.now(),
    )
    before = AuditEntry.objects.count()

    for address in (SETTINGS, own(berlin)):
        data = typed(ana.get(address))
        answer = ana.post(f"{address}save/", data, follow=True)
        assert "Nothing was changed." in text(answer), address

    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize("is_of_one", [False, True])
def test_it_keeps_what_somebody_else_chose_while_the_page_was_open(
    ana: Client,
    berlin: Destination,
    is_of_one: bool,
) -> None:
    place = berlin if is_of_one else None
    address = own(berlin) if is_of_one else SETTINGS
    page = typed(ana.get(address))
    theirs = Choice(
        is_mailed=False,
        severity=Severity.LOW,
        delay_seconds=600,
        parameters={"failures": 7},
    )
    services.change_kinds(
        {OFFLINE: theirs}, destination=place, actor=make_user("ben"), now=clock.now()
    )

    page[f"limit-{LOW}-percent"] = "12"
    page[f"mail-{LOW}"] = "off" if is_of_one else ""
    ana.post(f"{address}save/", {**page, "confirm": "1"})

    chosen = alerts.settings()
    key = place.pk if place else None
    assert chosen.choice(OFFLINE, key) == theirs
    mine = chosen.choice(LOW, key)
    assert (mine.is_mailed, dict(mine.parameters)) == (False, {"percent": 12})


def test_it_saves_everything_of_a_kind(ana: Client) -> None:
    data = typed(ana.get(SETTINGS)) | {
        f"after-{LOW}": "1 h 30 min",
        f"severity-{LOW}": "low",
        f"limit-{LOW}-percent": "12.5",
    }

    answer = ana.post(f"{SETTINGS}save/", data, follow=True)

    assert "Saved: Store point low on space." in text(answer)
    row = NotificationSetting.objects.get(kind=LOW)
    assert (row.delay_seconds, row.severity) == (5400, Severity.LOW)
    assert row.parameters == {"percent": 12.5}
    sent = typed(answer)
    assert sent[f"after-{LOW}"] == "1 h 30 min"
    assert sent[f"limit-{LOW}-percent"] == "12.5"
    # What follows from it stands in the empty field, and what cannot be chosen beside.
    tag = re.search(rf'<input[^>]*name="limit-{LOW}-bytes"[^>]*>', text(answer))
    assert tag is not None
    assert 'placeholder="125"' in tag[0]
    assert "clears at 17.5 %" in text(answer)
    entry = AuditEntry.objects.get(verb="notification.change")
    assert entry.data["percent"] == ["10 %", "12.5 %"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            f"limit-{LOW}-percent",
            "120",
            "Store point low on space, free share below: found “120”, expected a number "
            "from 0.1 to 50 %.",
        ),
        (f"limit-{LOW}-percent", "2,5", "found “2,5”, expected a number from 0.1"),
        (f"limit-{LOW}-percent", "nan", "found “nan”, expected a number from 0.1"),
        (f"limit-{LOW}-percent", "<b>", "found “<b>”, expected a number from 0.1"),
        (
            f"limit-{LOW}-percent",
            "9" * 31,
            "free share below: found 31 characters, expected at most 30.",
        ),
        (
            f"limit-{OFFLINE}-failures",
            "1.5",
            "found “1.5”, expected a whole number from 1 to 100 failures.",
        ),
        (
            f"after-{LOW}",
            "30",
            "Store point low on space, after: found “30”, expected a time with its unit",
        ),
        (f"after-{LOW}", "8 d", "found “8 d”, expected a time with its unit"),
        (f"severity-{LOW}", "huge", "found “huge”, expected critical, warning or low."),
        (
            "limit-store-point-critically-low-on-space-percent",
            "10",
            "free share below 10 %: expected less than Store point low on space, free "
            "share below 10 %.",
        ),
    ],
)
def test_it_refuses_what_cannot_be_and_keeps_what_was_typed(
    ana: Client, berlin: Destination, field: str, value: str, words: str
) -> None:
    for address in (SETTINGS, own(berlin)):
        data = typed(ana.get(address)) | {field: value, f"after-{OFFLINE}": "1 min"}

        answer = ana.post(f"{address}save/", data)

        assert answer.status_code == 422
        assert words in text(answer)
        assert typed(answer).get(field, value) in {value, ""}
        assert typed(answer)[f"after-{OFFLINE}"] == "1 min"
        source = answer.content.decode()
        tag = re.search(rf'<(input|select)[^>]*name="{field}"[^>]*>', source)
        assert tag is not None
        assert 'aria-invalid="true"' in tag[0]
        assert 'aria-describedby="errors-' in tag[0]
    assert not NotificationSetting.objects.filter(delay_seconds__isnull=False).exists()
    assert not NotificationOverride.objects.exists()


def test_it_names_the_destination_that_it_would_not_fit_in(
    ana: Client, berlin: Destination
) -> None:
    services.change_kinds(
        {"store-point-critically-low-on-space": Choice(parameters={"percent": 8})},
        destination=berlin,
        actor=make_user("ben"),
        now=clock.now(),
    )
    data = typed(ana.get(SETTINGS)) | {f"limit-{LOW}-percent": "7"}

    answer = ana.post(f"{SETTINGS}save/", data)

    assert answer.status_code == 422
    assert "In Berlin: Store point critically low on space" in text(answer)


def test_it_sets_and_resets_what_one_destination_has_of_its_own(
    ana: Client, berlin: Destination
) -> None:
    data = typed(ana.get(own(berlin))) | {f"mail-{LOW}": "off", f"after-{LOW}": "0"}

    answer = ana.post(f"{own(berlin)}save/", data, follow=True)

    assert "Saved: Store point low on space." in text(answer)
    row = NotificationOverride.objects.get()
    assert (row.is_mailed, row.is_shown, row.delay_seconds) == (False, None, 0)
    assert "1 kind of its own" in text(ana.get(SETTINGS))
    asked = text(ana.get(f"{own(berlin)}reset/"))
    assert (
        "<strong>Store point low on space</strong> is not mailed and raised at" in asked
    )
    everywhere = text(ana.get(f"{SETTINGS}reset/"))
    assert "Berlin: <strong>Store point low on space</strong>" in everywhere
    ana.post(f"{own(berlin)}reset/")
    assert not NotificationOverride.objects.exists()


def test_it_lists_no_kind_of_the_console_for_a_destination(
    ana: Client, berlin: Destination
) -> None:
    data = typed(ana.get(own(berlin)))

    listed = {slug for slug, kind in KINDS.items() if kind.scope is not Scope.CONSOLE}
    assert set(data["kinds"]) == listed
    answer = ana.post(
        f"{own(berlin)}save/", data | {"kinds": ["health-checks-not-running"]}
    )
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mail-store-point-offline": "off"}, "is no longer mailed to anybody"),
        ({"show-store-point-offline": "off"}, "is no longer shown in the Alerts"),
        ({"severity-store-point-offline": "low"}, "is Low instead of Critical"),
    ],
)
@pytest.mark.parametrize("is_own", [False, True])
def test_it_asks_before_a_critical_kind_is_less(
    ana: Client, berlin: Destination, change: dict[str, str], words: str, is_own: bool
) -> None:
    address = own(berlin) if is_own else SETTINGS
    data = typed(ana.get(address))
    for name, value in change.items():
        if not is_own and value == "off":
            del data[name]
        else:
            data[name] = value

    asked = ana.post(f"{address}save/", data)

    assert words in text(asked)
    assert ("in Berlin?" in text(asked)) == is_own
    assert alerts.settings().choices.get(OFFLINE, Choice()).is_empty
    assert not NotificationOverride.objects.exists()
    ana.post(f"{address}save/", confirmed(asked))
    place = berlin.pk if is_own else None
    assert not alerts.settings().choice(OFFLINE, place).is_empty


def test_it_asks_also_when_somebody_made_the_kind_less_than_critical(
    ana: Client,
) -> None:
    services.change_kinds(
        {OFFLINE: Choice(severity=Severity.WARNING)},
        actor=make_user("ben"),
        now=clock.now(),
    )
    data = typed(ana.get(SETTINGS))
    del data[f"mail-{OFFLINE}"]

    asked = ana.post(f"{SETTINGS}save/", data)

    assert "Switch off 1 Critical kind of alert?" in text(asked)


def test_it_goes_to_the_destination_that_was_chosen(
    ana: Client, berlin: Destination
) -> None:
    address = f"{SETTINGS}destinations/"

    assert ana.get(address, {"destination": berlin.pk}).headers["Location"] == own(
        berlin
    )
    for wrong in ("", "nonsense", "9" * 30, "\u0663"):
        answer = ana.get(address, {"destination": wrong}, follow=True)
        assert "Expected a destination of the list." in text(answer)
    assert ana.get(f"{address}9999/").status_code == 404


def test_it_mails_nobody_of_what_is_off_in_a_destination(
    frozen: clock.FrozenClock, berlin: Destination
) -> None:
    set_up_mail(25)
    ana = make_user("ana")
    here, there = make_server(destination=berlin), make_server()
    told = make_alert(server=here)
    services.route_events(now=clock.now())
    services.change_kinds(
        {OFFLINE: Choice(is_mailed=False)},
        destination=berlin,
        actor=ana,
        now=clock.now(),
    )

    events = [make_alert(server=server).events.get() for server in (here, there)]
    closed = clear(told)
    services.route_events(now=clock.now())

    for event in (*events, closed):
        event.refresh_from_db()
    assert events[0].routing.startswith("not mailed: Send Email is off")
    assert events[1].routing == "to ana"
    # If the open was sent, the close is.
    assert closed.routing.startswith("to ana, who were mailed that it was raised")


def test_it_routes_many_alerts_in_as_many_queries_as_few(
    frozen: clock.FrozenClock, berlin: Destination
) -> None:
    set_up_mail(25)
    make_user("ana")

    def route() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert services.route_events(now=clock.now())
        return len(captured)

    make_alert(server=make_server(destination=berlin))
    few = route()
    for _ in range(40):
        make_alert(server=make_server())

    assert route() == few
    assert not AlertEvent.objects.filter(routed_at__isnull=True).exists()


def test_it_costs_as_many_queries_for_many_destinations(ana: Client) -> None:
    def ask() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert ana.get(SETTINGS).status_code == 200
        return len(captured)

    def add() -> None:
        services.change_kinds(
            {LOW: Choice(delay_seconds=60)},
            destination=make_destination(),
            actor=people.administrator(),
            now=clock.now(),
        )

    add()
    few = ask()
    for _ in range(20):
        add()

    assert ask() == few
