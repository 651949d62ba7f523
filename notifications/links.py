"""The token in the link of a mail: which mail, until when, signed with the console's key."""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.urls import reverse

from notifications.models import MailLink

#: What the signature is for is part of its key: nothing else that this console signs,
#: and no link that may do something else, is taken for a link to acknowledge.
_SALT = "notifications.links.acknowledge"

_SECONDS_BYTES = 5  # Seconds since 1970 until the year 36,812.

#: No token is longer; what is need not be looked at.
_LONGEST = 200


class Unreadable(ValueError):
    """A token that this console has not signed, or that has lost a part."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token says: the mail it stands in, and when it expires."""

    batch: uuid.UUID
    expires_at: datetime


def link_to(link: MailLink) -> str:
    """Return the address of the page that the link of a mail opens."""
    path = reverse("acknowledge_by_mail", args=[write(link)])
    return f"{settings.PUBLIC_URL.rstrip('/')}{path}"


def write(link: MailLink) -> str:
    """Return the token of a link: 72 characters that may stand in an address.

    The same row gives the same token, so that a mail that is sent again is the same.
    """
    seconds = int(link.expires_at.timestamp()).to_bytes(_SECONDS_BYTES, "big")
    text = base64.urlsafe_b64encode(link.batch.bytes + seconds).decode().rstrip("=")
    return _signer().sign(text)


def read(token: str) -> Claim:
    """Return what a token says; raises Unreadable when it was not made by this console."""
    if len(token) > _LONGEST or not token.isascii():
        raise Unreadable("expected a token of this console")
    try:
        text = _signer().unsign(token)
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        batch = uuid.UUID(bytes=raw[:16])
        seconds = int.from_bytes(raw[16 : 16 + _SECONDS_BYTES], "big")
        return Claim(batch, datetime.fromtimestamp(seconds, UTC))
    except (BadSignature, binascii.Error, ValueError) as error:
        raise Unreadable("expected a token of this console") from error


def _signer() -> Signer:
    return Signer(salt=_SALT, sep=".")
