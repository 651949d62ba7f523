"""Destination offline: none of its store points is left."""

from __future__ import annotations

from alerts.catalogue.base import (
    ACKNOWLEDGE,
    Answer,
    DestinationFacts,
    Kind,
    Live,
    Numbers,
    Parameter,
    Scope,
    Step,
)
from alerts.engine import Severity

#: With a single store point, that one's own alert says the same.
LEAST = 2

PARAMETERS = (
    Parameter(
        "least",
        "of at least",
        LEAST,
        "store points",
        least=1,
        most=1000,
        is_whole=True,
        unit_of_one="store point",
    ),
)


def holds(destination: DestinationFacts, numbers: Numbers) -> Answer:
    """Hold while every store point is down."""
    if destination.total < numbers["least"] or destination.down < destination.total:
        return None
    return {"total": destination.total}


KIND = Kind(
    slug="destination-offline",
    scope=Scope.DESTINATION,
    severity=Severity.CRITICAL,
    short_name="Destination offline",
    long_text="Destination is offline: {name} (none of {total} store points is online)",
    cause=(
        "Every store point of the destination is offline, or its server is. A "
        "destination is asked about when it has {least}: with one, that store point's "
        "own alert says the same."
    ),
    effects=(
        "Users of this destination can neither back up nor restore, and there is no "
        "other store point of it that could take over."
    ),
    confirm=(
        Step(
            "Still offline?",
            "Open the destination: none of its store points has the green indicator.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "What they have in common",
            "Look for what they have in common first: one server, one array, one "
            "network, one power supply.",
            Live.BY_HAND,
        ),
        Step("Its servers", "Follow the alerts of its servers.", Live.SERVERS),
        Step(
            "Its store points",
            "Follow the alerts of its store points.",
            Live.STORE_POINTS,
        ),
    ),
    confirm_resolved=(
        Step(
            "Back online?",
            "At least one store point of the destination shows the green indicator "
            "again.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    parameters=PARAMETERS,
)
