"""Store point low on space: one alert for a filesystem, whoever lies on it."""

from __future__ import annotations

from typing import Any

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
from storepoints.engine import SPACE_RULE, Limit, free_percent

GB = 1e9


def space_parameters(percent: float, hours: float) -> tuple[Parameter, ...]:
    """Return the numbers of a limit of space: a free share, and in how many hours.

    How many bytes are few follows from the share, until somebody chooses them.
    """
    return (
        Parameter("percent", "free share below", percent, "%", least=0.1, most=50),
        Parameter(
            "bytes",
            "free space of 1 TB below",
            SPACE_RULE.free_bound(1e12, percent) / GB,
            "GB",
            least=0.001,
            most=1000,
            follows=lambda numbers: (
                SPACE_RULE.free_bound(1e12, numbers["percent"]) / GB
            ),
        ),
        Parameter("hours", "or full within", hours, "h", least=0.1, most=720),
        Parameter(
            "clear",
            "clears at",
            percent + SPACE_RULE.clear_points,
            "%",
            follows=lambda numbers: numbers["percent"] + SPACE_RULE.clear_points,
        ),
    )


PARAMETERS = space_parameters(SPACE_RULE.low_percent, SPACE_RULE.low_hours)

#: Why a share alone is no reason, with the numbers of the kind's rule.
CAUSE = (
    "Less than {percent} of the volume is free for users, and that is little for its "
    "size ({bytes} of 1 TB, relatively less of a larger one), or will be full within "
    "{hours} if it goes on as in the last day."
)
CONFIRM_RESOLVED = (
    "At least {clear} is free, or clearly more bytes than the limit for its size, and "
    "the alert says that it has cleared."
)


def space_answer(filesystem: Any, *, holds: bool) -> Answer:
    """Return the figures when a limit of space holds; unknown while it is not read."""
    if not filesystem.is_measured:
        return UNKNOWN
    if not holds:
        return None
    free = free_percent(filesystem.free_bytes, filesystem.used_bytes)
    return {
        "free_percent": round(free or 0),
        "used_percent": 100 - round(free or 0),
    }


def holds(filesystem: Any, _: Numbers) -> Answer:
    """Hold below the limit, also while it is not yet said that it is critically low."""
    return space_answer(filesystem, holds=Limit.LOW_SPACE in filesystem.limits)


KIND = Kind(
    slug="store-point-low-on-space",
    scope=Scope.FILESYSTEM,
    severity=Severity.WARNING,
    short_name="Store point low on space",
    long_text="Store point is low on space: {name} ({used_percent} % used)",
    long_text_of_many="Store points are low on space: {name} ({used_percent} % used)",
    cause=CAUSE,
    effects="When the volume is full, backups to its store points stop.",
    confirm=(
        Step(
            "Still this low?",
            "Look at the used space in the Store Point Overview.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Make room",
            "Remove what does not belong on the volume, or archives that are not "
            "needed.",
            Live.SPACE,
        ),
        Step(
            "Or go elsewhere",
            "Extend the volume, or add a store point elsewhere and disable inbound "
            "backup here.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step("Room enough?", CONFIRM_RESOLVED, Live.BACK),
        ACKNOWLEDGE,
    ),
    holds=holds,
    gives_way_to=frozenset({"store-point-critically-low-on-space"}),
    is_mended_by_retry=False,
    parameters=PARAMETERS,
)
