"""How long an unmount goes unnoticed: from the system call to the row in the database."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import judged, percentile
from bench.running import RunningConsole, wait_until
from console.demo import NAMES, Stage

ROUNDS = 200
#: Between two acts. The sum of a few is as random as can be within the tick (2 s) and
#: the interval (30 s), and the runs take five minutes.
PAUSE_SECONDS = (0.1, 1.1)

#: The target: how long 95 of 100 may go unnoticed.
MOST_SECONDS = 1.0


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
        time.sleep(random.uniform(*PAUSE_SECONDS))
        gone.append(_timed(console, stage.break_one, "offline"))
        time.sleep(random.uniform(*PAUSE_SECONDS))
        back.append(_timed(console, stage.mend_one, "online"))
    _print("unmount", gone)
    _print("mount", back)


def _timed(console: RunningConsole, act: Callable[[], object], state: str) -> float:
    begin = time.perf_counter()
    act()
    wait_until(lambda: console.state(NAMES[0]) == state)
    return time.perf_counter() - begin


def _print(name: str, seconds: list[float]) -> None:
    p95 = percentile(seconds, 0.95)
    words = judged(p95, MOST_SECONDS, f"{MOST_SECONDS:g} s at p95")
    print(
        f"  {name}: p50 {1000 * statistics.median(seconds):.0f} ms, "
        f"p95 {1000 * p95:.0f} ms, max {1000 * max(seconds):.0f} ms "
        f"of {len(seconds)}; {words}"
    )
