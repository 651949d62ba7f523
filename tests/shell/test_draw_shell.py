"""What stands around every page, the dashboard, search, errors and health."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.http import HttpRequest
from django.test import Client, RequestFactory

from console import health
from console.kit import clock, heartbeat
from console.views import banners, errors, navigation
from storepoints.engine import free_percent
from storepoints.models import StorePoint
from storepoints.selectors import read_pulse
from storepoints.states import State
from tests import people
from tests.conftest import Valkey
from tests.routes import World

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


@pytest.fixture
def browser() -> Client:
    return people.client_of("administrator")


def _online(**fields: object) -> None:
    now = clock.now()
    heartbeat.beat("tick", now)
    heartbeat.beat("report", now)
    StorePoint.objects.update(
        **{
            "state": State.ONLINE,
            "is_online": True,
            "checked_at": now,
            "stale_at": now + timedelta(seconds=90),
            "total_bytes": 4 * 10**12,
            "free_bytes": 10**12,
            "used_bytes": 3 * 10**12,
            **fields,
        }
    )


def test_it_marks_where_one_is(browser: Client) -> None:
    page = browser.get("/alerts/").content.decode()

    assert re.search(r'href="/alerts/"\s+aria-current="page"', page)
    assert page.count('aria-current="page"') >= 1


def test_it_marks_what_a_page_lies_under(rf: RequestFactory) -> None:
    request = rf.get("/destinations/store-points/7/")
    request.user = people.administrator()
    now = clock.now()

    drawn = navigation.draw(request, now, read_pulse(now))

    marked = {
        item.label: item.current
        for section in drawn
        for item in section.items
        if item.current
    }
    assert marked == {"Store Points": "true"}


def test_it_leaves_out_what_is_not_there_or_not_allowed(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = people.viewer()
    now = clock.now()
    sections = (
        navigation.Section(
            items=(
                navigation.Item("Nowhere", "no:such_page", ""),
                navigation.Item("Users", "users", "accounts.view_user"),
            )
        ),
    )

    assert navigation.draw(request, now, read_pulse(now), sections) == []


def test_it_counts_what_needs_a_person(browser: Client) -> None:
    World()
    heartbeat.beat("tick", clock.now())

    page = browser.get("/").content.decode()

    assert "1 store point not online" in page
    assert "1 alert not acknowledged" in page


def test_it_says_that_checks_do_not_run(
    browser: Client, frozen: clock.FrozenClock
) -> None:
    heartbeat.beat("tick", frozen())
    frozen.tick(3600)

    page = browser.get("/").content.decode()

    assert "Health checks are not running" in page
    assert "checks stopped" in page
    assert 'data-freshness="stopped"' in page


def test_it_says_how_fresh_the_checks_are(
    browser: Client, frozen: clock.FrozenClock
) -> None:
    heartbeat.beat("tick", frozen())
    heartbeat.beat("report", frozen() - timedelta(seconds=4))

    page = browser.get("/").content.decode()

    assert "Health checks" not in page
    assert re.search(r"checks fresh</span>\s*<time[^>]*>4 s</time>", page)


@pytest.mark.parametrize("seconds", [91, 3600])
def test_it_does_not_call_an_old_report_fresh(
    browser: Client, frozen: clock.FrozenClock, seconds: float
) -> None:
    heartbeat.beat("tick", frozen())
    heartbeat.beat("report", frozen() - timedelta(seconds=seconds))

    page = browser.get("/").content.decode()

    assert "checks fresh" not in page
    assert 'data-freshness="old"' in page


def test_it_replaces_banners_only_when_they_changed(
    browser: Client, frozen: clock.FrozenClock
) -> None:
    script = {"HX-Request": "true"}
    now = frozen()
    digest = banners.digest(
        banners.current(people.administrator(), now, read_pulse(now))
    )

    same = browser.get("/status/", {"banners": digest}, headers=script).content.decode()
    other = browser.get("/status/", {"banners": "x"}, headers=script).content.decode()

    assert 'id="banners"' not in same
    assert 'id="banners"' in other
    assert 'hx-swap-oob="innerHTML:.badge-alerts-alerts"' in same


@pytest.mark.parametrize(
    "path",
    ["/", "/sign-in/", "/setup/", "/nowhere/", "/alerts/", "/settings/users/add/"],
)
def test_it_keeps_to_its_content_security_policy(browser: Client, path: str) -> None:
    answer = browser.get(path)
    page = answer.content.decode()

    policy = answer["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<[^>]+\s(style|on\w+)=", page)
    assert "<style" not in page


def test_the_dashboard_adds_up(browser: Client) -> None:
    World()
    _online()

    cards = {card.title: card for card in browser.get("/").context["cards"]}

    assert cards["Store points"].value == "1 of 1"
    assert cards["Store points"].level == "good"
    assert cards["Alerts"].value == "1"
    assert cards["Storage"].value == "1 TB free"
    assert cards["Storage"].percent == 75


def test_the_dashboard_reckons_space_as_the_overview_does(browser: Client) -> None:
    World()
    # A tenth is kept for root: of what users can fill 95 % is used.
    _online(total_bytes=10**12, used_bytes=855 * 10**9, free_bytes=45 * 10**9)

    cards = {card.title: card for card in browser.get("/").context["cards"]}

    row = StorePoint.objects.get()
    share = free_percent(row.free_bytes, row.used_bytes)
    assert cards["Storage"].percent == 100 - (share or 0) == 95
    assert cards["Storage"].level == "critical"


def test_the_dashboard_counts_a_shared_volume_once(browser: Client) -> None:
    world = World()
    first = StorePoint.objects.get()
    StorePoint.objects.create(
        name="Tank-08",
        server_id=world.keys["server"],
        path="/srv/backup/tank-08",
        created_at=clock.now(),
        pace=first.pace,
    )
    _online(volume={"mount_point": "/srv/backup"})

    cards = {card.title: card for card in browser.get("/").context["cards"]}

    assert cards["Storage"].caption == "of 4 TB on 1 volume"


def test_the_dashboard_has_something_to_say_when_there_is_nothing(
    browser: Client,
) -> None:
    page = browser.get("/").content.decode()

    assert "No store point is watched yet." in page
    assert "Add store point" in page


def test_search_opens_the_one_thing_that_is_called_so(browser: Client) -> None:
    world = World()
    guid = StorePoint.objects.get().guid

    for question in ("tank-07", "TANK-07", str(guid), str(guid).upper(), guid.hex):
        answer = browser.get("/search/", {"q": question})

        assert answer.status_code == 302, question
        assert answer["Location"].endswith(
            f"/store-points/{world.keys['store_point']}/"
        )


def test_search_lists_what_contains_the_text(browser: Client) -> None:
    World()

    page = browser.get("/search/", {"q": "ank"}).content.decode()

    assert "2 hits for “ank”" in page
    assert "Store point is unavailable: Tank-07" in page


@pytest.mark.parametrize("question", ["", "zzz", "%", "'\"<script>", "x" * 5000])
def test_search_finds_nothing_politely(browser: Client, question: str) -> None:
    World()

    answer = browser.get("/search/", {"q": question})

    assert answer.status_code == 200
    assert "<script>" not in answer.content.decode()


def test_a_page_that_is_not_there_says_so(browser: Client) -> None:
    answer = browser.get("/nowhere/<b>")

    assert answer.status_code == 404
    page = answer.content.decode()
    assert "There is nothing here" in page
    assert "&lt;b&gt;" in page


def test_a_refusal_names_the_role(browser: Client) -> None:
    people.administrator()

    answer = people.client_of("viewer").get("/settings/users/")

    page = answer.content.decode()
    assert answer.status_code == 403
    assert "the role <strong>administrator</strong>" in page
    assert "Yours is <strong>viewer</strong>" in page
    assert "ask administrator" in page


def test_a_failure_of_the_console_needs_nothing_that_may_have_failed(
    rf: RequestFactory, django_assert_num_queries: object
) -> None:
    answer = errors.server_error(rf.get("/"))

    assert answer.status_code == 500
    assert "manage.py doctor" in answer.content.decode()


def test_a_failure_shows_no_traceback(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(request: HttpRequest, now: object, pulse: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(navigation, "draw", fail)
    browser.raise_request_exception = False

    answer = browser.get("/")

    assert answer.status_code == 500
    assert "a secret of the inside" not in answer.content.decode()


def test_an_unknown_host_name_is_told_what_to_do(client: Client) -> None:
    answer = client.get("/", headers={"host": "elsewhere.example"})

    assert answer.status_code == 400
    assert "CONSOLE_ALLOWED_HOSTS" in answer.content.decode()


def test_an_old_form_is_told_what_to_do() -> None:
    people.viewer()
    client = Client(enforce_csrf_checks=True)

    answer = client.post("/sign-in/", {"login": "viewer", "password": "x"})

    assert answer.status_code == 403
    assert "Nothing was changed." in answer.content.decode()


@pytest.fixture
def no_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the database was touched")

    from django.db.backends.utils import CursorWrapper

    with monkeypatch.context() as patch:
        patch.setattr(CursorWrapper, "execute", refuse)
        yield


def test_livez_touches_nothing(client: Client, no_database: None) -> None:
    answer = client.get("/livez")

    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_readyz_says_ready(
    client: Client, valkey: Valkey, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.conf.settings.BROKER_URL", valkey.url)
    heartbeat.beat("tick", clock.now())

    answer = client.get("/readyz")

    assert answer.json() == {
        "ready": True,
        "checks": dict.fromkeys(health.CHECKS, "ok"),
    }
    assert answer.status_code == 200


def test_readyz_says_what_is_missing(client: Client) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["checks"] == {
        "database": "ok",
        "migrations": "ok",
        "broker": "not reachable",
        "checks": "not running",
    }
