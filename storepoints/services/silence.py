"""Silence: servers that do not answer, and readings that nobody renews, written down.

Pages do not need these rows, for they reckon staleness when they read. Alerts do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from console.kit import heartbeat
from storepoints.models import Server, StatusChange, StorePoint
from storepoints.selectors import read_pulse
from storepoints.signals import facts_recorded
from storepoints.states import Reason, State

#: After checks began to run again, everything is asked at once; so long it may take.
TIME_TO_ANSWER = timedelta(seconds=60)


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
            Server.objects.select_for_update(no_key=True)
            .filter(silent_at__lt=now, offline_since__isnull=True)
            .order_by("pk")
        )
        if not silent:
            return []
        keys = [server.pk for server in silent]
        Server.objects.filter(pk__in=keys).update(offline_since=now)
        store_points = list(
            StorePoint.objects.select_for_update(no_key=True)
            .filter(server__in=keys, adopted_at__isnull=False)
            .exclude(state=State.SERVER_OFFLINE)
            .order_by("pk")
        )
        _change(store_points, State.SERVER_OFFLINE, Reason.SERVER_OFFLINE, now)
        facts_recorded.send(
            Server,
            store_points=[row.pk for row in store_points],
            servers=keys,
            now=now,
        )
    return silent


def record_stale_readings(*, now: datetime) -> list[StorePoint]:
    """Record which store points nobody hears of although their servers answer.

    They are *unknown*, and that is believed: a store point whose findings are lost or
    refused must not stay without an alert. Returns those that newly are.
    """
    if not read_pulse(now).is_running:
        return []
    resumed_at = heartbeat.read(["resume"]).get("resume")
    if resumed_at is not None and now - resumed_at < TIME_TO_ANSWER:
        return []
    with transaction.atomic():
        stale = list(
            # Whatever is being written at this moment is not silent.
            StorePoint.objects.select_for_update(
                of=("self",), skip_locked=True, no_key=True
            )
            .filter(
                stale_at__lt=now,
                adopted_at__isnull=False,
                server__offline_since__isnull=True,
                server__silent_at__isnull=True,
            )
            .exclude(state__in=[State.UNKNOWN, State.SERVER_OFFLINE])
            .order_by("pk")
        )
        if not stale:
            return []
        _change(stale, State.UNKNOWN, Reason.STALE, now)
        keys = [row.pk for row in stale]
        StorePoint.objects.filter(pk__in=keys).update(is_believed=True)
        facts_recorded.send(StorePoint, store_points=keys, servers=[], now=now)
    return stale


def _change(
    store_points: Sequence[StorePoint], state: State, reason: Reason, now: datetime
) -> None:
    StatusChange.objects.bulk_create(
        [
            StatusChange(
                store_point=store_point,
                at=now,
                recorded_at=now,
                state_before=store_point.state,
                reason_before=store_point.reason,
                state=state,
                reason=reason,
                cause="silence",
            )
            for store_point in store_points
        ],
        batch_size=500,
    )
    StorePoint.objects.filter(pk__in=[row.pk for row in store_points]).update(
        state=state, reason=reason, is_online=False, since=now, successes=0
    )
