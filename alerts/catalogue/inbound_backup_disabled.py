"""Inbound backup disabled: nobody should forget that it is."""

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
from storepoints.models import StorePoint
from storepoints.states import Reason
from storepoints.verdict import REASON_WORDS


def holds(store_point: StorePoint, _: Numbers) -> Answer:
    """Hold while a person has to enable it again.

    A fence is no alert of its own while the store point is offline: "Store point
    offline" says so, and two alerts for each store point of a shelf that went away
    would be a storm. Nor while good checks are counted: it is lifted by itself. What
    is left is a fence that only a person lifts, from when the store point works again.
    """
    if not store_point.accepts_inbound:
        return {}
    if store_point.fenced_at is None:
        return None
    if not store_point.is_online:
        return UNKNOWN
    if store_point.server.destination.fence_good_probes:
        return None
    return {"fence": REASON_WORDS[Reason(store_point.fence_reason)]}


class _InboundKind(Kind):
    def text(self, name: str, data: dict[str, Any], *, count: int = 1) -> str:
        """Return the long text, and by whom when it was the console."""
        text = super().text(name, data, count=count)
        fence = data.get("fence")
        return f"{text} (by the console: {fence})" if fence else text


KIND = _InboundKind(
    slug="inbound-backup-disabled",
    scope=Scope.STORE_POINT,
    severity=Severity.WARNING,
    short_name="Inbound backup disabled",
    long_text="Inbound backup is disabled: {name}",
    cause=(
        "Somebody disabled inbound backup on the store point, or the fence of its "
        "destination did, which waits for a person to enable it again."
    ),
    effects="The store point accepts no backup data; restoring from it still works.",
    confirm=(
        Step(
            "Still disabled?",
            "Look at the inbound backup column of the Store Point Overview: it says "
            "disabled, or fenced and why.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "The right volume?",
            "If it is fenced, make sure that the right volume is mounted there: the "
            "store point's page says what was found.",
            Live.FENCE,
        ),
        Step(
            "Inbound backup",
            "Enable Inbound Backup from the store point's action menu.",
            Live.INBOUND,
        ),
    ),
    confirm_resolved=(
        Step(
            "Enabled again?",
            "The column says enabled, and the alert says that it has cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    is_mended_by_retry=False,
)
