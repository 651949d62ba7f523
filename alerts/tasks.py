"""Celery tasks: call one service."""

from __future__ import annotations

from celery import shared_task

from alerts import services
from console.kit import clock
from storepoints.services import record_silent_servers, record_stale_readings


@shared_task(name="alerts.sweep")
def sweep() -> None:
    """Record which servers and readings have become silent; their alerts follow.

    What flapped and has become steady is said, and what a silence kept that is over.
    """
    now = clock.now()
    record_silent_servers(now=now)
    record_stale_readings(now=now)
    services.settle_flapping(now=now)
    services.follow_silences(now=now)


@shared_task(name="alerts.reconcile_everything")
def reconcile_everything() -> None:
    """Compare every alert with the facts, in case the catalogue has changed."""
    services.reconcile_everything(now=clock.now())
