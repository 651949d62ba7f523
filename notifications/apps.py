"""The app's configuration, and its one receiver."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Who is told."""

    name = "notifications"
    verbose_name = "Notifications"

    def ready(self) -> None:
        """Listen for the wake-up that alerts sends after its commits; bear witness."""
        from alerts.catalogue import Live
        from alerts.signals import events_written
        from alerts.witnesses import call_witness

        events_written.connect(_wake_up, dispatch_uid="notifications.wake_up")
        call_witness(Live.DELIVERY, _what_fails)


def _what_fails(scene: Any) -> Any:
    from notifications.witness import what_fails

    return what_fails(scene)


def _wake_up(**_news: Any) -> None:
    # Here, because models cannot be loaded before the apps are.
    from notifications.tasks import wake_up

    wake_up()
