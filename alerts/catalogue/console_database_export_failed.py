"""Console database export failed: there is no fresh copy of what the console knows."""

from __future__ import annotations

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

#: How old the newest export may become, and after how long a failure is tried again.
EXPORT_HOURS = 24
RETRY_HOURS = 1

PARAMETERS = (
    Parameter("due", "exported every", EXPORT_HOURS, "h"),
    Parameter("retry", "tried again after", RETRY_HOURS, "h"),
)


def holds(problem: str, _: Numbers) -> Answer:
    """Hold while the daily export fails; the text says why."""
    return {"problem": problem} if problem else None


KIND = Kind(
    slug="console-database-export-failed",
    scope=Scope.CONSOLE,
    severity=Severity.CRITICAL,
    short_name="Console database export failed",
    long_text="The export of the console's database failed: {problem}",
    cause=(
        "The daily copy of the console's database could not be written to the directory "
        "exports in the data directory: the disk is full, the directory cannot be "
        "written to, or the database cannot be read."
    ),
    effects=(
        "The console goes on working. If its own disk fails, what it knows is lost back "
        "to the newest export."
    ),
    confirm=(
        Step(
            "Still failing?",
            "Open Settings > System: it says when the newest export was made, and why "
            "the last one failed.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Room and rights",
            "Make room in the data directory, or let the console's user write to the "
            "directory exports in it.",
            Live.BY_HAND,
        ),
        Step(
            "Export now",
            "Press Export Now in Settings > System. It is tried again every hour "
            "anyhow.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step(
            "Exported again?",
            "Settings > System shows an export of today, and the alert says that it has "
            "cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    parameters=PARAMETERS,
)
