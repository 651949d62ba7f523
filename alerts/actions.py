"""What an action menu offers for alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Model, QuerySet

from alerts import services
from alerts.forms import AcknowledgeForm, QuickSilenceForm, silenced_until, until
from alerts.models import Alert, Silence
from alerts.silences import subject_of_store_point
from console.accounts.people import actor_of
from console.kit import humane
from console.kit.actions import (
    Action,
    ActionMenu,
    Ask,
    Confirmation,
    Undo,
    applies_always,
)
from console.kit.bulk import BulkResult, Noun
from storepoints.models import StorePoint

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


def _undo_acknowledgement(at: datetime, ask: Ask) -> BulkResult:
    return services.undo_acknowledgement(at, actor=actor_of(ask), now=ask.now)


def _undo_unacknowledgement(at: datetime, ask: Ask) -> BulkResult:
    return services.undo_unacknowledgement(at, actor=actor_of(ask), now=ask.now)


def _rows() -> QuerySet[Alert]:
    """Return the alerts without their largest columns, which no action reads."""
    return Alert.objects.defer("data", "returns", "note")


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


def _silence(rows: Sequence[Alert], ask: Ask) -> BulkResult:
    return _silence_subjects([row.subject for row in rows], ask)


def _silence_store_points(rows: Sequence[StorePoint], ask: Ask) -> BulkResult:
    return _silence_subjects([subject_of_store_point(row.pk) for row in rows], ask)


def _silence_subjects(subjects: Sequence[str], ask: Ask) -> BulkResult:
    services.create_silence(
        {
            "name": ask.fields["name"],
            "subjects": sorted(set(subjects)),
            "starts_at": ask.now,
            "ends_at": silenced_until(ask.fields, ask.now),
        },
        actor=actor_of(ask),
        now=ask.now,
    )
    return BulkResult(len(subjects))


def _undo_silence(at: datetime, ask: Ask) -> BulkResult:
    made = Silence.objects.filter(created_at=at, created_by=actor_of(ask))
    keys = list(made.values_list("pk", flat=True))
    return services.end_silences(keys, actor=actor_of(ask), now=ask.now)


def _effects_of_silencing(rows: Sequence[Model]) -> list[str]:
    their = "of their objects" if isinstance(rows[0], Alert) else "of theirs"
    return [
        f"Nobody is told of any alert {their} meanwhile. They are checked and "
        "recorded as ever, and what still holds at the end is told then.",
        "What was mailed already stays mailed. End it early under Alerts > Silences.",
    ]


MENU: ActionMenu[Alert] = ActionMenu(
    id="alerts",
    noun=ALERTS,
    rows=_rows,
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
            undo=Undo(_undo_acknowledgement, "Took back the acknowledgement of"),
        ),
        Action(
            name="alert.unacknowledge",
            label="Un-acknowledge",
            permission="alerts.unacknowledge_alert",
            applies=_is_acknowledged,
            run=_unacknowledge,
            icon="undo-2",
            past="Took back the acknowledgement of",
            undo=Undo(_undo_unacknowledgement, "Acknowledged as before:"),
        ),
        Action(
            name="alert.silence",
            label="Silence…",
            permission="alerts.silence_alert",
            applies=applies_always,
            run=_silence,
            icon="bell-off",
            past="Silenced the objects of",
            undo=Undo(_undo_silence, "Ended at once:"),
            confirm=Confirmation(
                form=QuickSilenceForm, effects=_effects_of_silencing, button="Silence"
            ),
        ),
    ),
)


#: What the Store Point Overview offers besides its own actions.
SILENCE_STORE_POINTS: Action[StorePoint] = Action(
    name="storepoint.silence",
    label="Silence…",
    permission="alerts.silence_alert",
    applies=applies_always,
    run=_silence_store_points,
    icon="bell-off",
    past="Silenced",
    undo=Undo(_undo_silence, "Ended at once:"),
    confirm=Confirmation(
        form=QuickSilenceForm, effects=_effects_of_silencing, button="Silence"
    ),
)


def _end(rows: Sequence[Silence], ask: Ask) -> BulkResult:
    return services.end_silences(
        [row.pk for row in rows], actor=actor_of(ask), now=ask.now
    )


def _delete(rows: Sequence[Silence], ask: Ask) -> BulkResult:
    return services.delete_silences(
        [row.pk for row in rows], actor=actor_of(ask), now=ask.now
    )


SILENCES = ActionMenu(
    id="silences",
    noun=Noun("silence", "silences"),
    rows=Silence.objects.all,
    url_name="alerts:silence_actions",
    actions=(
        Action(
            name="silence.end",
            label="End now",
            permission="alerts.silence_alert",
            applies=services.why_not_ended,
            run=_end,
            icon="bell-ring",
            past="Ended",
        ),
        Action(
            name="silence.delete",
            label="Delete…",
            permission="alerts.silence_alert",
            applies=services.why_not_deleted,
            run=_delete,
            icon="trash-2",
            is_dangerous=True,
            past="Deleted",
            confirm=Confirmation(button="Delete"),
        ),
    ),
)
