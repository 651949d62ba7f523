"""Several processes that route and send at once, and processes that are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from console.kit import clock
from notifications import services
from notifications.models import Delivery
from tests.notifications.factories import (
    make_alert,
    make_recipient,
    make_user,
    set_up_mail,
)
from tests.notifications.mailserver import MailServer, text_of

REPOSITORY = Path(__file__).resolve().parents[2]


class Console:
    """Processes of a console with a database of its own: SQLite in a file, or a URL."""

    def __init__(self, directory: Path, *, database: str = "") -> None:
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("CONSOLE_")},
            **({"CONSOLE_DATABASE_URL": database} if database else {}),
            "CONSOLE_DATA_DIR": str(directory),
            "DJANGO_SETTINGS_MODULE": "console.settings",
            "PYTHONPATH": str(REPOSITORY),
        }
        self._run("manage.py", "migrate", "--verbosity=0").wait()

    def start(self, what: str, argument: str = "0") -> subprocess.Popen[bytes]:
        return self._run("-m", "tests.notifications.sender", what, argument)

    def run(self, what: str, argument: str = "0") -> int:
        return self.start(what, argument).wait(60)

    def talk(self, what: str, argument: str = "0") -> subprocess.Popen[bytes]:
        """Start a process that reads lines and answers them."""
        return self._run(
            "-m", "tests.notifications.sender", what, argument, pipe=subprocess.PIPE
        )

    def _run(self, *arguments: str, pipe: int | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=pipe,
            stdout=pipe,
        )


def told(server: MailServer) -> Counter[tuple[str, str]]:
    """Return how often each recipient was told of each alert."""
    counter: Counter[tuple[str, str]] = Counter()
    for mail, to in zip(server.mails, server.recipients, strict=True):
        body = text_of(mail).partition("Still open")[0].partition("Also down,")[0]
        counter.update((to, name) for name in set(re.findall(r"Tank-\d\d", body)))
    return counter


RECIPIENTS = ("ana@example.org", "ops@example.org", "pager@example.org")


def test_it_tells_everybody_once_with_three_senders_at_once(
    server: MailServer, tmp_path: Path
) -> None:
    console = Console(tmp_path)
    assert console.run("seed", str(server.port)) == 0
    assert console.run("raise", "40") == 0

    senders = [console.start("send", "2") for _ in range(3)]
    codes = [sender.wait(60) for sender in senders]

    assert codes == [0, 0, 0]
    assert set(told(server).values()) == {1}
    assert len(told(server)) == 40 * len(RECIPIENTS)
    assert len(server.mails) == len(RECIPIENTS)


def test_it_tells_everybody_under_the_same_id_when_senders_are_killed(
    server: MailServer, tmp_path: Path
) -> None:
    console = Console(tmp_path)
    console.run("seed", str(server.port))
    console.run("raise", "3")

    # Each is killed when the server has taken the mail for one more recipient.
    codes = [console.run("die") for _ in RECIPIENTS]
    assert codes == [-signal.SIGKILL] * len(RECIPIENTS)
    assert console.run("later", "31") == 0
    assert console.run("later", "300") == 0

    assert Counter(server.recipients) == dict.fromkeys(RECIPIENTS, 2)
    for address in RECIPIENTS:
        first, again = server.of(address)
        assert first["Message-ID"] == again["Message-ID"]
        assert first["Subject"] == again["Subject"]
    assert set(told(server).values()) == {2}


@pytest.mark.postgres(only=True)
@pytest.mark.django_db(transaction=True)
def test_it_tells_everybody_once_with_four_threads_on_postgresql(
    server: MailServer,
) -> None:
    set_up_mail(server.port)
    make_user("ana")
    make_recipient("ops@example.org")
    make_recipient("pager@example.org")
    past = clock.now() - timedelta(seconds=5)
    for number in range(40):
        make_alert(f"Tank-{number:02}", at=past)
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def send() -> None:
        try:
            start.wait()
            for _ in range(5):
                services.route_events(now=clock.now())
                services.send_due(now=clock.now())
        except BaseException as error:  # noqa: BLE001 - shown by the test below
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert set(told(server).values()) == {1}
    assert len(server.mails) == len(RECIPIENTS)
    assert Delivery.objects.filter(state="sent").count() == 40 * len(RECIPIENTS)
