"""The messages between the master server and the agents, and their signatures.

An *order* goes from the master to one agent, a *report* from an agent to the master.
Both travel as a sealed envelope: the body is one JSON text, signed as it stands with
the server's own key, so that no two programs can disagree about what was signed.
Nothing here imports Django, because the agent runs without it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from typing import Any, TypedDict

VERSION = 1

#: Celery names of the two messages and the queue that reports go to.
ORDER_TASK = "agent.carry_out"
REPORT_TASK = "storepoints.record_report"
REPORTS_QUEUE = "reports"

#: An envelope larger than this is refused unread. A finding takes about 1.5 kB.
MAXIMUM_BYTES = 32 * 1024 * 1024


#: The year 3000, in seconds since 1970: no instant that an agent means lies beyond.
END_OF_TIME = 32_503_680_000


class Refused(ValueError):
    """An envelope that is not what it should be; the text says what was expected."""


class Envelope(TypedDict):
    """A signed message: the server's guid, the JSON body and its HMAC-SHA256."""

    server: str
    body: str
    signature: str


def queue_of(server: str) -> str:
    """Return the name of the queue that the agent of a server reads."""
    return f"server.{server}"


def sign(key: str, server: str, body: str) -> str:
    """Return the hexadecimal HMAC-SHA256 of a body under a server's key."""
    signed = f"{server}\n{body}".encode("utf-8", "surrogatepass")
    return hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()


def seal(message: dict[str, Any], *, server: str, key: str) -> Envelope:
    """Return the envelope of a message; the message must be plain JSON data."""
    body = json.dumps({"version": VERSION, **message}, separators=(",", ":"))
    return {"server": server, "body": body, "signature": sign(key, server, body)}


def addressee(envelope: object) -> str:
    """Return the guid that an envelope names, before anything in it is believed.

    Raises Refused when the envelope is not of the right shape or too large.
    """
    if not isinstance(envelope, dict):
        raise Refused(f"expected an envelope, found {type(envelope).__name__}")
    for name in ("server", "body", "signature"):
        if not isinstance(envelope.get(name), str):
            raise Refused(f"expected a text in the envelope's {name!r}")
    if len(envelope["body"]) > MAXIMUM_BYTES:
        raise Refused(
            f"expected a body of at most {MAXIMUM_BYTES} characters, "
            f"found {len(envelope['body'])}"
        )
    server: str = envelope["server"]
    return server


def _none(_constant: str) -> None:
    """Read NaN and the infinities as null: they are no JSON, and no database's either."""


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def unseal(envelope: object, *, server: str, key: str) -> dict[str, Any]:
    """Return the message in an envelope after checking shape, addressee and signature.

    Raises Refused when the envelope is for another server, is not signed with the
    key, is not JSON or is of another version.
    """
    named = addressee(envelope)
    assert isinstance(envelope, dict)  # noqa: S101 - addressee() made sure of it
    if named != server:
        raise Refused(f"expected an envelope of server {server}, found {named[:64]!r}")
    body: str = envelope["body"]
    if not hmac.compare_digest(
        sign(key, server, body),
        envelope["signature"].encode("ascii", "replace").decode(),
    ):
        raise Refused("the signature does not fit the key of this server")
    try:
        message = json.loads(body, parse_constant=_none, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Refused(f"expected JSON in the body: {error}") from error
    if not isinstance(message, dict) or message.get("version") != VERSION:
        found = message.get("version") if isinstance(message, dict) else message
        raise Refused(f"expected a message of version {VERSION}, found {found!r}")
    return message


def seconds_in(data: dict[str, Any], name: str) -> float:
    """Return an instant as seconds since the epoch; Refused when it is none."""
    value = data.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Neither infinity nor "not a number" lies between the bounds, and an integer that
    # does fits a float.
    if is_number and value is not None and 0 < value < END_OF_TIME:
        return float(value)
    raise Refused(f"expected seconds since 1970 in {name!r}, found {value!r}")
