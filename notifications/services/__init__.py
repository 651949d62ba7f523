"""The verbs of this app: route events, send what is due, choose who is told and how."""

from alerts.settings import Choice
from notifications.services.choices import (
    MailServer,
    add_recipient,
    change_email_settings,
    change_kinds,
    remove_recipient,
    reset_kinds,
)
from notifications.services.drilling import (
    DrillRefused,
    advance_drill,
    cancel_drill,
    start_drill,
)
from notifications.services.failing import reconcile_delivery
from notifications.services.routing import route_events
from notifications.services.sending import (
    Sent,
    send_again,
    send_due,
    send_test,
    sweep,
)

__all__ = [
    "Choice",
    "DrillRefused",
    "MailServer",
    "Sent",
    "add_recipient",
    "advance_drill",
    "cancel_drill",
    "change_email_settings",
    "change_kinds",
    "reconcile_delivery",
    "remove_recipient",
    "reset_kinds",
    "route_events",
    "send_again",
    "send_due",
    "send_test",
    "start_drill",
    "sweep",
]
