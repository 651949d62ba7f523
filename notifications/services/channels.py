"""What administrators do with channels: add, change, switch, test and remove them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from console.accounts.models import User
from console.kit import audit, clock, secrets
from notifications import messages
from notifications.engine import PATIENCE, UNSENT, DeliveryState
from notifications.models import Channel, Delivery
from notifications.services import posting
from notifications.services.lock import lock_mail
from notifications.services.sending import Tested
from notifications.transports.smtp import NotSent
from notifications.transports.webhook import new_secret

#: What stands in the audit log for a secret that was changed.
CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class ChannelFields:
    """A channel as an administrator typed it.

    ``url`` None keeps the one that is stored. ``makes_secret`` has a webhook signed
    with a new key from now on.
    """

    name: str
    url: str | None
    is_enabled: bool
    allows_private: bool
    per_hour: int
    makes_secret: bool = False


@dataclass(frozen=True, slots=True)
class Saved:
    """A channel that was saved; ``secret`` is a new key, to be shown this once."""

    channel: Channel
    has_changed: bool
    secret: str = ""


def add_channel(
    kind: str, fields: ChannelFields, *, actor: User, now: datetime
) -> Saved:
    """Add a channel; a webhook gets a key to sign with.

    Raises ValidationError when another one has the name. The audit entry has neither
    address nor key.
    """
    if fields.url is None:
        raise ValueError("expected the address of a new channel")
    secret = new_secret() if kind == Channel.Kind.WEBHOOK else ""
    channel = Channel(
        kind=kind,
        name=fields.name,
        is_enabled=fields.is_enabled,
        sealed_url=secrets.encrypt(fields.url),
        sealed_secret=secrets.encrypt(secret),
        allows_private=fields.allows_private,
        per_hour=fields.per_hour,
        created_at=now,
    )
    _check(channel)

    def write() -> None:
        channel.save(force_insert=True)
        audit.record(
            actor=actor,
            verb="channel.add",
            subject=channel,
            now=now,
            data={
                "kind": kind,
                "is_enabled": channel.is_enabled,
                "allows_private": channel.allows_private,
                "per_hour": channel.per_hour,
            },
        )

    _once(write)
    return Saved(channel, has_changed=True, secret=secret)


def change_channel(
    key: int, fields: ChannelFields, *, actor: User, now: datetime
) -> Saved | None:
    """Change a channel; None when it is no longer there.

    What waits for another attempt is tried with what is new at once; what has waited
    for the channel to be switched on is given another 24 h. Raises ValidationError
    when another one has the name.
    """
    found: list[Saved] = []

    def write() -> None:
        lock_mail()
        channel = Channel.objects.select_for_update().filter(pk=key).first()
        if channel is None:
            return
        was_enabled = channel.is_enabled
        secret = ""
        changes: dict[str, Any] = {}
        for name in ("name", "is_enabled", "allows_private", "per_hour"):
            value = getattr(fields, name)
            if getattr(channel, name) != value:
                changes[name] = [getattr(channel, name), value]
                setattr(channel, name, value)
        if fields.url is not None:
            channel.sealed_url = secrets.encrypt(fields.url)
            changes["url"] = CHANGED
        if fields.makes_secret and channel.kind == Channel.Kind.WEBHOOK:
            secret = new_secret()
            channel.sealed_secret = secrets.encrypt(secret)
            changes["secret"] = CHANGED
        if not changes and channel.disabled_at is None:
            found.append(Saved(channel, has_changed=False))
            return
        # Whether it is on is a person's choice from here on.
        channel.disabled_at = None
        channel.failing_since = None
        _check(channel)
        channel.save()
        audit.record(
            actor=actor, verb="channel.change", subject=channel, now=now, data=changes
        )
        if "name" in changes:
            Delivery.objects.filter(channel=channel, state__in=UNSENT).update(
                recipient_name=channel.name
            )
        _let_go(channel, was_enabled=was_enabled, now=now)
        found.append(Saved(channel, has_changed=True, secret=secret))

    _once(write)
    return found[0] if found else None


def switch_channel(
    key: int, *, is_enabled: bool, actor: User, now: datetime
) -> Channel | None:
    """Switch a channel on or off; None when it is no longer there.

    One that the console has switched off is off by choice afterwards, or tried again.
    """
    with transaction.atomic():
        lock_mail()
        channel = Channel.objects.select_for_update().filter(pk=key).first()
        if channel is None:
            return None
        if channel.is_enabled == is_enabled and channel.disabled_at is None:
            return channel
        was_enabled = channel.is_enabled
        channel.is_enabled = is_enabled
        channel.disabled_at = None
        channel.failing_since = None
        channel.save(update_fields=["is_enabled", "disabled_at", "failing_since"])
        audit.record(
            actor=actor,
            verb="channel.switch_on" if is_enabled else "channel.switch_off",
            subject=channel,
            now=now,
        )
        _let_go(channel, was_enabled=was_enabled, now=now)
    return channel


def _let_go(channel: Channel, *, was_enabled: bool, now: datetime) -> None:
    """Let what waits be sent at once, when the channel is on."""
    if not channel.is_enabled:
        return
    posting.hurry(channel.pk, now=now)
    if not was_enabled:
        Delivery.objects.filter(channel=channel, state__in=UNSENT).update(
            give_up_at=now + PATIENCE
        )


def remove_channel(key: int, *, actor: User, now: datetime) -> str | None:
    """Remove a channel with what was sent by it; return its name.

    None when somebody was faster. What waits is not sent: the audit entry says how
    much that was.
    """
    with transaction.atomic():
        lock_mail()
        channel = Channel.objects.select_for_update().filter(pk=key).first()
        if channel is None:
            return None
        rows = Delivery.objects.filter(channel=channel)
        audit.record(
            actor=actor,
            verb="channel.remove",
            subject=channel,
            now=now,
            data={
                "kind": channel.kind,
                "sent": rows.filter(state=DeliveryState.SENT).count(),
                "not_sent": rows.exclude(state=DeliveryState.SENT).count(),
            },
        )
        channel.delete()
    return channel.name


def send_channel_test(key: int, *, actor: User, now: datetime) -> Tested | None:
    """Send a test by a channel now, and return the service's answer.

    It is sent also when the channel is off, so that it can be tried first; an answer
    that would switch it off does not do so. None when it is no longer there. Takes at
    most 20 s; never to be called inside a transaction.
    """
    channel = Channel.objects.filter(pk=key).first()
    if channel is None:
        return None
    start = time.monotonic()
    message = messages.compose_test(actor=actor.get_username(), now=now)
    problem = None
    words = ""
    try:
        words = posting.post(channel, message, now=now)
    except NotSent as failure:
        problem = failure.problem
    seconds = time.monotonic() - start
    done_at = max(now, clock.now())
    with transaction.atomic():
        rows = Channel.objects.filter(pk=key)
        if problem is None:
            posting.note_success(key, now=done_at)
        else:
            rows.update(
                last_failure_at=done_at,
                last_error=problem.words,
                last_cure=problem.cure,
            )
        audit.record(
            actor=actor,
            verb="channel.test",
            subject=channel,
            now=now,
            note=problem.words if problem else "",
            data={"is_sent": problem is None},
        )
    return Tested(
        is_sent=problem is None,
        words=problem.words if problem else words,
        cure=problem.cure if problem else "",
        seconds=seconds,
    )


#: What a person types of a channel, and so may be wrong.
_TYPED = frozenset({"name", "kind", "per_hour"})


def _check(channel: Channel) -> None:
    """Raise ValidationError for what cannot be saved."""
    fields = {field.name for field in channel._meta.get_fields()}  # noqa: SLF001 (Django's public API, for all its name)
    channel.clean_fields(exclude=fields - _TYPED)
    channel.validate_constraints()


def _once(write: Callable[[], None]) -> None:
    """Write, all or nothing; a name that somebody else took just now is a mistake too."""
    try:
        with transaction.atomic():
            write()
    except IntegrityError:
        raise ValidationError({"name": "Another channel has this name."}) from None
