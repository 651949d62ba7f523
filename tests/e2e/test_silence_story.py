"""A planned outage on a real volume: silenced before, ended early, told at last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

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

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

NAME, WHY = "Tank-09", "Array rebuild"

TEXT = f"Store point is unavailable: {NAME}"

#: From a broken or mended disk to what a page that refreshes itself says of it.
PATIENCE_MS = 60_000


@pytest.fixture
def volume(needs_volumes: None, yard: Path) -> Iterator[Volume]:
    with volumes(yard, "tank-09") as (made,):
        yield made


def routing(console: Console) -> str:
    """Return why somebody, or nobody, heard of the newest news of the alert."""
    found = console.rows(
        "SELECT e.routing FROM alerts_alertevent e JOIN alerts_alert a"
        " ON a.id = e.alert_id WHERE a.text = ? AND e.routed_at IS NOT NULL"
        " AND e.routing <> '' ORDER BY e.id DESC LIMIT 1",
        TEXT,
    )
    return str(found[0][0]) if found else ""


def test_it_keeps_a_planned_outage_from_everybody_until_it_is_over(
    console: Console, browser: Browser, mail_server: MailServer, volume: Volume
) -> None:
    person = console.set_up(mail_port=mail_server.port)
    key = person.add_store_point(NAME, volume.path)
    person.set_interval(key, NAME, 5)
    wait_until(lambda: console.state(NAME) == ("online", ""))

    with browser.window(console.url) as window:
        page = window.page
        sign_in(page, ADMINISTRATOR, PASSWORD)

        # Before the work: from the Store Point Overview.
        page.goto("/destinations/store-points/")
        page.get_by_role("row", name=NAME).get_by_role("checkbox").check()
        page.get_by_text("Action menu").click()
        page.get_by_role("button", name="Silence…").click()
        expect(page.locator("h1")).to_contain_text("Silence 1 store point?")
        page.get_by_label("Name").fill(WHY)
        page.get_by_label("How long").select_option("1")
        page.get_by_role("button", name="Silence", exact=True).click()
        expect(page.locator("#messages")).to_contain_text("Silenced 1 store point.")

        # The work: it is seen and recorded, and nobody is told.
        volume.umount()
        page.goto("/alerts/")
        row = page.locator("#alerts tbody tr", has_text=TEXT)
        expect(row).to_contain_text(f"silenced by “{WHY}” until", timeout=PATIENCE_MS)
        row.get_by_role("link", name=TEXT).click()
        expect(page.locator("#silenced")).to_contain_text(f"Silenced by {WHY} until")
        expect(page.locator("#told")).to_contain_text(
            f"not mailed: silenced by “{WHY}”", ignore_case=True, timeout=PATIENCE_MS
        )
        assert f"silenced by “{WHY}”" in routing(console)
        assert not mail_server.about(NAME)

        # It takes longer than planned, and somebody ends the silence: now it is told.
        page.locator("#silenced").get_by_role("link", name=WHY).click()
        expect(page.locator('[data-state="in force"]')).to_be_visible()
        page.get_by_text("Action menu").click()
        page.get_by_role("button", name="End now").click()
        expect(page.locator("#messages")).to_contain_text("Ended 1 silence.")
        expect(page.locator(".verdict")).to_contain_text("ended by ana")
        expect(page.get_by_text("1 new")).to_be_visible()
        wait_until(lambda: mail_server.about(TEXT), seconds=60)

        # And when it is mended, who was told of it hears that too.
        volume.mount()
        wait_until(
            lambda: [each for each in mail_server.about(TEXT) if "leared" in each.text],
            seconds=120,
            explain=mail_server.subjects,
        )
        assert "to ana" in routing(console)
        window.assert_no_errors()
    console.assert_no_traceback()
