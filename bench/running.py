"""A console of the benchmark's own: started, asked, stopped."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parent.parent
MANAGE = [sys.executable, str(ROOT / "manage.py")]


class RunningConsole:
    """`manage.py up` in a data directory, on a free port, until the block ends."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CONSOLE_")
        } | {
            "CONSOLE_DATA_DIR": str(data_dir),
            "CONSOLE_LISTEN": f"127.0.0.1:{_free_port()}",
        }

    def __enter__(self) -> Self:
        """Start it and wait until its own store point is online."""
        self._up = subprocess.Popen(
            [*MANAGE, "up"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: self.state("Default") == "online")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it as Ctrl-C does."""
        self._up.send_signal(signal.SIGINT)
        self._up.wait(30)

    def add(self, name: str, path: Path) -> None:
        """Add a store point and wait until it is online."""
        subprocess.run(
            [*MANAGE, "add_store_point", name, str(path)],
            env=self._environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wait_until(lambda: self.state(name) == "online")

    def state(self, name: str) -> str:
        """Return the state in the row of a store point, or "" while there is none."""
        uri = f"file:{self._data_dir}/console.sqlite3?mode=ro"
        try:
            connection = sqlite3.connect(uri, uri=True)
            try:
                row = connection.execute(
                    "select state from storepoints_storepoint where name = ?", [name]
                ).fetchone()
            finally:
                connection.close()
        except sqlite3.OperationalError:
            return ""
        return str(row[0]) if row else ""

    def tree(self) -> list[psutil.Process]:
        """Return all processes of it."""
        top = psutil.Process(self._up.pid)
        return [top, *top.children(recursive=True)]


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something, at most a minute."""
    until = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > until:
            raise RuntimeError("it did not happen within 60 s")
        time.sleep(0.005)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
