"""Health checks not running: the console itself is blind."""

from __future__ import annotations

from datetime import datetime

from alerts.catalogue.base import Answer, Kind, Scope
from alerts.engine import Severity


def holds(silent_since: datetime | None) -> Answer:
    """Hold while no worker has asked what is due for too long."""
    return {} if silent_since is not None else None


KIND = Kind(
    slug="health-checks-not-running",
    scope=Scope.CONSOLE,
    severity=Severity.CRITICAL,
    short_name="Health checks not running",
    long_text="Health checks are not running: {name}",
    cause=(
        "No worker of the console has asked what is due: the worker, the scheduler or "
        "the message broker is down."
    ),
    effects=(
        "Nothing is known about any store point. A failure would not be noticed "
        "while this lasts."
    ),
    confirm="A banner stands above every page and says since when.",
    resolve=(
        "Run “manage.py doctor” on the master server and do as it says.",
        "Start the console again if its processes are gone.",
    ),
    confirm_resolved="The banner is gone. Then acknowledge the alert.",
    holds=holds,
)
