"""`manage.py watch`: print what happens, and notice when nothing does."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections

from console.celery import note_liveness
from console.kit import clock
from console.watchman import Watchman


class Command(BaseCommand):
    """Run the watchman until told to stop."""

    help = (
        "Print one line for each state change and alert, and raise and mail the alert "
        "“Health checks not running” when no worker asks what is due. It needs the "
        "database alone, so it still works while the broker, beat and all workers are "
        "down. manage.py up starts it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the interval."""
        parser.add_argument(
            "--seconds",
            type=float,
            default=1.0,
            help="how often to look, from 0.2 to 60 (default 1)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look again and again until SIGTERM or SIGINT."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        pause = min(60.0, max(0.2, options["seconds"]))
        watchman = Watchman(say=self._say, started_at=clock.now())
        while not stop.is_set():
            # A database that was restarted is connected to again.
            close_old_connections()
            watchman.look(now=clock.now())
            note_liveness("watch", what="watch-turn")
            stop.wait(pause)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
