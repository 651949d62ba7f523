"""Kombu's Redis transport, which neither garbage nor a lost connection stops.

Whoever may append to a queue can append anything. Kombu's own transport ends the worker
at what is not JSON, and Celery's at a task whose arguments are not a list, each time it
comes back. Here both are dropped and said in one line. Nothing here imports Django,
because the agent runs without it.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from kombu.transport import TRANSPORT_ALIASES, redis

logger = logging.getLogger(__name__)

#: The header that says when a message was published, in seconds since 1970: Celery
#: itself notes no such thing, and a queue's lag is the age of what waits in it.
PUBLISHED_AT = "published_at"

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
    """A channel that drops what it cannot read, and connects again when it is lost."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc] # no stub
        except MALFORMED as error:
            # It is off the queue already, and was never a message to acknowledge.
            logger.warning("dropped what is no message: %r", error)
            return True

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: FBT001, FBT002 - as Kombu declares it
        """Acknowledge a message; raises BrokenPipeError when the connection is lost.

        Of all errors it is the one that Kombu hands on. Any other it logs and forgets:
        the message counts as in hand for ever, and with as many as may be in hand at
        once no other is asked for, also when the broker is back.
        """
        try:
            super().basic_ack(delivery_tag, multiple)
        except self.connection_errors as error:  # type: ignore[attr-defined] # no stub
            raise BrokenPipeError(errno.EPIPE, str(error)) from error

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


def _note_when(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[PUBLISHED_AT] = time.time()


def use() -> None:
    """Let every broker address of Redis and Valkey be served by this transport.

    What is published from then on carries PUBLISHED_AT.
    """
    signals.before_task_publish.connect(
        _note_when, weak=False, dispatch_uid="storepoints.published_at"
    )
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
