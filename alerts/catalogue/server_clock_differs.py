"""Server clock differs: the agent's clock and the console's do not agree."""

from __future__ import annotations

from alerts.catalogue.base import (
    ACKNOWLEDGE,
    UNKNOWN,
    Answer,
    Kind,
    Live,
    Numbers,
    Parameter,
    Scope,
    Step,
)
from alerts.engine import Severity
from console.kit import humane
from storepoints.models import Server

#: Far beyond what reports need on their way, far below what confuses a person who
#: compares two logs.
MOST_SECONDS = 30

PARAMETERS = (
    Parameter("seconds", "more than", MOST_SECONDS, "s", least=1, most=86_400),
)


def holds(server: Server, numbers: Numbers) -> Answer:
    """Hold while both clocks are further apart than the limit."""
    if server.offline_since is not None:
        return UNKNOWN
    offset = server.clock_offset_seconds
    if offset is None or abs(offset) <= numbers["seconds"]:
        return None
    return {
        "span": humane.elapsed(abs(offset)),
        # Adding the offset to the server's time gives the console's.
        "direction": "behind" if offset > 0 else "ahead",
    }


KIND = Kind(
    slug="server-clock-differs",
    scope=Scope.SERVER,
    severity=Severity.WARNING,
    short_name="Server clock differs",
    long_text="Server clock differs: {name} ({span} {direction})",
    cause=(
        "The clock of the server and that of the console are {seconds} or more apart, "
        "as seen when a report arrives."
    ),
    effects=(
        "Checks go on, for the console corrects the times. Logs of the server and of "
        "the console cannot be compared, and certificates may not be accepted."
    ),
    confirm=(
        Step(
            "Still apart?",
            "Type “date -u” on the server and on the master server at the same time.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Which is wrong",
            "Type “timedatectl” on both: the one that is not synchronised is wrong.",
            Live.BY_HAND,
        ),
        Step(
            "Time service",
            "Start its time service again, or give it a time server that it can reach.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step(
            "Do both agree?",
            "Both clocks agree, and the alert says that it has cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    is_mended_by_retry=False,
    parameters=PARAMETERS,
)
