"""Store point low on inodes: there may be space, but for no more files."""

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
from storepoints.engine import SPACE_RULE, Limit

PARAMETERS = (
    Parameter(
        "percent",
        "free inodes below",
        SPACE_RULE.low_inodes_percent,
        "%",
        least=0.1,
        most=50,
    ),
    Parameter(
        "number",
        "and fewer than",
        SPACE_RULE.low_inodes,
        least=1,
        most=1e9,
        is_whole=True,
    ),
    Parameter(
        "clear",
        "clears at",
        SPACE_RULE.low_inodes_percent + SPACE_RULE.clear_points,
        "%",
        follows=lambda numbers: numbers["percent"] + SPACE_RULE.clear_points,
    ),
)


def holds(filesystem: Any, _: Numbers) -> Answer:
    """Hold while few inodes are left; nothing is said where they are not counted."""
    if not filesystem.is_measured:
        return UNKNOWN
    if Limit.LOW_INODES not in filesystem.limits or not filesystem.total_inodes:
        return None
    share = 100 * (filesystem.free_inodes or 0) / filesystem.total_inodes
    return {"used_percent": 100 - round(share)}


KIND = Kind(
    slug="store-point-low-on-inodes",
    scope=Scope.FILESYSTEM,
    severity=Severity.WARNING,
    short_name="Store point low on inodes",
    long_text="Store point is low on inodes: {name} ({used_percent} % used)",
    long_text_of_many="Store points are low on inodes: {name} ({used_percent} % used)",
    cause=(
        "Less than {percent} of the volume's inodes are free, and fewer than {number}: "
        "it holds very many small files."
    ),
    effects=(
        "When none are left, no file can be made, so backups to its store points stop "
        "although there is space."
    ),
    confirm=(
        Step(
            "Still this few?",
            "Look at the inodes on the store point's page.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Remove small files",
            "Remove files that are not needed: many small ones count more than a large"
            " one.",
            Live.INODES,
        ),
        Step(
            "Or move",
            "Move the store point to a volume that was made with more inodes.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step(
            "Enough again?",
            "At least {clear} of the inodes are free, and the alert says that it "
            "has cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    is_mended_by_retry=False,
    parameters=PARAMETERS,
)
