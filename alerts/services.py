"""The verbs of this app: reconcile, acknowledge, choose what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q

from alerts import selectors
from alerts.catalogue import KINDS, Scope, Unknown, kinds_of
from alerts.engine import (
    Clear,
    Condition,
    Key,
    Raise,
    Reopen,
    Update,
    reconcile,
)
from alerts.models import Alert, AlertEvent, NotificationSetting
from alerts.signals import events_written
from console.accounts.models import User
from console.kit import audit
from console.kit.bulk import BulkResult, Left
from storepoints.models import Server, StorePoint

#: The subject of the alerts about the console itself.
CONSOLE = "console"


class Facts:
    """The rows that conditions are decided by, and what follows from them."""

    def __init__(self) -> None:
        self.conditions: list[Condition] = []
        self.unknown: set[Key] = set()
        self.subjects: set[str] = set()
        self.rows: dict[str, StorePoint | Server] = {}

    def add(self, scope: Scope, subject: str, row: Any) -> None:
        """Decide every kind of a scope for one row."""
        self.subjects.add(subject)
        if isinstance(row, StorePoint | Server):
            self.rows[subject] = row
        for kind in kinds_of(scope):
            answer = kind.holds(row)
            if isinstance(answer, Unknown):
                self.unknown.add((kind.slug, subject))
            elif answer is not None:
                text = kind.text(name_of(row), answer)
                self.conditions.append(
                    Condition(kind.slug, subject, kind.severity, answer, text)
                )


def name_of(row: object) -> str:
    """Return what an alert's text calls its object."""
    return row.name if isinstance(row, StorePoint | Server) else "this console"


def reconcile_alerts(
    *, store_points: Iterable[int], servers: Iterable[int], now: datetime
) -> None:
    """Make the alerts of these store points and servers say what holds now.

    To be called inside the transaction that wrote the facts. A store point or server
    that is no longer there has no conditions, so its alerts clear.
    """
    facts = Facts()
    wanted = list(store_points)
    # Locked in this order by everybody, so that facts and alerts are of one instant.
    server_keys = list(servers)
    server_rows = {
        row.pk: row
        for row in Server.objects.select_for_update()
        .filter(pk__in=server_keys)
        .order_by("pk")
    }
    rows = {
        row.pk: row
        for row in StorePoint.objects.select_for_update(of=("self",))
        .select_related("server")
        .filter(pk__in=wanted)
        .order_by("pk")
    }
    for key in wanted:
        subject = f"{Scope.STORE_POINT}:{key}"
        facts.subjects.add(subject)
        if key in rows:
            facts.add(Scope.STORE_POINT, subject, rows[key])
    for key in server_keys:
        subject = f"{Scope.SERVER}:{key}"
        facts.subjects.add(subject)
        if key in server_rows:
            facts.add(Scope.SERVER, subject, server_rows[key])
    _apply(facts, now=now)


def reconcile_console(*, silent_since: datetime | None, now: datetime) -> None:
    """Make the alerts about the console itself say what holds now."""
    facts = Facts()
    facts.add(Scope.CONSOLE, CONSOLE, silent_since)
    with transaction.atomic():
        _apply(facts, now=now)


def reconcile_everything(*, now: datetime) -> None:
    """Reconcile all store points and servers: what a sweep does now and then."""
    with transaction.atomic():
        reconcile_alerts(
            store_points=StorePoint.objects.values_list("pk", flat=True),
            servers=Server.objects.values_list("pk", flat=True),
            now=now,
        )


def _apply(facts: Facts, *, now: datetime) -> None:
    if not facts.subjects:
        return
    held = selectors.held_alerts(facts.subjects, now=now)
    if not held and not facts.conditions:
        return
    changes = reconcile(held, facts.conditions, unknown=facts.unknown, now=now)
    events: list[AlertEvent] = []
    settings: dict[str, NotificationSetting] | None = None
    for change in changes:
        if isinstance(change, Raise):
            settings = settings or selectors.notification_settings()
            event = _raise(change.condition, facts, settings, now)
            if event is not None:
                events.append(event)
        elif isinstance(change, Reopen):
            events += _reopen(change, facts, now)
        elif isinstance(change, Update):
            events += _update(change, facts, now)
        elif isinstance(change, Clear):
            Alert.objects.filter(pk=change.alert.id).update(
                cleared_at=max(now, change.alert.raised_at)
            )
            events.append(
                _event(change.alert.id, AlertEvent.Kind.CLEARED, now, actor=None)
            )
    touched = {change.alert.id for change in changes if not isinstance(change, Raise)}
    holding = {condition.key for condition in facts.conditions}
    Alert.objects.filter(
        pk__in=[
            alert.id
            for alert in held
            if alert.key in holding
            and alert.cleared_at is None
            and alert.id not in touched
        ]
    ).update(last_seen_at=now)
    _write_events(events, now=now)


def _raise(
    condition: Condition,
    facts: Facts,
    settings: dict[str, NotificationSetting],
    now: datetime,
) -> AlertEvent | None:
    kind = KINDS[condition.kind]
    row = facts.rows.get(condition.subject)
    alert = Alert(
        kind=kind.slug,
        subject=condition.subject,
        severity=condition.severity,
        data=dict(condition.data),
        is_shown=settings[kind.slug].is_shown,
        raised_at=now,
        last_seen_at=now,
        text=condition.text,
        **_about(row),
    )
    try:
        with transaction.atomic():
            alert.save(force_insert=True)
    except IntegrityError:
        # Another process raised it at this instant; the constraint keeps one.
        return None
    return _event(alert.pk, AlertEvent.Kind.RAISED, now, text=alert.text)


def _about(row: StorePoint | Server | None) -> dict[str, Any]:
    """Return the fields of an alert that say what it is about."""
    if isinstance(row, StorePoint):
        reporter = row.server.name
        objects: dict[str, Any] = {"store_point": row, "server": row.server}
    elif isinstance(row, Server):
        reporter = "master"
        objects = {"store_point": None, "server": row}
    else:
        reporter = "master"
        objects = {"store_point": None, "server": None}
    return {
        "object_name": name_of(row),
        "reported_by": reporter,
        **objects,
    }


def _lapsed(alert: int, now: datetime) -> AlertEvent:
    return _event(
        alert,
        AlertEvent.Kind.LAPSED,
        now,
        text="The acknowledgement lapsed, because the alert got worse.",
    )


#: What an alert without acknowledgement holds.
NOT_ACKNOWLEDGED: dict[str, Any] = {
    "acknowledged_at": None,
    "acknowledged_by": None,
    "acknowledged_by_name": "",
    "acknowledged_until": None,
    "note": "",
}


def _reopen(change: Reopen, facts: Facts, now: datetime) -> list[AlertEvent]:
    condition = change.condition
    about = {"text": condition.text, **_about(facts.rows.get(condition.subject))}
    alert = Alert.objects.get(pk=change.alert.id)
    for name, value in {
        **about,
        "severity": condition.severity,
        "data": dict(condition.data),
        "cleared_at": None,
        "last_seen_at": now,
        "times": alert.times + 1,
        **(NOT_ACKNOWLEDGED if change.does_lapse else {}),
    }.items():
        setattr(alert, name, value)
    alert.save()
    events = [_event(alert.pk, AlertEvent.Kind.REOPENED, now, text=alert.text)]
    if change.does_lapse:
        events.append(_lapsed(alert.pk, now))
    return events


def _update(change: Update, facts: Facts, now: datetime) -> list[AlertEvent]:
    condition = change.condition
    about = {"text": condition.text, **_about(facts.rows.get(condition.subject))}
    Alert.objects.filter(pk=change.alert.id).update(
        **about,
        severity=condition.severity,
        data=dict(condition.data),
        last_seen_at=now,
        **(NOT_ACKNOWLEDGED if change.does_lapse else {}),
    )
    events = []
    if change.has_worsened:
        events.append(
            _event(change.alert.id, AlertEvent.Kind.WORSENED, now, text=about["text"])
        )
    if change.does_lapse:
        events.append(_lapsed(change.alert.id, now))
    return events


def _event(
    alert: int,
    kind: AlertEvent.Kind,
    now: datetime,
    *,
    text: str = "",
    actor: User | None = None,
    note: str = "",
) -> AlertEvent:
    is_news = kind in AlertEvent.NEWS
    return AlertEvent(
        alert_id=alert,
        at=now,
        kind=kind,
        text=text,
        actor_name=actor.get_username() if actor else "",
        note=note,
        routed_at=None if is_news else now,
    )


def _write_events(events: Sequence[AlertEvent], *, now: datetime) -> None:
    if not events:
        return
    AlertEvent.objects.bulk_create(events, batch_size=500)
    if any(event.routed_at is None for event in events):
        transaction.on_commit(lambda: events_written.send(AlertEvent, now=now))


def acknowledge_alerts(
    alerts: Iterable[int],
    *,
    actor: User,
    now: datetime,
    note: str = "",
    until: datetime | None = None,
) -> BulkResult:
    """Note that a person has seen these alerts: who, when, why and until when.

    Compare-and-set: an alert that somebody else acknowledged in the meantime is
    skipped and said. Alerts, events and audit rows are written in one transaction.
    """
    with transaction.atomic():
        rows = list(
            Alert.objects.select_for_update()
            .filter(pk__in=list(alerts))
            .only(
                "pk",
                "text",
                "acknowledged_at",
                "acknowledged_until",
                "acknowledged_by_name",
            )
            .order_by("pk")
        )
        done = [row for row in rows if not row.is_acknowledged(now)]
        skipped = tuple(
            Left(row.text, f"is already acknowledged by {row.acknowledged_by_name}")
            for row in rows
            if row.is_acknowledged(now)
        )
        Alert.objects.filter(pk__in=[row.pk for row in done]).update(
            acknowledged_at=now,
            acknowledged_by=actor,
            acknowledged_by_name=actor.get_username(),
            acknowledged_until=until,
            note=note,
        )
        _record_acts(
            done,
            AlertEvent.Kind.ACKNOWLEDGED,
            "alert.acknowledge",
            actor=actor,
            now=now,
            note=note,
        )
    return BulkResult(len(done), skipped)


def unacknowledge_alerts(
    alerts: Iterable[int], *, actor: User, now: datetime
) -> BulkResult:
    """Take acknowledgements back: the alerts need a person again."""
    with transaction.atomic():
        rows = list(
            Alert.objects.select_for_update()
            .filter(pk__in=list(alerts))
            .only("pk", "text", "acknowledged_at", "acknowledged_until")
            .order_by("pk")
        )
        done = [row for row in rows if row.acknowledged_at is not None]
        skipped = tuple(
            Left(row.text, "is not acknowledged")
            for row in rows
            if row.acknowledged_at is None
        )
        Alert.objects.filter(pk__in=[row.pk for row in done]).update(**NOT_ACKNOWLEDGED)
        _record_acts(
            done,
            AlertEvent.Kind.UNACKNOWLEDGED,
            "alert.unacknowledge",
            actor=actor,
            now=now,
        )
    return BulkResult(len(done), skipped)


def _record_acts(
    alerts: Sequence[Alert],
    kind: AlertEvent.Kind,
    verb: str,
    *,
    actor: User,
    now: datetime,
    note: str = "",
) -> None:
    _write_events(
        [_event(alert.pk, kind, now, actor=actor, note=note) for alert in alerts],
        now=now,
    )
    audit.record_many(actor=actor, verb=verb, subjects=alerts, now=now, note=note)


def change_notification_setting(
    kind: str, *, is_shown: bool, is_mailed: bool, actor: User, now: datetime
) -> bool:
    """Choose whether a kind is shown and mailed; return whether that is a change.

    What is switched off is still recorded. Alerts that stand already appear and
    disappear with the switch.
    """
    with transaction.atomic():
        setting, _ = NotificationSetting.objects.select_for_update().get_or_create(
            kind=kind, defaults={"changed_at": now}
        )
        before = {"is_shown": setting.is_shown, "is_mailed": setting.is_mailed}
        after = {"is_shown": is_shown, "is_mailed": is_mailed}
        if before == after:
            return False
        NotificationSetting.objects.filter(pk=setting.pk).update(
            **after, changed_at=now
        )
        Alert.objects.filter(Q(kind=kind) & ~Q(is_shown=is_shown)).update(
            is_shown=is_shown
        )
        audit.record(
            actor=actor,
            verb="notification.change",
            subject=setting,
            now=now,
            data={
                name: [before[name], after[name]]
                for name in after
                if before[name] != after[name]
            },
        )
    return True
