"""What a kind of alert is. Each kind is one module beside this one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from alerts.engine import Key, Severity


class Scope(StrEnum):
    """What an alert is about, and so which facts it is decided by."""

    STORE_POINT = "store-point"
    SERVER = "server"
    FILESYSTEM = "filesystem"
    DESTINATION = "destination"
    CONSOLE = "console"


class FilesystemFacts(Protocol):
    """What a kind of the scope FILESYSTEM is given beside the row's own fields.

    Only filesystems that store points lie on are asked about, and only while their
    server is not offline. ``is_measured``: space and inodes were read a moment ago, as
    a store point on it works or failed only at being written to.
    """

    is_measured: bool
    store_point_count: int


@dataclass(frozen=True, slots=True)
class DestinationFacts:
    """What a kind of the scope DESTINATION is given: its adopted store points, counted.

    ``down`` have failed for certain, or their server is offline; ``accepting`` take
    backup data: they are not down, and nobody has disabled inbound backup on them.
    """

    total: int
    down: int
    accepting: int


class Unknown:
    """The answer of a kind when the facts do not say whether its condition holds."""


UNKNOWN = Unknown()

#: Numbers of the condition when it holds, None when it does not.
Answer = dict[str, Any] | None | Unknown

#: The numbers of a kind's rule, by the names of its parameters.
Numbers = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number of a kind's rule, with its unit as it stands behind the number.

    It can be changed in Settings > Notifications, from ``least`` to ``most``, when it
    has these; others are what the console works with, or follow from those before it in
    the rule: ``follows`` returns such a number. One that can be changed and ``follows``
    does so until somebody chooses it.
    """

    name: str
    label: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None
    is_whole: bool = False
    #: The unit behind the number 1, where that is another word.
    unit_of_one: str = ""
    follows: Callable[[Numbers], float] | None = None

    @property
    def words(self) -> str:
        """Return the number and its unit: "10 %", "24 h"."""
        return self.in_words(self.value)

    def in_words(self, value: float) -> str:
        """Return a number with this one's unit."""
        unit = self.unit_of_one if value == 1 and self.unit_of_one else self.unit
        return f"{number_words(value)} {unit}".rstrip()

    @property
    def is_changeable(self) -> bool:
        """Return whether somebody can choose it."""
        return self.least is not None and self.most is not None

    @property
    def expected(self) -> str:
        """Return what can be chosen: "a whole number from 1 to 100 failures"."""
        what = "a whole number" if self.is_whole else "a number"
        least, most = self.least or 0, self.most or 0
        return f"{what} from {number_words(least)} to {self.in_words(most)}"

    def can_be(self, value: object) -> bool:
        """Return whether this can be chosen for it."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.least is None or self.most is None or not math.isfinite(value):
            return False
        is_fit = not self.is_whole or value == int(value)
        return is_fit and self.least <= value <= self.most


def number_words(value: float) -> str:
    """Return a number as short as it is exact to a thousandth: "0.5", "1,000,000"."""
    return f"{value:,.3f}".rstrip("0").rstrip(".")


class Live(StrEnum):
    """What the console can see of a step by itself (alerts/guide.py says how)."""

    STILL_HOLDS = "still-holds"
    #: Whether the store points accept backup data, and whether they no longer should.
    INBOUND = "inbound"
    STOP_INBOUND = "stop-inbound"
    FENCE = "fence"
    SERVER = "server"
    SERVERS = "servers"
    STORE_POINTS = "store-points"
    DEVICES = "devices"
    SPACE = "space"
    INODES = "inodes"
    DOCTOR = "doctor"
    DELIVERY = "delivery"
    BACK = "back"
    ACKNOWLEDGED = "acknowledged"
    #: Nothing: only a person can see it.
    BY_HAND = "by-hand"


@dataclass(frozen=True, slots=True)
class Step:
    """One step from the alert to its end: what to do, and what can be seen of it."""

    title: str
    text: str
    live: Live


#: The last step of every kind.
ACKNOWLEDGE = Step(
    "Acknowledge",
    "Acknowledge the alert: then it leaves the active list. It can be done before, with "
    "a note, to say that somebody is at it.",
    Live.ACKNOWLEDGED,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of alert: its texts, and how its condition is told from the facts.

    ``short_name`` stands in Settings > Notifications, ``long_text`` in the Alerts
    Overview and in mails; ``{name}`` is the object and the other fields are those of
    the condition's numbers. ``long_text_of_many`` is for an object that stands for
    several: the store points of one filesystem. ``parameters`` are the numbers of its
    rule; ``{percent}`` in cause, effects and steps is the one of that name.
    ``confirm``, ``resolve`` and ``confirm_resolved`` are the steps to its end.
    ``holds`` is given a row of its scope and the numbers; ``evidence`` returns what was found, to be
    kept as it was when the alert was raised. ``parent`` returns the alert that explains
    this one and that it is held under, if any. ``gives_way_to`` are the kinds that say
    the same of the same object, and worse: while one of these is ongoing, this is not.

    ``is_mended_by_retry`` is false when trying again cannot mend it, because somebody
    has to act; ``believed_at_once`` are the reasons in the data of a kind that is
    tried again otherwise, for which that holds too.
    """

    slug: str
    scope: Scope
    severity: Severity
    short_name: str
    long_text: str
    cause: str
    effects: str
    confirm: tuple[Step, ...]
    resolve: tuple[Step, ...]
    confirm_resolved: tuple[Step, ...]
    holds: Callable[[Any, Numbers], Answer]
    long_text_of_many: str = ""
    parameters: tuple[Parameter, ...] = ()
    evidence: Callable[[Any], dict[str, Any]] | None = None
    parent: Callable[[Any], Key | None] | None = None
    gives_way_to: frozenset[str] = frozenset()
    is_mended_by_retry: bool = True
    believed_at_once: frozenset[str] = frozenset()
    #: The kind with the gaps in its texts and the defaults, of one that was filled.
    pattern: Kind | None = field(default=None, repr=False, compare=False)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return all steps, from confirming it to the acknowledgement."""
        return (*self.confirm, *self.resolve, *self.confirm_resolved)

    def can_be_retried(self, data: Mapping[str, Any]) -> bool:
        """Return whether trying again can mend an alert with this data."""
        return (
            self.is_mended_by_retry and data.get("reason") not in self.believed_at_once
        )

    def numbers(self, chosen: Numbers) -> dict[str, float]:
        """Return every number of the rule, when these were chosen."""
        found: dict[str, float] = {}
        for each in (self.pattern or self).parameters:
            value = chosen.get(each.name) if each.is_changeable else None
            if value is None:
                value = each.follows(found) if each.follows else each.value
            found[each.name] = value
        return found

    def filled(self, chosen: Numbers) -> Kind:
        """Return the kind with these numbers, in its texts too."""
        pattern = self.pattern or self
        numbers = pattern.numbers(chosen)
        parameters = tuple(
            replace(each, value=numbers[each.name]) for each in pattern.parameters
        )
        words = {each.name: each.words for each in parameters}

        def steps_of(steps: tuple[Step, ...]) -> tuple[Step, ...]:
            return tuple(
                replace(step, text=step.text.format_map(words))
                if "{" in step.text
                else step
                for step in steps
            )

        return replace(
            pattern,
            cause=pattern.cause.format_map(words),
            effects=pattern.effects.format_map(words),
            confirm=steps_of(pattern.confirm),
            resolve=steps_of(pattern.resolve),
            confirm_resolved=steps_of(pattern.confirm_resolved),
            parameters=parameters,
            pattern=pattern,
        )

    def text(self, name: str, data: dict[str, Any], *, count: int = 1) -> str:
        """Return the long text for an object; names are taken as they are.

        ``count`` is how many it stands for.
        """
        text = self.long_text if count == 1 else self.long_text_of_many
        return (text or self.long_text).format_map({**data, "name": name})
