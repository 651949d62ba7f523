"""Store point offline: the main job."""

from __future__ import annotations

from alerts.catalogue.base import UNKNOWN, Answer, Kind, Scope
from alerts.engine import Severity
from storepoints.models import StorePoint
from storepoints.states import State


def holds(store_point: StorePoint) -> Answer:
    """Hold while a failure is believed; behind an offline server nothing is known."""
    if store_point.state == State.SERVER_OFFLINE:
        return UNKNOWN
    if store_point.adopted_at is None:
        # Asked for again every half minute, so what was in its way may still go.
        return (
            {"state": "pending", "reason": ""} if store_point.adoption_error else None
        )
    if not store_point.is_believed:
        return None
    if store_point.is_online:
        # It works again, but not yet for long enough to be believed.
        return UNKNOWN
    return {"state": str(store_point.state), "reason": str(store_point.reason)}


KIND = Kind(
    slug="store-point-offline",
    scope=Scope.STORE_POINT,
    severity=Severity.CRITICAL,
    short_name="Store point offline",
    long_text="Store point is unavailable: {name}",
    cause=(
        "The directory of the store point is missing, is not the right one, is not on "
        "its volume, cannot be written and read, could not be adopted, or has not been "
        "heard of for three intervals although its server answers."
    ),
    effects=(
        "Users whose archives are in this store point cannot back up to it, restore "
        "from it or synchronise."
    ),
    confirm=(
        "Look at the online column of the Store Point Overview: the store point has "
        "no green indicator, and the reason stands beside it."
    ),
    resolve=(
        "Open the store point. If inbound backup is disabled and should not be, "
        "enable it.",
        "Check that its server is online. If it is not, follow the server's alert.",
        "Check the drive, RAID array or volume, as the store point's page says which "
        "layer failed and what to do.",
    ),
    confirm_resolved=(
        "The online column shows the green indicator again, and the alert says that "
        "it has cleared. Then acknowledge the alert."
    ),
    holds=holds,
)
