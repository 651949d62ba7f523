"""A pager behind a webhook: told by a route on a real fault, and seen to fail."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import Browser, sign_in
from tests.e2e.console import (
    ADMINISTRATOR,
    PASSWORD,
    Console,
    MailServer,
    Volume,
    volumes,
    wait_until,
)
from tests.notifications.webserver import Request, WebServer

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

NAME = "Tank-11"
TEXT = f"Store point is unavailable: {NAME}"


@pytest.fixture
def volume(needs_volumes: None, yard: Path) -> Iterator[Volume]:
    with volumes(yard, "tank-11") as (made,):
        yield made


@pytest.fixture
def pager() -> Iterator[WebServer]:
    server = WebServer()
    server.start()
    yield server
    server.stop()


def about(pager: WebServer, kind: str) -> list[Request]:
    """Return the messages in which something of this kind happened to the alert."""
    return [
        request
        for request in list(pager.requests)
        if any(
            alert["text"] == TEXT and kind in {each["type"] for each in alert["events"]}
            for alert in request.json["alerts"]
        )
    ]


def is_signed(request: Request, key: str) -> bool:
    """Check a signature as docs/channels.md tells whoever receives it."""
    stamp = request.headers["X-Console-Timestamp"]
    signed = hmac.new(key.encode(), f"{stamp}.".encode() + request.body, hashlib.sha256)
    return request.headers["X-Console-Signature"] == f"v1={signed.hexdigest()}"


def test_it_pages_by_a_route_and_says_when_the_pager_fails(
    console: Console,
    browser: Browser,
    mail_server: MailServer,
    volume: Volume,
    pager: WebServer,
) -> None:
    person = console.set_up(mail_port=mail_server.port)
    key = person.add_store_point(NAME, volume.path)
    person.set_interval(key, NAME, 5)
    wait_until(lambda: console.state(NAME) == ("online", ""))

    with browser.window(console.url) as window:
        page = window.page
        sign_in(page, ADMINISTRATOR, PASSWORD)

        secret = add_pager(page, pager)
        page.get_by_role("button", name="Send test").click()
        expect(page.get_by_text("Test sent.")).to_be_visible()
        assert pager.requests[-1].json["type"] == "test"
        assert is_signed(pager.requests[-1], secret)
        assert secret not in page.content()

        add_route(page)

        # A real fault: the pager and the mail both tell it.
        volume.umount()
        wait_until(lambda: about(pager, "raised"), seconds=90)
        assert is_signed(about(pager, "raised")[0], secret)
        wait_until(lambda: mail_server.about(TEXT), seconds=60)
        page.goto("/alerts/")
        page.get_by_role("link", name=TEXT).click()
        expect(page.locator("#told")).to_contain_text("Night pager")
        expect(page.locator("#told")).to_contain_text("by route “Criticals”")

        # The pager's service says that it is gone: it is switched off, and mail says so.
        pager.on_request = lambda request: 410
        volume.mount()
        wait_until(
            lambda: mail_server.about("Night pager"),
            seconds=150,
            explain=mail_server.subjects,
        )
        page.goto("/settings/channels/")
        row = page.locator("[data-name='Night pager']")
        expect(row).to_contain_text("410")

        # Mended: what waited, the end of the outage, is told once.
        pager.on_request = lambda request: 200
        row.get_by_role("button", name="Switch Night pager on").click()
        expect(page.locator("#messages")).to_contain_text("what waited for it is sent")
        refused = len(about(pager, "cleared"))
        wait_until(lambda: len(about(pager, "cleared")) > refused, seconds=90)

        # What the rules would have made of it: the pager heard of it twice, and so did ana.
        page.goto("/settings/notifications/routes/")
        page.get_by_role("link", name="Dry run").click()
        expect(page.locator("#dry-run tr", has_text="Night pager")).to_contain_text(
            "Criticals"
        )
        window.assert_no_errors()
    console.assert_no_traceback()


def add_pager(page: Page, pager: WebServer) -> str:
    """Add the webhook, and return the key that is shown once."""
    page.goto("/settings/channels/")
    page.get_by_role("link", name="Add webhook").click()
    page.get_by_label("Name", exact=False).first.fill("Night pager")
    page.get_by_label("Address").fill(f"http://{pager.address}/page")
    page.get_by_label("Send by this channel").check()
    page.get_by_label("Allow this machine and private networks").check()
    page.get_by_role("button", name="Save").click()
    shown = page.locator("#secret").inner_text()
    found = re.search(r"\S{32,}", shown)
    assert found, shown
    return found[0]


def add_route(page: Page) -> None:
    """Let the pager hear of Criticals only, after a look at what that would have been."""
    page.goto("/settings/notifications/routes/add/")
    page.get_by_label("Name").fill("Criticals")
    page.get_by_label("Critical", exact=True).check()
    page.get_by_label("Night pager").check()
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#dry-run-words")).to_contain_text("0 events since")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#messages")).to_contain_text("Saved the route Criticals.")
