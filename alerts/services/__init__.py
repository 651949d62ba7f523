"""The verbs of this app: reconcile, acknowledge, choose what is shown."""

from alerts.services.acknowledging import (
    acknowledge_alerts,
    unacknowledge_alerts,
    undo_acknowledgement,
    undo_unacknowledgement,
)
from alerts.services.choices import (
    change_notification_settings,
    refuse_wrong_choices,
    reset_notification_settings,
)
from alerts.services.events import event, write_events
from alerts.services.facts import CONSOLE
from alerts.services.keeping import (
    change_alert_history_limit,
    remove_old_alerts,
)
from alerts.services.reconciling import (
    raise_waiting,
    reconcile_alerts,
    reconcile_console,
    reconcile_everything,
    settle_flapping,
)
from alerts.services.silencing import (
    change_silence,
    create_silence,
    delete_silences,
    end_silences,
    follow_silences,
    refuse_wrong,
    why_not_deleted,
    why_not_ended,
)

__all__ = [
    "CONSOLE",
    "acknowledge_alerts",
    "change_alert_history_limit",
    "change_notification_settings",
    "change_silence",
    "create_silence",
    "delete_silences",
    "end_silences",
    "event",
    "follow_silences",
    "raise_waiting",
    "reconcile_alerts",
    "reconcile_console",
    "reconcile_everything",
    "refuse_wrong",
    "refuse_wrong_choices",
    "remove_old_alerts",
    "reset_notification_settings",
    "settle_flapping",
    "unacknowledge_alerts",
    "undo_acknowledgement",
    "undo_unacknowledgement",
    "why_not_deleted",
    "why_not_ended",
    "write_events",
]
