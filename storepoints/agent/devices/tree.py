"""What lies below a filesystem, as a tree of levels, and what all of them say at once.

A level knows its own health. What a person must be told is its *problem*: a level may
be failing without one, as the drive that an array has put out is told by the array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypedDict

from storepoints.agent.messages import DeviceFinding

OK = "ok"
DEGRADED = "degraded"
FAILING = "failing"
UNKNOWN = "unknown"

#: What a health is called in an alert; the others need none.
REASONS = {DEGRADED: "volume-degraded", FAILING: "drive-failing"}

#: A tree is not followed deeper than this: partition, crypt, LVM, md, partition, disk
#: and a loop device in the middle come to eight.
MAXIMUM_DEPTH = 8
#: Levels, facts of a level and notes that are told.
MAXIMUM_LEVELS = 200
MAXIMUM_NOTES = 20
#: Problems that stand in one sentence; the tree has them all.
MAXIMUM_PROBLEMS = 3


class Node(TypedDict):
    """One level of the tree as it is reported."""

    name: str
    kind: str
    text: str
    health: str
    facts: dict[str, str]
    below: list[Node]


class Devices(TypedDict):
    """What lies below a volume.

    ``health`` is ok when nothing that could be asked reports a problem, and unknown
    when nothing could be asked. ``text`` is the sentence for an alert.
    """

    health: str
    reason: str
    text: str
    stack: Node | None
    notes: list[str]


@dataclass(slots=True)
class Level:
    """One level: a filesystem, an array, a partition, a drive.

    ``problem`` is what to tell a person, with the health that it means; ``notes`` say
    what could not be asked, and ``is_pending`` that an answer is still awaited. A
    carrier is well as long as it is there: of what it carries it can say nothing.
    """

    name: str
    kind: str
    text: str = ""
    health: str = UNKNOWN
    facts: dict[str, str] = field(default_factory=dict)
    below: list[Level] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_pending: bool = False
    is_carrier: bool = False

    def has_problem(self, health: str, text: str) -> None:
        """Note a problem; the worst one gives the level its health."""
        self.problems.append((health, text))
        if health == FAILING or self.health != FAILING:
            self.health = health

    def fact(self, name: str, value: str) -> None:
        """Note a fact that is known."""
        if value:
            self.facts[name] = value


def walk(level: Level, depth: int = 1) -> Iterator[Level]:
    """Yield a level and all below it, from the top."""
    yield level
    if depth < MAXIMUM_DEPTH:
        for below in level.below:
            yield from walk(below, depth + 1)


def summary(top: Level) -> Devices:
    """Return the tree with what all its levels say at once."""
    problems: list[tuple[str, str]] = []
    notes: list[str] = []
    can_tell = is_pending = False
    for level in walk(top):
        problems += [problem for problem in level.problems if problem not in problems]
        notes += [note for note in level.notes if note not in notes]
        can_tell = can_tell or (level.health == OK and not level.is_carrier)
        is_pending = is_pending or level.is_pending
    failing = [text for health, text in problems if health == FAILING]
    texts = failing + [text for health, text in problems if health != FAILING]
    if problems:
        health = FAILING if failing else DEGRADED
    else:
        health = OK if can_tell and not is_pending else UNKNOWN
    return Devices(
        health=health,
        reason=REASONS.get(health, ""),
        text=_sentence(texts),
        stack=_Nodes().node(top),
        notes=notes[:MAXIMUM_NOTES],
    )


class _Nodes:
    """Makes nodes until there are too many."""

    def __init__(self) -> None:
        self._left = MAXIMUM_LEVELS

    def node(self, level: Level, depth: int = 1) -> Node:
        self._left -= 1
        below: list[Node] = []
        if depth < MAXIMUM_DEPTH:
            for each in level.below:
                if self._left <= 0:
                    break
                below.append(self.node(each, depth + 1))
        return Node(
            name=level.name,
            kind=level.kind,
            text=level.text,
            health=level.health,
            facts=dict(level.facts),
            below=below,
        )


def _sentence(texts: list[str]) -> str:
    shown = texts[:MAXIMUM_PROBLEMS]
    if more := len(texts) - len(shown):
        shown.append(f"and {more} more")
    return "; ".join(shown)


def finding_in(devices: Devices) -> DeviceFinding:
    """Return what rides in every finding: the health without the tree."""
    return DeviceFinding(
        health=devices["health"], reason=devices["reason"], text=devices["text"]
    )


def size_text(size: int) -> str:
    """Return a size in words with decimal units, as drives are sold: ``16.0 TB``."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        value /= 1000
        if value < 999.95 or unit == "PB":
            break
    return f"{value:.1f} {unit}"


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 error``, ``2 errors``."""
    return f"{number} {one if number == 1 else many or one + 's'}"
