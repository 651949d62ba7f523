"""What only an app above can see of a step, told when the guide asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alerts.catalogue import Live

#: Given a Scene, returns Facts (alerts/scene.py, alerts/guide.py).
Witness = Callable[[Any], Any]

_witnesses: dict[Live, Witness] = {}


def call_witness(live: Live, witness: Witness) -> None:
    """Let an app above say what it sees of a step."""
    _witnesses[live] = witness


def said_of(live: Live, scene: Any) -> Any:
    """Return what is said of a step; nothing when nobody can say anything."""
    witness = _witnesses.get(live)
    return witness(scene) if witness is not None else ()
