"""What an action menu offers for messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from console.accounts.people import actor_of
from console.kit.actions import Action, ActionMenu, Ask
from console.kit.bulk import BulkResult, Noun
from notifications import selectors, services
from notifications.engine import DeliveryState
from notifications.models import Delivery

MESSAGES = Noun("message", "messages")


def _has_failed(row: Delivery, _now: datetime) -> str:
    if row.state == DeliveryState.FAILED:
        return ""
    return f"has not failed: {row.get_state_display().lower()}"


def _send_again(rows: Sequence[Delivery], ask: Ask) -> BulkResult:
    return services.send_again(
        [row.pk for row in rows], actor=actor_of(ask), now=ask.now
    )


MENU = ActionMenu(
    id="deliveries",
    noun=MESSAGES,
    rows=selectors.deliveries,
    url_name="notifications:delivery_actions",
    actions=(
        Action(
            name="delivery.send_again",
            label="Send Again",
            permission="notifications.resend_delivery",
            applies=_has_failed,
            run=_send_again,
            icon="send",
            past="Will send again",
        ),
    ),
)
