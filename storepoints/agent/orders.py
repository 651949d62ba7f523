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


#: An order that is to be believed for longer than this is not believed at all, so that
#: what was seen need not be remembered for longer either.
LONGEST_SECONDS = 2 * 3600.0


class Inbox:
    """Opens envelopes; remembers what it has seen as long as the agent runs.

    The master sends from several processes, so orders may overtake each other: an
    older one is still carried out, but never twice, and never to put an older wish
    for inbound backup in the place of a newer one.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._seen: dict[tuple[str, int], float] = {}
        self._revisions: dict[str, int] = {}

    def open(self, envelope: object) -> Order:
        """Return the order in an envelope.

        Raises wire.Refused when it is not signed, not for this server, expired, a
        replay, or not of a known kind.
        """
        body = wire.unseal(
            envelope, server=self._configuration.server, key=self._configuration.key
        )
        sequence = _number(body, "sequence", int)
        expires_at = _number(body, "expires_at", float)
        now = time.time()
        late = now - expires_at
        if late >= 0:
            raise wire.Refused(
                f"the order expired {late:.1f} s ago by the clock of this server; "
                "if that happens every time, the clocks of master and server differ"
            )
        # Written so that "not a number" is refused too.
        if not -late <= LONGEST_SECONDS:
            raise wire.Refused(
                f"expires_at is {expires_at!r}: expected at most {LONGEST_SECONDS:g} s "
                "from now by the clock of this server"
            )
        kind, name = body.get("kind"), body.get("order")
        if not isinstance(name, str):
            raise wire.Refused(f"order is {name!r}: expected its uuid as a text")
        self._refuse_replay((name, sequence), expires_at, now)
        store_points: list[dict[str, Any]] = []
        complaints: list[str] = []
        if kind == "probe":
            store_points, complaints = _store_points(body)
            for entry in store_points:
                self._forget_old_wish(entry)
        elif kind == "inspect":
            _texts(body, "path")
        elif kind == "adopt":
            _texts(body, "path", "id", "name")
            _volume(body)
        elif kind == "readopt":
            _texts(body, "path", "id", "name")
            _expects(body)
        else:
            raise wire.Refused(
                f"kind is {kind!r}: expected 'probe', 'inspect', 'adopt' or 'readopt'"
            )
        return Order(kind, name, body, store_points, complaints)

    def _refuse_replay(
        self, seen: tuple[str, int], expires_at: float, now: float
    ) -> None:
        if seen in self._seen:
            raise wire.Refused(f"order {seen[0]} ({seen[1]}) is a replay")
        self._seen = {each: until for each, until in self._seen.items() if until > now}
        self._seen[seen] = expires_at

    def _forget_old_wish(self, entry: dict[str, Any]) -> None:
        """Let nothing be applied for an order that a newer wish has overtaken."""
        revision = entry.get("inbound_revision", 0)
        newest = self._revisions.get(entry["id"], 0)
        if revision < newest:
            entry["inbound"] = ""
        else:
            self._revisions[entry["id"]] = revision


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


def _expects(body: dict[str, Any]) -> None:
    expects = body.get("expects")
    if (
        not isinstance(expects, dict)
        or not isinstance(expects.get("volume"), dict)
        or not isinstance(expects.get("fingerprint"), str)
        or not expects["fingerprint"]
    ):
        raise wire.Refused(
            f"expects is {expects!r}: expected the volume and the fingerprint shown"
        )


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
