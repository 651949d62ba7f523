"""The app's configuration, and its one receiver."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from django.apps import AppConfig

from storepoints.rules import Rules


class AlertsConfig(AppConfig):
    """What is wrong."""

    name = "alerts"
    verbose_name = "Alerts"

    def ready(self) -> None:
        """Let alerts follow from the facts, in the transaction that wrote them.

        And let the facts be judged by the numbers that were chosen for the alerts, and
        offer in the Store Point Overview what is done about its alerts.
        """
        from alerts.actions import SILENCE_STORE_POINTS
        from storepoints import rules
        from storepoints.actions import MENU
        from storepoints.signals import facts_recorded

        facts_recorded.connect(_follow_facts, dispatch_uid="alerts.follow_facts")
        rules.provide(_rules_of)
        MENU.add(SILENCE_STORE_POINTS)


def _rules_of(destinations: Collection[int]) -> Mapping[int, Rules]:
    from alerts import selectors

    settings = selectors.settings()
    return {key: replace(settings.rules(key), source=settings) for key in destinations}


def _follow_facts(sender: object, **facts: Any) -> None:
    from alerts.services import reconcile_alerts
    from alerts.settings import Settings

    source = getattr(facts.get("rules"), "source", None)
    reconcile_alerts(
        store_points=facts["store_points"],
        servers=facts["servers"],
        filesystems=facts.get("filesystems", ()),
        destinations=facts.get("destinations", ()),
        at_hand=facts.get("at_hand", ()),
        settings=source if isinstance(source, Settings) else None,
        now=facts["now"],
    )
