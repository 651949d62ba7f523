"""Celery tasks of the project itself: call one service."""

from __future__ import annotations

from celery import shared_task

from console import housekeeping
from console.kit import clock


@shared_task(name="console.housekeeping")
def sweep_out() -> None:
    """Remove what nobody will ask for again."""
    housekeeping.sweep_out(now=clock.now())
