"""Celery's beat, with a sign of life for the supervisor."""

from __future__ import annotations

from typing import Any

import celery.beat
from celery.utils.log import get_logger

from console.celery import note_liveness

logger = get_logger("celery.beat")


class Scheduler(celery.beat.Scheduler):
    """Keeps the schedule in memory and notes each turn, also one that failed.

    In memory: the default keeps a file that a kill can corrupt, and a schedule of
    minutes has nothing to remember. A turn is noted apart from what was sent: while the
    broker is away nothing can be sent, and that is no reason to kill beat.
    """

    def tick(self, *args: Any, **options: Any) -> Any:
        """Send what is due and return the seconds until the next turn."""
        note_liveness("beat", what="beat-turn")
        return super().tick(*args, **options)

    def _ensure_connected(self) -> Any:
        """Try until the broker answers, as the original does, and note each attempt."""

        def complain(error: Exception, seconds: float) -> None:
            note_liveness("beat", what="beat-turn")
            logger.error(
                "beat: Connection error: %s. Trying again in %s seconds...",
                error,
                seconds,
            )

        connection: Any = self.connection
        return connection.ensure_connection(
            complain, self.app.conf.broker_connection_max_retries
        )
