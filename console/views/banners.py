"""What stands above every page while the console itself is not well."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from console.accounts.models import User
from notifications import selectors as notifications
from storepoints.selectors import Pulse


@dataclass(frozen=True)
class Banner:
    """One warning: what is wrong, since when, and what to do about it."""

    severity: Literal["critical", "warning", "low"]
    text: str
    since: datetime | None = None
    cure: str = ""


Provider = Callable[[User, datetime, Pulse], list[Banner]]


def checks_not_running(_person: User, _now: datetime, pulse: Pulse) -> list[Banner]:
    """Warn when nobody asks what is due: then every state shown is an old one."""
    if pulse.is_running:
        return []
    text = "Health checks are not running: what the pages show is not current."
    if pulse.tick_at is None:
        text = "Health checks have not run yet: no store point has been looked at."
    return [
        Banner(
            "critical",
            text,
            since=pulse.tick_at,
            cure="On the master server, look whether the worker and beat processes run; "
            "“manage.py doctor” says what is missing.",
        )
    ]


def mail_not_delivered(person: User, now: datetime, _pulse: Pulse) -> list[Banner]:
    """Warn when people are not told, because then silence means nothing.

    To whom, and what the mail server says, is for those who may see addresses.
    """
    problem = notifications.delivery_problem(now)
    if problem is None:
        return []
    if not person.has_perm("notifications.view_recipient"):
        return [
            Banner(
                "critical",
                "Not everybody is told of alerts by mail now.",
                since=problem.since,
                cure="An administrator sees here what is wrong.",
            )
        ]
    text = f"{problem.title}: {problem.error}" if problem.error else problem.title
    return [Banner("critical", text, since=problem.since, cure=problem.cure)]


#: Every banner comes from one of these; each is asked on every page, so each makes a
#: few short queries at most while all is well.
PROVIDERS: tuple[Provider, ...] = (checks_not_running, mail_not_delivered)


def current(person: User, now: datetime, pulse: Pulse) -> list[Banner]:
    """Return the banners to show somebody now, the worst first."""
    order = ("critical", "warning", "low")
    banners = [
        banner for provider in PROVIDERS for banner in provider(person, now, pulse)
    ]
    return sorted(banners, key=lambda banner: order.index(banner.severity))


def digest(banners: list[Banner]) -> str:
    """Return a short text that changes when the banners do.

    A page sends it along when it refreshes itself, so that unchanged banners are not
    replaced and a screen reader does not say them again.
    """
    return hashlib.sha256(repr(banners).encode()).hexdigest()[:12]
