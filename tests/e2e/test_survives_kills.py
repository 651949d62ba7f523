"""Whatever process is killed while store points fail: nothing is lost, nothing doubled."""

from __future__ import annotations

import collections
import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.console import (
    ADDRESS,
    PROCESSES,
    Console,
    MailServer,
    Person,
    Volume,
    volumes,
    wait_until,
)

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

NAME = "Tank-07"
TEXT = f"Store point is unavailable: {NAME}"
OPS = "ops@example.org"

#: After a kill, readings are fresh again within this; asserted as promised.
RECOVERY_SECONDS = 30.0

#: Between two mails to one person; short, so that the test is.
GROUP_SECONDS = 2


@pytest.fixture
def volume(needs_volumes: None, yard: Path) -> Iterator[Volume]:
    with volumes(yard, "tank-07") as (made,):
        yield made


@pytest.fixture
def person(console: Console, mail_server: MailServer) -> Person:
    """The administrator of a console that is started and mails at once."""
    if not console.is_started:
        console.start()
    if console.value("SELECT count(*) FROM accounts_user") == 0:
        person = console.set_up()
        person.submit("/settings/notifications/recipients/", address=OPS)
    else:
        person = Person(console)
        person.sign_in()
    person.set_mail_server(mail_server.port, group_seconds=GROUP_SECONDS)
    return person


@contextlib.contextmanager
def watched(
    console: Console, person: Person, volume: Volume, *, seconds: int = 5
) -> Iterator[int]:
    """Watch a volume as Tank-07 meanwhile, every few seconds."""
    key = person.add_store_point(NAME, volume.path)
    try:
        wait_until(
            lambda: console.state(NAME) == ("online", ""),
            explain=lambda: console.state(NAME),
        )
        person.set_interval(key, NAME, seconds)
        yield key
    finally:
        if console.is_started:
            person.submit(
                "/destinations/store-points/actions/",
                action="storepoint.remove",
                ids=key,
                confirm=1,
            )


def is_fresh(console: Console, *, after: float) -> bool:
    """Return whether a reading of the store point was taken after an instant."""
    at = console.value(
        "SELECT (julianday(checked_at) - 2440587.5) * 86400.0"
        " FROM storepoints_storepoint WHERE name = ?",
        NAME,
    )
    return at is not None and float(at) > after


def newest_alert(console: Console) -> int:
    return int(console.value("SELECT coalesce(max(id), 0) FROM alerts_alert"))


def events(console: Console, kind: str, since: int) -> list[tuple[Any, ...]]:
    """Return (id, kind of event) of the alerts of a kind, but not those before."""
    return console.rows(
        "SELECT e.id, e.kind FROM alerts_alertevent e JOIN alerts_alert a"
        " ON a.id = e.alert_id WHERE a.kind = ? AND a.id > ?"
        " AND e.kind IN ('raised', 'reopened', 'worsened', 'cleared') ORDER BY e.id",
        kind,
        since,
    )


def unsent(console: Console) -> list[tuple[Any, ...]]:
    """Return what has not been routed or not been sent yet."""
    return console.rows(
        "SELECT id, 'not routed', '' FROM alerts_alertevent WHERE routed_at IS NULL"
        " UNION ALL SELECT id, state, error FROM notifications_delivery"
        " WHERE state <> 'sent'"
    )


def acknowledge_all(console: Console, person: Person) -> None:
    """Acknowledge everything, and let the re-open window pass, so that what comes
    next is an alert of its own: its time of clearing is put back for that."""
    person.submit(
        "/alerts/actions/",
        action="alert.acknowledge",
        all_matching=1,
        query="view=active",
        confirm=1,
        note="",
        hours="",
    )
    console.shell(
        "from datetime import timedelta\n"
        "from django.db.models import F\n"
        "from alerts.models import Alert\n"
        "hour = timedelta(hours=1)\n"
        "Alert.objects.filter(cleared_at__isnull=False).update("
        "raised_at=F('raised_at') - hour, cleared_at=F('cleared_at') - hour)"
    )


#: What happens to the volume, and whether the process is dead when it does.
MOMENTS = {
    "failing": (True, False),
    "mending": (False, False),
    "dead-when-failing": (True, True),
}


@pytest.mark.parametrize("name", list(PROCESSES))
@pytest.mark.parametrize("moment", list(MOMENTS))
def test_it_loses_and_doubles_nothing_when_killed(
    console: Console,
    person: Person,
    mail_server: MailServer,
    volume: Volume,
    name: str,
    moment: str,
) -> None:
    is_failing, is_dead_before = MOMENTS[moment]
    with watched(console, person, volume):
        acknowledge_all(console, person)
        since = newest_alert(console)
        mail_server.mails.clear()
        if not is_failing:
            volume.umount()
            wait_until(lambda: console.state(NAME) == ("offline", "not-mounted"))

        # At one instant the volume goes or comes back, and the process dies.
        began = time.time()
        old = console.kill_process(name) if is_dead_before else 0
        if is_failing:
            volume.umount()
        else:
            volume.mount()
        old = old or console.kill_process(name)

        expected = ("offline", "not-mounted") if is_failing else ("online", "")
        wait_until(
            lambda: (found := console.find(name)) is not None and found.pid != old,
            explain=console.tail,
        )
        wait_until(console.is_live, explain=console.tail)
        wait_until(
            lambda: is_fresh(console, after=began) and console.state(NAME) == expected,
            RECOVERY_SECONDS,
            explain=lambda: f"{console.state(NAME)}\n{console.tail()}",
        )
        print(f"\n{name} killed: true again after {time.time() - began:.1f} s", end=" ")
        if is_failing:
            wait_until(lambda: events(console, "store-point-offline", since))
            volume.mount()
        wait_until(
            lambda: (
                [kind for _, kind in events(console, "store-point-offline", since)]
                == ["raised", "cleared"]
            ),
            explain=lambda: events(console, "store-point-offline", since),
        )
        # A worker that was killed while it sent leaves a lease of two minutes behind.
        wait_until(lambda: not unsent(console), 150, lambda: unsent(console), pause=0.3)

        # One alert for the outage; each of its two events in one mail to each person.
        assert (
            console.value(
                "SELECT count(*) FROM alerts_alert WHERE kind = ? AND id > ?",
                "store-point-offline",
                since,
            )
            == 1
        )
        assert_mailed_once(mail_server)
    console.assert_no_traceback()


def test_it_sends_the_same_mail_again_when_killed_while_sending(
    console: Console, person: Person, mail_server: MailServer, volume: Volume
) -> None:
    """The server has the mail and the console never hears of it: at least once, and a
    mailbox can tell by the Message-ID that it is the same mail."""
    with watched(console, person, volume):
        acknowledge_all(console, person)
        mail_server.mails.clear()
        mail_server.is_held.set()
        try:
            volume.umount()
            wait_until(lambda: mail_server.about(TEXT))
            console.kill_process("worker")
        finally:
            mail_server.is_held.clear()
        (first,) = mail_server.about(TEXT)
        assert [state for _, state, _ in unsent(console) if state == "sending"]

        # Its lease is two minutes; they are over sooner here.
        console.shell(
            "from console.kit import clock\n"
            "from notifications.models import Delivery\n"
            "Delivery.objects.filter(state='sending').update(lease_until=clock.now())"
        )
        wait_until(lambda: not unsent(console), explain=lambda: unsent(console))

        (address,) = first.recipients
        again = mail_server.about(TEXT, recipient=address)
        assert [mail.id for mail in again] == [first.id, first.id]
        for other in {ADDRESS, OPS} - {address}:
            assert len(mail_server.about(TEXT, recipient=other)) == 1
        volume.mount()
        wait_until(lambda: console.state(NAME) == ("online", ""))
    wait_until(lambda: not unsent(console), explain=lambda: unsent(console))
    console.assert_no_traceback()


def assert_mailed_once(mail_server: MailServer) -> None:
    """Each person was told once that it was raised and once that it cleared."""
    for address in (ADDRESS, OPS):
        mails = mail_server.about(TEXT, recipient=address)
        # The same mail under the same id is one mail to whoever reads it.
        by_id = {mail.id: mail for mail in mails}
        assert len(by_id) == len(mails), f"sent twice under one id: {mails}"
        told = collections.Counter[str]()
        for mail in by_id.values():
            for step in ("raised", "cleared"):
                told[step] += bool(re.search(rf"(?m)^\s*{step} \d", mail.text))
        assert told["raised"] >= 1, [mail.text for mail in mails]
        assert told["cleared"] == 1, [mail.text for mail in mails]
        assert len(by_id) <= 2, mail_server.subjects()


def test_it_says_that_checks_are_not_running(
    console: Console, person: Person, volume: Volume
) -> None:
    with watched(console, person, volume):
        page = person.get("/destinations/store-points/")
        assert "Health checks are not running" not in page.text
        # Neither starts again while the other lives: they are held, not killed.
        with console.stopped("beat", "worker"):
            began = time.monotonic()
            wait_until(
                lambda: (
                    "Health checks are not running"
                    in person.get("/destinations/store-points/").text
                ),
                40,
                pause=0.5,
            )
            page = person.get("/destinations/store-points/")
            print(f"\nbanner after {time.monotonic() - began:.1f} s", end=" ")
            assert "Since" in page.text
            assert "checks stopped" in page.text
            row = wait_until(
                lambda: (
                    found
                    if (found := person.store_point_row(NAME)).get("state") == "unknown"
                    else {}
                ),
                40,
                pause=0.5,
            )
            print(f"unknown after {time.monotonic() - began:.1f} s", end=" ")
            assert row["reason"] == "stale"
            for path in ("/", "/alerts/", "/destinations/servers/"):
                assert "Health checks are not running" in person.get(path).text
            assert console.readiness()["checks"] == "not running"
            assert console.is_live()

        began = time.monotonic()
        wait_until(
            lambda: person.store_point_row(NAME).get("state") == "online",
            RECOVERY_SECONDS,
            pause=0.5,
        )
        print(f"recovered after {time.monotonic() - began:.1f} s", end=" ")
        text = person.get("/destinations/store-points/").text
        assert "Health checks are not running" not in text
    console.assert_no_traceback()


def test_it_says_that_a_server_is_offline(
    console: Console, person: Person, mail_server: MailServer, volume: Volume
) -> None:
    server = console.value("SELECT name FROM storepoints_server")
    text = f"Server is offline: {server}"
    person.set_server_interval(5)
    with watched(console, person, volume):
        acknowledge_all(console, person)
        since = newest_alert(console)
        mail_server.mails.clear()
        with console.stopped("agent"):
            began = time.monotonic()
            wait_until(
                lambda: person.get("/alerts/").text.count(f'title="{text}"') == 1,
                45,
                pause=0.5,
            )
            print(f"\nserver offline after {time.monotonic() - began:.1f} s", end=" ")
            for name in (NAME, "Default"):
                row = person.store_point_row(name)
                assert (row["state"], row["reason"]) == (
                    "server-offline",
                    "server-offline",
                )
            assert person.get("/destinations/servers/").row(server)["state"] == (
                "server-offline"
            )
            assert "Health checks are not running" not in person.get("/").text
            # While nothing is known about the volume, nothing is claimed about it: what
            # is said of the store points is presumed, and held under the server's alert.
            volume.umount()
            time.sleep(3)
            told = events(console, "store-point-offline", since)
            assert {kind for _, kind in told} == {"raised"}
            presumed = console.value(
                "SELECT count(*) FROM alerts_alert WHERE kind = 'store-point-offline'"
                " AND is_presumed AND cleared_at IS NULL AND parent_id IS NOT NULL"
            )
            assert presumed == len(told) == 2
            volume.mount()

        began = time.monotonic()
        wait_until(
            lambda: person.store_point_row(NAME).get("state") == "online",
            RECOVERY_SECONDS,
            pause=0.5,
        )
        print(f"recovered after {time.monotonic() - began:.1f} s", end=" ")
        wait_until(
            lambda: (
                [kind for _, kind in events(console, "server-offline", since)]
                == ["raised", "cleared"]
            )
        )
        wait_until(lambda: not unsent(console), explain=lambda: unsent(console))
        assert len(mail_server.about(text, recipient=OPS)) == 2
        assert not mail_server.about(TEXT, recipient=OPS)
    person.set_server_interval(30)
    console.assert_no_traceback()


def test_it_stops_wholly_and_goes_on_where_it_was(
    console: Console, person: Person, mail_server: MailServer, volume: Volume
) -> None:
    with watched(console, person, volume):
        acknowledge_all(console, person)
        since = newest_alert(console)
        mail_server.mails.clear()

        seconds = console.stop()
        print(f"\nstopped in {seconds:.1f} s", end=" ")
        # The volume goes while nobody looks: noticed at the next start.
        volume.umount()
        print(f"started in {console.start():.1f} s", end=" ")

        wait_until(
            lambda: console.state(NAME) == ("offline", "not-mounted"),
            explain=lambda: console.state(NAME),
        )
        assert person.store_point_row(NAME)["state"] == "offline"  # still signed in
        volume.mount()
        wait_until(
            lambda: (
                [kind for _, kind in events(console, "store-point-offline", since)]
                == ["raised", "cleared"]
            ),
            explain=lambda: events(console, "store-point-offline", since),
        )
        wait_until(lambda: not unsent(console), explain=lambda: unsent(console))
        assert_mailed_once(mail_server)
    console.assert_no_traceback()


def test_it_leaves_no_process_when_the_supervisor_is_killed(
    console: Console, person: Person
) -> None:
    family = console.family()
    assert len(family) >= len(PROCESSES)

    console.supervisor.kill()
    _, left = psutil.wait_procs(family, timeout=15)

    assert not left
    console.kill()
    console.start()
    wait_until(
        lambda: person.store_point_row("Default").get("state") == "online",
        explain=console.tail,
    )
