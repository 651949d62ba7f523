"""A console process of its own, for tests that race or kill: ``-m ... WHAT ARGUMENT``.

``seed PORT`` sets mail up with three recipients, ``channel KIND:PORT`` mail with one or
a channel alone, ``raise N`` raises alerts, ``send
SECONDS`` sends what is due again and again, ``die`` sends and is killed before it can
write that down, ``later SECONDS`` sends once as if that much later. ``storm N`` raises
alerts in one transaction and prints when that was done (`time.monotonic`).

``children`` reads lines from its input and starts a process of its own for each:
``die S NAME`` and ``send S NAME`` raise an alert as if S seconds later (none without a
NAME) and send, the former until it is killed. It prints the process and how it ended.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.db import transaction  # noqa: E402

from alerts.models import Alert, AlertEvent  # noqa: E402
from console.kit import clock  # noqa: E402
from notifications import services  # noqa: E402
from notifications.services import sending  # noqa: E402
from tests.notifications import factories  # noqa: E402
from tests.notifications.factories import (  # noqa: E402
    make_alert,
    make_channel,
    make_recipient,
    make_user,
    set_up_mail,
)


def main(what: str, argument: str = "0") -> None:
    if what == "seed":
        set_up_mail(int(argument))
        make_user("ana")
        make_recipient("ops@example.org")
        make_recipient("pager@example.org")
    elif what == "channel":
        kind, _, port = argument.partition(":")
        if kind == "mail":
            set_up_mail(int(port))
            make_user("ana")
        else:
            scheme = "http" if kind == "webhook" else "json"
            make_channel("pager", f"{scheme}://127.0.0.1:{port}/hook", kind=kind)
    elif what == "raise":
        for number in range(int(argument)):
            make_alert(f"Tank-{number:02}", at=clock.now() - timedelta(seconds=5))
    elif what == "send":
        end = time.monotonic() + float(argument)
        while time.monotonic() < end:
            services.route_events(now=clock.now())
            services.send_due(now=clock.now())
            time.sleep(0.01)
    elif what == "die":
        sending._mark_sent = _die
        services.sweep(now=clock.now())
    elif what == "later":
        with clock.travel(clock.now() + timedelta(seconds=float(argument))):
            services.sweep(now=clock.now())
    elif what == "storm":
        _storm(int(argument))
    elif what == "children":
        for line in sys.stdin:
            _answer(*line.split())


def _storm(count: int) -> None:
    at = clock.now()
    with transaction.atomic():
        alerts = Alert.objects.bulk_create(
            Alert(
                kind="store-point-offline",
                subject=f"store-point:{number}",
                severity=1,
                text=f"Store point is unavailable: Tank-{number:05}",
                object_name=f"Tank-{number:05}",
                reported_by="stor-1",
                raised_at=at,
                last_seen_at=at,
            )
            for number in range(count)
        )
        AlertEvent.objects.bulk_create(
            AlertEvent(alert=alert, at=at, kind="raised", text=alert.text)
            for alert in alerts
        )
    print(time.monotonic(), flush=True)


def _answer(what: str, seconds: str, *name: str) -> None:
    """Do what a line says in a process of its own; this one never asks the database."""
    child = os.fork()
    if child == 0:
        with clock.travel(clock.now() + timedelta(seconds=float(seconds))):
            if name:
                # Else every child would begin to count where its parent stands.
                factories._numbers = itertools.count(os.getpid())
                make_alert(name[0], at=clock.now() - timedelta(seconds=5))
            if what == "die":
                sending._mark_sent = _die
            services.sweep(now=clock.now())
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


def _die(*args: Any, **kwargs: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
