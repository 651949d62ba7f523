"""Celery tasks: call one service."""

from __future__ import annotations

import logging

from celery import shared_task
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from console.kit import clock
from notifications import services
from notifications.engine import GATHER

logger = logging.getLogger(__name__)

#: A wake-up that was not taken by then has been overtaken by the periodic sweep.
WAKE_UP_EXPIRES_SECONDS = 60


@shared_task(name="notifications.sweep")
def sweep() -> None:
    """Make deliveries of new events, send what is due, and say when that fails."""
    now = clock.now()
    services.sweep(now=now)
    services.reconcile_delivery(now=now)


@shared_task(name="notifications.follow_alerts")
def follow_alerts() -> None:
    """Remind and escalate where nobody has acknowledged in time."""
    services.follow_alerts(now=clock.now())


@shared_task(name="notifications.advance_drill")
def advance_drill() -> None:
    """Take what steps of the running drill can be taken now."""
    services.advance_drill(now=clock.now())


def advance_soon() -> None:
    """Ask a worker to look after the running drill at once.

    When the broker is away nothing is lost: the next periodic look finds it.
    """
    try:
        advance_drill.apply_async(expires=WAKE_UP_EXPIRES_SECONDS, retry=False)
    except (OperationalError, RedisError, OSError) as error:
        logger.warning("the broker took no wake-up, the next look will do: %s", error)


def wake_up() -> None:
    """Ask a worker to sweep as soon as the gather of an event of now is over.

    When the broker is away nothing is lost: the next sweep finds the event.
    """
    try:
        sweep.apply_async(
            countdown=GATHER.total_seconds(),
            expires=GATHER.total_seconds() + WAKE_UP_EXPIRES_SECONDS,
            retry=False,
        )
    except (OperationalError, RedisError, OSError) as error:
        logger.warning("the broker took no wake-up, the next sweep will do: %s", error)
