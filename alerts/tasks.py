"""Celery tasks: call one service."""

from __future__ import annotations

import logging

from celery import shared_task
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from alerts import services
from console.kit import clock
from storepoints.services import record_silent_servers, record_stale_readings

logger = logging.getLogger(__name__)

#: A wake-up that was not taken by then has been overtaken by the periodic look.
WAKE_UP_EXPIRES_SECONDS = 300


@shared_task(name="alerts.sweep")
def sweep() -> None:
    """Record which servers and readings have become silent; their alerts follow.

    What flapped and has become steady is said, what a silence kept that is over, and
    what was put off for long enough.
    """
    now = clock.now()
    record_silent_servers(now=now)
    record_stale_readings(now=now)
    services.raise_waiting(now=now)
    services.settle_flapping(now=now)
    services.follow_silences(now=now)


@shared_task(name="alerts.reconcile_everything")
def reconcile_everything() -> None:
    """Compare every alert with the facts, in case the catalogue has changed."""
    services.reconcile_everything(now=clock.now())


def reconcile_soon() -> None:
    """Ask a worker to compare every alert with the facts at once.

    When the broker is away nothing is lost: that is done now and then anyway.
    """
    try:
        reconcile_everything.apply_async(expires=WAKE_UP_EXPIRES_SECONDS, retry=False)
    except (OperationalError, RedisError, OSError) as error:
        logger.warning("the broker took no wake-up, the next look will do: %s", error)
