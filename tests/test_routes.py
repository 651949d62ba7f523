"""Every route, tried by every person."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver

from console.kit import clock, heartbeat
from tests import people
from tests.routes import ROUTES, Route, World, may

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

#: Query strings that no link of the console makes.
WRONG = (
    "page=abc",
    "page=-1",
    "page=0",
    "page=99999999999999999999",
    "size=7",
    "sort=nonsense",
    "sort=-",
    "show=nonsense",
    "view=nonsense",
    "who=nonsense",
    "severity=nonsense",
    "server=nonsense",
    "server=999999999999999999999999",
    "q=%00",
    "q=%ff",
    "person=%00&verb='&object=::",
    "next=https://elsewhere.example/",
)


def _names(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for each in resolver.url_patterns:
        if isinstance(each, URLPattern):
            yield f"{prefix}{each.name}"
        else:
            inner = f"{each.namespace}:" if each.namespace else ""
            yield from _names(each, prefix + inner)


def test_it_lists_every_route() -> None:
    listed = [route.name for route in ROUTES]

    assert sorted(listed) == sorted(_names(get_resolver()))


@pytest.mark.parametrize("who", people.CAST)
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_it_lets_in_who_may_and_nobody_else(route: Route, who: str) -> None:
    world = World()
    people.administrator()
    heartbeat.beat("tick", clock.now())
    client = people.client_of(who)
    url = world.url(route)

    answer = client.generic(route.method, url)

    if may(who, route):
        sign_in = answer.status_code == 302 and answer["Location"].startswith(
            "/sign-in"
        )
        is_refused = answer.status_code == 403 and route.least is not None
        # A sign-out answers with the way to the sign-in page.
        assert not (sign_in or is_refused) or route.name == "account_logout"
        assert answer.status_code < 500 or route.name == "readyz"
    elif who == "stranger":
        assert answer.status_code == 302
        assert answer["Location"].startswith("/sign-in/?next=")
    else:
        assert answer.status_code == 403
        assert "needs the role" in answer.content.decode()


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_it_writes_nothing_when_it_is_only_looked_at(route: Route) -> None:
    url = World().url(route)
    for who in people.CAST:
        client = people.client_of(who)

        with CaptureQueriesContext(connection) as queries:
            client.get(url)

        writing = [
            query["sql"]
            for query in queries
            if query["sql"].lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE"))
            and "console_cache" not in query["sql"]  # how often somebody signed in
        ]
        assert writing == [], who


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_it_answers_a_form_without_anything_in_it(route: Route) -> None:
    world = World()
    client = people.client_of("administrator")

    answer = client.post(world.url(route))

    assert answer.status_code < 500


@pytest.mark.parametrize(
    "route",
    # /readyz says 503 without a broker, whatever it is asked.
    [route for route in ROUTES if route.method == "GET" and route.name != "readyz"],
    ids=str,
)
def test_it_answers_wrong_query_strings_in_words(route: Route) -> None:
    url = World().url(route)
    client = people.client_of("administrator")
    for query in WRONG:
        answer = client.get(f"{url}?{query}")

        assert answer.status_code < 500, query
