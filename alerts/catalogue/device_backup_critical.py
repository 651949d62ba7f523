"""Device backup critical: archives of a store point have not changed for a week."""

from __future__ import annotations

from alerts.catalogue.base import Answer, Kind, Numbers, Scope
from alerts.catalogue.device_backup_warning import (
    CAUSE,
    CONFIRM,
    RESOLVE,
    RESOLVED,
    parameters,
    stale_answer,
)
from alerts.engine import Severity
from storepoints.archives import CRITICAL_DAYS
from storepoints.models import StorePoint


def holds(store_point: StorePoint, _: Numbers) -> Answer:
    """Hold while archives are critically stale."""
    return stale_answer(store_point, "critical", CRITICAL_DAYS)


KIND = Kind(
    slug="device-backup-critical",
    scope=Scope.STORE_POINT,
    severity=Severity.WARNING,
    short_name="Device backup critical",
    long_text=(
        "Devices have not backed up for a critically long time: {name} "
        "({archives} for more than {days} days)"
    ),
    cause=CAUSE,
    effects=(
        "What was changed on these devices in all that time cannot be restored, and "
        "their users may not know it."
    ),
    confirm=(CONFIRM,),
    resolve=RESOLVE,
    confirm_resolved=RESOLVED,
    holds=holds,
    parameters=parameters(CRITICAL_DAYS),
    is_mended_by_retry=False,
)
