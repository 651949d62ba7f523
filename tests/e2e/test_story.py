"""The main job from the first start to the acknowledged alert, as a person sees it."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.browser import Browser, Window, sign_in, take_picture
from tests.e2e.console import (
    ADDRESS,
    ADMINISTRATOR,
    ARTIFACTS,
    PASSWORD,
    ROOT,
    Console,
    MailServer,
    Volume,
    volumes,
    wait_until,
)

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

#: Set to write docs/screenshot.png anew.
WRITE_SCREENSHOT = "CONSOLE_TEST_WRITE_SCREENSHOT"

NAME = "Tank-07"
TEXT = f"Store point is unavailable: {NAME}"
OPS = "ops@example.org"

#: They stay online throughout.
NEIGHBOURS = ("Tank-08", "Vault-1")

STORE_POINTS = "/destinations/store-points/"

#: What is promised is 5 s; what is asserted leaves room for a busy machine.
GENEROUS_SECONDS = 15.0


class Times:
    """What was measured, in seconds, kept in tests/artifacts/story-times.txt."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def note(self, what: str, seconds: float) -> None:
        self._lines.append(f"{what:<58} {seconds:7.2f} s")
        assert seconds < 60, f"{what}: {seconds:.1f} s"

    @contextmanager
    def measure(self, what: str, *, most: float = GENEROUS_SECONDS) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.note(what, seconds)
        assert seconds <= most, f"{what}: {seconds:.1f} s, expected at most {most} s"

    def write(self) -> None:
        text = "\n".join(self._lines)
        ARTIFACTS.mkdir(exist_ok=True)
        (ARTIFACTS / "story-times.txt").write_text(text + "\n")
        print(f"\n{text}")


def row(page: Page, name: str = NAME) -> Locator:
    return page.locator(f'tr[data-name="{name}"]')


def wait_for_row(page: Page, state: str, reason: str = "", name: str = NAME) -> None:
    """Wait until the row says this, without loading the page again."""
    page.wait_for_selector(
        f'tr[data-name="{name}"][data-state="{state}"][data-reason="{reason}"]'
    )


def choose(page: Page, entry: str) -> None:
    page.locator("details.action-menu summary").click()
    page.locator(f'button[name=action][data-label^="{entry}"]').click()


def fill_store_point(page: Page, name: str, path: str | Path) -> None:
    page.goto(f"{STORE_POINTS}add/")
    page.locator("#id_name").fill(name)
    page.locator("#id_path").fill(str(path))
    page.get_by_role("button", name="Add store point").click()


def refusal(page: Page, field: str) -> str:
    """Return what the form says about a field."""
    return page.locator(f"#div_id_{field} .invalid-feedback").inner_text()


def is_inbound(volume: Volume) -> str:
    return (volume.path / ".storepoint" / "inbound").read_text().strip()


@pytest.fixture
def times() -> Iterator[Times]:
    times = Times()
    yield times
    times.write()


@pytest.fixture
def volume(needs_volumes: None, yard: Path) -> Iterator[Volume]:
    with volumes(yard, "tank-07", "tank-08", "vault-1") as (made, *others):
        (made.path / "archive").mkdir()
        (made.path / "archive" / "cpbf0000").write_bytes(b"somebody's backup")
        for other, megabytes in zip(others, (21, 41), strict=True):
            (other.path / "archive").write_bytes(bytes(megabytes << 20))
        yield made


def test_it_does_the_main_job(
    console: Console,
    mail_server: MailServer,
    browser: Browser,
    volume: Volume,
    yard: Path,
    times: Times,
) -> None:
    with browser.window(console.url) as window:
        page = window.page
        set_up(console, window, times)
        set_mail_up(window, mail_server, times)
        add_the_store_point(console, window, volume, yard, times)
        lose_the_volume(console, window, mail_server, volume, times)
        look_at_the_store_point(console, window, volume, times)
        get_the_volume_back(console, window, mail_server, volume, times)
        acknowledge(console, window)
        choose_what_is_told(window)
        look_around(console, window)
        remove_the_store_point(console, window, volume)
        window.assert_no_errors()
    console.assert_no_traceback()
    seconds = console.stop()
    times.note("Ctrl-C: every process has ended", seconds)
    times.note("starting again", console.start())
    assert "/setup/" not in console.said()
    with browser.window(console.url) as window:
        page = window.page
        sign_in(page, ADMINISTRATOR, PASSWORD)
        page.goto("/alerts/?view=all")
        expect(page.locator("tr", has_text=TEXT)).to_be_visible()
        window.assert_no_errors()
    console.assert_no_traceback()


def set_up(console: Console, window: Window, times: Times) -> None:
    """Step 1: the first start."""
    page = window.page
    page.goto("/setup/")
    expect(page.get_by_role("heading", name="Almost there")).to_be_visible()
    window.errors.clear()  # the refusal is a 403

    page.goto(console.setup_link)
    window.picture("setup")
    page.locator("#id_name").fill(ADMINISTRATOR)
    page.locator("#id_email").fill(ADDRESS)
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#id_password_again").fill("something else entirely")
    page.get_by_role("button", name="Create and sign in").click()
    expect(page.get_by_text("The two passwords are not the same.")).to_be_visible()
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#id_password_again").fill(PASSWORD)
    page.get_by_role("button", name="Create and sign in").click()
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()

    page.locator(f'summary[aria-label^="{ADMINISTRATOR}"]').click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(STORE_POINTS)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    window.picture("sign-in")
    page.get_by_label("Name or email address").fill(ADMINISTRATOR)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".alert, .invalid-feedback, .notice").first).to_be_visible()
    page.get_by_label("Name or email address").fill(ADMINISTRATOR)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()

    # Signing in goes on to where the person wanted to be.
    expect(page.get_by_role("heading", name="Store Points")).to_be_visible()
    wait_for_row(page, "online", name="Default")
    green = row(page, "Default").locator('[data-state-icon="online"]')
    expect(green).to_contain_text("Online")


def set_mail_up(window: Window, mail_server: MailServer, times: Times) -> None:
    """Step 7, the part that must come first: who is mailed, and how."""
    page = window.page
    page.goto("/settings/email/")
    page.locator("#id_host").fill("127.0.0.1")
    page.locator("#id_port").fill(str(mail_server.port))
    page.locator("#id_security").select_option("none")
    page.locator("#id_sender").fill("Store Points <console@example.org>")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#messages")).not_to_be_empty()
    page.locator("#id_address").fill("test@example.org")
    with times.measure("Send test: the mail has arrived"):
        page.get_by_role("button", name="Send test").click()
        expect(page.locator("#tested[data-sent=true]")).to_be_visible()
    window.picture("settings-email")
    assert [mail.recipients for mail in mail_server.mails] == [("test@example.org",)]

    page.goto("/settings/notifications/")
    administrators = page.locator(f'li[data-recipient="{ADDRESS}"]')
    expect(administrators).to_contain_text("always included")
    expect(administrators.get_by_role("button")).to_have_count(0)
    page.locator("#id_address").fill("nobody")
    page.get_by_role("button", name="Add recipient").click()
    expect(page.get_by_text("Expected an email address")).to_be_visible()
    for address in (OPS, "gone@example.org"):
        page.locator("#id_address").fill(address)
        page.get_by_role("button", name="Add recipient").click()
        expect(page.locator(f'li[data-recipient="{address}"]')).to_be_visible()
    page.get_by_role("button", name="Remove gone@example.org").click()
    expect(page.locator('li[data-recipient="gone@example.org"]')).to_have_count(0)


def add_the_store_point(
    console: Console, window: Window, volume: Volume, yard: Path, times: Times
) -> None:
    """Step 2: refusals, each with its own message, and then the real one."""
    page = window.page
    file = yard / "a-file"
    file.write_text("not a directory")
    foreign = yard / "foreign"
    (foreign / ".storepoint").mkdir(parents=True)
    (foreign / ".storepoint" / "identity.json").write_text(
        json.dumps(
            {
                "store_point": "6f1f2a8e-7d1c-4c8e-9d3a-0a3f8c1e5b77",
                "name": "Somebody else's",
                "server": "elsewhere",
                "created_at": "2026-01-01T00:00:00Z",
                "filesystem": {"fs_type": "ext4", "fs_uuid": ""},
            }
        )
    )
    default = console.value(
        "SELECT path FROM storepoints_storepoint WHERE name = 'Default'"
    )
    refused = {
        "relative": ("backups/tank-07", "not an absolute path"),
        "missing": (yard / "nowhere", "There is nothing at"),
        "file": (file, "is not a directory"),
        "taken": (default, "is already the store point Default"),
        "inside": (f"{default}/inside", "must not lie inside another"),
        "foreign": (foreign, "Somebody else's"),
        "pseudo": ("/proc/sys", "keeps no files"),
    }
    said = {}
    for case, (path, expected) in refused.items():
        fill_store_point(page, NAME, path)
        said[case] = refusal(page, "path")
        assert expected in said[case], f"{case}: {said[case]}"
        # What was typed is still there.
        assert page.locator("#id_name").input_value() == NAME
    assert len(set(said.values())) == len(refused)
    fill_store_point(page, "Default", volume.path)
    assert "already a store point named Default" in refusal(page, "name")
    fill_store_point(page, NAME, foreign)
    expect(page.get_by_label("Continue this store point")).to_be_visible()
    window.picture("add-store-point-refused")

    page.goto(f"{STORE_POINTS}add/")
    expect(page.locator("datalist#volumes option").first).to_be_attached()
    offered = page.get_by_role("region", name="Volumes of").locator("tbody tr")
    expect(offered.filter(has_text="/")).not_to_have_count(0)
    window.picture("add-store-point")
    page.locator("#id_name").fill(NAME)
    page.locator("#id_path").fill(f"{volume.path}/")
    with times.measure("add a store point: its row is green"):
        page.get_by_role("button", name="Add store point").click()
        expect(page.get_by_role("heading", name=NAME)).to_be_visible()
        page.wait_for_selector(f'[data-name="{NAME}"][data-state="online"]')
    window.picture("store-point-online")
    marker = json.loads((volume.path / ".storepoint" / "identity.json").read_text())
    assert marker["name"] == NAME
    for name in NEIGHBOURS:
        fill_store_point(page, name, yard / name.lower())
        page.wait_for_selector(f'[data-name="{name}"][data-state="online"]')
    page.goto(STORE_POINTS)
    wait_for_row(page, "online")


def lose_the_volume(
    console: Console,
    window: Window,
    mail_server: MailServer,
    volume: Volume,
    times: Times,
) -> None:
    """Step 3: the row, the alert and the mail."""
    page = window.page
    page.evaluate("window.isSamePage = true")
    began = time.monotonic()
    volume.umount()
    unmounted = time.monotonic()
    wait_until(lambda: console.state(NAME) == ("offline", "not-mounted"), pause=0.01)
    times.note("unmount: in the database", time.monotonic() - unmounted)
    wait_for_row(page, "offline", "not-mounted")
    seconds = time.monotonic() - unmounted
    times.note("unmount: the row says not mounted", seconds)
    assert seconds <= GENEROUS_SECONDS
    assert page.evaluate("window.isSamePage"), "the page was loaded again"
    expect(row(page)).to_contain_text("not mounted")
    expect(row(page).locator('[data-state-icon="online"]')).to_have_count(0)
    for name in NEIGHBOURS:
        expect(row(page, name)).to_have_attribute("data-state", "online")
    window.picture("store-points-one-offline")
    write_screenshot(page)
    assert f"{NAME} offline: not mounted" in console.said()

    page.goto("/alerts/")
    line = page.locator('tr[data-kind="store-point-offline"]')
    expect(line.locator("th")).to_have_text(TEXT)
    expect(line).to_have_attribute("data-severity", "critical")
    expect(line).to_have_attribute("data-acknowledged", "false")
    expect(line).to_contain_text("Critical")
    expect(line).to_contain_text("ongoing")

    for address in (ADDRESS, OPS):
        mail = wait_until(
            lambda address=address: mail_server.about(TEXT, recipient=address),  # type: ignore[misc]
            explain=mail_server.subjects,
        )[0]
        times.note(f"unmount: the mail to {address} has arrived", mail.at - unmounted)
        assert mail.subject == f"[Critical] {TEXT}"
        assert "mount" in mail.text
        assert mail.message.get_body(("html",)) is not None
        assert mail.at >= began
    assert not mail_server.about(TEXT, recipient="gone@example.org")
    assert not mail_server.about(TEXT, recipient="test@example.org")
    window.picture("alerts-active")
    line.get_by_role("link", name=TEXT).click()
    expect(page.get_by_role("heading", name=TEXT)).to_be_visible()
    expect(page.locator('[data-event="raised"]')).to_be_visible()
    expect(page.locator('[data-delivery="sent"]')).to_have_count(2)
    window.picture("alert")


def look_at_the_store_point(
    console: Console, window: Window, volume: Volume, times: Times
) -> None:
    """Step 4: why, what to do, and the action menu."""
    page = window.page
    page.goto(STORE_POINTS)
    row(page).get_by_role("link", name=NAME).click()
    here = page.locator(f'[data-name="{NAME}"][data-state="offline"]')
    expect(here).to_have_attribute("data-reason", "not-mounted")
    expect(page.locator(".verdict")).to_contain_text("Offline: not mounted")
    failed = page.locator(".step-failed")
    expect(failed).to_have_count(1)
    expect(failed).to_contain_text("Right volume")
    expect(failed).to_contain_text("expected")
    expect(page.locator(".step-not-asked").first).to_contain_text("not asked")
    expect(page.get_by_text(f"mount {volume.path}", exact=True)).to_be_visible()
    expect(page.get_by_text("ext4").first).to_be_visible()
    history = page.get_by_role("region", name="Status history").locator("tbody tr")
    expect(history.first).to_contain_text("not mounted")
    expect(history.first).to_contain_text("mount table changed")
    expect(history.nth(1)).to_contain_text("Online")
    window.picture("store-point-offline")

    # Disabling while the disk is away: a wish, which is carried out when it is back.
    choose(page, "Disable Inbound Backup")
    expect(page.get_by_role("heading", name="Disable Inbound Backup")).to_be_visible()
    expect(page.get_by_text("Restoring still works")).to_be_visible()
    expect(page.get_by_text("will still accept backup data")).to_be_visible()
    window.picture("confirm-disable-inbound")
    page.get_by_role("link", name="Cancel").click()
    expect(page.locator("[data-inbound=enabled]")).to_be_visible()
    choose(page, "Disable Inbound Backup")
    page.get_by_role("button", name="Disable Inbound Backup", exact=True).click()
    expect(page.locator("[data-inbound=disabling]")).to_contain_text("disabling…")

    choose(page, "Check Now")
    expect(page.locator("#messages")).to_contain_text("Asked for a check")

    page.get_by_role("link", name="Edit").click()
    expect(page.get_by_role("heading", name=f"Edit {NAME}")).to_be_visible()
    page.locator("#id_check_seconds").fill("4")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#div_id_check_seconds .invalid-feedback")).to_be_visible()
    page.locator("#id_check_seconds").fill("20")
    page.locator("#id_note").fill("Second shelf, left")
    window.picture("edit-store-point")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Second shelf, left")).to_be_visible()
    expect(page.get_by_text("every 20 s")).to_be_visible()


def get_the_volume_back(
    console: Console,
    window: Window,
    mail_server: MailServer,
    volume: Volume,
    times: Times,
) -> None:
    """Step 5: green again, and the alert stays."""
    page = window.page
    page.goto(STORE_POINTS)
    wait_for_row(page, "offline", "not-mounted")
    began = time.monotonic()
    volume.mount()
    wait_for_row(page, "online")
    seconds = time.monotonic() - began
    times.note("mount: the row is green", seconds)
    assert seconds <= GENEROUS_SECONDS
    with times.measure("mount: the wish to disable inbound backup is applied"):
        page.wait_for_selector(f'tr[data-name="{NAME}"][data-inbound="disabled"]')
    assert is_inbound(volume) == "disabled"

    row(page).get_by_role("link", name=NAME).click()
    with times.measure("enable inbound backup: applied"):
        choose(page, "Enable Inbound Backup")
        page.wait_for_selector("[data-inbound=enabled]")
    assert is_inbound(volume) == "enabled"
    with times.measure("disable inbound backup: applied"):
        choose(page, "Disable Inbound Backup")
        page.get_by_role("button", name="Disable Inbound Backup", exact=True).click()
        page.wait_for_selector("[data-inbound=disabled]")
    assert is_inbound(volume) == "disabled"

    page.goto("/alerts/")
    line = page.locator('tr[data-kind="store-point-offline"]')
    expect(line).to_contain_text("cleared")
    expect(line).to_have_attribute("data-acknowledged", "false")
    for address in (ADDRESS, OPS):
        cleared = wait_until(
            lambda address=address: [  # type: ignore[misc]
                mail
                for mail in mail_server.about(TEXT, recipient=address)
                if "cleared" in f"{mail.subject} {mail.text}".lower()
            ],
            seconds=60,
            explain=mail_server.subjects,
        )[0]
        times.note(
            f"mount: the cleared mail to {address} has arrived", cleared.at - began
        )
        raised = mail_server.about(TEXT, recipient=address)[0]
        assert raised.id in str(cleared.message["References"])
    assert f"cleared: [Critical] {TEXT}" in console.said()


def acknowledge(console: Console, window: Window) -> None:
    """Step 6: tick, acknowledge, and find it under Acknowledged."""
    page = window.page
    page.goto("/alerts/")
    lines = page.locator("#alerts tbody tr")
    expect(lines).to_have_count(2)  # the outage, and that inbound backup is disabled
    line = page.locator('tr[data-kind="store-point-offline"]')
    line.locator("[data-select]").check()
    expect(page.locator("[data-selected-count]")).to_have_text("1 selected")
    # The table refreshes itself every 2 s; what is ticked stays ticked.
    page.wait_for_timeout(2_600)
    expect(line.locator("[data-select]")).to_be_checked()
    choose(page, "Acknowledge")
    expect(page.get_by_role("heading", name="Acknowledge 1 alert?")).to_be_visible()
    expect(page.get_by_text(TEXT)).to_be_visible()
    page.locator("#id_note").fill("Cable was loose")
    window.picture("confirm-acknowledge")
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.locator("#messages")).to_contain_text("Acknowledged 1 alert.")
    expect(page.locator('tr[data-kind="store-point-offline"]')).to_have_count(0)

    page.get_by_role("link", name="Acknowledged", exact=True).click()
    line = page.locator('tr[data-kind="store-point-offline"]')
    expect(line).to_have_attribute("data-acknowledged", "true")
    expect(line).to_contain_text(re.compile(rf"{ADMINISTRATOR}, \d+ s ago"))
    expect(line).to_contain_text("Cable was loose")
    window.picture("alerts-acknowledged")
    line.get_by_role("link", name=TEXT).click()
    acknowledged = page.locator('[data-event="acknowledged"]')
    expect(acknowledged).to_contain_text(f"by {ADMINISTRATOR}: Cable was loose")

    page.goto("/alerts/")
    page.locator("[data-select-all]").check()
    choose(page, "Acknowledge")
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.get_by_text("Nothing needs you now")).to_be_visible()


def choose_what_is_told(window: Window) -> None:
    """Step 7: the switches of each kind."""
    page = window.page
    page.goto("/settings/notifications/")
    for kind, name in (
        ("store-point-offline", "Store point offline"),
        ("server-offline", "Server offline"),
    ):
        line = page.locator(f'tr[data-kind="{kind}"][data-severity="critical"]')
        expect(line.locator("th")).to_contain_text(name)
        expect(line.get_by_role("switch")).to_have_count(2)
    expect(page.get_by_text("Store point is unavailable: <name>")).to_be_visible()
    for heading in ("Critical", "Warning"):
        group = page.locator('#kinds th[scope="rowgroup"]')
        expect(group.get_by_text(heading, exact=True)).to_be_visible()
    window.picture("settings-notifications")

    # A warning is switched off at once, a critical one asks first.
    label = "Inbound backup disabled: send email"
    page.get_by_label(label).uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label(label)).not_to_be_checked()
    label = "Server offline: send email"
    page.get_by_label(label).uncheck()
    page.get_by_role("button", name="Save").click()
    window.picture("confirm-switch-off")
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_label(label)).not_to_be_checked()
    page.reload()
    expect(page.get_by_label(label)).not_to_be_checked()
    page.get_by_role("link", name="Reset").click()
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_label(label)).to_be_checked()


def look_around(console: Console, window: Window) -> None:
    """Every other page, for the pictures and for what its scripts may say."""
    page = window.page
    server = console.value("SELECT id FROM storepoints_server")
    destination = console.value("SELECT id FROM storepoints_destination")
    for name, path in {
        "dashboard": "/",
        "store-points": STORE_POINTS,
        "servers": "/destinations/servers/",
        "server": f"/destinations/servers/{server}/",
        "edit-server": f"/destinations/servers/{server}/edit/",
        "destinations": "/destinations/",
        "destination": f"/destinations/{destination}/",
        "add-destination": "/destinations/add/",
        "alerts-none": "/alerts/",
        "deliveries": "/settings/notifications/deliveries/",
        "users": "/settings/users/",
        "add-user": "/settings/users/add/",
        "audit-log": "/settings/audit-log/",
        "account": "/account/",
        "search": "/search/?q=tank",
    }.items():
        page.goto(path)
        window.picture(name)
    page.goto(STORE_POINTS)
    page.locator("details.action-menu summary").click()
    take_picture(page, ARTIFACTS / "action-menu.png")
    for entry in (
        "Check Now",
        "Enable Inbound Backup",
        "Disable Inbound Backup…",
        "Remove…",
    ):
        expect(page.locator(f'button[data-label="{entry}"]')).to_be_visible()


def remove_the_store_point(console: Console, window: Window, volume: Volume) -> None:
    """Removing forgets the store point and leaves its disk as it is; it can come back."""
    page = window.page

    def on_disk() -> dict[str, bytes]:
        return {
            str(path.relative_to(volume.path)): path.read_bytes()
            for path in sorted(volume.path.rglob("*"))
            if path.is_file() and path.name != "probe"
        }

    before = on_disk()
    assert "archive/cpbf0000" in before
    page.goto(STORE_POINTS)
    row(page).get_by_role("link", name=NAME).click()
    choose(page, "Remove")
    expect(page.get_by_role("heading", name="Remove 1 store point?")).to_be_visible()
    expect(page.get_by_text("data on disk is not touched")).to_be_visible()
    window.picture("confirm-remove")
    page.get_by_role("button", name="Remove from the console").click()
    expect(page.locator("#messages")).to_contain_text("Removed 1 store point.")
    page.goto(STORE_POINTS)
    expect(row(page)).to_have_count(0)
    expect(row(page, "Default")).to_be_visible()
    assert on_disk() == before

    fill_store_point(page, NAME, volume.path)
    assert "Continue this store point" in refusal(page, "path")
    page.get_by_label("Continue this store point").check()
    page.get_by_role("button", name="Add store point").click()
    page.wait_for_selector(f'[data-name="{NAME}"][data-state="online"]')
    marker = json.loads((volume.path / ".storepoint" / "identity.json").read_text())
    assert console.value(
        "SELECT guid FROM storepoints_storepoint WHERE name = ?", NAME
    ) == marker["store_point"].replace("-", "")


def write_screenshot(page: Page) -> None:
    """Take the picture for the README when that is asked for."""
    if os.environ.get(WRITE_SCREENSHOT) != "1":
        return
    target = ROOT / "docs" / "screenshot.png"
    page.wait_for_selector(".side-nav .nav-badge")  # they follow within 10 s
    page.set_viewport_size({"width": 1200, "height": 560})
    take_picture(page, target)
    page.set_viewport_size({"width": 1400, "height": 900})
    assert target.stat().st_size <= 200_000


MANY_ALERTS = """
from datetime import timedelta
from alerts.models import Alert
from console.kit import clock
now = clock.now()
Alert.objects.bulk_create(
    Alert(
        kind="store-point-offline",
        subject=f"store-point:{900000 + n}",
        severity=1,
        text=f"Store point is unavailable: Shelf-{n:03}",
        object_name=f"Shelf-{n:03}",
        reported_by="elsewhere",
        raised_at=now - timedelta(minutes=n),
        last_seen_at=now,
        cleared_at=now,
    )
    for n in range(60)
)
"""


def test_it_acknowledges_all_that_match(console: Console, browser: Browser) -> None:
    if console.value("SELECT count(*) FROM accounts_user") == 0:
        console.set_up()
    console.shell(MANY_ALERTS)

    with browser.window(console.url) as window:
        page = window.page
        sign_in(page, ADMINISTRATOR, PASSWORD)
        page.goto("/alerts/?q=Shelf")
        page.locator("[data-select-all]").check()
        expect(page.locator("[data-selected-count]")).to_have_text("50 selected")
        page.get_by_role("button", name="Select all 60 matching").click()
        expect(page.locator("[data-selected-count]")).to_have_text("60 selected")
        page.wait_for_timeout(2_600)
        expect(page.locator("[data-selected-count]")).to_have_text("60 selected")
        window.picture("alerts-many-selected")
        choose(page, "Acknowledge")
        expect(
            page.get_by_role("heading", name="Acknowledge 60 alerts?")
        ).to_be_visible()
        expect(page.get_by_text("and 40 more")).to_be_visible()
        page.get_by_role("button", name="Acknowledge", exact=True).click()

        expect(page.locator("#messages")).to_contain_text("Acknowledged 60 alerts.")
        expect(page.get_by_text("No alert matches")).to_be_visible()
        page.goto("/alerts/?view=acknowledged&q=Shelf")
        expect(page.get_by_text("of 60 alerts")).to_be_visible()
        page.get_by_role("link", name="Page 2").click()
        expect(page.locator("#alerts tbody tr")).to_have_count(10)
        window.assert_no_errors()
    console.assert_no_traceback()
