"""Inbound backup disabled: nobody should forget that it is."""

from __future__ import annotations

from alerts.catalogue.base import Answer, Kind, Scope
from alerts.engine import Severity
from storepoints.models import StorePoint


def holds(store_point: StorePoint) -> Answer:
    """Hold while the store point is meant not to accept backup data."""
    return None if store_point.accepts_inbound else {}


KIND = Kind(
    slug="inbound-backup-disabled",
    scope=Scope.STORE_POINT,
    severity=Severity.WARNING,
    short_name="Inbound backup disabled",
    long_text="Inbound backup is disabled: {name}",
    cause="Somebody disabled inbound backup on the store point.",
    effects="The store point accepts no backup data; restoring from it still works.",
    confirm="Look at the inbound backup column of the Store Point Overview.",
    resolve=("Enable Inbound Backup from the store point's action menu.",),
    confirm_resolved="The column says enabled. Then acknowledge the alert.",
    holds=holds,
)
