"""A console process of its own, for tests that race or kill: ``-m ... WHAT ARGUMENT``.

``seed PORT`` sets mail up with three recipients, ``channel KIND:PORT`` mail with one or
a channel alone, ``raise N`` raises alerts, ``send
SECONDS`` sends what is due again and again, ``die`` sends and is killed before it can
write that down, ``later SECONDS`` sends once as if that much later.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta
from typing import Any

import django

django.setup()

from console.kit import clock  # noqa: E402
from notifications import services  # noqa: E402
from notifications.services import sending  # noqa: E402
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


def _die(*args: Any, **kwargs: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
