"""What a batch of deliveries says in a channel: as JSON for webhooks, as plain text."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings as configuration
from django.utils import timezone

from alerts.engine import Severity
from alerts.models import AlertEvent
from console.kit import humane
from notifications.models import Delivery
from notifications.pace import Waits
from notifications.words import Told, digest_subject, one_line, subject

#: The version of a webhook's body (transports/webhook.schema.json).
VERSION = 1

#: How many alerts a webhook tells in full, and how many events of each.
LISTED = 50
EVENTS = 20

#: How many a chat or a pager is told; the rest is counted, with a link.
LINES = 10


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be said: a line, the text below it, the worst severity, and JSON."""

    id: str
    title: str
    body: str
    severity: str
    payload: dict[str, Any]


class Gone(LookupError):
    """There is nothing left to say: somebody has removed it meanwhile."""


def compose(batch: uuid.UUID, *, now: datetime) -> Message:
    """Return the message of a claimed batch; the same batch gives the same id.

    Raises Gone when its deliveries are no longer there.
    """
    rows = (
        Delivery.objects.filter(batch=batch)
        .select_related("event__alert")
        .order_by("event__pk")
    )
    grouped: dict[int, list[AlertEvent]] = {}
    is_digest = True
    for row in rows:
        is_digest &= Waits(row.waits_for).is_digest
        grouped.setdefault(row.event.alert_id, []).append(row.event)
    if not grouped:
        raise Gone(f"expected deliveries of the batch {batch}")
    alerts = sorted(grouped.values(), key=_order)
    told = [_told(events) for events in alerts]
    line = digest_subject(told) if is_digest else subject(told)
    ongoing = [events for events in alerts if not _is_cleared(events)]
    worst = min((events[0].alert.severity for events in ongoing), default=None)
    return Message(
        id=str(batch),
        title=line,
        body=_body(alerts, batch),
        severity=Severity(worst).slug if worst else "cleared",
        payload=_payload(
            str(batch),
            "alerts",
            line,
            [_alert(events) for events in alerts[:LISTED]],
            more=max(0, len(alerts) - LISTED),
            now=now,
        ),
    )


def compose_test(*, actor: str, now: datetime) -> Message:
    """Return the message of Send test."""
    key = str(uuid.uuid4())
    line = "[Test] Store Point Console can reach this channel"
    sender = one_line(actor, 150)
    return Message(
        id=key,
        title=line,
        body=f"{sender} asked for this test at {_at(now)}.\n{_url('/settings/channels/')}",
        severity="cleared",
        payload=_payload(key, "test", line, [], more=0, now=now),
    )


def _payload(
    key: str,
    kind: str,
    line: str,
    alerts: list[dict[str, Any]],
    *,
    more: int,
    now: datetime,
) -> dict[str, Any]:
    return {
        "version": VERSION,
        "id": key,
        "type": kind,
        "sent_at": _instant(now),
        "console": {
            "name": "Store Point Console",
            "url": configuration.PUBLIC_URL,
        },
        "subject": line,
        "alerts": alerts,
        "more": more,
    }


def _alert(events: Sequence[AlertEvent]) -> dict[str, Any]:
    alert = events[0].alert
    return {
        "id": alert.pk,
        "kind": alert.kind,
        "severity": Severity(alert.severity).slug,
        "status": "cleared" if _is_cleared(events) else "open",
        "text": _text(events),
        "object": one_line(alert.object_name),
        "reported_by": one_line(alert.reported_by, 100),
        "raised_at": _instant(alert.raised_at),
        "cleared_at": _instant(alert.cleared_at) if alert.cleared_at else None,
        "url": _url(alert.get_absolute_url()),
        "events": [
            {"id": event.pk, "type": event.kind, "at": _instant(event.at)}
            for event in events[-EVENTS:]
        ],
    }


def _body(alerts: Sequence[Sequence[AlertEvent]], batch: uuid.UUID) -> str:
    """Return plain text: for each alert what it is, since when, and where to look.

    The end of the batch's id stands last: who gets a message twice sees it is the same.
    """
    lines: list[str] = []
    for events in alerts[:LINES]:
        alert = events[0].alert
        is_cleared = _is_cleared(events)
        mark = "Cleared" if is_cleared else Severity(alert.severity).label
        lines += [
            f"[{mark}] {_text(events)}",
            f"{'Cleared' if is_cleared else 'Since'} {_at(_since(events))}, reported by "
            f"{one_line(alert.reported_by, 100)}",
            _url(alert.get_absolute_url()),
            "",
        ]
    more = len(alerts) - LINES
    if more > 0:
        lines += [f"And {humane.counted(more, 'more alert')}: {_url('/alerts/')}", ""]
    lines.append(f"Message {batch.hex[-12:]}")
    return "\n".join(lines)


def _since(events: Sequence[AlertEvent]) -> datetime:
    """Return since when what a message tells of an alert has been so."""
    steps = (AlertEvent.Kind.REMINDED, AlertEvent.Kind.ESCALATED)
    changes = [event.at for event in events if event.kind not in steps]
    return changes[-1] if changes else events[0].alert.raised_at


def _order(events: Sequence[AlertEvent]) -> tuple[bool, int, datetime, int]:
    """Sort the open before the cleared, the worse first, then the older."""
    alert = events[0].alert
    return _is_cleared(events), alert.severity, events[0].at, alert.pk


def _is_cleared(events: Sequence[AlertEvent]) -> bool:
    return events[-1].kind == AlertEvent.Kind.CLEARED


def _text(events: Sequence[AlertEvent]) -> str:
    """Return the text as it was when it happened: numbers may have moved on since."""
    told = [event.text for event in events if event.text]
    return one_line(told[-1] if told else events[0].alert.text)


def _told(events: Sequence[AlertEvent]) -> Told:
    alert = events[0].alert
    return Told(
        text=_text(events),
        name=alert.object_name,
        severity=Severity(alert.severity),
        is_cleared=_is_cleared(events),
        has_come_back=events[-1].kind == AlertEvent.Kind.REOPENED,
    )


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _at(instant: datetime) -> str:
    """Return an instant in the console's own zone, which it names."""
    with timezone.override(None):
        return f"{timezone.localtime(instant):%Y-%m-%d %H:%M:%S %Z}"


def _url(path: str) -> str:
    return f"{configuration.PUBLIC_URL.rstrip('/')}{path}"
