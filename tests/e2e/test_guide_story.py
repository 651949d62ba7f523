"""The guide of an alert, followed to its end for three faults of a real volume."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.browser import Browser, Window, sign_in
from tests.e2e.console import (
    ADMINISTRATOR,
    PASSWORD,
    Console,
    Volume,
    volumes,
    wait_until,
)

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

#: One for each fault: an acknowledgement holds when the same one fails soon again.
TANK, VAULT, DEEP = "Tank-07", "Vault-1", "Deep-3"

STEPS = ["still-holds", "inbound", "server", "devices", "back", "acknowledged"]

#: From the mended disk to the alert that has cleared: two good checks.
PATIENCE_MS = 60_000


@pytest.fixture
def disks(needs_volumes: None, yard: Path) -> Iterator[list[Volume]]:
    with volumes(yard, "tank-07", "vault-1", "deep-3") as made:
        (made[2].path / "data").mkdir()
        yield made


def step(page: Page, live: str) -> Locator:
    return page.locator(f'[data-step="{live}"]')


def expect_marks(page: Page, **marks: str) -> None:
    """Wait until the steps say so by themselves."""
    for live, mark in marks.items():
        expect(step(page, live.replace("_", "-"))).to_have_attribute(
            "data-mark", mark, timeout=PATIENCE_MS
        )


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def test_it_guides_to_the_end_of_three_faults(
    console: Console, browser: Browser, disks: list[Volume]
) -> None:
    person = console.set_up()
    tank, vault, deep = disks
    for name, path in (
        (TANK, tank.path),
        (VAULT, vault.path),
        (DEEP, deep.path / "data"),
    ):
        key = person.add_store_point(name, path)
        person.set_interval(key, name, 5)
        wait_until(lambda: console.state(name) == ("online", ""))  # noqa: B023
    with browser.window(console.url) as window:
        sign_in(window.page, ADMINISTRATOR, PASSWORD)

        an_unmounted_volume(console, window, tank)
        a_volume_that_is_read_only(console, window, vault)
        a_renamed_directory_and_inbound_disabled(console, window, deep.path / "data")

        window.assert_no_errors()
    console.assert_no_traceback()


def open_alert(console: Console, window: Window, name: str, reason: str) -> Page:
    """Wait for the alert in the overview, and open its page."""
    page = window.page
    wait_until(lambda: console.state(name) == ("offline", reason), seconds=60)
    page.goto("/alerts/")
    line = page.locator('tr[data-kind="store-point-offline"]')
    expect(line).to_have_attribute("data-acknowledged", "false", timeout=PATIENCE_MS)
    line.get_by_role("link", name=f"unavailable: {name}").click()
    expect(page.get_by_role("heading", name=f"unavailable: {name}")).to_be_visible()
    found = page.locator("[data-step]")
    assert [each.get_attribute("data-step") for each in found.all()] == STEPS
    expect_marks(page, still_holds="done", server="done", back="waiting")
    return page


def mend(page: Page, how: Callable[[], object]) -> None:
    """Mend the disk, and see the steps turn without loading the page again."""
    page.evaluate("window.isSamePage = true")
    how()
    expect_marks(page, devices="done", back="done", acknowledged="to-do")
    assert page.evaluate("window.isSamePage"), "the page was loaded again"
    expect(step(page, "acknowledged")).to_have_attribute("aria-current", "step")
    expect(step(page, "still-holds")).to_contain_text("No longer")


def acknowledge(window: Window, note: str) -> None:
    """Acknowledge in the guide, and see it leave the active list."""
    page = window.page
    if page.locator("#guide-note").input_value() != note:
        page.locator("#guide-note").fill(note)
    page.locator("#do-acknowledge").click()
    expect(page.locator("#messages")).to_contain_text("Acknowledged 1 alert.")
    expect_marks(page, acknowledged="done")
    expect(page.locator("[data-step][aria-current]")).to_have_count(0)
    expect(page.locator('[data-event="acknowledged"]').last).to_contain_text(note)
    page.goto("/alerts/")
    expect(page.locator('tr[data-kind="store-point-offline"]')).to_have_count(0)


def an_unmounted_volume(console: Console, window: Window, volume: Volume) -> None:
    """What is typed, has the focus or is open stays while the page refreshes itself."""
    volume.umount()
    page = open_alert(console, window, TANK, "not-mounted")
    expect_marks(page, inbound="not-applicable", devices="to-do")
    devices = step(page, "devices")
    expect(devices).to_have_attribute("aria-current", "step")
    expect(devices.get_by_text(f"mount {volume.path}", exact=True)).to_be_visible()
    expect(step(page, "still-holds")).to_contain_text("Checking again does not mend")
    window.picture("alert-guide-not-mounted")

    step(page, "still-holds").get_by_role("button", name="Check Now").click()
    expect(page.locator("#messages")).to_contain_text("Asked for a check of")
    page.locator("#how-4 summary").click()
    page.locator("#guide-note").focus()
    page.keyboard.type("The cable ")
    page.wait_for_timeout(4_500)
    assert focused(page) == "guide-note"
    page.keyboard.type("was loose")
    expect(page.locator("#how-4")).to_have_attribute("open", "")

    mend(page, volume.mount)

    assert page.locator("#guide-note").input_value() == "The cable was loose"
    window.picture("alert-guide-back")
    acknowledge(window, "The cable was loose")


def a_volume_that_is_read_only(
    console: Console, window: Window, volume: Volume
) -> None:
    run("mount", "-o", "remount,ro", volume.path)
    page = open_alert(console, window, VAULT, "read-only")
    expect_marks(page, devices="to-do")
    command = step(page, "devices").locator("code")
    expect(command).to_contain_text(f"mount -o remount,rw {volume.path}")

    mend(page, lambda: run("mount", "-o", "remount,rw", volume.path))

    acknowledge(window, "Remounted")


def a_renamed_directory_and_inbound_disabled(
    console: Console, window: Window, data: Path
) -> None:
    """The path is gone, and somebody has disabled inbound backup meanwhile."""
    page = window.page
    page.goto("/destinations/store-points/")
    page.locator(f'tr[data-name="{DEEP}"]').get_by_role("link", name=DEEP).click()
    page.locator("details.action-menu summary").click()
    page.locator('button[name=action][data-label^="Disable Inbound Backup"]').click()
    page.get_by_role("button", name="Disable Inbound Backup").last.click()
    expect(page.locator("#messages")).to_contain_text("Disabling inbound backup")
    gone = data.rename(data.with_suffix(".old"))

    open_alert(console, window, DEEP, "path-missing")
    expect_marks(page, inbound="to-do", devices="to-do")
    expect(step(page, "inbound")).to_have_attribute("aria-current", "step")
    expect(step(page, "inbound")).to_contain_text(f"by {ADMINISTRATOR}")
    window.picture("alert-guide-inbound")
    step(page, "inbound").get_by_role("button", name="Enable Inbound Backup").click()
    expect(page.locator("#messages")).to_contain_text("Enabling inbound backup")
    expect_marks(page, inbound="waiting", devices="to-do")
    expect(step(page, "devices")).to_contain_text("rename it back")

    mend(page, lambda: gone.rename(data))

    expect_marks(page, inbound="done")
    assert (data / ".storepoint" / "inbound").read_text().strip() == "enabled"
    acknowledge(window, "Renamed it back")
