"""Destination at risk: few of its store points still accept data."""

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

#: Of fewer store points, one that is out is no sign of more than its own alert says.
LEAST = 3
MOST_PERCENT = 25

PARAMETERS = (
    Parameter(
        "least", "of at least", LEAST, "store points", least=2, most=1000, is_whole=True
    ),
    Parameter("percent", "at most", MOST_PERCENT, "%", least=0, most=90, is_whole=True),
)


def holds(destination: DestinationFacts, numbers: Numbers) -> Answer:
    """Hold while one or a quarter is left, and not while all are down."""
    if destination.total < numbers["least"] or destination.down >= destination.total:
        return None
    few = max(1, int(destination.total * numbers["percent"] // 100))
    if destination.accepting > few:
        return None
    return {"accepting": destination.accepting, "total": destination.total}


KIND = Kind(
    slug="destination-at-risk",
    scope=Scope.DESTINATION,
    severity=Severity.WARNING,
    short_name="Destination at risk",
    long_text=(
        "Destination is at risk: {name} ({accepting} of {total} store points "
        "accepting data)"
    ),
    cause=(
        "One store point of the destination accepts backup data, or {percent} of them "
        "do; the others are offline, or inbound backup is disabled. A destination is "
        "asked about when it has {least}."
    ),
    effects=(
        "Backups go on, all of them to what is left: it fills faster, and if it goes, "
        "the destination is offline."
    ),
    confirm=(
        Step(
            "Still at risk?",
            "Open the destination: the column inbound backup says which store points "
            "do not accept data, and the online column why.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Its store points",
            "Follow the alerts of the store points that are offline.",
            Live.STORE_POINTS,
        ),
        Step(
            "Inbound backup",
            "Enable inbound backup where it was disabled and need not be.",
            Live.INBOUND,
        ),
        Step(
            "Enough store points",
            "Add a store point if what is left is all there is to be.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step(
            "Enough left?",
            "More store points of the destination accept data again.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    gives_way_to=frozenset({"destination-offline"}),
    is_mended_by_retry=False,
    parameters=PARAMETERS,
)
