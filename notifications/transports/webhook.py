"""Signed webhooks: one POST of JSON, with a signature that the receiver can check.

docs/channels.md is written for who receives them, webhook.schema.json has the body.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets as randomness
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from console.kit import clock
from notifications.engine import (
    Problem,
    Scope,
    judge_status,
    read_retry_after,
)
from notifications.transports import http
from notifications.transports.masking import Mask
from notifications.transports.smtp import NotSent

#: What the body of every webhook keeps to.
SCHEMA = Path(__file__).with_name("webhook.schema.json")

#: What a key that the console makes begins with, so that it is known where it is found.
KEY_PREFIX = "spc_"


def new_secret() -> str:
    """Return a key to sign with, of 256 random bits."""
    return KEY_PREFIX + randomness.token_urlsafe(32)


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a body that is sent at a time: "v1=" and hexadecimals.

    HMAC-SHA256 over the timestamp, a dot and the body.
    """
    signed = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={signed.hexdigest()}"


def post(
    url: str,
    payload: Mapping[str, Any],
    *,
    secret: str,
    delivery: str,
    now: datetime,
    allows_private: bool,
) -> str:
    """Send a payload; return the answer in words. Raises NotSent.

    ``delivery`` is the same when the same message is sent again.
    """
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )
    timestamp = str(int(now.timestamp()))
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "X-Console-Delivery": delivery,
        "X-Console-Timestamp": timestamp,
        "X-Console-Signature": sign(secret, timestamp, body),
    }
    try:
        answer = http.request(
            "POST", url, body=body, headers=headers, allows_private=allows_private
        )
    except http.NoAnswer as error:
        raise NotSent(
            Problem(error.words, error.cure, Scope.SERVER, is_certain=error.is_certain)
        ) from error
    # Servers like to say what they were asked, and that was a secret.
    words = Mask(url, secret).over(
        f"{answer.where} answered {answer.words}", answer.where
    )
    problem = judge_status(
        answer.status,
        words,
        retry_after=read_retry_after(answer.retry_after, now=clock.now()),
    )
    if problem is not None:
        raise NotSent(problem)
    return words
