"""The steps of a drill, in order, with what each may take: no Django."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from notifications.engine import GATHER

#: How often `notifications.sweep` looks for what has to be sent.
SWEEP_SECONDS = 5.0


class Outcome(StrEnum):
    """What became of a step."""

    WAITING = "waiting"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it is called, how long it should take and how long it may."""

    slug: str
    label: str
    target_seconds: float
    deadline_seconds: float


#: The last step is always taken, whatever failed before it.
CLEAN_UP = "removed"


def steps_of(
    *,
    check_seconds: float,
    retry_seconds: float,
    tries: int,
    delay_seconds: float,
    good_tries: int,
    group_seconds: float,
) -> tuple[Step, ...]:
    """Return the steps of a drill with the intervals that the console works with.

    ``tries`` is how many checks in a row have to fail before an alert is raised, then
    ``delay_seconds`` later, and ``good_tries`` how many have to be good before it
    clears. A target is the longest that the step takes while all is well; a second or two are for
    the queues.
    """
    mail = group_seconds + GATHER.total_seconds() + SWEEP_SECONDS
    alerted = (tries - 1) * (retry_seconds + 2) + delay_seconds
    if delay_seconds:
        alerted += SWEEP_SECONDS
    back, cleared = retry_seconds + 5, 3 * max(1, good_tries - 1)
    return (
        Step("added", "A scratch store point is added", 10, 60),
        Step("online", "It is found online", 15, 90),
        Step("broken", "Its directory is moved away", 3, 60),
        Step("detected", "The failure is detected", check_seconds + 3, 180),
        Step("alerted", "An alert is raised", alerted, max(180, 2 * alerted)),
        Step("mailed", "The alert is mailed", mail, mail + 180),
        Step("acknowledged", "The alert is acknowledged", 5, 60),
        Step("mended", "The directory is put back", 3, 60),
        Step("back", "It is found online again", back, max(180, 2 * back)),
        Step("cleared", "The alert clears", cleared, max(120, 2 * cleared)),
        Step("closing-mailed", "The end is mailed", mail, mail + 180),
        Step(CLEAN_UP, "The store point and its directory are removed", 5, 120),
    )


def as_rows(steps: tuple[Step, ...]) -> list[dict[str, Any]]:
    """Return steps as a drill keeps them, none of them taken."""
    return [
        {
            "slug": step.slug,
            "label": step.label,
            "target_seconds": step.target_seconds,
            "deadline_seconds": step.deadline_seconds,
            "outcome": Outcome.WAITING.value,
            "at": None,
            "seconds": None,
            "text": "",
        }
        for step in steps
    ]
