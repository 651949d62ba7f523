"""How long an unmount goes unnoticed: from the system call to the row in the database."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from console.demo import NAMES, Stage

ROUNDS = 40
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Start a console, unmount and mount a volume at random moments, watch the row."""
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage(Path(directory))
        stage.build()
        try:
            if not stage.has_volumes:
                print(f"  left out: {stage.why_not}")
                return
            _measure(stage, Path(directory) / "var")
        finally:
            stage.strike()


def _measure(stage: Stage, data_dir: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CONSOLE_")
    } | {
        "CONSOLE_DATA_DIR": str(data_dir),
        "CONSOLE_LISTEN": f"127.0.0.1:{_free_port()}",
    }
    manage = [sys.executable, str(ROOT / "manage.py")]
    console = subprocess.Popen(
        [*manage, "up"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await((data_dir / "console.sqlite3").exists)
        _await(lambda: _state(data_dir, "Default") == "online")
        subprocess.run(
            [*manage, "add_store_point", NAMES[0], str(stage.path(NAMES[0]))],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        _await(lambda: _state(data_dir, NAMES[0]) == "online")
        gone, back = [], []
        for _ in range(ROUNDS):
            time.sleep(random.uniform(0.5, 3))
            gone.append(_until(data_dir, stage.break_one, "offline"))
            time.sleep(random.uniform(0.5, 3))
            back.append(_until(data_dir, stage.mend_one, "online"))
        _print("unmount", gone)
        _print("mount", back)
    finally:
        console.send_signal(signal.SIGINT)
        console.wait(30)


def _until(data_dir: Path, act: Callable[[], object], state: str) -> float:
    begin = time.perf_counter()
    act()
    _await(lambda: _state(data_dir, NAMES[0]) == state)
    return time.perf_counter() - begin


def _state(data_dir: Path, name: str) -> str:
    uri = f"file:{data_dir}/console.sqlite3?mode=ro"
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


def _await(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > until:
            raise RuntimeError("it did not happen within 60 s")
        time.sleep(0.005)


def _print(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    print(
        f"  {name}: p50 {1000 * statistics.median(ordered):.0f} ms, "
        f"p95 {1000 * p95:.0f} ms, max {1000 * ordered[-1]:.0f} ms "
        f"of {len(ordered)}"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
