"""The main path with scripts switched off: forms, links and pages, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, expect

from tests.e2e.browser import Browser, Window, sign_in
from tests.e2e.console import ADMINISTRATOR, PASSWORD, Console, wait_until

pytestmark = pytest.mark.e2e

NAME = "Vault-1"
STORE_POINTS = "/destinations/store-points/"


@pytest.fixture(scope="module")
def people(console: Console) -> None:
    console.set_up()


@pytest.fixture
def window(console: Console, people: None, browser: Browser) -> Iterator[Window]:
    with browser.window(console.url, java_script_enabled=False) as window:
        sign_in(window.page, ADMINISTRATOR, PASSWORD)
        yield window
        window.assert_no_errors()
    console.assert_no_traceback()


def choose(page: Page, entry: str) -> None:
    page.locator("details.action-menu summary").click()
    page.locator(f'button[name=action][data-label^="{entry}"]').click()


def reload_until(page: Page, selector: str) -> None:
    """Load the page again, as a person without scripts does, until it says this."""

    def reloaded() -> int:
        try:
            page.reload()
        except Error as error:
            # The answer to a form has come, and its page is not drawn yet.
            if "Not attached to an active page" not in str(error):
                raise
            return 0
        return page.locator(selector).count()

    wait_until(
        reloaded,
        explain=lambda: page.locator("main").inner_text(),
        pause=0.3,
    )


def test_it_shows_every_page(console: Console, window: Window) -> None:
    page = window.page

    pages = [link.get_attribute("href") for link in page.locator(".side-nav a").all()]

    assert STORE_POINTS in pages
    for path in pages:
        answer = page.goto(str(path))
        assert answer is not None
        assert answer.status == 200, path
        expect(page.locator("h1")).to_be_visible()
        # What only a script could do is not offered.
        assert not page.get_by_role("button", name="Keyboard shortcuts").is_visible()


def test_it_does_the_main_path(console: Console, window: Window, yard: Path) -> None:
    page = window.page
    path = yard / "vault-1"
    path.mkdir()

    # Add a store point; a mistake first.
    page.goto(STORE_POINTS)
    page.get_by_role("link", name="Add store point").click()
    page.locator("#id_name").fill(NAME)
    page.locator("#id_path").fill("vault-1")
    page.get_by_role("button", name="Add store point").click()
    expect(page.locator("#div_id_path")).to_contain_text("not an absolute path")
    page.locator("#id_path").fill(str(path))
    page.get_by_role("button", name="Add store point").click()
    expect(page.get_by_role("heading", name=NAME)).to_be_visible()
    reload_until(page, f'[data-name="{NAME}"][data-state="online"]')

    # The action menu of the overview, for a ticked row, with its confirmation.
    page.goto(STORE_POINTS)
    choose(page, "Disable Inbound Backup")
    expect(page.locator("#messages")).to_contain_text("Nothing was selected")
    page.get_by_label(f"Select {NAME}").check()
    choose(page, "Disable Inbound Backup")
    expect(page.get_by_text("Restoring still works")).to_be_visible()
    page.get_by_role("button", name="Disable Inbound Backup").click()
    reload_until(page, f'tr[data-name="{NAME}"][data-inbound="disabled"]')
    assert (path / ".storepoint" / "inbound").read_text().strip() == "disabled"

    # Its alert: acknowledge all that match.
    page.goto("/alerts/")
    line = page.locator('tr[data-kind="inbound-backup-disabled"]')
    expect(line).to_contain_text(f"Inbound backup is disabled: {NAME}")
    line.locator("[data-select]").check()
    choose(page, "Acknowledge")
    page.locator("#id_note").fill("Until the disk is swapped")
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.get_by_text("Nothing needs you now")).to_be_visible()
    page.get_by_role("link", name="Acknowledged", exact=True).click()
    expect(line).to_contain_text(re.compile(rf"{ADMINISTRATOR}, .*Until the disk"))
    choose(page, "Un-acknowledge")
    expect(page.locator("#messages")).to_contain_text("Nothing was selected")

    # From its own page, where the row is not ticked but given.
    page.goto(STORE_POINTS)
    page.get_by_role("link", name=NAME, exact=True).click()
    choose(page, "Enable Inbound Backup")
    reload_until(page, '[data-inbound="enabled"]')
    choose(page, "Remove")
    page.get_by_role("button", name="Remove from the console").click()
    expect(page.locator("#messages")).to_contain_text("Removed 1 store point.")
    expect(page.locator(f'tr[data-name="{NAME}"]')).to_have_count(0)
    assert (path / ".storepoint" / "identity.json").exists()

    # Sorting, filtering and the theme are links and forms.
    page.get_by_role("link", name="Checked").click()
    expect(page.locator("th[aria-sort]")).to_contain_text("Checked")
    page.get_by_label("Text to look for").fill("nothing is called so")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No store point matches")).to_be_visible()
    page.locator('summary[aria-label="Theme"]').click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
