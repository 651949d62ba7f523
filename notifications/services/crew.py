"""Several lanes at a time: their waiting for servers in threads, all else in one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self

logger = logging.getLogger(__name__)

#: A lane at work: it yields what is to be waited for, and is given what that returned
#: or raised. What it yields runs in a thread, and must not touch the database.
Work = Generator[Callable[[], Any], Any, None]

#: How long to wait for the lanes at work before others are looked for.
LOOK_SECONDS = 1.0

#: How many channels are at work at once. One more would wait for a thread while the lease
#: of what it has claimed runs out, and be sent twice.
MOST = 32


class Crew:
    """Takes lanes as far as they get, and waits for their servers side by side.

    The lanes themselves run in the thread that calls, one at a time, so that they share
    its connection to the database. One that fails by a mistake of its own does not stop
    the others; the first such mistake is raised when all are done.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        # And one for mail.
        self._threads = ThreadPoolExecutor(MOST + 1, thread_name_prefix="lane")
        self._waiting: dict[Future[Any], tuple[str, Work]] = {}
        self._mistake: Exception | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the threads, and raise what went wrong."""
        self._threads.shutdown(wait=error is None, cancel_futures=True)
        if error is None and self._mistake is not None:
            raise self._mistake

    def __contains__(self, name: str) -> bool:
        """Return whether a lane is at work."""
        return any(name == other for other, _ in self._waiting.values())

    @property
    def is_busy(self) -> bool:
        """Return whether any lane is at work."""
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Return whether another channel has to wait for one of these."""
        return len(self._waiting) >= MOST

    def note(self, mistake: Exception) -> None:
        """Have this raised when all lanes are done, unless another one is before it."""
        logger.error("no further lane is begun", exc_info=mistake)
        self._mistake = self._mistake or mistake

    def begin(self, name: str, work: Work) -> None:
        """Take a lane as far as its first wait."""
        self._go_on(name, work, lambda: next(work))

    def step(self) -> None:
        """Wait a while for any of the lanes, and take those on that may go on."""
        done, _ = wait(self._waiting, LOOK_SECONDS, FIRST_COMPLETED)
        for future in done:
            name, work = self._waiting.pop(future)
            error = future.exception()
            if error is None:
                result = future.result()
                self._go_on(name, work, lambda w=work, r=result: w.send(r))  # type: ignore[misc]
            else:
                self._go_on(name, work, lambda w=work, e=error: w.throw(e))  # type: ignore[misc]

    def _go_on(
        self, name: str, work: Work, advance: Callable[[], Callable[[], Any]]
    ) -> None:
        try:
            job = advance()
        except StopIteration:
            return
        except Exception as error:
            logger.exception("the lane %s stopped", name)
            self._mistake = self._mistake or error
            return
        self._waiting[self._threads.submit(job)] = name, work
