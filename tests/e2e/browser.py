"""Chromium, and what a page did there that it should not have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser as Chromium
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Page,
    Response,
    ViewportSize,
    sync_playwright,
)

from tests.e2e.console import ARTIFACTS, chromium

ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--no-first-run",
]

WIDE: ViewportSize = {"width": 1400, "height": 900}
NARROW: ViewportSize = {"width": 360, "height": 740}

THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")

#: Tells of violations of the content security policy before any script of the page.
_LISTEN = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(
    `CSP violation: ${event.violatedDirective} ${event.blockedURI} ` +
    `${event.sourceFile}:${event.lineNumber} ` +
    `${event.target?.outerHTML?.slice(0, 300) ?? ""}`,
  );
});
"""


class Browser:
    """A browser; every page that it opens is listened to."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium

    @contextlib.contextmanager
    def window(self, base_url: str, **options: Any) -> Iterator[Window]:
        """Open a window of its own session; it must be without errors at the end."""
        options = {"viewport": WIDE, "reduced_motion": "reduce", **options}
        context = self._chromium.new_context(base_url=base_url, **options)
        context.set_default_timeout(15_000)
        try:
            yield Window(context)
        finally:
            context.close()


class Window:
    """One session of a person in the browser."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.errors: list[str] = []
        context.add_init_script(_LISTEN)
        context.on("console", self._note_message)
        context.on("response", self._note_answer)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        self.page = context.new_page()

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        if message.text.startswith("Failed to load resource: the server responded"):
            # Noted with its status below.
            return
        where = message.location.get("url", "")
        self.errors.append(f"{where}: {message.text}")

    def _note_answer(self, answer: Response) -> None:
        # 422 is the answer to a form with a mistake in it.
        if answer.status >= 400 and answer.status != 422:
            self.errors.append(f"{answer.status}: {answer.url}")

    def assert_no_errors(self) -> None:
        """Fail when a script failed or the content security policy was violated."""
        assert not self.errors, "\n".join(self.errors)

    def picture(self, name: str) -> None:
        """Take the page wide and narrow, light and dark, into tests/artifacts/."""
        take_pictures(self.page, name)


def take_picture(page: Page, path: Path) -> None:
    """Take what the window shows.

    With the caret: hiding it writes inline styles, which the policy would refuse.
    """
    page.screenshot(path=path, caret="initial")


def take_pictures(page: Page, name: str) -> None:
    """Take a page wide and narrow, light and dark, into tests/artifacts/."""
    ARTIFACTS.mkdir(exist_ok=True)
    for width, size in (("wide", WIDE), ("narrow", NARROW)):
        page.set_viewport_size(size)
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            # The colours of some elements follow a frame or two later.
            page.wait_for_timeout(250)
            take_picture(page, ARTIFACTS / f"{name}-{width}-{theme}.png")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium(), args=ARGUMENTS
        )
        try:
            yield Browser(launched)
        finally:
            launched.close()


def sign_in(page: Page, name: str, password: str) -> None:
    """Sign in by the form."""
    page.goto("/sign-in/")
    page.get_by_label("Name or email address").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Dashboard").wait_for()
