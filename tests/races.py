"""Programs that run at the same time, on one database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from django.db import connection


def at_once(*programs: Iterable[Callable[[], object]]) -> list[Exception]:
    """Run each program in a thread of its own, and return what went wrong."""
    failures: list[Exception] = []
    ready = threading.Barrier(len(programs))

    def run(program: Iterable[Callable[[], object]]) -> None:
        ready.wait()
        try:
            for step in program:
                step()
        except Exception as error:  # noqa: BLE001 - it is the test's result
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(each,)) for each in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
