"""Pieces of history: how long they are and where they begin. Pure, no Django.

A piece is counted in UTC, a day too: it begins at 00:00 UTC for everybody, so that a
stored day means the same in every time zone and on the days on which clocks are set.
Charts label their axes in the person's own zone.
"""

from __future__ import annotations

from datetime import UTC, datetime

FIVE_MINUTES = 300
HOUR = 3600
DAY = 86_400

#: How long a piece of each ``models.Resolution`` is, in seconds; each a multiple of
#: the one before it, so that a piece is never cut in two.
PIECE_SECONDS = {0: FIVE_MINUTES, 1: HOUR, 2: DAY}


def start_second(at: datetime, seconds: int) -> int:
    """Return when the piece began that an instant lies in, in seconds since 1970."""
    return int(at.timestamp()) // seconds * seconds


def start_of(at: datetime, seconds: int) -> datetime:
    """Return when the piece began that an instant lies in; ``at`` is aware."""
    return instant(start_second(at, seconds))


def instant(second: float) -> datetime:
    """Return an aware instant in UTC from seconds since 1970."""
    return datetime.fromtimestamp(second, UTC)
