"""The indicator in the toolbar: how fresh what the pages show is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storepoints.selectors import Pulse


@dataclass(frozen=True)
class Freshness:
    """When the last report was recorded, and whether checks are running."""

    is_fresh: bool
    at: datetime | None
    words: str


def read(pulse: Pulse) -> Freshness:
    """Return how fresh the checks are; no query."""
    if not pulse.is_running:
        return Freshness(is_fresh=False, at=pulse.tick_at, words="checks stopped")
    if pulse.report_at is None:
        return Freshness(is_fresh=True, at=None, words="checks starting")
    return Freshness(is_fresh=True, at=pulse.report_at, words="checks fresh")
