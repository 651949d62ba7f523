"""Celery tasks: parse, call one service, log what was refused."""

from __future__ import annotations

import logging
from typing import Any

from celery import shared_task

from console.kit import clock
from storepoints import services, wire

logger = logging.getLogger(__name__)


@shared_task(name="storepoints.tick")
def tick() -> None:
    """Ask what is due, and send it; ask again for adoptions that were not answered."""
    now = clock.now()
    services.send_due_probes(now=now)
    services.ask_for_adoption(now=now)


@shared_task(name="storepoints.keep_history")
def keep_history() -> None:
    """Roll up samples, remove old ones, make forecasts."""
    services.keep_history(now=clock.now())


@shared_task(name=wire.REPORT_TASK)
def record_report(envelope: Any = None) -> None:
    """Record a report; one that cannot be believed is logged and dropped."""
    try:
        services.record_report(envelope, now=clock.now())
    except wire.Refused as error:
        logger.warning("refused a report: %s", error)
