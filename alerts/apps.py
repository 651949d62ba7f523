"""The app's configuration, and its one receiver."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    """What is wrong."""

    name = "alerts"
    verbose_name = "Alerts"

    def ready(self) -> None:
        """Let alerts follow from the facts, in the transaction that wrote them.

        And offer in the Store Point Overview what is done about its alerts.
        """
        from alerts.actions import SILENCE_STORE_POINTS
        from storepoints.actions import MENU
        from storepoints.signals import facts_recorded

        facts_recorded.connect(_follow_facts, dispatch_uid="alerts.follow_facts")
        MENU.add(SILENCE_STORE_POINTS)


def _follow_facts(sender: object, **facts: Any) -> None:
    from alerts.services import reconcile_alerts

    reconcile_alerts(
        store_points=facts["store_points"],
        servers=facts["servers"],
        filesystems=facts.get("filesystems", ()),
        destinations=facts.get("destinations", ()),
        at_hand=facts.get("at_hand", ()),
        now=facts["now"],
    )
