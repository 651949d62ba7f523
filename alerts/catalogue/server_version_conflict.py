"""Server version conflict: an agent that is not of this console's release."""

from __future__ import annotations

from django.conf import settings

from alerts.catalogue.base import (
    ACKNOWLEDGE,
    UNKNOWN,
    Answer,
    Kind,
    Live,
    Numbers,
    Scope,
    Step,
)
from alerts.engine import Severity
from storepoints.models import Server


def holds(server: Server, _: Numbers) -> Answer:
    """Hold while the agent said another version than the console's."""
    if server.offline_since is not None:
        return UNKNOWN
    if server.version in {"", settings.VERSION}:
        return None
    return {"version": server.version, "expected": settings.VERSION}


KIND = Kind(
    slug="server-version-conflict",
    scope=Scope.SERVER,
    severity=Severity.LOW,
    short_name="Server version conflict",
    long_text="Server has another version: {name} ({version}, the console has {expected})",
    cause=(
        "The agent on the server and the console are of different releases: one of "
        "them was upgraded and the other was not, or was not started again."
    ),
    effects=(
        "What one release says the other may not understand: checks may be left out "
        "or refused."
    ),
    confirm=(
        Step(
            "Still different?",
            "Open the server: its page shows the version of its agent.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step("Install", "Install the console's release on the server.", Live.BY_HAND),
        Step("Start the agent", "Start the agent again.", Live.BY_HAND),
    ),
    confirm_resolved=(
        Step(
            "The same again?",
            "The server's page shows the console's version, and the alert says that it"
            " has cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    is_mended_by_retry=False,
)
