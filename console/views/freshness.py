"""The indicator in the toolbar: how fresh what the pages show is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from storepoints.selectors import Pulse

#: A report that is older than three of the usual intervals is not called fresh; servers
#: that are checked more rarely have pages that say how old their readings are.
FRESH = timedelta(seconds=90)


@dataclass(frozen=True)
class Freshness:
    """When the last report was recorded, and what to think of that."""

    level: Literal["fresh", "old", "stopped"]
    at: datetime | None
    words: str


def read(now: datetime, pulse: Pulse) -> Freshness:
    """Return how fresh the checks are; no query."""
    if not pulse.is_running:
        return Freshness("stopped", pulse.tick_at, "checks stopped")
    if pulse.report_at is None:
        return Freshness("old", None, "no report yet")
    if now - pulse.report_at > FRESH:
        return Freshness("old", pulse.report_at, "last report")
    return Freshness("fresh", pulse.report_at, "checks fresh")
