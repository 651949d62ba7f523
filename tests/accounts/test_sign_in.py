"""Signing in and out."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from console.kit import clock
from console.kit.models import AuditEntry
from tests import people

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


@pytest.fixture(autouse=True)
def _no_earlier_attempts() -> None:
    cache.clear()


def _sign_in(
    client: Client, login: str, password: str = people.PASSWORD, to: str = ""
) -> Any:
    query = f"?next={to}" if to else ""
    return client.post(f"/sign-in/{query}", {"login": login, "password": password})


@pytest.mark.parametrize(
    "login", ["ana", "ANA", " ana ", "ana@example.org", "Ana@Example.org"]
)
def test_it_lets_in_by_name_or_address(client: Client, login: str) -> None:
    people.make_person("ana")

    answer = _sign_in(client, login)

    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("login", "password"),
    [("ana", "wrong"), ("nobody", people.PASSWORD), ("", ""), ("ana", "")],
)
def test_it_keeps_out_everybody_else(client: Client, login: str, password: str) -> None:
    people.make_person("ana")

    answer = _sign_in(client, login, password)

    assert answer.status_code == 200
    assert client.get("/").status_code == 302


def test_it_does_not_say_whether_a_name_exists(client: Client) -> None:
    people.make_person("ana")

    wrong_password = _sign_in(client, "ana", "x").content.decode()
    wrong_name = _sign_in(client, "bob", "x").content.decode()

    said = "The username and/or password you specified are not correct."
    assert (said in wrong_password) is (said in wrong_name)


def test_it_says_that_an_account_is_switched_off(client: Client) -> None:
    people.make_person("ana", is_active=False)

    answer = client.post(
        "/sign-in/", {"login": "ana", "password": people.PASSWORD}, follow=True
    )

    assert "This account is switched off." in answer.content.decode()
    assert client.get("/").status_code == 302


def test_it_leads_back_to_the_page_that_was_asked_for(client: Client) -> None:
    people.make_person("ana")
    asked = client.get("/alerts/?view=all")

    answer = client.post(
        asked["Location"], {"login": "ana", "password": people.PASSWORD}
    )

    assert asked["Location"] == "/sign-in/?next=/alerts/%3Fview%3Dall"
    assert answer["Location"] == "/alerts/?view=all"


def test_it_does_not_lead_to_another_site(client: Client) -> None:
    people.make_person("ana")

    answer = _sign_in(client, "ana", to="https://elsewhere.example/")

    assert answer["Location"] == "/"


def test_it_stops_listening_to_whoever_tries_too_often(client: Client) -> None:
    people.make_person("ana")

    for _ in range(5):
        _sign_in(client, "ana", "wrong")
    answer = _sign_in(client, "ana")

    assert answer.status_code == 200
    assert "Too many failed login attempts" in answer.content.decode()


def test_nobody_locks_somebody_else_out(client: Client) -> None:
    people.make_person("ana")
    for number in range(12):
        client.post(
            "/sign-in/",
            {"login": "ana", "password": "wrong"},
            REMOTE_ADDR=f"192.0.2.{number // 4 + 1}",
        )

    from_there = client.post(
        "/sign-in/",
        {"login": "ana", "password": "wrong"},
        REMOTE_ADDR="192.0.2.1",
    )
    from_elsewhere = _sign_in(client, "ana")

    assert "Too many failed" not in from_there.content.decode()
    assert (from_elsewhere.status_code, from_elsewhere["Location"]) == (302, "/")


def test_one_address_does_not_try_many_names(client: Client) -> None:
    people.make_person("ana")
    for number in range(10):
        _sign_in(client, f"guess-{number}", "wrong")

    answer = _sign_in(client, "ana")

    assert answer.status_code == 200
    assert "Too many failed login attempts" in answer.content.decode()


def test_it_sends_a_script_to_the_sign_in_page_as_a_whole(client: Client) -> None:
    answer = client.get(
        "/alerts/",
        headers={
            "HX-Request": "true",
            "HX-Current-URL": "http://testserver/alerts/?view=all",
        },
    )

    assert answer["HX-Redirect"] == "/sign-in/?next=/alerts/%3Fview%3Dall"


def test_it_signs_out_by_a_form_only(client: Client) -> None:
    client.force_login(
        people.viewer(), backend="allauth.account.auth_backends.AuthenticationBackend"
    )

    page = client.get("/sign-out/")
    still_in = client.get("/").status_code
    client.post("/sign-out/")

    assert (page.status_code, still_in) == (200, 200)
    assert client.get("/").status_code == 302


@pytest.mark.parametrize(
    "path",
    ["/accounts/login/", "/accounts/signup/", "/sign-up/", "/accounts/password/reset/"],
)
def test_it_has_no_other_way_in(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_link_lets_in_once(client: Client, frozen: clock.FrozenClock) -> None:
    from console.accounts import services

    link = services.sign_in_link(people.make_person("guest"), frozen())
    path = link[link.index("/sign-in/") :]

    page = client.get(path)
    only_looked = client.get("/").status_code
    client.post(path)
    again = Client().post(path)

    assert "Sign in as guest" in page.content.decode()
    assert only_looked == 302
    assert client.get("/").status_code == 200
    assert again.status_code == 403
    assert "This link does not work" in again.content.decode()
    assert AuditEntry.objects.filter(verb="user.sign_in", actor_name="guest").exists()


def test_a_link_grows_old(client: Client, frozen: clock.FrozenClock) -> None:
    from console.accounts import services

    link = services.sign_in_link(people.make_person("guest"), frozen())
    frozen.tick(30 * 60)

    answer = client.post(link[link.index("/sign-in/") :])

    assert answer.status_code == 403
    assert client.get("/").status_code == 302


def test_a_link_does_not_let_in_somebody_switched_off(
    client: Client, frozen: clock.FrozenClock
) -> None:
    from console.accounts import services

    guest = people.make_person("guest")
    link = services.sign_in_link(guest, frozen())
    guest.is_active = False
    guest.save()

    assert client.post(link[link.index("/sign-in/") :]).status_code == 403
