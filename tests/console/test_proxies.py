"""Whose address a request has, behind proxies and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from console import env
from console.kit import audit
from console.proxies import ClientAddressMiddleware, client_address
from tests.processes import clean_environment


@pytest.mark.parametrize(
    ("header", "proxies", "expected"),
    [
        ("203.0.113.7", 1, "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", 1, "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.0.0.2", 2, "203.0.113.7"),
        ("203.0.113.7:4711", 1, "203.0.113.7"),
        ("[2001:db8::1]:4711", 1, "2001:db8::1"),
        ("2001:db8::1", 1, "2001:db8::1"),
        ("203.0.113.7", 2, None),
        ("", 1, None),
        ("unknown", 1, None),
        (",", 1, None),
        ("203.0.113.7,", 1, None),
    ],
)
def test_it_takes_what_the_outermost_proxy_noted(
    header: str, proxies: int, expected: str | None
) -> None:
    assert client_address(header, proxies) == expected


@pytest.mark.parametrize(
    ("proxies", "header", "expected"),
    [
        (0, "203.0.113.7", "127.0.0.1"),
        (1, "203.0.113.7", "203.0.113.7"),
        (2, "203.0.113.7", "127.0.0.1"),
    ],
)
def test_it_puts_it_where_everybody_looks(
    settings: Any, proxies: int, header: str, expected: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    seen = []

    def answer(request: HttpRequest) -> HttpResponse:
        seen.append(request.META["REMOTE_ADDR"])
        return HttpResponse()

    request = RequestFactory().get("/", headers={"x-forwarded-for": header})
    ClientAddressMiddleware(answer)(request)

    assert seen == [expected]


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["203.0.113.7", "1, 2, 3", "", ","])
def test_a_header_that_does_not_fit_is_no_error(
    client: Client, settings: Any, header: str
) -> None:
    settings.TRUSTED_PROXIES = 2
    form = {"login": "nobody", "password": "wrong"}

    answer = client.post("/sign-in/", form, headers={"x-forwarded-for": header})

    assert answer.status_code == 200


@pytest.mark.django_db
def test_the_audit_log_has_the_true_address(
    client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TRUSTED_PROXIES = 1
    seen: list[Any] = []
    monkeypatch.setattr(
        "console.accounts.middleware._zone",
        lambda _request: seen.append(audit.address.get()),
    )

    client.get("/sign-in/", headers={"x-forwarded-for": "198.51.100.1, 203.0.113.7"})

    assert seen == ["203.0.113.7"]


SHOW = "from django.conf import settings; print(getattr(settings, 'SECURE_PROXY_SSL_HEADER', None))"


@pytest.mark.parametrize(
    ("url", "proxies", "is_believed"),
    [
        ("https://console.example.com", "1", True),
        ("https://console.example.com", "0", False),
        ("http://console.example.com", "1", False),
    ],
)
def test_only_a_trusted_proxy_says_that_there_is_tls(
    tmp_path: Path, url: str, proxies: str, *, is_believed: bool
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=env.REPOSITORY,
        env={
            **clean_environment(tmp_path),
            "DJANGO_SETTINGS_MODULE": "console.settings",
            "CONSOLE_PUBLIC_URL": url,
            "CONSOLE_TRUSTED_PROXIES": proxies,
            "PATH": os.environ["PATH"],
        },
        capture_output=True,
        text=True,
        check=True,
    )

    assert ("HTTP_X_FORWARDED_PROTO" in result.stdout) is is_believed
