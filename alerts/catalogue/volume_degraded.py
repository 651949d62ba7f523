"""Volume degraded: the volume works, but an array or a drive below it is not whole."""

from __future__ import annotations

from typing import Any

from alerts.catalogue.base import (
    ACKNOWLEDGE,
    UNKNOWN,
    Answer,
    Kind,
    Live,
    Numbers,
    Scope,
    Step,
)
from alerts.engine import Severity
from storepoints import verdict
from storepoints.models import Filesystem
from storepoints.states import Layer, Reason, State


def health_answer(filesystem: Filesystem, reason: Reason) -> Answer:
    """Return what is wrong when the devices say this; unknown while they say nothing."""
    if filesystem.health_reason == reason.value:
        return {"text": filesystem.health_text}
    # Before the first answer, and after a device that was asked could not tell.
    return UNKNOWN if filesystem.health in ("", "unknown") else None


def health_evidence(filesystem: Filesystem, reason: Reason) -> dict[str, Any]:
    """Return what the devices said, and what to do about it."""
    cure = verdict.cure(
        state=State.DEGRADED,
        reason=reason,
        path=filesystem.mount_point,
        volume={"mount_point": filesystem.mount_point, "fs_type": filesystem.fs_type},
        server_name=filesystem.server.name,
        devices=filesystem.devices,
    )
    found = {
        "layer": int(Layer.DEVICE),
        "check": verdict.CHECK_WORDS["device"],
        "expected": "every level well",
        "found": filesystem.health_text,
    }
    if cure is not None:
        found |= {"cure": cure.text, "command": cure.command}
    return {name: value for name, value in found.items() if value}


def evidence(filesystem: Filesystem) -> dict[str, Any]:
    """Return what is degraded, and what to do about it."""
    return health_evidence(filesystem, Reason.VOLUME_DEGRADED)


def holds(filesystem: Filesystem, _: Numbers) -> Answer:
    """Hold while something below is degraded and nothing is failing."""
    return health_answer(filesystem, Reason.VOLUME_DEGRADED)


KIND = Kind(
    slug="volume-degraded",
    scope=Scope.FILESYSTEM,
    severity=Severity.WARNING,
    short_name="Volume degraded",
    long_text="Volume is degraded: {name} ({text})",
    cause=(
        "An array, a pool or a Btrfs file system has lost a device, a drive shows the "
        "first signs of wear, or the kernel has recorded errors in the file system."
    ),
    effects=(
        "Users can back up and restore. The next fault may end that, and archives may "
        "be lost with it."
    ),
    confirm=(
        Step(
            "Still degraded?",
            "Open a store point on the volume: the panel “Drive, array, volume” marks "
            "the level that is not well.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Which device",
            "Find out which device it is. The store point's page has the command to "
            "type: mdadm --detail, zpool status, btrfs device stats or smartctl -a.",
            Live.DEVICES,
        ),
        Step(
            "Replace it",
            "Replace a device that has failed, and let the array rebuild. After errors"
            " in the file system, unmount it and check it.",
            Live.BY_HAND,
        ),
        Step(
            "Set counters back",
            "Set counters back that only count up, once their cause is gone: btrfs "
            "device stats -z, zpool clear, e2fsck.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step(
            "Whole again?",
            "Every level in the panel “Drive, array, volume” is well again, and the "
            "alert says that it has cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    gives_way_to=frozenset({"drive-failing"}),
    is_mended_by_retry=False,
    evidence=evidence,
)
