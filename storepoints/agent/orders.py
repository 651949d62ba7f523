"""Orders from the master: believed only when signed, new, in time and for this server."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from storepoints import wire
from storepoints.agent.config import Configuration
from storepoints.agent.messages import spec_of, volume_of


@dataclass(frozen=True, slots=True)
class Order:
    """An order that is believed, and what of it could not be understood."""

    kind: str
    id: str
    body: dict[str, Any]
    store_points: list[dict[str, Any]]
    complaints: list[str]


class Inbox:
    """Opens envelopes; remembers the highest sequence as long as the agent runs."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._highest = 0

    def open(self, envelope: object) -> Order:
        """Return the order in an envelope.

        Raises wire.Refused when it is not signed, not for this server, expired, not
        newer than the newest, or not of a known kind.
        """
        body = wire.unseal(
            envelope, server=self._configuration.server, key=self._configuration.key
        )
        sequence = _number(body, "sequence", int)
        if sequence <= self._highest:
            raise wire.Refused(
                f"order {sequence} is not newer than {self._highest}: a replay, or "
                "it was overtaken"
            )
        self._highest = sequence
        late = time.time() - _number(body, "expires_at", float)
        if late >= 0:
            raise wire.Refused(
                f"the order expired {late:.1f} s ago by the clock of this server; "
                "if that happens every time, the clocks of master and server differ"
            )
        kind, name = body.get("kind"), body.get("order")
        if not isinstance(name, str):
            raise wire.Refused(f"order is {name!r}: expected its uuid as a text")
        store_points: list[dict[str, Any]] = []
        complaints: list[str] = []
        if kind == "probe":
            store_points, complaints = _store_points(body)
        elif kind == "inspect":
            _texts(body, "path")
        elif kind == "adopt":
            _texts(body, "path", "id", "name")
            _volume(body)
        else:
            raise wire.Refused(
                f"kind is {kind!r}: expected 'probe', 'inspect' or 'adopt'"
            )
        return Order(kind, name, body, store_points, complaints)


def _number(body: dict[str, Any], field: str, kind: type) -> Any:
    value = body.get(field)
    accepted = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise wire.Refused(f"{field} is {value!r}: expected a number")
    return value


def _texts(body: dict[str, Any], *fields: str) -> None:
    for field in fields:
        if not isinstance(body.get(field), str):
            raise wire.Refused(f"{field} is {body.get(field)!r}: expected a text")


def _volume(body: dict[str, Any]) -> None:
    try:
        volume_of(body.get("volume"))
    except ValueError as error:
        raise wire.Refused(str(error)) from error


def _store_points(body: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the entries that can be probed and what is wrong with the others."""
    if body.get("cause") not in ("due", "asked"):
        raise wire.Refused(f"cause is {body.get('cause')!r}: expected 'due' or 'asked'")
    entries = body.get("store_points")
    if not isinstance(entries, list):
        raise wire.Refused(f"store_points is {entries!r}: expected a list")
    good: list[dict[str, Any]] = []
    complaints: list[str] = []
    for entry in entries:
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"{entry!r}: expected an object")
            spec_of(entry)
        except ValueError as error:
            complaints.append(str(error))
        else:
            good.append(entry)
    return good, complaints
