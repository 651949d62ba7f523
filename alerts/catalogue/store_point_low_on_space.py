"""Store point low on space."""

from __future__ import annotations

from alerts.catalogue.base import UNKNOWN, Answer, Kind, Scope
from alerts.engine import Severity
from storepoints.engine import Limit, free_percent
from storepoints.models import StorePoint


def space_answer(store_point: StorePoint, *, holds: bool) -> Answer:
    """Return the figures when a limit of space holds; unknown while it cannot be read."""
    if not store_point.is_online:
        return UNKNOWN
    if not holds:
        return None
    free = free_percent(store_point.free_bytes, store_point.used_bytes)
    return {
        "free_percent": round(free or 0),
        "used_percent": 100 - round(free or 0),
    }


def holds(store_point: StorePoint) -> Answer:
    """Hold between the warning and the critical limit: one alert at a time."""
    limits = store_point.limits
    return space_answer(
        store_point,
        holds=Limit.LOW_SPACE in limits and Limit.CRITICALLY_LOW_SPACE not in limits,
    )


KIND = Kind(
    slug="store-point-low-on-space",
    scope=Scope.STORE_POINT,
    severity=Severity.WARNING,
    short_name="Store point low on space",
    long_text="Store point is low on space: {name} ({used_percent} % used)",
    cause="Less than 10 % of the volume is free for users.",
    effects="When the volume is full, backups to this store point stop.",
    confirm="Look at the used space in the Store Point Overview.",
    resolve=(
        "Remove what does not belong on the volume, or archives that are not needed.",
        "Extend the volume, or add a store point and disable inbound backup here.",
    ),
    confirm_resolved="More than 15 % is free, and the alert says that it has cleared.",
    holds=holds,
)
