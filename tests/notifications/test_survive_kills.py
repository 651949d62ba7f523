"""`kill -9` of who sends, fifty times; and ten thousand alerts at one instant.

Everything here is a process of its own, with a database of its own. The figures are
printed (``pytest -s`` shows them).
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from notifications.engine import LEASE
from tests.conftest import is_on_postgres
from tests.notifications.mailserver import MailServer
from tests.notifications.test_race_senders import RECIPIENTS, Console, told

KILLS = 50

#: Between two kills a lease runs out, and another mail to the same person may leave.
STEP = LEASE.total_seconds() + 1


@contextmanager
def own_database() -> Iterator[str]:
    """Give the URL of an empty database: none for SQLite, which is a file."""
    if not is_on_postgres():
        yield ""
        return
    url = os.environ["CONSOLE_DATABASE_URL"]
    name = f"kills_{uuid.uuid4().hex[:8]}"
    server = url.replace("postgres://", "postgresql://", 1)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{url.rpartition('/')[0]}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Killer:
    """Kills the process that sends: when the server has its mail, before it answers."""

    def __init__(self, server: MailServer) -> None:
        self.killed = 0
        self._pid = 0
        self._is_known = threading.Event()
        server.on_data = self._on_data
        self.is_armed = False

    def aim(self, pid: int) -> None:
        self._pid = pid
        self._is_known.set()

    def forget(self) -> None:
        self._is_known.clear()

    def _on_data(self, address: str) -> str:
        if self.is_armed:
            assert self._is_known.wait(10)
            os.kill(self._pid, signal.SIGKILL)
            self.killed += 1
        return "250 OK"


@pytest.mark.faults
@pytest.mark.postgres
def test_it_loses_nothing_when_who_sends_is_killed_fifty_times(
    server: MailServer, tmp_path: Path
) -> None:
    with own_database() as database:
        console = Console(tmp_path, database=database)
        assert console.run("seed", str(server.port)) == 0
        killer = Killer(server)
        names = [f"Tank-{number:02}" for number in range(KILLS)]
        began = time.monotonic()
        with console.talk("children") as children:

            def child(line: str) -> int:
                assert children.stdin is not None
                assert children.stdout is not None
                killer.forget()
                children.stdin.write(f"{line}\n".encode())
                children.stdin.flush()
                killer.aim(int(children.stdout.readline()))
                return int(children.stdout.readline())

            steps = itertools.count()
            codes, taken = [], []
            for number, name in enumerate(names):
                # One half before the server's answer arrived, the other one after it,
                # when it was about to be written down.
                killer.is_armed = number % 2 == 0
                what = "send" if killer.is_armed else "die"
                before = len(server.mails)
                codes.append(child(f"{what} {next(steps) * STEP} {name}"))
                taken.append(len(server.mails) - before)
                killer.is_armed = False
                if number % 3 == 2:
                    # So that it is not one mail that is sent again and again.
                    assert child(f"send {next(steps) * STEP}") == 0
            for _ in range(6):
                assert child(f"send {next(steps) * STEP}") == 0
            children.stdin.close()  # type: ignore[union-attr]

    copies = Counter(str(mail["Message-ID"]) for mail in server.mails)
    arrived = told(server)
    repeated = sum(copies.values()) - len(copies)
    print(
        f"\n{KILLS} kills ({killer.killed} before the answer) in "
        f"{time.monotonic() - began:.0f} s: {len(names)} alerts x {len(RECIPIENTS)} "
        f"recipients, {len(server.mails)} mails, {len(copies)} different, "
        f"{repeated} repeated under their own id, of {KILLS} that the kills allow",
        end="",
    )
    assert codes == [-signal.SIGKILL] * KILLS
    # Each was killed with one mail taken: none is missing, and none is one too many.
    assert taken == [1] * KILLS
    assert killer.killed == KILLS // 2
    assert set(arrived) == {(to, name) for to in RECIPIENTS for name in names}
    # Sent again is what a killed process had sent, under the same id, and nothing else.
    assert repeated == KILLS
    for to in RECIPIENTS:
        of_one = Counter(str(mail["Message-ID"]) for mail in server.of(to))
        for name in names:
            ids = {
                str(mail["Message-ID"])
                for mail in server.of(to)
                if name in str(mail.get_body(("plain",)))
            }
            assert ids, (to, name)
            assert arrived[to, name] <= max(of_one[each] for each in ids), (to, name)


@pytest.mark.faults
@pytest.mark.postgres
def test_it_tells_ten_thousand_alerts_in_few_mails_within_a_minute(
    server: MailServer, tmp_path: Path
) -> None:
    count = 10_000
    with own_database() as database:
        console = Console(tmp_path, database=database)
        assert console.run("seed", str(server.port)) == 0
        # Two that send all the time, as two workers do.
        senders = [console.start("send", "58") for _ in range(2)]
        with console.talk("storm", str(count)) as storm:
            assert storm.stdout is not None
            raised_at = float(storm.stdout.readline())
        while told_by_subject(server) != dict.fromkeys(RECIPIENTS, count):
            assert time.monotonic() < raised_at + 65, told_by_subject(server)
            time.sleep(0.2)
        last = max(server.times) - raised_at
        for sender in senders:
            sender.terminate()
            sender.wait()
        mails = len(server.mails)
        # Nor is the next one slow to make, among ten thousand that are still open.
        began = time.monotonic()
        with console.talk("children") as child:
            child.communicate(b"send 120 Tank-extra\n")
        one_more = time.monotonic() - began

    first = min(server.times) - raised_at
    size = max(len(raw) for raw in server.raw)
    print(
        f"\n{count:,} alerts x {len(RECIPIENTS)} recipients: {mails} mails "
        f"of at most {size // 1000} kB, the first {first:.1f} s and the last {last:.1f} s "
        f"after they were raised; the next alert after {one_more:.1f} s",
        end="",
    )
    assert last < 60
    # In a minute there is room for two mails to a person and a third that is begun.
    assert mails <= 3 * len(RECIPIENTS)
    assert len(server.mails) == mails + len(RECIPIENTS)
    assert one_more < 15
    assert size < 200_000


def told_by_subject(server: MailServer) -> dict[str, int]:
    """Return of how many alerts each recipient was told, as the subjects say it."""
    totals: dict[str, int] = {}
    for mail, to in list(zip(server.mails, server.recipients, strict=False)):
        found = re.match(r"\s*\[Critical\] ([\d,]+) alerts: ", str(mail["Subject"]))
        number = int(found[1].replace(",", "")) if found else 1
        totals[to] = totals.get(to, 0) + number
    return totals
