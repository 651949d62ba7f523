"""Celery's consumer with a short temper: it asks for the broker often and says so once."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

logger = logging.getLogger("storepoints.agent")

#: A broker that is back is noticed within this time.
RETRY_SECONDS = 1.0


class AgentConsumer(Consumer):
    """Connects to the broker again every second for ever, instead of ever later."""

    _is_told = False

    def ensure_connected(self, conn: Any) -> Any:
        """Return the connection once the broker has answered."""

        def complain(error: Exception, _interval: float) -> None:
            if not self._is_told:
                self._is_told = True
                logger.warning(
                    "the broker at %s does not answer (%s): asking every %g s",
                    conn.as_uri(),
                    error,
                    RETRY_SECONDS,
                )

        conn = conn.ensure_connection(
            complain,
            None,
            interval_start=RETRY_SECONDS,
            interval_step=0,
            interval_max=RETRY_SECONDS,
            callback=maybe_shutdown,
        )
        if self._is_told:
            self._is_told = False
            logger.warning("the broker answers again")
        self.first_connection_attempt = False
        return conn

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Say in one line that the connection is lost, and clean up after it."""
        logger.warning("the connection to the broker is lost: %s", exc)
        super().on_connection_error_after_connected(exc)
