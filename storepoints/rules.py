"""By which numbers store points are judged: chosen further up, needed down here.

The numbers are settings of the kinds of alerts, which this app does not know. So the app
above gives itself as the provider once, when the process starts; without one, as in a
process that has no alerts, the defaults hold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from storepoints.archives import CRITICAL_DAYS, WARNING_DAYS
from storepoints.engine import (
    LATENCY_RULE,
    SPACE_RULE,
    LatencyRule,
    Rule,
    SpaceRule,
)


@dataclass(frozen=True, slots=True)
class ArchiveRule:
    """For how many days an archive has not changed when it is stale."""

    warning_days: int = WARNING_DAYS
    critical_days: int = CRITICAL_DAYS


BELIEF_RULE = Rule()
ARCHIVE_RULE = ArchiveRule()


@dataclass(frozen=True, slots=True)
class Rules:
    """All numbers that the store points of one destination are judged by."""

    belief: Rule = BELIEF_RULE
    space: SpaceRule = SPACE_RULE
    latency: LatencyRule = LATENCY_RULE
    archives: ArchiveRule = ARCHIVE_RULE
    #: What they were made of, for whoever provided them.
    source: object = field(default=None, compare=False, repr=False)


DEFAULT = Rules()

#: Given the keys of destinations, returns the rules of each; one query.
Provider = Callable[[Collection[int]], Mapping[int, Rules]]

_providers: list[Provider] = []


def provide(provider: Provider) -> None:
    """Let the rules come from here; who comes later takes the place of who was."""
    _providers[:] = [provider]


def rules_of(destinations: Collection[int]) -> Mapping[int, Rules]:
    """Return the rules of these destinations, by key."""
    if not destinations:
        return {}
    if not _providers:
        return dict.fromkeys(destinations, DEFAULT)
    return _providers[0](destinations)
