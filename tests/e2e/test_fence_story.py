"""A disk that goes away, one that takes its place, and what guards the archives."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

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

NAME = "Tank-07"


@pytest.fixture
def disks(needs_volumes: None, yard: Path) -> Iterator[list[Volume]]:
    with volumes(yard, "tank-07", "new-disk") as made:
        (made[0].path / "archive").mkdir()
        (made[0].path / "archive" / "cpbf0000").write_bytes(b"somebody's backup")
        yield made


def test_it_fences_a_disk_that_is_gone_and_takes_another_in_its_place(
    console: Console, browser: Browser, disks: list[Volume]
) -> None:
    disk, new = disks
    person = console.set_up()
    key = person.add_store_point(NAME, disk.path)
    person.set_interval(key, NAME, 5)
    wait_until(lambda: console.state(NAME) == ("online", ""))
    new.umount()  # a change of the mount table: the agent lists the volumes anew
    with browser.window(console.url) as window:
        sign_in(window.page, ADMINISTRATOR, PASSWORD)

        switch_the_fence_on(console, window)
        lose_the_disk(console, window, disk, key)
        get_it_back_and_acknowledge(console, window, disk, key)
        replace_it(console, window, disk, new, key)
        look_at_the_history(window, key)

        window.assert_no_errors()
    console.assert_no_traceback()


def url_of(key: int) -> str:
    return f"/destinations/store-points/{key}/"


def wait_for(page: Page, selector: str) -> None:
    """Wait until the page says this by itself."""
    page.wait_for_selector(f'[data-name="{NAME}"]{selector}', timeout=30_000)


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what is called so has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if name in focused(page):
            return
    raise AssertionError(f"Tab never reached {name}")


def focused(page: Page) -> str:
    return str(
        page.evaluate(
            "document.activeElement.labels?.[0]?.textContent.trim()"
            " ?? document.activeElement.textContent.trim()"
        )
    )


def switch_the_fence_on(console: Console, window: Window) -> None:
    page = window.page
    destination = console.value("SELECT id FROM storepoints_destination")
    page.goto(f"/destinations/{destination}/")
    expect(page.get_by_text("off: inbound backup stays enabled")).to_be_visible()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Fence: let the console disable inbound backup").check()
    page.get_by_label("Enable again after").fill("2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("enables it after 2 good checks")).to_be_visible()


def lose_the_disk(console: Console, window: Window, disk: Volume, key: int) -> None:
    """The fence stands at once, says who did it, and the volume is not called well."""
    page = window.page
    page.goto(url_of(key))
    page.locator(".levels").first.wait_for(timeout=70_000)
    disk.umount()

    wait_for(page, '[data-reason="not-mounted"][data-inbound="fenced"]')

    expect(page.locator(".inbound-fenced")).to_contain_text(
        "fenced: not mounted, by the console"
    )
    devices = page.locator("[data-devices]")
    expect(devices).to_have_attribute("data-devices", "not-mounted")
    expect(devices).to_contain_text("as last seen")
    expect(devices.locator(".health").first).to_have_text("Not mounted")
    expect(page.locator("#fall-through")).to_contain_text("(0 B)")
    # The page refreshes itself every 2 s: who uses the keyboard stays where they are.
    tab_to(page, "Re-adopt")
    page.wait_for_timeout(4_500)
    assert focused(page) == "Re-adopt…"
    window.picture("store-point-fenced")


def get_it_back_and_acknowledge(
    console: Console, window: Window, disk: Volume, key: int
) -> None:
    page = window.page
    disk.mount()

    wait_for(page, '[data-state="online"][data-inbound="enabled"]')

    assert (disk.path / ".storepoint" / "inbound").read_text().strip() == "enabled"
    page.goto("/alerts/")
    lines = page.locator("#alerts tbody tr")
    # One alert: that it is fenced is said with it, and lifted by itself.
    expect(lines).to_have_count(1)
    expect(lines).to_contain_text("cleared", timeout=30_000)
    lines.locator("th a").click()
    for event in ("raised", "cleared"):
        expect(page.locator(f'[data-event="{event}"]')).to_be_visible()
    expect(page.locator("#found")).to_contain_text("nothing is mounted there")
    window.picture("alert-of-fence")
    page.goto("/alerts/")
    page.locator("[data-select-all]").check()
    page.keyboard.press("g")
    page.get_by_role("button", name="Acknowledge", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing needs you now")).to_be_visible()
    expect(lines).to_have_count(0)


def replace_it(
    console: Console, window: Window, disk: Volume, new: Volume, key: int
) -> None:
    """Copy the store point to a new disk, and re-adopt it with the keyboard alone."""
    page = window.page
    new.mount()
    shutil.copytree(disk.path, new.path, dirs_exist_ok=True)
    new.umount()
    disk.umount()
    page.goto(url_of(key))
    wait_for(page, '[data-reason="not-mounted"]')
    disk.image.rename(disk.image.with_suffix(".old"))
    new.image.rename(disk.image)
    disk.mount()
    wait_for(page, '[data-reason="different-volume"][data-inbound="fenced"]')

    tab_to(page, "Re-adopt")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Re-adopt {NAME}")).to_be_visible()
    tab_to(page, "Look again")
    page.keyboard.press("Enter")
    expect(page.locator('[data-case="own-disk"]')).to_be_visible()
    window.picture("re-adopt-own-disk")
    tab_to(page, "Type the name of the store point")
    page.keyboard.type("tank-7")
    page.keyboard.press("Enter")
    expect(page.locator("#div_id_typed_name .invalid-feedback")).to_be_visible()
    tab_to(page, "Type the name of the store point")
    page.keyboard.press("Control+a")
    page.keyboard.type(NAME)
    page.keyboard.press("Enter")
    expect(page.locator("#messages")).to_contain_text(f"Re-adopted {NAME}")
    wait_for(page, '[data-state="online"][data-inbound="enabled"]')
    assert (disk.path / "archive" / "cpbf0000").read_bytes() == b"somebody's backup"
    page.goto(f"/settings/audit-log/?q={NAME}")
    expect(page.locator("#audit-log")).to_contain_text("readopt")


def look_at_the_history(window: Window, key: int) -> None:
    page = window.page
    page.goto(url_of(key))
    for title in ("Space", "Latency of write probes", "States"):
        expect(
            page.get_by_role("heading", name=title, exact=False).first
        ).to_be_visible()
    page.goto(f"{url_of(key)}history/?range=24h")
    strip = page.get_by_role("img", name="Offline: not mounted")
    expect(strip).to_be_visible()
    page.locator(".strip-box summary").click()
    for words in ("Online", "Offline: not mounted", "Offline: different volume"):
        expect(page.locator(".strip-box tbody")).to_contain_text(words)
    window.picture("history-after-fence")
