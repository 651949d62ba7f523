"""The verbs of this app: route events, send what is due, choose who is told and how."""

from alerts.settings import Choice
from notifications.services.channels import (
    ChannelFields,
    Saved,
    add_channel,
    change_channel,
    remove_channel,
    send_channel_test,
    switch_channel,
)
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
from notifications.services.following import follow_alerts
from notifications.services.linking import (
    LinkRefused,
    acknowledge_by_link,
    find_link,
    keep_link,
)
from notifications.services.outbound import (
    HeartbeatFields,
    call_out,
    change_heartbeat,
    send_heartbeat,
)
from notifications.services.routing import route_events
from notifications.services.rules import (
    Members,
    Plan,
    change_reminders,
    move_route,
    refuse_wrong_route,
    remove_group,
    remove_route,
    save_group,
    save_route,
    switch_route,
    who_would_lose,
)
from notifications.services.sending import (
    Sent,
    send_again,
    send_due,
    send_test,
    sweep,
)

__all__ = [
    "ChannelFields",
    "Choice",
    "DrillRefused",
    "HeartbeatFields",
    "LinkRefused",
    "MailServer",
    "Members",
    "Plan",
    "Saved",
    "Sent",
    "acknowledge_by_link",
    "add_channel",
    "add_recipient",
    "advance_drill",
    "call_out",
    "cancel_drill",
    "change_channel",
    "change_email_settings",
    "change_heartbeat",
    "change_kinds",
    "change_reminders",
    "find_link",
    "follow_alerts",
    "keep_link",
    "move_route",
    "reconcile_delivery",
    "refuse_wrong_route",
    "remove_channel",
    "remove_group",
    "remove_recipient",
    "remove_route",
    "reset_kinds",
    "route_events",
    "save_group",
    "save_route",
    "send_again",
    "send_channel_test",
    "send_due",
    "send_heartbeat",
    "send_test",
    "start_drill",
    "sweep",
    "switch_channel",
    "switch_route",
    "who_would_lose",
]
