"""What administrators choose: who is told, of what, and how mail is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F

from alerts import services as alerts
from alerts.settings import Choice
from console.accounts.models import User
from console.accounts.selectors import active_administrators
from console.kit import audit, secrets
from notifications.engine import PATIENCE, UNSENT, DeliveryState
from notifications.models import Delivery, Recipient
from notifications.services.lock import lock_mail
from notifications.services.sending import hurry
from storepoints.models import Destination


def add_recipient(address: str, *, actor: User, now: datetime) -> Recipient:
    """Add an address that is told of alerts.

    Raises ValidationError when it is no address, is a recipient already in whatever
    case, or belongs to an administrator, who is included anyway.
    """
    address = address.strip()
    included = active_administrators().filter(email__iexact=address).first()
    if address and included is not None:
        raise ValidationError(
            {
                "address": f"{address} is {included.get_username()}'s, an administrator "
                "who is included already."
            }
        )
    recipient = Recipient(
        address=address,
        added_by=actor,
        added_by_name=actor.get_username(),
        added_at=now,
    )
    recipient.full_clean()
    try:
        with transaction.atomic():
            recipient.save(force_insert=True)
            audit.record(actor=actor, verb="recipient.add", subject=recipient, now=now)
    except IntegrityError:
        # Somebody else added it at this instant.
        raise ValidationError(
            {"address": "This address is a recipient already."}
        ) from None
    return recipient


def remove_recipient(recipient: int, *, actor: User, now: datetime) -> str | None:
    """Stop telling an address; return it, or None when somebody was faster.

    What still waits to be sent to it is not sent, and the delivery log says why. An
    administrator with this address is told all the same.
    """
    with transaction.atomic():
        lock_mail()
        row = Recipient.objects.select_for_update().filter(pk=recipient).first()
        if row is None:
            return None
        audit.record(actor=actor, verb="recipient.remove", subject=row, now=now)
        if not active_administrators().filter(email__iexact=row.address).exists():
            Delivery.objects.filter(
                recipient__iexact=row.address,
                state__in=[DeliveryState.PENDING, DeliveryState.RETRY],
            ).update(
                state=DeliveryState.FAILED,
                error=f"Not sent: {actor.get_username()} removed the recipient.",
            )
        row.delete()
    return row.address


def change_kinds(
    choices: Mapping[str, Choice],
    *,
    destination: Destination | None = None,
    actor: User,
    now: datetime,
) -> list[str]:
    """Choose what becomes of each kind, everywhere or in a destination.

    Returns the kinds that changed. All or nothing, one audit entry for each that
    changed; raises ValidationError when something cannot be chosen.
    """
    return alerts.change_notification_settings(
        choices, destination=destination, actor=actor, now=now
    )


def reset_kinds(
    *, destination: Destination | None = None, actor: User, now: datetime
) -> list[str]:
    """Let every kind be as at first; return the kinds that changed.

    Without a destination that is so in every destination too.
    """
    return alerts.reset_notification_settings(
        destination=destination, actor=actor, now=now
    )


@dataclass(frozen=True, slots=True)
class MailServer:
    """How mail is to be sent, as an administrator typed it.

    ``password`` None keeps the one that is stored, "" removes it.
    """

    host: str
    port: int
    security: str
    username: str
    password: str | None
    sender: str
    is_enabled: bool
    group_seconds: int
    has_links: bool = True


def change_email_settings(server: MailServer, *, actor: User, now: datetime) -> bool:
    """Choose how mail is sent; return whether anything changed.

    What waits for another attempt is tried with the new settings at once; what has
    waited for sending to be switched on is given another 24 h. The audit entry says
    which fields changed from what to what, of the password only that it did.
    """
    chosen = asdict(server)
    password = chosen.pop("password")
    with transaction.atomic():
        row = lock_mail()
        before = {name: getattr(row, name) for name in chosen}
        was_ready = row.is_ready
        changes: dict[str, Any] = {
            name: [before[name], value]
            for name, value in chosen.items()
            if before[name] != value
        }
        if password is not None and (password or row.sealed_password):
            row.sealed_password = secrets.encrypt(password)
            changes["password"] = "changed" if password else "removed"
        if not changes:
            return False
        for name, value in chosen.items():
            setattr(row, name, value)
        row.changed_at = now
        row.failing_since = None
        row.save()
        audit.record(
            actor=actor, verb="email.change", subject=row, now=now, data=changes
        )
        hurry(now=now)
        if row.is_ready and not was_ready:
            unsent = Delivery.objects.filter(state__in=UNSENT)
            unsent.filter(due_at__lte=now).update(give_up_at=now + PATIENCE)
            unsent.filter(due_at__gt=now).update(give_up_at=F("due_at") + PATIENCE)
    return True
