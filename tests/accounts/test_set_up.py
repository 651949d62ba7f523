"""The first administrator: by the one-time link, or by the command."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client

from console.accounts import services
from console.accounts.models import OneTimeLink, User
from console.kit import clock
from tests import people

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

ANA = {
    "name": "ana",
    "email": "Ana@Example.org",
    "password": people.PASSWORD,
    "password_again": people.PASSWORD,
}


def _token() -> str:
    link = services.issue_setup_link(clock.now())
    assert link is not None
    assert urlsplit(link).path == "/setup/"
    return parse_qs(urlsplit(link).query)["token"][0]


def test_it_creates_the_first_administrator_and_signs_in(client: Client) -> None:
    token = _token()

    page = client.get("/setup/", {"token": token})
    answer = client.post("/setup/", {"token": token, **ANA})

    assert page.status_code == 200
    assert (answer.status_code, answer["Location"]) == (302, "/")
    ana = User.objects.get()
    assert (ana.username, ana.email, ana.role) == (
        "ana",
        "ana@example.org",
        "administrator",
    )
    assert client.get("/settings/users/").status_code == 200


def test_it_keeps_no_token(client: Client) -> None:
    token = _token()

    assert OneTimeLink.objects.get().digest != token
    assert token not in str(OneTimeLink.objects.values())


def test_it_issues_no_link_once_there_is_an_administrator() -> None:
    people.administrator()

    assert services.issue_setup_link(clock.now()) is None


def test_every_start_has_a_link_that_works(client: Client) -> None:
    first, second = _token(), _token()

    assert client.get("/setup/", {"token": first}).status_code == 200
    assert client.get("/setup/", {"token": second}).status_code == 200


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "one-time link that it printed"),
        ("nonsense", "This link does not work"),
        ("x" * 5000, "This link does not work"),
    ],
)
def test_it_says_that_a_link_is_wrong(client: Client, token: str, words: str) -> None:
    for answer in (
        client.get("/setup/", {"token": token}),
        client.post("/setup/", {"token": token, **ANA}),
    ):
        assert answer.status_code == 403
        assert words in answer.content.decode()
    assert User.objects.count() == 0


def test_it_says_that_the_console_is_set_up(client: Client) -> None:
    token = _token()
    people.administrator()

    answer = client.post("/setup/", {"token": token, **ANA})

    assert answer.status_code == 403
    assert "The console is set up" in answer.content.decode()
    assert User.objects.count() == 1


def test_only_one_of_two_uses_a_link(client: Client) -> None:
    token = _token()
    link = services.find_setup_link(token)
    assert link is not None
    now = clock.now()
    services.set_up(
        link, name="ana", email="a@example.org", password=people.PASSWORD, now=now
    )

    with pytest.raises(ValidationError, match="used already"):
        services.set_up(
            link, name="ben", email="b@example.org", password=people.PASSWORD, now=now
        )

    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "This field is required."),
        ({"name": "a b"}, "Enter a valid username"),
        ({"email": "nonsense"}, "Enter a valid email address."),
        (
            {"password": "short", "password_again": "short"},
            "This password is too short",
        ),
        ({"password": "12345678", "password_again": "12345678"}, "too common"),
        (
            {"password": "ana@example.org", "password_again": "ana@example.org"},
            "similar",
        ),
        ({"password_again": "another one"}, "The two passwords are not the same."),
    ],
)
def test_it_refuses_what_is_wrong_and_keeps_the_link(
    client: Client, changes: dict[str, str], words: str
) -> None:
    token = _token()

    answer = client.post("/setup/", {"token": token, **ANA, **changes})

    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert User.objects.count() == 0
    assert client.post("/setup/", {"token": token, **ANA}).status_code == 302


def test_the_command_takes_the_password_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONSOLE_ADMIN_PASSWORD", people.PASSWORD)

    call_command("create_administrator", "ana", "--email", "ana@example.org")

    assert User.objects.get().check_password(people.PASSWORD)
    assert "Created ana, an administrator." in capsys.readouterr().out


def test_the_command_takes_the_password_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(f"{people.PASSWORD}\n")
    monkeypatch.setenv("CONSOLE_ADMIN_PASSWORD_FILE", str(tmp_path / "password"))

    call_command("create_administrator", "ana", "--email", "ana@example.org")

    assert User.objects.get().check_password(people.PASSWORD)


@pytest.mark.parametrize(
    ("name", "email", "password", "words"),
    [
        ("ana", "nonsense", people.PASSWORD, "expected an email address such as"),
        ("a b", "a@example.org", people.PASSWORD, "NAME: Enter a valid username"),
        ("VIEWER", "a@example.org", people.PASSWORD, "Somebody has this name already"),
        ("ana", "viewer@example.org", people.PASSWORD, "Somebody has this email"),
        ("ana", "a@example.org", "short", "The password: This password is too short"),
        ("ana", "a@example.org", None, "set CONSOLE_ADMIN_PASSWORD"),
    ],
)
def test_the_command_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    email: str,
    password: str | None,
    words: str,
) -> None:
    people.viewer()
    if password:
        monkeypatch.setenv("CONSOLE_ADMIN_PASSWORD", password)

    with pytest.raises(CommandError, match=words):
        call_command("create_administrator", name, "--email", email)

    assert User.objects.count() == 1
