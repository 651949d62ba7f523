"""Store point critically low on space: one alert for a filesystem."""

from __future__ import annotations

from typing import Any

from alerts.catalogue.base import (
    ACKNOWLEDGE,
    Answer,
    Kind,
    Live,
    Numbers,
    Scope,
    Step,
)
from alerts.catalogue.store_point_low_on_space import (
    CAUSE,
    CONFIRM_RESOLVED,
    space_answer,
    space_parameters,
)
from alerts.engine import Severity
from storepoints.engine import SPACE_RULE, Limit

PARAMETERS = space_parameters(
    SPACE_RULE.critically_low_percent, SPACE_RULE.critically_low_hours
)


def holds(filesystem: Any, _: Numbers) -> Answer:
    """Hold below the critical limit."""
    return space_answer(
        filesystem, holds=Limit.CRITICALLY_LOW_SPACE in filesystem.limits
    )


KIND = Kind(
    slug="store-point-critically-low-on-space",
    scope=Scope.FILESYSTEM,
    severity=Severity.CRITICAL,
    short_name="Store point critically low on space",
    long_text="Store point is critically low on space: {name} ({used_percent} % used)",
    long_text_of_many=(
        "Store points are critically low on space: {name} ({used_percent} % used)"
    ),
    cause=CAUSE,
    effects="Backups to the store points of the volume are about to fail, or fail already.",
    confirm=(
        Step(
            "Still this low?",
            "Look at the used space in the Store Point Overview.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Stop inbound backup",
            "Disable inbound backup on the store points so that nothing fills it "
            "further.",
            Live.STOP_INBOUND,
        ),
        Step(
            "Make room",
            "Remove what does not belong on the volume, or extend the volume.",
            Live.SPACE,
        ),
    ),
    confirm_resolved=(
        Step("Room enough?", CONFIRM_RESOLVED, Live.BACK),
        Step(
            "Inbound backup",
            "Enable inbound backup again where it was disabled for this.",
            Live.INBOUND,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    is_mended_by_retry=False,
    parameters=PARAMETERS,
)
