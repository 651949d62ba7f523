"""Kombu's Redis transport, which what is no message does not stop.

Whoever may append to a queue can append anything. Kombu's own transport ends the worker
at what is not JSON, and Celery's at a task whose arguments are not a list, each time it
comes back. Here both are dropped and said in one line. Nothing here imports Django,
because the agent runs without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

logger = logging.getLogger(__name__)

#: What parsing raises when the data has another shape than expected.
MALFORMED = (
    AttributeError,
    IndexError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)


class Channel(redis.Channel):
    """A channel that drops what it cannot read."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc] # no stub
        except MALFORMED as error:
            # It is off the queue already, and was never a message to acknowledge.
            logger.warning("dropped what is no message: %r", error)
            return True

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,  # noqa: FBT001 - as Kombu declares it
        callback: Callable[..., Any] | None,
        consumer_tag: str | None,
        **options: Any,
    ) -> Any:
        """Consume from a queue; a message that cannot be a task is rejected."""

        def careful(message: Any) -> Any:
            try:
                return callback(message) if callback else None
            except MALFORMED as error:
                logger.warning("dropped a message that is no task: %r", error)
                if not no_ack and not message.acknowledged:
                    message.reject()
                return None

        return super().basic_consume(queue, no_ack, careful, consumer_tag, **options)


class Transport(redis.Transport):
    """Kombu's Redis transport with the channel above."""

    Channel = Channel


def use() -> None:
    """Let every broker address of Redis and Valkey be served by this transport."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
