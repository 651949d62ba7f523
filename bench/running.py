"""A console of the benchmark's own: started, asked, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from storepoints.agent.messages import Spec

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
        return self.state_and_reason(name)[0]

    def state_and_reason(self, name: str) -> tuple[str, str]:
        """Return state and reason in the row of a store point, or two empty texts."""
        rows = self.rows(
            "select state, reason from storepoints_storepoint where name = ?", name
        )
        return (str(rows[0][0]), str(rows[0][1])) if rows else ("", "")

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query finds in the database; nothing while there is none."""
        uri = f"file:{self._data_dir}/console.sqlite3?mode=ro"
        try:
            connection = sqlite3.connect(uri, uri=True)
            try:
                return connection.execute(query, values).fetchall()
            finally:
                connection.close()
        except sqlite3.OperationalError:
            return []

    def fill(self, specs: Sequence[Spec], **fields: object) -> None:
        """Add store points that are adopted already, all at once, due now.

        ``fields`` are columns of their rows, e.g. how often they are written to; they
        are changed in rows that are there already.
        """
        data = {
            "fields": fields,
            "store_points": [
                {
                    "guid": spec.id,
                    "name": spec.name,
                    "path": spec.path,
                    "volume": spec.volume,
                }
                for spec in specs
            ],
        }
        subprocess.run(
            [sys.executable, "-m", "bench.filling"],
            input=json.dumps(data).encode(),
            env=self._environment | {"DJANGO_SETTINGS_MODULE": "console.settings"},
            cwd=ROOT,
            check=True,
        )

    def process(self, words: str) -> psutil.Process:
        """Return the process whose command has these words in it."""
        for process in self.tree():
            if words in process.cmdline():
                return process
        raise RuntimeError(f"no process of the console is {words!r}")

    def tree(self) -> list[psutil.Process]:
        """Return all processes of it."""
        top = psutil.Process(self._up.pid)
        return [top, *top.children(recursive=True)]


def wait_until(
    is_so: Callable[[], bool], *, seconds: float = 60.0, pause_seconds: float = 0.005
) -> None:
    """Wait for something, at most a minute or as long as is said."""
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            raise RuntimeError(f"it did not happen within {seconds:g} s")
        time.sleep(pause_seconds)


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process, and of the programs it ran that have ended."""
    times = process.cpu_times()
    return float(
        times.user + times.system + times.children_user + times.children_system
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
