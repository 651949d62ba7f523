"""Store point critically low on space."""

from __future__ import annotations

from alerts.catalogue.base import Answer, Kind, Scope
from alerts.catalogue.store_point_low_on_space import space_answer
from alerts.engine import Severity
from storepoints.engine import Limit
from storepoints.models import StorePoint


def holds(store_point: StorePoint) -> Answer:
    """Hold below the critical limit."""
    return space_answer(
        store_point, holds=Limit.CRITICALLY_LOW_SPACE in store_point.limits
    )


KIND = Kind(
    slug="store-point-critically-low-on-space",
    scope=Scope.STORE_POINT,
    severity=Severity.CRITICAL,
    short_name="Store point critically low on space",
    long_text="Store point is critically low on space: {name} ({used_percent} % used)",
    cause="Less than 5 % of the volume is free for users.",
    effects="Backups to this store point are about to fail, or fail already.",
    confirm="Look at the used space in the Store Point Overview.",
    resolve=(
        "Disable inbound backup on the store point so that nothing fills it further.",
        "Remove what does not belong on the volume, or extend the volume.",
    ),
    confirm_resolved="More than 10 % is free, and the alert says that it has cleared.",
    holds=holds,
)
