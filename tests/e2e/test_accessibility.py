"""Every page for people who use a screen reader, and lists for those with a keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from tests.e2e.browser import NARROW, THEMES, WIDE, Browser, Window, sign_in
from tests.e2e.console import ADMINISTRATOR, PASSWORD, Console, wait_until

pytestmark = pytest.mark.e2e

Theme = Literal["light", "dark"]

SOMETHING_WRONG = """
from datetime import timedelta
from alerts.models import Alert, AlertEvent
from console.kit import clock
from storepoints.models import StorePoint
now = clock.now()
store_point = StorePoint.objects.get()
for n, (kind, severity) in enumerate((
    ("store-point-offline", 1),
    ("store-point-low-on-space", 2),
    ("inbound-backup-disabled", 2),
)):
    alert = Alert.objects.create(
        kind=kind,
        subject=f"store-point:{900000 + n}",
        severity=severity,
        text=f"Something is wrong: Shelf-{n}",
        object_name=f"Shelf-{n}",
        reported_by="elsewhere",
        raised_at=now - timedelta(hours=n + 1),
        last_seen_at=now,
        cleared_at=now if n else None,
        store_point=store_point if n == 0 else None,
        server=store_point.server,
    )
    AlertEvent.objects.create(alert=alert, at=now, kind="raised", routed_at=now)
"""

PAGES = {
    "dashboard": "/",
    "search": "/search/?q=default",
    "search-nothing": "/search/?q=nothing-is-called-so",
    "destinations": "/destinations/",
    "destination": "/destinations/{destination}/",
    "add-destination": "/destinations/add/",
    "servers": "/destinations/servers/",
    "server": "/destinations/servers/{server}/",
    "edit-server": "/destinations/servers/{server}/edit/",
    "store-points": "/destinations/store-points/",
    "store-points-none": "/destinations/store-points/?q=nothing",
    "store-point": "/destinations/store-points/{store_point}/",
    "edit-store-point": "/destinations/store-points/{store_point}/edit/",
    "add-store-point": "/destinations/store-points/add/",
    "alerts": "/alerts/",
    "alerts-acknowledged": "/alerts/?view=acknowledged",
    "alert": "/alerts/{alert}/",
    "notifications": "/settings/notifications/",
    "reset-notifications": "/settings/notifications/reset/",
    "deliveries": "/settings/notifications/deliveries/",
    "email": "/settings/email/",
    "users": "/settings/users/",
    "user": "/settings/users/{user}/",
    "user-password": "/settings/users/{user}/password/",
    "add-user": "/settings/users/add/",
    "audit-log": "/settings/audit-log/",
    "account": "/account/",
    "password": "/account/password/",
    "not-found": "/nothing-is-here/",
    "wrong-input": "/alerts/?page=nonsense",
}

#: Rules beyond those of WCAG that concern a person all the same.
RUN = {
    "runOnly": {
        "type": "tag",
        "values": [
            "wcag2a",
            "wcag2aa",
            "wcag21a",
            "wcag21aa",
            "wcag22aa",
            "best-practice",
        ],
    },
    "resultTypes": ["violations"],
}


@pytest.fixture(scope="module")
def keys(console: Console) -> dict[str, Any]:
    """Set the console up, with something wrong, and return what pages are called."""
    console.set_up()
    wait_until(lambda: console.state("Default") == ("online", ""))
    console.shell(SOMETHING_WRONG)
    return {
        name: console.value(f"SELECT min(id) FROM {table}")
        for name, table in {
            "destination": "storepoints_destination",
            "server": "storepoints_server",
            "store_point": "storepoints_storepoint",
            "alert": "alerts_alert",
            "user": "accounts_user",
        }.items()
    }


@pytest.fixture
def window(
    console: Console, keys: dict[str, Any], browser: Browser
) -> Iterator[Window]:
    with browser.window(console.url) as window:
        sign_in(window.page, ADMINISTRATOR, PASSWORD)
        yield window


def violations(page: Page) -> list[str]:
    """Return what axe finds serious or critical on the page."""
    found = Axe().run(page, options=RUN).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]} "
        f"{node.get('failureSummary', '')[:300]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("theme", THEMES)
def test_it_is_readable_for_everybody(
    console: Console, keys: dict[str, Any], window: Window, theme: Theme
) -> None:
    page = window.page
    page.emulate_media(color_scheme=theme)
    wrong: dict[str, list[str]] = {}

    for name, path in PAGES.items():
        page.goto(path.format(**keys))
        for width, size in (("wide", WIDE), ("narrow", NARROW)):
            page.set_viewport_size(size)
            if found := violations(page):
                wrong[f"{name}, {width}"] = found

    assert not wrong, "\n".join(
        f"{name}:\n  " + "\n  ".join(found) for name, found in wrong.items()
    )


@pytest.mark.parametrize("theme", THEMES)
def test_it_lets_strangers_read_their_pages(
    console: Console, keys: dict[str, Any], browser: Browser, theme: Theme
) -> None:
    with browser.window(console.url, color_scheme=theme) as window:
        page = window.page
        wrong = {}

        for path in ("/sign-in/", "/setup/", "/sign-in/link/wrong/"):
            page.goto(path)
            if found := violations(page):
                wrong[path] = found

        assert not wrong


@pytest.mark.parametrize("width", [320, 360, 768])
def test_it_never_scrolls_sideways(
    console: Console, keys: dict[str, Any], window: Window, width: int
) -> None:
    page = window.page
    page.set_viewport_size({"width": width, "height": 740})
    too_wide = {}

    for name, path in PAGES.items():
        page.goto(path.format(**keys))
        found = page.evaluate("document.documentElement.scrollWidth")
        if found > width:
            too_wide[name] = found

    assert not too_wide


def focus(page: Page) -> str:
    """Return what has the focus, in words."""
    return str(
        page.evaluate(
            "(document.activeElement.getAttribute('aria-label')"
            " ?? document.activeElement.textContent).trim()"
        )
    )


def test_it_is_driven_by_the_keyboard(console: Console, window: Window) -> None:
    page = window.page
    page.goto("/alerts/")

    # The first Tab leads past the navigation.
    page.keyboard.press("Tab")
    assert focus(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"

    # "/" searches.
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("default?")  # a "?" while typing is a question mark
    expect(page.locator("#help")).to_be_hidden()
    expect(page.locator("#search")).to_have_value("default?")
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/alerts/" not in url)

    # "?" lists the shortcuts, this page's among them.
    page.goto("/alerts/")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    expect(page.locator("#help")).to_contain_text("Acknowledge")
    expect(page.locator("#help")).to_contain_text("Export CSV")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()

    # Arrows move between the rows, Space ticks, Enter opens.
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    expect(page.locator("[data-selected-count]")).to_have_text("2 selected")
    focused = focus(page)
    # The list refreshes itself; the focus and the ticks stay where they were.
    page.wait_for_timeout(4_500)
    assert focus(page) == focused
    expect(page.locator("[data-selected-count]")).to_have_text("2 selected")
    page.keyboard.press("ArrowUp")
    assert focus(page) != focused
    assert focus(page).startswith("Select ")

    # "g" acknowledges what is ticked.
    page.keyboard.press("g")
    expect(page.get_by_role("heading", name="Acknowledge 2 alerts?")).to_be_visible()
    page.get_by_role("button", name="Acknowledge", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#messages")).to_contain_text("Acknowledged 2 alerts.")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".timeline")).to_be_visible()

    # A menu opens, is walked through, and is closed by Escape.
    summary = page.locator("details.action-menu summary")
    summary.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert "cknowledge" in focus(page)
    page.keyboard.press("Escape")
    expect(page.locator("details.action-menu[open]")).to_have_count(0)
    expect(summary).to_be_focused()
    window.assert_no_errors()


def test_it_keeps_a_menu_open_while_the_list_refreshes(
    console: Console, window: Window, tmp_path: Path
) -> None:
    page = window.page
    page.goto("/destinations/store-points/")
    page.locator("[data-select]").first.check()
    page.locator("details.action-menu summary").click()

    page.wait_for_timeout(4_500)

    expect(page.locator("details.action-menu[open]")).to_have_count(1)
    expect(page.locator('button[data-label="Check Now"]')).to_be_enabled()
    window.assert_no_errors()
