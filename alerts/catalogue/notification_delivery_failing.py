"""Notification delivery failing: somebody is not told what they should be."""

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

#: How long delivery fails before that is an alert; the banner says so at once.
FAILING_SECONDS = 120

PARAMETERS = (Parameter("minutes", "failing for", FAILING_SECONDS / 60, "min"),)


def holds(problem: str, _: Numbers) -> Answer:
    """Hold while messages cannot be delivered; the text says why."""
    return {"problem": problem} if problem else None


KIND = Kind(
    slug="notification-delivery-failing",
    scope=Scope.CONSOLE,
    severity=Severity.CRITICAL,
    short_name="Notification delivery failing",
    long_text="Notification delivery is failing: {problem}",
    cause=(
        "The mail server or the service behind a channel does not answer, refuses the "
        "console, or has refused what it was given; or nothing has been sent for two "
        "minutes although something is due. It is told by everything else: of mail by "
        "the channels, of a channel by mail and the others."
    ),
    effects=(
        "Alerts are recorded and shown, and nobody hears of them who does not look here."
    ),
    confirm=(
        Step(
            "Still failing?",
            "Open Settings > Email, or the channel under Settings > Channels: it says "
            "since when it fails, and what was answered.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Mail server or channel",
            "Do as its page says, and press Send test. A channel that the console has "
            "switched off is switched on by hand: what waits for it is sent then.",
            Live.DELIVERY,
        ),
        Step(
            "What is waiting",
            "If the test arrives, look at the delivery log for what is still waiting: "
            "it is sent again by itself for 24 hours.",
            Live.BY_HAND,
        ),
    ),
    confirm_resolved=(
        Step(
            "Delivered again?",
            "The test message has arrived, and the alert says that it has cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    parameters=PARAMETERS,
)
