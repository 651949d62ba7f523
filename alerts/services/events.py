"""What happened to alerts, written down; what is news wakes the app above."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from alerts.models import AlertEvent
from alerts.signals import events_written

#: What the sentence about an event's routing begins with when nobody is to hear.
NOT_MAILED = "not mailed:"


def event(
    alert: int,
    kind: AlertEvent.Kind,
    now: datetime,
    *,
    text: str = "",
    held_back: str = "",
) -> AlertEvent:
    """Return an event of an alert, not written yet.

    ``held_back`` says why news of this kind is kept from everybody, if it is.
    """
    is_news = kind in AlertEvent.NEWS
    is_withheld = is_news and bool(held_back)
    return AlertEvent(
        alert_id=alert,
        at=now,
        kind=kind,
        text=text,
        is_withheld=is_withheld,
        routing=f"{NOT_MAILED} {held_back}" if is_withheld else "",
        routed_at=None if is_news and not is_withheld else now,
    )


def write_events(events: Sequence[AlertEvent], *, now: datetime) -> None:
    """Write events, and wake whoever tells people once they are committed."""
    if not events:
        return
    AlertEvent.objects.bulk_create(events, batch_size=500)
    if any(each.routed_at is None for each in events):
        transaction.on_commit(lambda: events_written.send(AlertEvent, now=now))
