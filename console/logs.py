"""How the processes log: quietly, on standard error, each line with its process."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path


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


class NotReadyFilter(logging.Filter):
    """Drops what Django says of each /readyz that is not ready.

    It is asked every few seconds, and the answer is for whoever asks.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        request = getattr(record, "request", None)
        is_readyz = getattr(request, "path_info", "") == "/readyz"
        return not (is_readyz and getattr(record, "status_code", 0) == 503)


class MailLinkFilter(logging.Filter):
    """Takes the token out of the address of a mail's link: it is as good as the link.

    Django names the address of a request that it refuses, also of one whose link was
    not used by that.
    """

    _TOKEN = re.compile(r"(/acknowledge/)[^/\s]+")

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and let it be logged."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                self._TOKEN.sub(r"\1•••", each) if isinstance(each, str) else each
                for each in record.args
            )
        return True
