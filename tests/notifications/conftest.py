"""Fixtures: a real mail server, and somebody to hear."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.notifications.factories import make_user, set_up_mail
from tests.notifications.mailserver import MailServer
from tests.notifications.webserver import WebServer


@pytest.fixture
def server() -> Iterator[MailServer]:
    """A mail server that takes everything."""
    mail_server = MailServer()
    mail_server.start()
    yield mail_server
    mail_server.stop()


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server that answers 200 to everything."""
    web_server = WebServer()
    web_server.start()
    yield web_server
    web_server.stop()


@pytest.fixture
def mailbox(db: None, server: MailServer) -> MailServer:
    """A mail server that the console sends by, with one administrator who hears."""
    set_up_mail(server.port)
    make_user("ana")
    return server


@pytest.fixture(autouse=True)
def _quick_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait 1 s for a server that hangs; the console waits 10."""
    monkeypatch.setattr("notifications.transports.smtp.TIMEOUT_SECONDS", 1)
