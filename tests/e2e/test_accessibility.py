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
from alerts.services import create_silence
from console.accounts.models import User
from console.kit import clock
from notifications.models import Group, Route
from storepoints.models import Filesystem, Server, StatusChange, StorePoint
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
# A server that nobody asks, with a disk that went away: fenced, and written below.
server = Server.objects.create(
    name="stor-3",
    destination=store_point.server.destination,
    created_at=now,
    last_report_at=now,
    sealed_key="none",
)
filesystem = Filesystem.objects.create(
    server=server,
    identity="uuid:a1b2",
    mount_point="/srv/backup/vault-1",
    fs_type="ext4",
    created_at=now,
    devices_at=now,
    devices={
        "health": "degraded",
        "text": "array md0 lacks 1 of 2 devices",
        "notes": ["sda: smartctl is not installed"],
        "stack": {
            "name": "/srv/backup/vault-1",
            "kind": "ext4",
            "health": "ok",
            "facts": {"errors": "0"},
            "below": [{"name": "md0", "kind": "array", "health": "degraded"}],
        },
    },
)
away = StorePoint.objects.create(
    name="Vault-1",
    server=server,
    filesystem=filesystem,
    path="/srv/backup/" + "a-path-without-any-break" * 8,
    created_at=now,
    adopted_at=now,
    state="offline",
    reason="not-mounted",
    since=now - timedelta(minutes=3),
    checked_at=now,
    stale_at=now + timedelta(hours=2),
    pace=timedelta(seconds=30),
    fenced_at=now,
    fence_reason="not-mounted",
    fall_through={
        "since": now.timestamp(),
        "files": 12,
        "bytes": 4_600_000,
        "newest_at": now.timestamp(),
        "is_complete": True,
    },
)
for state, reason in (("online", ""), ("offline", "not-mounted")):
    StatusChange.objects.create(
        store_point=away,
        at=now,
        recorded_at=now,
        state_before="pending",
        state=state,
        reason=reason,
        cause="mount-table",
        duration_seconds=0.001,
    )
alert = Alert.objects.create(
    kind="volume-degraded",
    subject=f"filesystem:{filesystem.pk}",
    severity=2,
    text="Volume is degraded: Vault-1 (array md0 lacks 1 of 2 devices)",
    object_name="Vault-1",
    reported_by="stor-3",
    raised_at=now - timedelta(hours=9),
    last_seen_at=now,
    filesystem=filesystem,
    server=server,
)
AlertEvent.objects.create(alert=alert, at=now, kind="raised", routed_at=now)
create_silence(
    {
        "name": "Array rebuild",
        "note": "Until the new controller is in.",
        "subjects": [alert.subject],
        "starts_at": now,
        "ends_at": now + timedelta(hours=4),
    },
    actor=User.objects.first(),
    now=now,
)
group = Group.objects.create(name="Night shift", created_at=now)
group.recipients.create(address="ops@example.org", added_at=now)
group.recipients.create(address=f"{'operations' * 6}@example.org", added_at=now)
route = Route.objects.create(name="Pager", position=1, severities=[2], created_at=now)
route.groups.add(group)
"""

PAGES = {
    "dashboard": "/",
    "search": "/search/?q=default",
    "search-nothing": "/search/?q=nothing-is-called-so",
    "destinations": "/destinations/",
    "destination": "/destinations/{destination}/",
    "add-destination": "/destinations/add/",
    "edit-destination": "/destinations/{destination}/edit/",
    "servers": "/destinations/servers/",
    "server": "/destinations/servers/{server}/",
    "edit-server": "/destinations/servers/{server}/edit/",
    "store-points": "/destinations/store-points/",
    "store-points-none": "/destinations/store-points/?q=nothing",
    "store-point": "/destinations/store-points/{store_point}/",
    "store-point-away": "/destinations/store-points/{away}/",
    "edit-store-point": "/destinations/store-points/{store_point}/edit/",
    "history": "/destinations/store-points/{store_point}/history/?range=24h",
    "history-of-a-year": "/destinations/store-points/{away}/history/?range=1y",
    "history-of-destination": "/destinations/{destination}/history/",
    "re-adopt": "/destinations/store-points/{store_point}/adopt/",
    "add-store-point": "/destinations/store-points/add/",
    "alerts": "/alerts/",
    "alerts-acknowledged": "/alerts/?view=acknowledged",
    "alert": "/alerts/{alert}/",
    "alert-of-volume": "/alerts/{alert_of_volume}/",
    "alerts-printed": "/alerts/?print=1",
    "silences": "/alerts/silences/",
    "silence": "/alerts/silences/{silence}/",
    "add-silence": "/alerts/silences/add/",
    "handover": "/alerts/handover/",
    "drills": "/settings/drills/",
    "notifications": "/settings/notifications/",
    "destination-notifications": "/settings/notifications/destinations/{destination}/",
    "reset-notifications": "/settings/notifications/reset/",
    "deliveries": "/settings/notifications/deliveries/",
    "routes": "/settings/notifications/routes/",
    "add-route": "/settings/notifications/routes/add/",
    "route": "/settings/notifications/routes/{route}/",
    "groups": "/settings/notifications/groups/",
    "group": "/settings/notifications/groups/{group}/",
    "dry-run": "/settings/notifications/dry-run/",
    "what-i-get": "/settings/notifications/mine/",
    "email": "/settings/email/",
    "channels": "/settings/channels/",
    "add-channel": "/settings/channels/add/webhook/",
    "system": "/settings/system/",
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
        name: console.value(f"SELECT {which} FROM {table}")
        for name, which, table in (
            ("destination", "min(id)", "storepoints_destination"),
            ("server", "min(id)", "storepoints_server"),
            ("store_point", "min(id)", "storepoints_storepoint"),
            ("away", "max(id)", "storepoints_storepoint"),
            ("alert", "min(id)", "alerts_alert"),
            ("alert_of_volume", "max(id)", "alerts_alert"),
            ("silence", "min(id)", "alerts_silence"),
            ("user", "min(id)", "accounts_user"),
            ("group", "min(id)", "notifications_group"),
            ("route", "min(id)", "notifications_route"),
        )
    }


@pytest.fixture
def window(
    console: Console, keys: dict[str, Any], browser: Browser
) -> Iterator[Window]:
    with browser.window(console.url) as window:
        sign_in(window.page, ADMINISTRATOR, PASSWORD)
        yield window


def violations(page: Page) -> list[str]:
    """Return what axe finds on the page."""
    found = Axe().run(page, options=RUN).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]} "
        f"{node.get('failureSummary', '')[:300]}"
        for each in found
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
