"""A console, a mail server and a browser for each module that asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.browser import Browser, open_browser
from tests.e2e.console import (
    Console,
    MailServer,
    skip_without,
    what_lacks_for_a_browser,
    what_lacks_for_volumes,
    yard,
)

__all__ = ["yard"]


@pytest.fixture(scope="session")
def needs_volumes() -> None:
    """Skip, saying why, where filesystems cannot be mounted."""
    skip_without(what_lacks_for_volumes)


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    """A real SMTP server."""
    with MailServer() as server:
        yield server


@pytest.fixture(scope="module")
def console(request: pytest.FixtureRequest) -> Iterator[Console]:
    """A console that has been started for the first time; nobody is set up yet."""
    console = Console()
    try:
        console.start()
        yield console
    finally:
        console.keep_log(request.module.__name__.rpartition(".")[2])
        console.clean_up()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    skip_without(what_lacks_for_a_browser)
    with open_browser() as browser:
        yield browser
