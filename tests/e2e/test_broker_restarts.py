"""A broker that dies with a full queue: what was to be told is told, and told once."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest
from redis.exceptions import RedisError

from tests.e2e.console import Console, MailServer, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

RECIPIENTS = ("ana@example.org", "ops@example.org", "pager@example.org")

#: How many wake-ups wait in the queue, of which the news needs one.
WAITING = 3_000

#: Raises alerts as a report does, with a wake-up for each, and fills the queue up.
RAISE = """
from alerts.models import Alert, AlertEvent
from alerts.signals import events_written
from console.kit import clock
from notifications.tasks import sweep, wake_up
now = clock.now()
first = Alert.objects.count()
for number in range({count}):
    name = f"Tank-{{first + number:03}}"
    alert = Alert.objects.create(
        kind="store-point-offline",
        subject=f"store-point:{{900_000 + first + number}}",
        severity=1,
        text=f"Store point is unavailable: {{name}}",
        object_name=name,
        reported_by="stor-3",
        raised_at=now,
        last_seen_at=now,
    )
    AlertEvent.objects.create(alert=alert, at=now, kind="raised", text=alert.text)
    events_written.send(sender=None)
for _ in range({waiting}):
    sweep.apply_async(expires=120, retry=False)
"""


def told(server: MailServer) -> Counter[tuple[str, str]]:
    counter: Counter[tuple[str, str]] = Counter()
    for mail in list(server.mails):
        news = re.split("Still open|Also down, not", mail.text)[0]
        for to in mail.recipients:
            counter.update((to, name) for name in set(re.findall(r"Tank-\d{3}", news)))
    return counter


def test_it_tells_everything_once_when_the_broker_dies_with_a_full_queue(
    console: Console, mail_server: MailServer
) -> None:
    person = console.set_up()
    for address in RECIPIENTS[1:]:
        person.submit("/settings/notifications/recipients/", address=address)
    person.set_mail_server(mail_server.port, group_seconds=2)
    names = [f"Tank-{number:03}" for number in range(30)]

    with console.stopped("worker"):
        console.shell(RAISE.format(count=20, waiting=WAITING))
        waiting = console.valkey().llen("notifications")
        assert waiting >= WAITING
        # What is written reaches the disk within a second (broker, appendfsync).
        time.sleep(1.1)
        died = console.kill_process("valkey")
        wait_until(
            lambda: (found := console.find("valkey")) is not None and found.pid != died,
            explain=console.tail,
        )
        wait_until(lambda: is_back(console), explain=console.tail)
        kept = console.valkey().llen("notifications")
        began = time.monotonic()
    # And once more, at once, while it works through the queue; with further news.
    console.shell(RAISE.format(count=10, waiting=0))
    console.kill_process("valkey")

    wanted = {(to, name) for to in RECIPIENTS for name in names}
    wait_until(
        lambda: set(told(mail_server)) == wanted,
        60,
        explain=lambda: f"{sorted(wanted - set(told(mail_server)))}\n{console.tail()}",
    )
    took = time.monotonic() - began
    wait_until(
        lambda: (
            not console.value(
                "SELECT count(*) FROM notifications_delivery WHERE state <> 'sent'"
            )
        ),
        60,
    )
    # Nothing is told again by what is still in the queue.
    time.sleep(3)
    counts = told(mail_server)
    print(
        f"\n{waiting:,} wake-ups waited, {kept:,} after the first death of the broker; "
        f"{len(names)} alerts x {len(RECIPIENTS)} told {took:.1f} s after the worker "
        f"went on, in {len(mail_server.mails)} mails, {max(counts.values()) - 1} twice",
        end="",
    )
    assert kept > 0
    assert set(counts.values()) == {1}
    assert len(mail_server.mails) <= 4 * len(RECIPIENTS)


def is_back(console: Console) -> bool:
    try:
        return bool(console.valkey().ping())
    except (OSError, RedisError):
        # Not there yet, or reading its file.
        return False
