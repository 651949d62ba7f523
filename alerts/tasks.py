"""Celery tasks: call one service."""

from __future__ import annotations

from celery import shared_task

from alerts import services
from console.kit import clock
from storepoints.services import record_silent_servers


@shared_task(name="alerts.sweep")
def sweep() -> None:
    """Record which servers have become silent; their alerts follow."""
    record_silent_servers(now=clock.now())


@shared_task(name="alerts.reconcile_everything")
def reconcile_everything() -> None:
    """Compare every alert with the facts, in case the catalogue has changed."""
    services.reconcile_everything(now=clock.now())
