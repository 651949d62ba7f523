"""What arrives in a mailbox, as a narrow screen shows it, and its link, as a person uses it.

The mails are real: made by the console's own worker, sent by SMTP, read from what arrived.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from tests.e2e.browser import NARROW, THEMES, WIDE, Browser, take_picture
from tests.e2e.console import ADDRESS, ARTIFACTS, Console, Mail, MailServer, wait_until

pytestmark = pytest.mark.e2e

#: Raises alerts of these names, clears others, and wakes the worker as a report does.
RAISE = """
from datetime import timedelta
from alerts.models import Alert, AlertEvent
from alerts.signals import events_written
from console.kit import clock
now = clock.now()
def happens(alert, kind, text=""):
    AlertEvent.objects.create(alert=alert, at=clock.now(), kind=kind, text=text)
for name in {cleared!r}:
    alert = Alert.objects.get(object_name=name)
    alert.cleared_at = clock.now()
    alert.save()
    happens(alert, "cleared")
for number, name in enumerate({raised!r}):
    severity = 1 if number % 3 == 0 else 2
    text = f"Store point is unavailable: {{name}}"
    alert = Alert.objects.create(
        kind="store-point-offline" if severity == 1 else "store-point-low-on-space",
        subject=f"store-point:{{Alert.objects.count() + 900_000}}",
        severity=severity,
        text=text,
        object_name=name[:100],
        reported_by="stor-3.backup.example.org",
        raised_at=now - timedelta(minutes=number),
        last_seen_at=now,
        data={{"state": "offline", "reason": "not-mounted", "evidence": {{
            "check": "Right volume",
            "expected": "ext4 a1b2c3d4-0000-4000-8000-000000000000 on /dev/sdd1",
            "found": "the root filesystem",
            "cure": "Mount the volume again; nothing has been written below the path.",
            "command": "mount /srv/backup/" + "a-path-without-a-break/" * 8,
        }}}} if number % 2 == 0 else {{}},
    )
    happens(alert, "raised", text)
events_written.send(sender=None)
"""

#: Whatever was there before is forgotten: each mail tells its own alerts.
FORGET = """
from alerts.models import Alert
from notifications.models import EmailSettings
EmailSettings.objects.update(group_seconds=0)
Alert.objects.all().delete()
"""

HOSTILE = [
    "Tank\r\nBcc: victim@example.org",
    "<img src=x onerror=alert(1)><script>document.title='owned'</script><b>bold",
    "\U0001f4a5" * 60,
    "\u202eknaT",
    "x" * 10_000,
    "</p></div></style><table width=2000><tr><td>",
]


@pytest.fixture(scope="module")
def post(console: Console, mail_server: MailServer) -> Iterator[Post]:
    """A console that mails at once what is raised by hand."""
    console.set_up(mail_port=mail_server.port)
    yield Post(console, mail_server)
    console.assert_no_traceback()


class Post:
    """Raises alerts and waits for the mail that tells them."""

    def __init__(self, console: Console, server: MailServer) -> None:
        self._console = console
        self._server = server

    def forget(self) -> None:
        self._console.shell(FORGET)

    def send(self, raised: list[str], cleared: list[str] | None = None) -> Mail:
        before = len(self._server.mails)
        self._console.shell(RAISE.format(raised=raised, cleared=cleared or []))
        wait_until(lambda: len(self._server.mails) > before, explain=self._console.tail)
        mail = self._server.mails[-1]
        assert mail.recipients == (ADDRESS,)
        return mail


def html_of(mail: Mail) -> str:
    part = mail.message.get_body(("html",))
    assert part is not None
    return str(part.get_content())


def link_of(mail: Mail) -> str:
    found = set(re.findall(r"http://\S+/acknowledge/[\w.-]+/", mail.text))
    assert len(found) == 1
    link = str(found.pop())
    assert f'href="{link}"' in html_of(mail)
    return link


def names(count: int) -> list[str]:
    return [f"Tank-{number:02}" for number in range(count)]


def width_of(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def show(page: Page, mail: Mail, name: str) -> None:
    """Show a mail narrow and wide, light and dark; it must fit and be readable."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for label, size in (("narrow", NARROW), ("wide", WIDE)):
        for theme in THEMES:
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=theme)
            page.set_content(html_of(mail))
            ARTIFACTS.mkdir(exist_ok=True)
            take_picture(page, ARTIFACTS / f"mail-{name}-{label}-{theme}.png")
            assert width_of(page) <= size["width"], f"{label} {theme}"
            found: Any = Axe().run(
                page, options={"runOnly": {"type": "tag", "values": ["wcag2aa"]}}
            )
            assert not found.violations_count, found.generate_report()
            dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (dark == "rgb(243, 244, 246)") is (theme == "light")
    # Nothing is fetched: no picture tells anybody that the mail was opened.
    assert [url for url in asked if not url.startswith("about:")] == []
    (ARTIFACTS / f"mail-{name}.txt").write_text(mail.text.replace("\r\n", "\n"))


def test_it_shows_one_alert(post: Post, browser: Browser) -> None:
    post.forget()
    mail = post.send(names(1))

    assert mail.subject == "[Critical] Store point is unavailable: Tank-00"
    with browser.window("http://127.0.0.1") as window:
        show(window.page, mail, "1")
        expect(window.page.get_by_role("link", name="Acknowledge…")).to_be_visible()
        window.assert_no_errors()


def test_it_shows_three_alerts_what_cleared_and_what_is_still_open(
    post: Post, browser: Browser
) -> None:
    post.forget()
    post.send(["Old-1", "Old-2", "Gone-1"])
    mail = post.send(names(3), cleared=["Gone-1"])

    assert mail.subject == (
        "[Critical] 3 alerts: Tank-00, Tank-01 and Tank-02 (1 cleared)"
    )
    with browser.window("http://127.0.0.1") as window:
        show(window.page, mail, "3")
        headings = window.page.get_by_role("heading").all_text_contents()
        assert headings == ["3 alerts, 1 cleared", "New", "Cleared", "Still open"]
        window.assert_no_errors()


def test_it_shows_sixty_alerts(post: Post, browser: Browser) -> None:
    post.forget()
    mail = post.send(names(60))

    assert mail.subject == "[Critical] 60 alerts: Tank-00, Tank-03, Tank-06 and 57 more"
    assert len(html_of(mail)) < 100_000  # Where webmail begins to cut: 102 kB.
    with browser.window("http://127.0.0.1") as window:
        show(window.page, mail, "60")
        window.assert_no_errors()


def test_it_shows_hostile_names_as_text(post: Post, browser: Browser) -> None:
    post.forget()
    mail = post.send(HOSTILE)
    link = link_of(mail)

    assert mail.message["Bcc"] is None
    assert "\n" not in mail.subject
    with browser.window("http://127.0.0.1") as window:
        show(window.page, mail, "hostile")
        assert window.page.locator("script, img, table, b").count() == 0
        assert window.page.title() == mail.subject.strip()
        window.page.set_viewport_size(NARROW)
        window.page.goto(link)
        expect(window.page.get_by_role("checkbox")).to_have_count(len(HOSTILE))
        assert width_of(window.page) <= NARROW["width"]
        assert "owned" not in window.page.title()
        window.picture("by-mail-hostile")
        window.assert_no_errors()


def test_it_is_acknowledged_by_the_link_of_a_mail(
    post: Post, console: Console, browser: Browser
) -> None:
    post.forget()
    link = link_of(post.send(names(3)))

    with browser.window(console.url) as window:
        page = window.page
        # Whatever follows the link, again and again, changes nothing.
        for _ in range(3):
            page.goto(link)
        assert console.value("SELECT count(acknowledged_at) FROM alerts_alert") == 0
        window.picture("by-mail-ask")
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            page.wait_for_timeout(250)
            found: Any = Axe().run(page)
            assert not found.violations_count, found.generate_report()
        expect(page.get_by_role("heading")).to_have_text("Acknowledge 3 alerts?")
        page.get_by_label("Tank-01").uncheck()
        page.get_by_label("Note").fill("on my way")
        page.get_by_role("button", name="Acknowledge").click()

        expect(page.get_by_role("heading")).to_have_text("This link was used")
        expect(page.get_by_role("status").or_(page.locator(".alert"))).to_contain_text(
            "Acknowledged 2 alerts."
        )
        page.set_viewport_size(NARROW)
        assert width_of(page) <= NARROW["width"]
        page.reload()
        window.picture("by-mail-used")
        page.get_by_role("link", name="Open the Alerts Overview").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        window.assert_no_errors()
    rows = console.rows(
        "SELECT object_name, note FROM alerts_alert "
        "WHERE acknowledged_by_name = ? ORDER BY object_name",
        ADDRESS,
    )
    note = "By mail link: on my way"
    assert rows == [("Tank-00", note), ("Tank-02", note)]


def test_it_says_what_is_wrong_with_a_link(console: Console, browser: Browser) -> None:
    with browser.window(console.url) as window:
        answer = window.page.goto("/acknowledge/not-a-link/")

        assert answer is not None
        assert answer.status == 403
        expect(window.page.get_by_role("heading")).to_have_text(
            "This is not a link of this console"
        )
        window.picture("by-mail-refused")
