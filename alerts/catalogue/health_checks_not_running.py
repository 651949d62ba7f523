"""Health checks not running: the console itself is blind."""

from __future__ import annotations

from datetime import datetime

from alerts.catalogue.base import (
    ACKNOWLEDGE,
    Answer,
    Kind,
    Live,
    Numbers,
    Parameter,
    Scope,
    Step,
)
from alerts.engine import Severity

#: Checks that have not run for this long are an alert; pages say so much sooner.
SILENT_SECONDS = 60

PARAMETERS = (Parameter("seconds", "nobody has asked for", SILENT_SECONDS, "s"),)


def holds(silent_since: datetime | None, _: Numbers) -> Answer:
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
    confirm=(
        Step(
            "Still not running?",
            "A banner stands above every page and says since when.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "What the doctor says",
            "Run “manage.py doctor” on the master server and do as it says.",
            Live.DOCTOR,
        ),
        Step(
            "Processes",
            "Start the console again if its processes are gone.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step(
            "Running again?",
            "The banner is gone, and the alert says that it has cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    parameters=PARAMETERS,
)
