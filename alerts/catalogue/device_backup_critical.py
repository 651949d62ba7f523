"""Device backup critical: archives of a store point have not changed for a week."""

from __future__ import annotations

from alerts.catalogue.base import UNKNOWN, Answer, Kind, Scope
from alerts.catalogue.device_backup_warning import (
    CAUSE,
    CONFIRM,
    RESOLVE,
    RESOLVED,
    parameters,
    stale,
)
from alerts.engine import Severity
from console.kit import humane
from storepoints.archives import CRITICAL_DAYS
from storepoints.models import StorePoint


def holds(store_point: StorePoint) -> Answer:
    """Hold while archives are critically stale."""
    count = stale(store_point)
    if count is None:
        return UNKNOWN
    if not count["critical"]:
        return None
    return {"archives": humane.counted(count["critical"], "archive")}


KIND = Kind(
    slug="device-backup-critical",
    scope=Scope.STORE_POINT,
    severity=Severity.WARNING,
    short_name="Device backup critical",
    long_text=(
        "Devices have not backed up for a critically long time: {name} "
        f"({{archives}} for more than {CRITICAL_DAYS} days)"
    ),
    cause=CAUSE.format(days=CRITICAL_DAYS),
    effects=(
        "What was changed on these devices in more than a week cannot be restored, and "
        "their users may not know it."
    ),
    confirm=(CONFIRM,),
    resolve=RESOLVE,
    confirm_resolved=RESOLVED,
    holds=holds,
    parameters=parameters(CRITICAL_DAYS),
    is_mended_by_retry=False,
)
