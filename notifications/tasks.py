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
    """Make deliveries of new events, and send what is due."""
    services.sweep(now=clock.now())


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
