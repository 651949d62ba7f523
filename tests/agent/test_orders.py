"""Which orders the agent believes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from storepoints import wire
from storepoints.agent.config import Configuration
from storepoints.agent.orders import Inbox
from tests.agent.harness import KEY, make_spec

CONFIGURATION = Configuration("me", "me", KEY, "redis://h/0")


def sealed(**fields: Any) -> wire.Envelope:
    now = time.time()
    body = {
        "kind": "probe",
        "order": "o",
        "sequence": 5,
        "sent_at": now,
        "expires_at": now + 9,
        "cause": "due",
        "complete": True,
        "store_points": [],
        **fields,
    }
    return wire.seal(body, server="me", key=KEY)


def test_it_believes_a_good_order_once() -> None:
    inbox = Inbox(CONFIGURATION)
    envelope = sealed()

    assert inbox.open(envelope).kind == "probe"
    with pytest.raises(wire.Refused, match="replay"):
        inbox.open(envelope)
    # Two processes of the master may send at once, and either may come first.
    assert inbox.open(sealed(sequence=4)).id == "o"
    assert inbox.open(sealed(sequence=6)).id == "o"


def test_it_never_puts_an_older_wish_in_the_place_of_a_newer_one() -> None:
    inbox = Inbox(CONFIGURATION)
    spec = make_spec("/good")
    newer = spec | {"inbound": "disabled", "inbound_revision": 2}
    older = spec | {"inbound": "enabled", "inbound_revision": 1}

    first = inbox.open(sealed(sequence=6, store_points=[newer]))
    second = inbox.open(sealed(sequence=5, store_points=[older]))
    third = inbox.open(sealed(sequence=7, store_points=[newer]))

    wishes = [order.store_points[0]["inbound"] for order in (first, second, third)]
    assert wishes == ["disabled", "", "disabled"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"expires_at": 1.0}, "expired"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": time.time() + 1e6}, "expires_at"),
        ({"expires_at": float("nan")}, "expires_at"),
        ({"sequence": None}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"order": 3}, "order"),
        ({"kind": "format-disk"}, "kind is 'format-disk'"),
        ({"cause": "whim"}, "cause is 'whim'"),
        ({"store_points": {}}, "store_points"),
        ({"kind": "inspect"}, "path is None"),
        ({"kind": "adopt", "path": "/x", "id": "i", "name": 3}, "name is 3"),
        (
            {"kind": "adopt", "path": "/x", "id": "i", "name": "n", "volume": 3},
            "volume is 3",
        ),
        ({"kind": "readopt", "path": "/x", "id": "i"}, "name is None"),
        (
            {"kind": "readopt", "path": "/x", "id": "i", "name": "n"},
            "expects is None: expected the volume and the fingerprint",
        ),
        (
            {
                "kind": "readopt",
                "path": "/x",
                "id": "i",
                "name": "n",
                "expects": {"volume": {}, "fingerprint": ""},
            },
            "expects is",
        ),
    ],
)
def test_it_says_why_it_refuses(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(wire.Refused, match=words):
        Inbox(CONFIGURATION).open(sealed(**fields))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"path": "relative"}, "absolute"),
        ({"path": "/nul\0"}, "absolute"),
        ({"id": 3}, "id is 3"),
        ({"deadline_seconds": 0}, "deadline_seconds"),
        ({"write": "yes"}, "write"),
        ({"inbound": "maybe"}, "inbound"),
        ({"is_fenced": "yes"}, "is_fenced"),
        ({"told": "maybe"}, "told"),
        ({"warning_days": 0}, "warning_days is 0: expected a number of days"),
        ({"critical_days": 7.5}, "critical_days is 7.5: expected a number of days"),
        ({"volume": {"mount_point": 3}}, "volume.mount_point"),
    ],
)
def test_it_leaves_out_one_bad_store_point_and_keeps_the_others(
    fields: dict[str, Any], words: str
) -> None:
    good = make_spec("/good")

    order = Inbox(CONFIGURATION).open(
        sealed(store_points=[good, make_spec("/bad") | fields, "nonsense"])
    )

    assert order.store_points == [good]
    assert words in order.complaints[0]
    assert len(order.complaints) == 2
