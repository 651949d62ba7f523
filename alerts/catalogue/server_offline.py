"""Server offline: its agent does not answer."""

from __future__ import annotations

from alerts.catalogue.base import (
    ACKNOWLEDGE,
    Answer,
    Kind,
    Live,
    Numbers,
    Parameter,
    Scope,
    Step,
)
from alerts.engine import Severity
from storepoints.engine import INTERVALS_UNTIL_STALE
from storepoints.models import Server

PARAMETERS = (Parameter("stale", "no answer for", INTERVALS_UNTIL_STALE, "intervals"),)


def holds(server: Server, _: Numbers) -> Answer:
    """Hold while the server's silence is recorded."""
    return {} if server.offline_since is not None else None


KIND = Kind(
    slug="server-offline",
    scope=Scope.SERVER,
    severity=Severity.CRITICAL,
    short_name="Server offline",
    long_text="Server is offline: {name}",
    cause=(
        "The agent on the server has not answered for three intervals: the machine is "
        "down, the agent is not running, or it cannot reach the message broker."
    ),
    effects=(
        "Nothing is known about the store points of this server. If the machine is "
        "down, users cannot back up to it or restore from it."
    ),
    confirm=(
        Step(
            "Still offline?",
            "Look at Destinations > Servers: the server has no green indicator.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Machine and network",
            "Check that the machine is running and reachable over the network.",
            Live.BY_HAND,
        ),
        Step(
            "Agent",
            "Check that the agent is running on it, and read its log.",
            Live.BY_HAND,
        ),
        Step(
            "Message broker",
            "Check that the server can reach the message broker.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step("Back online?", "The server shows the green indicator again.", Live.BACK),
        Step(
            "Its store points",
            "The store points of the server show a state of their own again. One that "
            "failed meanwhile has an alert of its own.",
            Live.STORE_POINTS,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    parameters=PARAMETERS,
)
