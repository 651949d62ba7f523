"""What a channel is asked to carry, and what is written down of how that went."""

from __future__ import annotations

import logging
from datetime import datetime

from console.kit import secrets
from notifications.engine import DeliveryState, Problem, Scope
from notifications.messages import Message
from notifications.models import Channel, Delivery
from notifications.transports import apprise, webhook
from notifications.transports.smtp import NotSent

logger = logging.getLogger(__name__)


def post(channel: Channel, message: Message, *, now: datetime) -> str:
    """Send a message by a channel; return the answer in words. Raises NotSent.

    Blocks for at most 20 s, and does not touch the database.
    """
    url, secret = open_channel(channel)
    if channel.kind == Channel.Kind.WEBHOOK:
        return webhook.post(
            url,
            message.payload,
            secret=secret,
            delivery=message.id,
            now=now,
            allows_private=channel.allows_private,
        )
    return apprise.post(url, message, allows_private=channel.allows_private)


def open_channel(channel: Channel) -> tuple[str, str]:
    """Return a channel's address and key; raises NotSent when they cannot be read."""
    try:
        return (
            secrets.decrypt(channel.sealed_url),
            secrets.decrypt(channel.sealed_secret),
        )
    except secrets.Unreadable:
        raise NotSent(
            Problem(
                "The address of this channel cannot be read: it was stored with another "
                "secret key.",
                "Type the address again under Settings > Channels.",
                Scope.SERVER,
                is_permanent=True,
            )
        ) from None


def note_success(channel: int, *, now: datetime) -> None:
    """Note that a channel took a message; if it was failing, try what waits at once."""
    rows = Channel.objects.filter(pk=channel)
    rows.update(last_success_at=now)
    if rows.filter(failing_since__isnull=False).update(failing_since=None):
        hurry(channel, now=now)


def note_failure(channel: Channel, problem: Problem, *, now: datetime) -> None:
    """Note why a channel did not take a message, and switch off one that never will.

    Only as it was when it was tried: one that was changed meanwhile is another.
    """
    rows = Channel.objects.filter(
        pk=channel.pk,
        sealed_url=channel.sealed_url,
        sealed_secret=channel.sealed_secret,
    )
    rows.update(last_failure_at=now, last_error=problem.words, last_cure=problem.cure)
    if problem.scope is Scope.RECIPIENT:
        # It answered, whatever it thinks of this message.
        rows.update(failing_since=None)
        return
    rows.filter(failing_since__isnull=True).update(failing_since=now)
    if problem.is_permanent and rows.filter(is_enabled=True).update(
        is_enabled=False, disabled_at=now
    ):
        logger.warning("switched off the channel %s: %s", channel.name, problem.words)


def hurry(channel: int, *, now: datetime) -> int:
    """Let what waits for another attempt by a channel be tried now; return how many."""
    return Delivery.objects.filter(
        channel=channel, state=DeliveryState.RETRY, due_at__gt=now
    ).update(due_at=now)
