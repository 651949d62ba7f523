"""Drive failing: a drive says so itself or has gone, or an array has no copy left."""

from __future__ import annotations

from typing import Any

from alerts.catalogue.base import (
    ACKNOWLEDGE,
    Answer,
    Kind,
    Live,
    Numbers,
    Scope,
    Step,
)
from alerts.catalogue.volume_degraded import health_answer, health_evidence
from alerts.engine import Severity
from storepoints.models import Filesystem
from storepoints.states import Reason


def evidence(filesystem: Filesystem) -> dict[str, Any]:
    """Return what is failing, and what to do about it."""
    return health_evidence(filesystem, Reason.DRIVE_FAILING)


def holds(filesystem: Filesystem, _: Numbers) -> Answer:
    """Hold while something below is failing: one alert at a time with the milder one."""
    return health_answer(filesystem, Reason.DRIVE_FAILING)


KIND = Kind(
    slug="drive-failing",
    scope=Scope.FILESYSTEM,
    severity=Severity.CRITICAL,
    short_name="Drive failing",
    long_text="Drive is failing: {name} ({text})",
    cause=(
        "A drive fails its own SMART check, is beyond a limit that its maker set, or "
        "does not answer any more; or an array has lost more devices than it can."
    ),
    effects=(
        "Archives on the volume may be lost at any moment, unless an array below holds "
        "another copy. Backups and restores may fail or be slow."
    ),
    confirm=(
        Step(
            "Still failing?",
            "Open a store point on the volume: the panel “Drive, array, volume” marks "
            "the drive, and says whether an array below still has a copy.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Stop inbound backup",
            "Disable inbound backup, so that nothing more is written to the drive.",
            Live.STOP_INBOUND,
        ),
        Step(
            "A copy of the archives",
            "See that there is a copy of the archives, or make one now.",
            Live.BY_HAND,
        ),
        Step(
            "Replace the drive",
            "Replace the drive; its model and serial number stand in the panel.",
            Live.DEVICES,
        ),
        Step(
            "Rebuild or restore",
            "Let the array rebuild, or restore the archives to the new drive.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step(
            "Well again?",
            "The panel “Drive, array, volume” shows the new drive and every level "
            "well.",
            Live.BACK,
        ),
        Step("Inbound backup", "Enable inbound backup again.", Live.INBOUND),
        ACKNOWLEDGE,
    ),
    holds=holds,
    is_mended_by_retry=False,
    evidence=evidence,
)
