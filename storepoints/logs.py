"""How a broker that is away is logged, by the console and by an agent alike.

Nothing here imports Django, because the agent runs without it.
"""

from __future__ import annotations

import logging
import time

#: A broker that is away is said once in this time by each logger, not at each attempt.
REPEAT_SECONDS = 60.0

#: Whose loggers speak to the broker. What others say of an OSError is about a disk.
LIBRARIES = frozenset({"amqp", "celery", "kombu", "redis"})


class BrokerAwayFilter(logging.Filter):
    """Shortens what the libraries say while the broker is away.

    They log each attempt to reach it, most of them with a traceback of 60 lines, which
    buries what matters. This lets one line through per message and minute, without the
    traceback. Everything that is not about a lost connection passes untouched. It
    belongs on the handler: a logger's own filter does not see what its children say.
    """

    def __init__(self) -> None:
        """Start having said nothing."""
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged, with its traceback taken off."""
        if record.name.partition(".")[0] not in LIBRARIES:
            return True
        if not _is_about_the_connection(record):
            return True
        record.exc_info = None
        record.exc_text = None
        record.stack_info = None
        moment = time.monotonic()
        key = f"{record.name} {record.msg}"[:120]
        if moment - self._said.get(key, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._said[key] = moment
        if isinstance(record.args, tuple):
            # Beat gives the frames of its stack as an argument.
            record.args = tuple(
                "" if isinstance(each, list) else each for each in record.args
            )
        # One line, where Celery writes three.
        record.msg, record.args = " ".join(record.getMessage().split()), None
        return True


def _is_about_the_connection(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    while error is not None:
        if isinstance(error, OSError) or type(error).__module__.startswith(
            ("redis.", "kombu.", "amqp.")
        ):
            return True
        error = error.__cause__ or error.__context__
    text = record.getMessage()
    return any(
        word in text
        for word in (
            "onnection to broker lost",
            "annot connect to",
            "onnection refused",
            # A broker that takes connections and drops them.
            "requent restarts detected",
        )
    )
