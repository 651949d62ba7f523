"""What is chosen for each kind of alert, for all destinations and for one: no queries.

A ``Choice`` is what somebody chose, a ``Setting`` what holds because of it. Numbers that
decide how a store point is judged become the ``Rules`` of storepoints, so that the state
that is shown and the alert follow from the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from alerts.catalogue import KINDS, Kind, Numbers
from alerts.catalogue.store_point_low_on_space import GB
from alerts.engine import Severity
from alerts.models import MOST_DELAY_SECONDS
from storepoints.engine import LATENCY_RULE, SPACE_RULE, Rule
from storepoints.rules import ArchiveRule, Rules

#: The longest that an alert may be put off: what is put off longer is switched off.
MOST_DELAY = timedelta(seconds=MOST_DELAY_SECONDS)

OFFLINE = "store-point-offline"
LOW = "store-point-low-on-space"
CRITICALLY_LOW = "store-point-critically-low-on-space"
FILLING = "store-point-filling-up"
INODES = "store-point-low-on-inodes"
SLOW = "store-point-slow"
STALE = "device-backup-warning"
CRITICALLY_STALE = "device-backup-critical"


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody chose for a kind; what is None, or has no number, is inherited.

    For all destinations that is from the catalogue, for one it is from what was chosen
    for all.
    """

    is_shown: bool | None = None
    is_mailed: bool | None = None
    severity: Severity | None = None
    delay_seconds: int | None = None
    parameters: Numbers = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Return whether nothing was chosen."""
        return self == Choice()

    def without_defaults(self, kind: Kind) -> Choice:
        """Return the same choice for all destinations, saying nothing that is so anyway.

        A number that follows from others is kept when it was chosen: it stays, whatever
        becomes of the others.
        """
        defaults = {each.name: each for each in (kind.pattern or kind).parameters}
        return Choice(
            is_shown=None if self.is_shown else self.is_shown,
            is_mailed=None if self.is_mailed else self.is_mailed,
            severity=None if self.severity is kind.severity else self.severity,
            delay_seconds=self.delay_seconds or None,
            parameters={
                name: value
                for name, value in self.parameters.items()
                if name in defaults
                and (defaults[name].follows or value != defaults[name].value)
            },
        )

    def refusals(self, kind: Kind) -> dict[str, str]:
        """Return what cannot be, by field or parameter: what was found and expected."""
        wrong: dict[str, str] = {}
        most = int(MOST_DELAY.total_seconds())
        if self.delay_seconds is not None and not 0 <= self.delay_seconds <= most:
            wrong["delay_seconds"] = (
                f"{kind.short_name}, after: found {self.delay_seconds} s, expected from "
                f"0 s to {most} s."
            )
        known = {each.name: each for each in kind.parameters if each.is_changeable}
        for name, value in self.parameters.items():
            if name not in known:
                wrong[name] = (
                    f"{kind.short_name}: found a number “{name}”, expected "
                    f"{' or '.join(known) or 'none'}."
                )
            elif not known[name].can_be(value):
                wrong[name] = (
                    f"{kind.short_name}, {known[name].label}: found {value}, expected "
                    f"{known[name].expected}."
                )
        return wrong


@dataclass(frozen=True, slots=True)
class Setting:
    """What holds for a kind of alert, everywhere or in one destination."""

    kind: Kind
    is_shown: bool
    is_mailed: bool
    severity: Severity
    delay: timedelta
    numbers: Numbers

    @property
    def told(self) -> Kind:
        """Return the kind with these numbers in its texts."""
        return self.kind.filled(self.numbers)

    @property
    def is_off(self) -> bool:
        """Return whether it is hidden, or not mailed."""
        return not (self.is_shown and self.is_mailed)


class Settings:
    """What is chosen, and what holds by it."""

    def __init__(
        self,
        choices: Mapping[str, Choice],
        overrides: Mapping[tuple[int, str], Choice] | None = None,
    ) -> None:
        """Take what was chosen by kind, and by destination and kind."""
        self.choices = dict(choices)
        self.overrides = dict(overrides or {})
        self._known: dict[tuple[str, int | None], Setting] = {}
        self._rules: dict[int | None, Rules] = {}

    @property
    def destinations(self) -> set[int]:
        """Return the keys of the destinations that have anything of their own."""
        return {destination for destination, _ in self.overrides}

    @property
    def has_delays(self) -> bool:
        """Return whether any alert is put off."""
        return any(
            choice.delay_seconds
            for choices in (self.choices, self.overrides)
            for choice in choices.values()
        )

    def choice(self, kind: str, destination: int | None = None) -> Choice:
        """Return what was chosen for all destinations, or for this one alone."""
        if destination is None:
            return self.choices.get(kind, Choice())
        return self.overrides.get((destination, kind), Choice())

    def of(self, kind: str, destination: int | None = None) -> Setting:
        """Return what holds for a kind of the catalogue, in this destination."""
        key = kind, destination
        if key not in self._known:
            self._known[key] = self._setting(KINDS[kind], destination)
        return self._known[key]

    def find(self, kind: str, destination: int | None = None) -> Setting | None:
        """Return the same; None for a kind that has left the catalogue."""
        return self.of(kind, destination) if kind in KINDS else None

    def _setting(self, kind: Kind, destination: int | None) -> Setting:
        chosen = [self.choice(kind.slug)]
        # What has no override is judged as everywhere.
        if (destination, kind.slug) in self.overrides:
            chosen.append(self.choice(kind.slug, destination))
        parameters: dict[str, float] = {}
        values: dict[str, Any] = {
            "is_shown": True,
            "is_mailed": True,
            "severity": kind.severity,
            "delay_seconds": 0,
        }
        for choice in chosen:
            parameters |= choice.parameters
            for name in values:
                value = getattr(choice, name)
                if value is not None:
                    values[name] = value
        delay = timedelta(seconds=values.pop("delay_seconds"))
        return Setting(
            kind=kind, delay=delay, numbers=kind.numbers(parameters), **values
        )

    def rules(self, destination: int | None = None) -> Rules:
        """Return the numbers that store points are judged by in this destination."""
        if destination not in self.destinations:
            destination = None
        if destination not in self._rules:
            self._rules[destination] = self._rules_of(destination)
        return self._rules[destination]

    def _rules_of(self, destination: int | None) -> Rules:
        def numbers(kind: str) -> Numbers:
            return self.of(kind, destination).numbers

        def few(kind: str) -> float | None:
            for choice in (
                self.choice(kind, destination) if destination else Choice(),
                self.choice(kind),
            ):
                if "bytes" in choice.parameters:
                    return choice.parameters["bytes"] * GB
            return None

        offline, slow, inodes = numbers(OFFLINE), numbers(SLOW), numbers(INODES)
        low, critical, filling = numbers(LOW), numbers(CRITICALLY_LOW), numbers(FILLING)
        return Rules(
            belief=Rule(
                retry_seconds=offline["retry"],
                failures_until_believed=int(offline["failures"]),
                successes_until_well=int(offline["successes"]),
            ),
            space=replace(
                SPACE_RULE,
                low_percent=low["percent"],
                low_hours=low["hours"],
                low_bytes=few(LOW),
                critically_low_percent=critical["percent"],
                critically_low_hours=critical["hours"],
                critically_low_bytes=few(CRITICALLY_LOW),
                filling_hours=filling["hours"],
                filling_percent=filling["percent"],
                filling_soon_seconds=filling["wait"] * 60,
                low_inodes_percent=inodes["percent"],
                low_inodes=inodes["number"],
            ),
            latency=replace(
                LATENCY_RULE,
                times=slow["times"],
                floor_seconds=slow["floor"] / 1000,
                window=int(slow["window"]),
                raise_count=int(slow["count"]),
                # Half of what raises still holds, as with the defaults.
                hold_count=max(1, int(slow["count"]) // 2),
                learn_seconds=slow["learn"] * 3600,
            ),
            archives=ArchiveRule(
                int(numbers(STALE)["days"]), int(numbers(CRITICALLY_STALE)["days"])
            ),
        )

    def changed(
        self, choices: Mapping[str, Choice], destination: int | None = None
    ) -> Settings:
        """Return the settings when this is chosen, everywhere or in a destination."""
        if destination is None:
            new = {
                kind: choice.without_defaults(KINDS[kind])
                for kind, choice in choices.items()
            }
            return Settings({**self.choices, **new}, self.overrides)
        overrides = dict(self.overrides)
        for kind, choice in choices.items():
            overrides.pop((destination, kind), None)
            if not choice.is_empty:
                overrides[destination, kind] = choice
        return Settings(self.choices, overrides)

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield the numbers that cannot hold together, everywhere and by destination.

        In a destination only where it has numbers of its own for one of the two.
        """
        for destination in (None, *sorted(self.destinations)):
            for pair in PAIRS:
                kinds = (pair.kind, pair.than_kind)
                if destination is not None and not any(
                    self.choice(kind, destination).parameters for kind in kinds
                ):
                    continue
                left = self.of(pair.kind, destination)
                right = self.of(pair.than_kind, destination)
                if not pair.fits(left.numbers, right.numbers):
                    yield Contradiction(pair, left, right, destination)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two numbers of which one has to be less than the other, or no more than it."""

    kind: str
    name: str
    than_kind: str
    than_name: str
    may_equal: bool = False

    def fits(self, numbers: Numbers, than: Numbers) -> bool:
        """Return whether they can hold together."""
        left, right = numbers[self.name], than[self.than_name]
        return left < right or (self.may_equal and left == right)


#: What is critical has to be less than what is low, or it would be the only one raised;
#: and what is low has to be less than what is watched for filling up.
PAIRS = (
    Pair(CRITICALLY_LOW, "percent", LOW, "percent"),
    Pair(CRITICALLY_LOW, "bytes", LOW, "bytes"),
    Pair(CRITICALLY_LOW, "hours", LOW, "hours", may_equal=True),
    Pair(LOW, "percent", FILLING, "percent"),
    Pair(STALE, "days", CRITICALLY_STALE, "days"),
    Pair(SLOW, "count", SLOW, "window", may_equal=True),
)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two numbers that cannot hold together, in a destination or (None) everywhere."""

    pair: Pair
    left: Setting
    right: Setting
    destination: int | None

    @property
    def words(self) -> str:
        """Return which numbers they are, and what is expected of them."""
        left = _named(self.left, self.pair.name)
        right = _named(self.right, self.pair.than_name)
        wanted = "no more than" if self.pair.may_equal else "less than"
        return f"{left}: expected {wanted} {right}."


def _named(setting: Setting, name: str) -> str:
    parameter = next(each for each in setting.told.parameters if each.name == name)
    return f"{setting.kind.short_name}, {parameter.label} {parameter.words}"
