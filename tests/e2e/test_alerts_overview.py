"""The Alerts Overview by keyboard: move, tick, acknowledge and undo."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.browser import Browser, sign_in
from tests.e2e.console import ADMINISTRATOR, PASSWORD, Console

pytestmark = pytest.mark.e2e

#: More than one page has, and more than one action names.
MANY = 1_200

_FILL = """
from alerts.models import Alert
from console.kit import clock
now = clock.now()
Alert.objects.bulk_create(
    Alert(kind="store-point-offline", subject=f"e2e:{n}", severity=1,
          text=f"Store point is unavailable: Tank-{n}", object_name=f"Tank-{n}",
          reported_by="stor-1", failed_at=now, raised_at=now, last_seen_at=now)
    for n in range(%d)
)
"""


def test_it_is_worked_by_keyboard(console: Console, browser: Browser) -> None:
    console.set_up()
    console.shell(_FILL % MANY)

    with browser.window(console.url) as window:
        page = window.page
        sign_in(page, ADMINISTRATOR, PASSWORD)
        page.goto("/alerts/")
        boxes = page.locator("[data-select]")

        # Nothing is ticked yet: the menu says so.
        page.keyboard.press("g")
        expect(page.get_by_text("Tick alerts first")).to_be_visible()
        page.keyboard.press("Escape")

        # Arrows move, space ticks, Shift takes the rows on the way along.
        page.keyboard.press("ArrowDown")
        expect(boxes.nth(0)).to_be_focused()
        page.keyboard.press("Space")
        page.keyboard.press("Shift+ArrowDown")
        page.keyboard.press("Shift+ArrowDown")
        expect(page.locator("[data-select]:checked")).to_have_count(3)
        page.keyboard.press("g")
        expect(page.locator("h1")).to_contain_text("Acknowledge 3 alerts?")
        page.get_by_role("button", name="Acknowledge").click()
        expect(page.locator("#messages")).to_contain_text("Acknowledged 3 alerts.")

        # The offer is still there after the list has refreshed itself.
        page.wait_for_timeout(2_500)
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#messages")).to_contain_text(
            "Took back the acknowledgement of 3 alerts."
        )

        # All that match, also on other pages.
        page.locator("[data-select-all]").click()
        page.get_by_role("button", name="Select all").click()
        page.keyboard.press("g")
        expect(page.locator("h1")).to_contain_text("alerts?")
        page.get_by_role("button", name="Acknowledge").click()
        expect(page.locator("#messages")).to_contain_text("Acknowledged 1,2")
        page.keyboard.press("k")
        expect(page.locator(".pager-count")).to_contain_text("1,2")
        window.picture("alerts-acknowledged")
        window.assert_no_errors()
