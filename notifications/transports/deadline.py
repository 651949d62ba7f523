"""A time by which a connection is done with, whatever the other side does."""

from __future__ import annotations

import os
import socket
import threading
from typing import Self


class Deadline:
    """Breaks the connections it watches when a time is over.

    Libraries bound each read and not a dialogue, so a thread of its own shuts the
    connection down; the read in hand then ends at once.
    """

    def __init__(self, seconds: float) -> None:
        """Take the time that there is from when it is entered."""
        self.is_over = False
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        """Let the time run."""
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the time."""
        self._timer.cancel()
        with self._lock:
            for watched in self._watched:
                watched.close()
            self._watched.clear()

    def watch(self, line: socket.socket) -> None:
        """Break this connection too when the time is over."""
        with self._lock:
            # A twin, because TLS takes the socket over and puts another in its place.
            self._watched.append(socket.socket(fileno=os.dup(line.fileno())))
        if self.is_over:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            for watched in self._watched:
                try:
                    watched.shutdown(socket.SHUT_RDWR)
                except OSError:
                    # The server was faster.
                    continue
