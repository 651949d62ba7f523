"""The catalogue of alerts, in the order in which Settings > Notifications lists them.

To add a kind, write a module with a ``KIND`` and name it here.
"""

from __future__ import annotations

from alerts.catalogue import (
    health_checks_not_running,
    inbound_backup_disabled,
    server_offline,
    store_point_critically_low_on_space,
    store_point_low_on_space,
    store_point_offline,
)
from alerts.catalogue.base import UNKNOWN, Kind, Scope, Unknown

KINDS: dict[str, Kind] = {
    module.KIND.slug: module.KIND
    for module in (
        store_point_offline,
        server_offline,
        health_checks_not_running,
        store_point_critically_low_on_space,
        store_point_low_on_space,
        inbound_backup_disabled,
    )
}


def kinds_of(scope: Scope) -> list[Kind]:
    """Return the kinds that are decided by the facts of one scope."""
    return [kind for kind in KINDS.values() if kind.scope is scope]


__all__ = ["KINDS", "UNKNOWN", "Kind", "Scope", "Unknown", "kinds_of"]
