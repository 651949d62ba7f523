"""The one clock of the console.

Everything on the Django side asks `clock.now()` for the time, so that a test can hold
it still (`freeze`) or let it run from another instant (`travel`). A lint rule refuses
`django.utils.timezone.now` and `datetime.now` elsewhere.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta


class FrozenClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, instant: datetime) -> None:
        """Start at an aware instant; a naive one raises ValueError."""
        self._instant = _aware(instant)

    def __call__(self) -> datetime:
        """Return the instant at which the clock stands."""
        return self._instant

    def move_to(self, instant: datetime) -> None:
        """Put the hands on an aware instant, earlier or later."""
        self._instant = _aware(instant)

    def tick(self, seconds: float) -> datetime:
        """Move on by seconds (or back, when negative) and return the new instant."""
        self._instant += timedelta(seconds=seconds)
        return self._instant


class _MovedClock:
    """A clock that runs, but away from the real time by a fixed span."""

    def __init__(self, offset: timedelta) -> None:
        self._offset = offset

    def __call__(self) -> datetime:
        return _system_time() + self._offset


_lock = threading.Lock()
# A stack, so that freezes nest. It is one for all threads on purpose: a test that
# freezes the clock means the worker threads it starts as well.
_stack: list[FrozenClock | _MovedClock] = []


def now() -> datetime:
    """Return the present instant, aware and in UTC.

    Frozen or moved by `freeze` and `travel` in tests; otherwise the system's time.
    """
    clock = _stack[-1] if _stack else _system_time
    return clock()


@contextlib.contextmanager
def freeze(instant: datetime | None = None) -> Iterator[FrozenClock]:
    """Hold the clock still at an aware instant (by default the present one).

    Yields the frozen clock, whose `tick(seconds)` and `move_to(instant)` move it.
    """
    frozen = FrozenClock(now() if instant is None else instant)
    with _pushed(frozen):
        yield frozen


@contextlib.contextmanager
def travel(instant: datetime) -> Iterator[None]:
    """Let the clock run on from another aware instant."""
    with _pushed(_MovedClock(_aware(instant) - _system_time())):
        yield


@contextlib.contextmanager
def _pushed(clock: FrozenClock | _MovedClock) -> Iterator[None]:
    with _lock:
        _stack.append(clock)
    try:
        yield
    finally:
        with _lock:
            _stack.remove(clock)


def _system_time() -> datetime:
    return datetime.now(UTC)


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"{instant!r} has no time zone; an aware instant is expected")
    return instant.astimezone(UTC)
