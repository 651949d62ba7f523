"""Store point slow: writing takes much longer than is usual for it."""

from __future__ import annotations

import math

from alerts.catalogue.base import (
    ACKNOWLEDGE,
    UNKNOWN,
    Answer,
    Kind,
    Live,
    Numbers,
    Parameter,
    Scope,
    Step,
)
from alerts.engine import Severity
from console.kit import humane
from storepoints.engine import LATENCY_RULE, Limit
from storepoints.models import StorePoint

PARAMETERS = (
    Parameter(
        "times",
        "longer than",
        LATENCY_RULE.times,
        "times the usual",
        least=1.5,
        most=1000,
    ),
    Parameter(
        "floor",
        "and longer than",
        LATENCY_RULE.floor_seconds * 1000,
        "ms",
        least=1,
        most=60_000,
    ),
    Parameter(
        "count",
        "in at least",
        LATENCY_RULE.raise_count,
        least=1,
        most=50,
        is_whole=True,
    ),
    Parameter(
        "window", "of the last", LATENCY_RULE.window, least=1, most=50, is_whole=True
    ),
    Parameter(
        "learn",
        "not in the first",
        LATENCY_RULE.learn_seconds / 3600,
        "h",
        least=1,
        most=720,
    ),
)


def holds(store_point: StorePoint, _: Numbers) -> Answer:
    """Hold while its newest writes are slow for it; unknown while it does not work."""
    if not store_point.is_online:
        return UNKNOWN
    if Limit.SLOW not in store_point.limits:
        return None
    baseline = store_point.baseline
    return {
        "now": humane.duration(_rounded(math.exp(baseline.get("log_now", 0)))),
        "usual": humane.duration(_rounded(math.exp(baseline.get("log_mean", 0)))),
    }


def _rounded(seconds: float) -> float:
    """Return 1, 2 or 5 of a power of ten: each probe measures, few change the text."""
    power = 10.0 ** math.floor(math.log10(seconds))
    return min(
        (power, 2 * power, 5 * power, 10 * power),
        key=lambda step: abs(math.log(step / seconds)),
    )


KIND = Kind(
    slug="store-point-slow",
    scope=Scope.STORE_POINT,
    severity=Severity.WARNING,
    short_name="Store point slow",
    long_text="Store point is slow: {name} (a write takes {now}, usually {usual})",
    cause=(
        "{count} of the last {window} test writes took longer than {times} of this "
        "store point, and longer than {floor}. What is usual is learnt, so nothing is "
        "said in the first {learn}."
    ),
    effects="Backups and restores take longer; a drive may be about to fail.",
    confirm=(
        Step(
            "Still slow?",
            "Look at the chart of the latency on the store point's page.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Other load",
            "Look for a rebuild of the array, a check of the file system, or another "
            "program that reads or writes much.",
            Live.BY_HAND,
        ),
        Step(
            "Drives",
            "Look at the drives: one that retries makes everything on it slow.",
            Live.DEVICES,
        ),
        Step(
            "The new usual",
            "If it is meant to be so, do nothing: in a day or two it is the new usual.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step(
            "As fast as before?",
            "Writes are about as fast as before, and the alert says that it has "
            "cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    parameters=PARAMETERS,
)
