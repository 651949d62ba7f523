"""Inbound backup: the switch is a desired state that the agent applies."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import F

from console.accounts.models import User
from console.kit import audit
from storepoints.models import StorePoint
from storepoints.services.checks import ask_store_points
from storepoints.signals import facts_recorded


def change_inbound(
    store_points: Iterable[int], *, is_enabled: bool, actor: User | None, now: datetime
) -> list[StorePoint]:
    """Enable or disable inbound backup, and return the store points that changed.

    What was already so is left alone and not returned. The agents are told at once;
    if that is lost, the wish rides in the next probe.
    """
    with transaction.atomic():
        changed = list(
            StorePoint.objects.select_for_update()
            .filter(pk__in=list(store_points), accepts_inbound=not is_enabled)
            .order_by("pk")
        )
        audit.record_many(
            actor=actor,
            verb=f"storepoint.{'enable' if is_enabled else 'disable'}_inbound",
            subjects=changed,
            now=now,
        )
        keys = [store_point.pk for store_point in changed]
        StorePoint.objects.filter(pk__in=keys).update(
            accepts_inbound=is_enabled,
            inbound_revision=F("inbound_revision") + 1,
            inbound_changed_at=now,
            inbound_changed_by=actor.get_username() if actor else "console",
            inbound_error="",
        )
        facts_recorded.send(StorePoint, store_points=keys, servers=[], now=now)
        if keys:
            transaction.on_commit(lambda: ask_store_points(keys, now=now))
    return changed
