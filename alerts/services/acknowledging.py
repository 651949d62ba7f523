"""Acknowledging and taking it back, one alert or fifty thousand, and undoing either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import JSONObject

from alerts.models import NOT_ACKNOWLEDGED, Alert, AlertEvent
from alerts.selectors import MANY, is_acknowledged, is_active
from console.accounts.models import User
from console.kit import audit
from console.kit.bulk import BulkResult, Left
from console.kit.rows import insert_selected, value_of, write_rows

#: What stands in the timeline and the audit log when an action was taken back at once.
UNDONE = "undone"


def acknowledge_alerts(
    alerts: Iterable[int],
    *,
    actor: User | audit.Outsider,
    now: datetime,
    note: str = "",
    until: datetime | None = None,
) -> BulkResult:
    """Note that a person has seen these alerts: who, when, why and until when.

    Those that it alone explains are acknowledged with it. Compare-and-set: an
    alert that somebody else acknowledged in the meantime is skipped and said. Alerts,
    events and audit rows are written in one transaction, in as many statements for
    one alert as for thousands.
    """
    asked = set(alerts)
    with transaction.atomic():
        # What a store point has of its own is not seen by whoever looks at its server.
        held = _children(
            asked, Q(is_presumed=True) & is_active(now, of="parent__") & is_active(now)
        )
        done = _lock(asked | held, is_active(now))
        for rows in _rows(done):
            rows.update(
                acknowledged_at=now,
                acknowledged_by=actor if isinstance(actor, User) else None,
                acknowledged_by_name=actor.get_username(),
                acknowledged_until=until,
                note=note,
            )
            _record(
                rows,
                AlertEvent.Kind.ACKNOWLEDGED,
                "alert.acknowledge",
                actor=actor,
                now=now,
                note=note,
            )
        skipped = _left(
            asked - set(done),
            is_acknowledged(now),
            lambda row: f"is already acknowledged by {row.acknowledged_by_name}",
        )
    return BulkResult(len(done), skipped)


def unacknowledge_alerts(
    alerts: Iterable[int], *, actor: User, now: datetime
) -> BulkResult:
    """Take acknowledgements back: the alerts need a person again.

    Those that were acknowledged together with one of them, as held under it, need a
    person again too.
    """
    return _take_back(
        set(alerts), Q(acknowledged_at__isnull=False), actor=actor, now=now, note=""
    )


def _take_back(
    asked: set[int], condition: Q, *, actor: User, now: datetime, note: str
) -> BulkResult:
    """Take back the acknowledgements that fulfil a condition when they are locked."""
    with transaction.atomic():
        held = _children(asked, Q(acknowledged_at=F("parent__acknowledged_at")))
        done = _lock(asked | held, condition)
        for rows in _rows(done):
            _record(
                rows,
                AlertEvent.Kind.UNACKNOWLEDGED,
                "alert.unacknowledge",
                actor=actor,
                now=now,
                note=note,
                data=JSONObject(
                    at=F("acknowledged_at"),
                    by=F("acknowledged_by"),
                    by_name=F("acknowledged_by_name"),
                    until=F("acknowledged_until"),
                    note=F("note"),
                ),
            )
            rows.update(**NOT_ACKNOWLEDGED)
        skipped = _left(asked - set(done), Q(), _not_taken_back)
    return BulkResult(len(done), skipped)


def _not_taken_back(row: Alert) -> str:
    if row.acknowledged_by_name:
        return f"is acknowledged by {row.acknowledged_by_name} again"
    return "is not acknowledged"


def undo_acknowledgement(at: datetime, *, actor: User, now: datetime) -> BulkResult:
    """Take back what one person acknowledged at one instant, as far as it still stands.

    An alert whose acknowledgement is another one by now, or none, is skipped and said.
    """
    done_then = AlertEvent.objects.filter(
        at=at, actor_name=actor.get_username(), kind=AlertEvent.Kind.ACKNOWLEDGED
    ).values_list("alert", flat=True)
    return _take_back(
        set(done_then),
        Q(acknowledged_at=at, acknowledged_by=actor),
        actor=actor,
        now=now,
        note=UNDONE,
    )


#: What happened to an alert since may be more than the acknowledgement had seen.
NEWER = (
    AlertEvent.Kind.WORSENED,
    AlertEvent.Kind.REOPENED,
    AlertEvent.Kind.RELEASED,
    AlertEvent.Kind.FLAPPING,
)


def undo_unacknowledgement(at: datetime, *, actor: User, now: datetime) -> BulkResult:
    """Give back the acknowledgements that one person took back at one instant.

    An alert that was acknowledged again meanwhile, or got worse or came back, is skipped
    and said.
    """
    events = AlertEvent.objects.filter(
        at=at, actor_name=actor.get_username(), kind=AlertEvent.Kind.UNACKNOWLEDGED
    )
    before: dict[int, dict[str, Any]] = dict(events.values_list("alert", "data"))
    known = set(
        User.objects.filter(pk__in={each.get("by") for each in before.values()})
        .order_by()
        .values_list("pk", flat=True)
    )
    with transaction.atomic():
        since = AlertEvent.objects.filter(
            alert=OuterRef("pk"), kind__in=NEWER, at__gte=at
        )
        done = _lock(before, Q(~Exists(since), acknowledged_at__isnull=True))
        restored = []
        for key in done:
            was = before[key]
            by = was["by"] if was["by"] in known else None
            restored.append(
                Alert(
                    pk=key,
                    acknowledged_at=_instant(was["at"]),
                    acknowledged_by_id=by,
                    acknowledged_by_name=was["by_name"],
                    acknowledged_until=_instant(was["until"]),
                    note=was["note"],
                )
            )
        write_rows(restored, list(NOT_ACKNOWLEDGED))
        for rows in _rows(done):
            _record(
                rows,
                AlertEvent.Kind.ACKNOWLEDGED,
                "alert.acknowledge",
                actor=actor,
                now=now,
                note=UNDONE,
            )
        skipped = _left(set(before) - set(done), Q(), _not_given_back)
    return BulkResult(len(done), skipped)


def _not_given_back(row: Alert) -> str:
    if row.acknowledged_by_name:
        return f"is acknowledged by {row.acknowledged_by_name} again"
    return "has got worse or come back since"


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    # SQLite keeps instants without their zone, which is UTC.
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _children(parents: Iterable[int], condition: Q) -> set[int]:
    """Return the alerts that are held under these and fulfil a condition."""
    found: set[int] = set()
    for rows in _chunks(sorted(parents)):
        found.update(
            Alert.objects.filter(condition, parent__in=rows).values_list(
                "pk", flat=True
            )
        )
    return found


def _lock(alerts: Iterable[int], condition: Q) -> list[int]:
    """Lock those that fulfil a condition and return them.

    In the order of their keys, as everybody does: two people who act on the same
    alerts, or a report at that instant, wait for each other and not in a circle.
    """
    return [
        key
        for keys in _chunks(sorted(alerts))
        for key in Alert.objects.select_for_update(of=("self",))
        .filter(condition, pk__in=keys)
        .order_by("pk")
        .values_list("pk", flat=True)
    ]


def _rows(alerts: Sequence[int]) -> Iterator[QuerySet[Alert]]:
    for keys in _chunks(alerts):
        yield Alert.objects.filter(pk__in=keys)


def _chunks(alerts: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(alerts), MANY):
        yield alerts[start : start + MANY]


def _left(alerts: Iterable[int], condition: Q, why: Any) -> tuple[Left, ...]:
    """Return those that were left out although they are there, with the reason."""
    left: list[Left] = []
    for keys in _chunks(sorted(alerts)):
        rows = Alert.objects.filter(condition, pk__in=keys).order_by("pk")
        left += [
            Left(row.text, why(row))
            for row in rows.only("text", "acknowledged_by_name")
        ]
    return tuple(left)


def _record(
    rows: QuerySet[Alert],
    kind: AlertEvent.Kind,
    verb: str,
    *,
    actor: User | audit.Outsider,
    now: datetime,
    note: str,
    data: Any = None,
) -> None:
    """Write an event and an audit entry for each row, in two statements."""
    plain = AlertEvent(
        at=now,
        kind=kind,
        actor_name=actor.get_username(),
        note=note,
        # Nobody is told of it apart; the mails that follow say it.
        routed_at=now,
    )
    values: dict[str, Any] = {
        name: value_of(plain, name)
        for name in (
            *("at", "kind", "text", "actor_name", "note", "data"),
            *("routed_at", "routing", "is_withheld"),
        )
    }
    values["alert"] = F("pk")
    if data is not None:
        values["data"] = data
    insert_selected(AlertEvent, rows, values)
    audit.record_selected(
        actor=actor, verb=verb, subjects=rows, name="text", now=now, note=note
    )
