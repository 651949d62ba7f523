"""What an action menu offers for alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from alerts import services
from alerts.forms import AcknowledgeForm, until
from alerts.models import Alert
from console.accounts.people import actor_of
from console.kit import humane
from console.kit.actions import Action, ActionMenu, Ask, Confirmation
from console.kit.bulk import BulkResult, Noun

ALERTS = Noun("alert", "alerts")


def _is_active(row: Alert, now: datetime) -> str:
    if row.is_acknowledged(now):
        return f"is already acknowledged by {row.acknowledged_by_name}"
    return ""


def _is_acknowledged(row: Alert, now: datetime) -> str:
    return "" if row.acknowledged_at else "is not acknowledged"


def _acknowledge(rows: Sequence[Alert], ask: Ask) -> BulkResult:
    return services.acknowledge_alerts(
        [row.pk for row in rows],
        actor=actor_of(ask),
        now=ask.now,
        note=ask.fields.get("note", ""),
        until=until(ask.fields, ask.now),
    )


def _unacknowledge(rows: Sequence[Alert], ask: Ask) -> BulkResult:
    return services.unacknowledge_alerts(
        [row.pk for row in rows], actor=actor_of(ask), now=ask.now
    )


def _effects(rows: Sequence[Alert]) -> list[str]:
    ongoing = sum(row.cleared_at is None for row in rows)
    sentences = [
        "They leave the active list and stand under Acknowledged with your name."
    ]
    if ongoing:
        sentences.append(
            f"{humane.counted(ongoing, 'condition', 'conditions')} of these still "
            f"{'holds' if ongoing == 1 else 'hold'}. Acknowledging says that somebody "
            "knows; it mends nothing. If one gets worse, or ends and comes back later, "
            "its alert is active again."
        )
    return sentences


MENU = ActionMenu(
    id="alerts",
    noun=ALERTS,
    rows=Alert.objects.all,
    url_name="alerts:actions",
    actions=(
        Action(
            name="alert.acknowledge",
            label="Acknowledge…",
            permission="alerts.acknowledge_alert",
            applies=_is_active,
            run=_acknowledge,
            icon="check-check",
            past="Acknowledged",
            confirm=Confirmation(
                form=AcknowledgeForm, effects=_effects, button="Acknowledge"
            ),
            shortcut="g",
        ),
        Action(
            name="alert.unacknowledge",
            label="Un-acknowledge",
            permission="alerts.unacknowledge_alert",
            applies=_is_acknowledged,
            run=_unacknowledge,
            icon="undo-2",
            past="Took back the acknowledgement of",
        ),
    ),
)
