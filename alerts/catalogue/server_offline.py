"""Server offline: its agent does not answer."""

from __future__ import annotations

from alerts.catalogue.base import Answer, Kind, Scope
from alerts.engine import Severity
from storepoints.models import Server


def holds(server: Server) -> Answer:
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
    confirm="Look at Destinations > Servers: the server has no green indicator.",
    resolve=(
        "Check that the machine is running and reachable over the network.",
        "Check that the agent is running on it, and read its log.",
        "Check that the server can reach the message broker.",
    ),
    confirm_resolved=(
        "The server shows the green indicator, and its store points show a state of "
        "their own again. Then acknowledge the alert."
    ),
    holds=holds,
)
