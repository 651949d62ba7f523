"""Sending signed orders to agents. Never called inside a transaction."""

from __future__ import annotations

import logging
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from console.kit import secrets
from storepoints import wire
from storepoints.models import Server

logger = logging.getLogger(__name__)


def send_order(
    server: Server,
    kind: str,
    payload: dict[str, Any],
    *,
    expires_seconds: float,
    order: uuid.UUID | None = None,
) -> bool:
    """Send an order to a server's own queue and return whether the broker took it.

    An order that is not fetched within ``expires_seconds`` is dropped unread: a
    probe that comes late is of no use, because the next one has been sent by then. A
    server whose key cannot be read gets none, and the others get theirs all the same.
    """
    try:
        key = secrets.decrypt(server.sealed_key)
    except secrets.Unreadable as error:
        logger.error(
            "%s: no %s order was sent, for its key cannot be read: %s",
            server,
            kind,
            error,
        )
        return False
    # By the clock of the agent, which decides whether the order has expired.
    sent_at = time.time() - (server.clock_offset_seconds or 0.0)
    envelope = wire.seal(
        {
            "kind": kind,
            "order": str(order or uuid.uuid4()),
            "sequence": time.time_ns(),
            "sent_at": sent_at,
            "expires_at": sent_at + expires_seconds,
            **payload,
        },
        server=str(server.guid),
        key=key,
    )
    try:
        current_app.send_task(
            wire.ORDER_TASK,
            args=[envelope],
            queue=wire.queue_of(str(server.guid)),
            expires=datetime.fromtimestamp(sent_at + expires_seconds, UTC),
            ignore_result=True,
            retry=False,
        )
    except (OperationalError, RedisError, OSError) as error:
        logger.warning("%s: the broker took no %s order: %s", server, kind, error)
        return False
    return True
