"""Servers that do not answer: believed after three intervals, and written down."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from storepoints.models import Server, StatusChange, StorePoint
from storepoints.selectors import read_pulse
from storepoints.signals import facts_recorded
from storepoints.states import Reason, State


def record_silent_servers(*, now: datetime) -> list[Server]:
    """Record that servers have become offline, and return those that newly are.

    Nothing is recorded while checks are not running, for then it is not known
    whether the servers were asked. Their store points are *server offline*: the last
    reading stays beside it, but says nothing about now.
    """
    if not read_pulse(now).is_running:
        return []
    with transaction.atomic():
        silent = list(
            Server.objects.select_for_update().filter(
                silent_at__lt=now, offline_since__isnull=True
            )
        )
        if not silent:
            return []
        keys = [server.pk for server in silent]
        Server.objects.filter(pk__in=keys).update(offline_since=now)
        store_points = list(
            StorePoint.objects.select_for_update()
            .filter(server__in=keys, adopted_at__isnull=False)
            .exclude(state=State.SERVER_OFFLINE)
        )
        StatusChange.objects.bulk_create(
            [
                StatusChange(
                    store_point=store_point,
                    at=now,
                    recorded_at=now,
                    state_before=store_point.state,
                    reason_before=store_point.reason,
                    state=State.SERVER_OFFLINE,
                    reason=Reason.SERVER_OFFLINE,
                    cause="silence",
                )
                for store_point in store_points
            ],
            batch_size=500,
        )
        StorePoint.objects.filter(pk__in=[row.pk for row in store_points]).update(
            state=State.SERVER_OFFLINE,
            reason=Reason.SERVER_OFFLINE,
            is_online=False,
            since=now,
            successes=0,
        )
        facts_recorded.send(
            Server,
            store_points=[row.pk for row in store_points],
            servers=keys,
            now=now,
        )
    return silent
