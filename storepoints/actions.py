"""What an action menu offers for store points."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from console.accounts.people import actor_of
from console.kit import clock, humane
from console.kit.actions import Action, ActionMenu, Ask, Confirmation, applies_always
from console.kit.bulk import BulkResult, Left, Noun
from storepoints import selectors, services
from storepoints.fence import FENCE_WORDS
from storepoints.models import StorePoint
from storepoints.states import WORKING, Reason

STORE_POINTS = Noun("store point", "store points")


def _is_adopted(row: StorePoint, now: datetime) -> str:
    return "" if row.adopted_at else "is not adopted yet"


def _check_now(rows: Sequence[StorePoint], ask: Ask) -> BulkResult:
    sent = services.ask_store_points([row.pk for row in rows], now=ask.now)
    if sent == len(rows):
        return BulkResult(sent)
    why = "could not be asked: the message broker is away"
    return BulkResult(sent, failed=tuple(Left(str(row), why) for row in rows[sent:]))


def _change_inbound(
    rows: Sequence[StorePoint], ask: Ask, *, is_enabled: bool
) -> BulkResult:
    changed = services.change_inbound(
        [row.pk for row in rows],
        is_enabled=is_enabled,
        actor=actor_of(ask),
        now=ask.now,
    )
    done = {row.pk for row in changed}
    word = "enabled" if is_enabled else "disabled"
    return BulkResult(
        len(changed),
        tuple(
            # What was fenced and worked when it was chosen does not work any more.
            Left(str(row), (_fence(row) if is_enabled else "") or f"is already {word}")
            for row in rows
            if row.pk not in done
        ),
    )


def _enable(rows: Sequence[StorePoint], ask: Ask) -> BulkResult:
    return _change_inbound(rows, ask, is_enabled=True)


def _disable(rows: Sequence[StorePoint], ask: Ask) -> BulkResult:
    return _change_inbound(rows, ask, is_enabled=False)


def _fence(row: StorePoint) -> str:
    if row.fenced_at is None:
        return ""
    return f"is fenced: {FENCE_WORDS[Reason(row.fence_reason)]}"


def _can_be_enabled(row: Any, now: datetime) -> str:
    if row.fenced_at is not None:
        # A fence is lifted by hand where the store point works again.
        return "" if row.shown_state in WORKING else _fence(row)
    return "is already enabled" if row.accepts_inbound else ""


def _is_enabled(row: StorePoint, now: datetime) -> str:
    return "" if row.accepts_inbound else "is already disabled"


def effects_of_disabling(rows: Sequence[StorePoint]) -> list[str]:
    """Say what disabling inbound backup does, and what remains in each destination."""
    sentences = [
        "Users cannot back up to what is listed here until inbound backup is enabled "
        "again. Restoring still works, and no data is touched.",
        "Each server's agent applies it and says so; until then the page shows "
        "“disabling…”.",
        "An alert “Inbound backup disabled” is raised for each, so that it is not "
        "forgotten.",
    ]
    chosen = {row.pk for row in rows}
    for destination, accepting in selectors.accepting_by_destination(
        {row.server.destination_id for row in rows}, now=clock.now()
    ).items():
        left = len(accepting - chosen)
        sentences.append(
            f"Destination {destination}: "
            + (
                f"{humane.counted(left, 'store point', 'store points')} of "
                f"{len(accepting)} will still accept backup data."
                if left
                else "no store point will accept backup data any more, so its users "
                "cannot back up at all."
            )
        )
    return sentences


def effects_of_removing(rows: Sequence[StorePoint]) -> list[str]:
    """Say what removing does and what it leaves alone."""
    return [
        "The console stops watching what is listed here and forgets its status "
        "history. Alerts stay in the history.",
        "The data on disk is not touched: archives and the identity marker stay where "
        "they are, and the directory can be added again later.",
    ]


def _remove(rows: Sequence[StorePoint], ask: Ask) -> BulkResult:
    removed = services.remove_store_points(
        [row.pk for row in rows], actor=actor_of(ask), now=ask.now
    )
    return BulkResult(removed)


def _rows() -> QuerySet[StorePoint]:
    now = clock.now()
    return selectors.store_points(now=now, pulse=selectors.read_pulse(now))


MENU = ActionMenu(
    id="store-points",
    noun=STORE_POINTS,
    rows=_rows,
    url_name="storepoints:store_point_actions",
    actions=(
        Action(
            name="storepoint.check",
            label="Check Now",
            permission="storepoints.check_storepoint",
            applies=_is_adopted,
            run=_check_now,
            icon="refresh-cw",
            past="Asked for a check of",
            shortcut="c",
        ),
        Action(
            name="storepoint.enable_inbound",
            label="Enable Inbound Backup",
            permission="storepoints.change_inbound",
            applies=_can_be_enabled,
            run=_enable,
            icon="circle-check",
            past="Enabling inbound backup of",
            shortcut="e",
        ),
        Action(
            name="storepoint.disable_inbound",
            label="Disable Inbound Backup…",
            permission="storepoints.change_inbound",
            applies=_is_enabled,
            run=_disable,
            icon="circle-slash",
            past="Disabling inbound backup of",
            confirm=Confirmation(
                effects=effects_of_disabling, button="Disable Inbound Backup"
            ),
            shortcut="d",
        ),
        Action(
            name="storepoint.remove",
            label="Remove…",
            permission="storepoints.delete_storepoint",
            applies=applies_always,
            run=_remove,
            icon="trash-2",
            is_dangerous=True,
            past="Removed",
            confirm=Confirmation(
                effects=effects_of_removing, button="Remove from the console"
            ),
        ),
    ),
)
