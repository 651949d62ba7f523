"""Inbound backup: the switch is a desired state that the agent applies."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import F, Q

from console.accounts.models import User
from console.kit import audit
from storepoints.models import StorePoint
from storepoints.services.checks import ask_store_points
from storepoints.services.fence import lift_fences
from storepoints.signals import facts_recorded


def change_inbound(
    store_points: Iterable[int], *, is_enabled: bool, actor: User | None, now: datetime
) -> list[StorePoint]:
    """Enable or disable inbound backup, and return the store points that changed.

    What was already so is left alone and not returned. Enabling also lifts the fence of
    a store point that works now; one that does not stays fenced, its wish is left
    alone, and it is not returned. The agents are told at once; if that is lost, the
    wish rides in the next probe.
    """
    with transaction.atomic():
        rows = (
            StorePoint.objects.select_for_update(of=("self",), no_key=True)
            .select_related("server")
            .filter(pk__in=list(store_points))
            .order_by("pk")
        )
        if is_enabled:
            candidates = [
                row
                for row in rows.filter(Q(accepts_inbound=False) | ~Q(fenced_at=None))
                if row.fenced_at is None or works_now(row, now)
            ]
        else:
            candidates = list(rows.filter(accepts_inbound=True))
        wished = [row for row in candidates if row.accepts_inbound != is_enabled]
        audit.record_many(
            actor=actor,
            verb=f"storepoint.{'enable' if is_enabled else 'disable'}_inbound",
            subjects=wished,
            now=now,
        )
        StorePoint.objects.filter(pk__in=[row.pk for row in wished]).update(
            accepts_inbound=is_enabled,
            inbound_revision=F("inbound_revision") + 1,
            inbound_changed_at=now,
            inbound_changed_by=actor.get_username() if actor else "console",
            inbound_error="",
        )
        if is_enabled:
            lift_fences(
                [row for row in candidates if row.fenced_at is not None],
                actor=actor,
                note="by hand",
                now=now,
            )
        keys = [row.pk for row in candidates]
        facts_recorded.send(StorePoint, store_points=keys, servers=[], now=now)
        if keys:
            transaction.on_commit(lambda: ask_store_points(keys, now=now))
    return candidates


def works_now(store_point: StorePoint, now: datetime) -> bool:
    """Return whether a store point works, by a reading that still counts."""
    silent_at = store_point.server.silent_at
    return (
        store_point.is_online
        and store_point.stale_at is not None
        and store_point.stale_at >= now
        and (silent_at is None or silent_at >= now)
    )
