"""Device backup warning: archives of a store point have not changed for days."""

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
from storepoints.archives import WARNING_DAYS
from storepoints.models import StorePoint

CAUSE = (
    "Archives in the store point have not changed for more than {days}: neither "
    "their directories nor anything directly inside them. The devices are switched off, "
    "lost or out of reach, their backup program is stopped or fails, or they were "
    "removed and their archives were kept."
)
CONFIRM = Step(
    "Still so?",
    "The store point's page lists the archives that have not changed for longest, under "
    "Archives. The agent looks at them once an hour.",
    Live.STILL_HOLDS,
)
RESOLVE = (
    Step(
        "Inbound backup",
        "Enable inbound backup if it is disabled: no device can back up meanwhile.",
        Live.INBOUND,
    ),
    Step(
        "The devices",
        "Look on the devices, or in their backup program's own log, why they do not "
        "back up.",
        Live.BY_HAND,
    ),
    Step(
        "Archives nobody writes to",
        "Remove archives of devices that are gone, or move them to a store point for "
        "cold archives, and silence that one for this kind. Settings > Notifications "
        "switches the kind off everywhere.",
        Live.BY_HAND,
    ),
)
RESOLVED = (
    Step(
        "Backed up again?",
        "The archives have changed, which is seen within the hour, and the alert says "
        "that it has cleared.",
        Live.BACK,
    ),
    ACKNOWLEDGE,
)


def parameters(days: int) -> tuple[Parameter, ...]:
    """Return the numbers of a limit in days."""
    return (
        Parameter(
            "days",
            "archives not changed for",
            days,
            "days",
            1,
            3650,
            is_whole=True,
            unit_of_one="day",
        ),
    )


def stale_answer(store_point: StorePoint, which: str, days: int) -> Answer:
    """Return how many archives are stale; unknown while nothing is known of them now.

    With the days by which the agent counted them: it counts by new ones only when it
    looks again.
    """
    if not store_point.is_online or store_point.archives_at is None:
        return UNKNOWN
    found = store_point.stale_archives
    if not found.get(which):
        return None
    return {
        "archives": humane.counted(found[which], "archive"),
        "days": found.get(f"{which}_days", days),
    }


def holds(store_point: StorePoint, _: Numbers) -> Answer:
    """Hold while archives are stale."""
    return stale_answer(store_point, "warning", WARNING_DAYS)


KIND = Kind(
    slug="device-backup-warning",
    scope=Scope.STORE_POINT,
    severity=Severity.LOW,
    short_name="Device backup warning",
    long_text=(
        "Devices have not backed up: {name} ({archives} for more than {days} days)"
    ),
    cause=CAUSE,
    effects=(
        "What was changed on these devices since then cannot be restored. Later “Device "
        "backup critical” takes the place of this one."
    ),
    confirm=(CONFIRM,),
    resolve=RESOLVE,
    confirm_resolved=RESOLVED,
    holds=holds,
    gives_way_to=frozenset({"device-backup-critical"}),
    parameters=parameters(WARNING_DAYS),
    is_mended_by_retry=False,
)
