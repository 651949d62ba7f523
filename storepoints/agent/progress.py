"""How far a probe has come: its steps in order, and the evidence of each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from storepoints.agent.messages import Check, Space, VolumeId
from storepoints.states import Layer

if TYPE_CHECKING:
    from storepoints.agent.disk import Failure
    from storepoints.agent.mounts import Mount

#: Layer and name of each step, in the order in which they are asked.
LAYERS: tuple[tuple[int, str], ...] = (
    (int(Layer.PATH), "path"),
    (int(Layer.VOLUME), "volume"),
    (int(Layer.IDENTITY), "identity"),
    (int(Layer.MOUNT), "mount"),
    (int(Layer.MOUNT), "space"),
    (int(Layer.WRITE), "write"),
    (int(Layer.DEVICE), "device"),
)
PATH, VOLUME, IDENTITY, MOUNT, SPACE, WRITE, DEVICE = range(7)


def check(
    step: int,
    *,
    ok: bool | None,
    seconds: float = 0.0,
    expected: str = "",
    found: str = "",
    errno: str = "",
) -> Check:
    """Return the evidence of a step; ``ok`` is None when it was not asked."""
    layer, name = LAYERS[step]
    return {
        "layer": layer,
        "name": name,
        "ok": ok,
        "seconds": seconds,
        "expected": expected,
        "found": found,
        "errno": errno,
    }


_NOT_ASKED = tuple(check(step, ok=None) for step in range(len(LAYERS)))


class Progress:
    """How far a probe has come; written by its thread, read by the watcher of calls.

    ``known`` is the verdict when it stands before the path is looked at, ``mount`` what
    the store point lies on as far as that is known yet.
    """

    __slots__ = (
        "call",
        "checks",
        "known",
        "latency",
        "marker",
        "mount",
        "space",
        "step",
        "volume",
    )

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget how far the probe before this one came."""
        self.step = PATH
        self.call = "open"
        self.checks: list[Check] = list(_NOT_ASKED)
        self.known: Failure | None = None
        self.mount: Mount | None = None
        self.space: Space | None = None
        self.volume: VolumeId | None = None
        self.marker: dict[str, Any] | None = None
        self.latency: float | None = None

    def passed(self, step: int, since: float, expected: str, found: str) -> float:
        """Note that a layer was asked and found right; return what time it is now."""
        now = time.perf_counter()
        layer, name = LAYERS[step]
        # Written out: six of these are made in every probe.
        self.checks[step] = {
            "layer": layer,
            "name": name,
            "ok": True,
            "seconds": now - since,
            "expected": expected,
            "found": found,
            "errno": "",
        }
        return now

    def failed(self, step: int, seconds: float, why: Failure) -> None:
        """Note that a layer was asked and found wrong."""
        self.checks[step] = check(
            step,
            ok=False,
            seconds=seconds,
            expected=why.expected,
            found=why.found,
            errno=why.errno,
        )
