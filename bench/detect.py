"""How long an unmount goes unnoticed: from the system call to the row in the database."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.running import RunningConsole, wait_until
from console.demo import NAMES, Stage

ROUNDS = 40


def main() -> None:
    """Unmount and mount a volume at random moments and watch its row."""
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage(Path(directory))
        stage.build()
        try:
            if not stage.has_volumes:
                print(f"  left out: {stage.why_not}")
                return
            with RunningConsole(Path(directory) / "var") as console:
                _measure(stage, console)
        finally:
            stage.strike()


def _measure(stage: Stage, console: RunningConsole) -> None:
    console.add(NAMES[0], stage.path(NAMES[0]))
    gone, back = [], []
    for _ in range(ROUNDS):
        time.sleep(random.uniform(0.5, 3))
        gone.append(_timed(console, stage.break_one, "offline"))
        time.sleep(random.uniform(0.5, 3))
        back.append(_timed(console, stage.mend_one, "online"))
    _print("unmount", gone)
    _print("mount", back)


def _timed(console: RunningConsole, act: Callable[[], object], state: str) -> float:
    begin = time.perf_counter()
    act()
    wait_until(lambda: console.state(NAMES[0]) == state)
    return time.perf_counter() - begin


def _print(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    print(
        f"  {name}: p50 {1000 * statistics.median(ordered):.0f} ms, "
        f"p95 {1000 * p95:.0f} ms, max {1000 * ordered[-1]:.0f} ms "
        f"of {len(ordered)}"
    )
