"""Store point filling up: not low yet, but full within a day if it goes on."""

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
from console.kit import humane
from storepoints.engine import SPACE_RULE, Limit, free_percent

PARAMETERS = (
    Parameter("hours", "full within", SPACE_RULE.filling_hours, "h", least=1, most=720),
    Parameter(
        "percent", "free share below", SPACE_RULE.filling_percent, "%", least=1, most=95
    ),
    Parameter(
        "wait", "for", SPACE_RULE.filling_soon_seconds / 60, "min", least=0, most=1440
    ),
)


def holds(filesystem: Any, _: Numbers) -> Answer:
    """Hold while the last day's trend fills it soon and it is not low yet."""
    if not filesystem.is_measured:
        return UNKNOWN
    if Limit.FILLING_UP not in filesystem.limits:
        return None
    free = free_percent(filesystem.free_bytes, filesystem.used_bytes)
    speed = (filesystem.memory.get("trend") or {}).get("bytes_per_second")
    seconds = filesystem.free_bytes / speed if speed and speed > 0 else None
    return {
        "used_percent": 100 - round(free or 0),
        "full_in": humane.elapsed(seconds),
    }


KIND = Kind(
    slug="store-point-filling-up",
    scope=Scope.FILESYSTEM,
    severity=Severity.WARNING,
    short_name="Store point filling up",
    long_text=(
        "Store point is filling up: {name} ({used_percent} % used, full in {full_in})"
    ),
    long_text_of_many=(
        "Store points are filling up: {name} ({used_percent} % used, full in {full_in})"
    ),
    cause=(
        "If it goes on as in the last day, without the hours that were unlike the "
        "others, the volume is full within {hours}. It has looked so for {wait}, and "
        "less than {percent} is free."
    ),
    effects="When the volume is full, backups to its store points stop.",
    confirm=(
        Step(
            "Still filling up?",
            "Look at the chart of the space on the store point's page.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "What writes so much",
            "Find out what writes so much: a first backup of many devices, or "
            "something that does not belong there.",
            Live.BY_HAND,
        ),
        Step(
            "Make room",
            "Make room, extend the volume, or disable inbound backup before it is "
            "full.",
            Live.SPACE,
        ),
    ),
    confirm_resolved=(
        Step(
            "Slower again?",
            "It fills up more slowly, and the alert says that it has cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    gives_way_to=frozenset(
        {"store-point-low-on-space", "store-point-critically-low-on-space"}
    ),
    is_mended_by_retry=False,
    parameters=PARAMETERS,
)
