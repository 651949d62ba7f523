"""How the processes log: quietly, on standard error, each line with its process."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from pathlib import Path

#: A broker that is away is said once in this time by each logger, not at each attempt.
REPEAT_SECONDS = 60.0


class LineFormatter(logging.Formatter):
    """Puts the time, the process and the level before the message.

    The process is asked for at each line, because `up` forks its processes after the
    settings have been loaded.
    """

    def __init__(self) -> None:
        """Set the format; it takes no options."""
        super().__init__(
            "%(asctime)s %(console_process)s %(levelname)s %(name)s: %(message)s",
            "%H:%M:%S",
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the line (and the traceback, if there is one)."""
        record.console_process = process_name()
        return super().format(record)


def process_name() -> str:
    """Return the name under which `up` started this process, or the command's."""
    name = os.environ.get("CONSOLE_PROCESS", "")
    if not name:
        name = sys.argv[1] if len(sys.argv) > 1 else Path(sys.argv[0]).name
    return re.sub(r"[^\w-]", "", name)[:20] or "console"


class BrokerAwayFilter(logging.Filter):
    """Shortens what Celery says while the broker is away.

    It logs each attempt to reach it, most of them with a traceback of 60 lines, which
    buries what matters. This lets one line through per message and minute, without the
    traceback. Everything that is not about a lost connection passes untouched.
    """

    def __init__(self) -> None:
        """Start having said nothing."""
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged, with its traceback taken off."""
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
        # One line, where Celery writes three.
        record.msg, record.args = " ".join(record.getMessage().split()), None
        return True


class NotReadyFilter(logging.Filter):
    """Drops what Django says of each /readyz that is not ready.

    It is asked every few seconds, and the answer is for whoever asks.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        request = getattr(record, "request", None)
        is_readyz = getattr(request, "path_info", "") == "/readyz"
        return not (is_readyz and getattr(record, "status_code", 0) == 503)


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
        )
    )
