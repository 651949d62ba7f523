"""Which alerts a silence covers, and what came of them meanwhile. No Django."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class About:
    """What an alert is about, as far as silences look at it.

    ``server`` is that of its store point or filesystem, and ``destination`` that of its
    server, as they are now. ``members`` are the subjects of the store points that lie
    on the filesystem of a filesystem's alert.
    """

    kind: str
    severity: int
    subject: str
    server: int | None = None
    destination: int | None = None
    members: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a silence covers; each that is empty or None does not narrow it."""

    kinds: frozenset[str] = frozenset()
    severities: frozenset[int] = frozenset()
    subjects: frozenset[str] = frozenset()
    server: int | None = None
    destination: int | None = None

    @property
    def is_everything(self) -> bool:
        """Return whether nothing narrows it: it covers every alert there is."""
        return self == Coverage()

    def covers(self, alert: About) -> bool:
        """Return whether an alert is covered.

        A filesystem's alert is also covered by its store points, if all are among the
        subjects: it is news for each of them, and one that is not silenced must not
        lose it.
        """
        return (
            (not self.kinds or alert.kind in self.kinds)
            and (not self.severities or alert.severity in self.severities)
            and (self.server is None or alert.server == self.server)
            and (self.destination is None or alert.destination == self.destination)
            and (
                not self.subjects
                or alert.subject in self.subjects
                or (bool(alert.members) and alert.members <= self.subjects)
            )
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is different after a window: keys of alerts, in their order."""

    new: tuple[int, ...]
    gone: tuple[int, ...]
    worse: tuple[int, ...]
    unchanged: tuple[int, ...]


def compare(before: Mapping[str, int], after: Mapping[str, int]) -> Comparison:
    """Compare severities by the alerts' keys before and after a window.

    The lower the severity's number, the worse; what got better counts as unchanged.
    """
    both = before.keys() & after.keys()
    worse = {key for key in both if after[key] < before[key]}
    return Comparison(
        new=_ordered(after.keys() - before.keys()),
        gone=_ordered(before.keys() - after.keys()),
        worse=_ordered(worse),
        unchanged=_ordered(both - worse),
    )


def _ordered(keys: set[str]) -> tuple[int, ...]:
    return tuple(sorted(map(int, keys)))
