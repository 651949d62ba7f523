"""Secrets at rest: passwords of other systems, encrypted with the console's key."""

from __future__ import annotations

import base64
import functools

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class Unreadable(ValueError):
    """A secret was encrypted with another key, or damaged: it must be typed again."""


@functools.lru_cache(maxsize=8)
def _fernet(key: str) -> Fernet:
    # The secret key signs sessions too: a key of its own for this purpose (RFC 5869).
    derived = HKDF(SHA256(), 32, salt=None, info=b"console.kit.secrets").derive(
        key.encode()
    )
    return Fernet(base64.urlsafe_b64encode(derived))


def _box() -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([_fernet(key) for key in keys])


def encrypt(text: str) -> str:
    """Return a text encrypted and authenticated (Fernet); an empty text stays empty."""
    return _box().encrypt(text.encode()).decode() if text else ""


def decrypt(token: str) -> str:
    """Return what was encrypted; raises Unreadable when the key does not fit."""
    if not token:
        return ""
    try:
        return _box().decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise Unreadable(
            "expected a secret that was encrypted with this console's secret key"
        ) from error
