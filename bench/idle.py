"""What the whole process tree costs while nothing happens, with 10 store points."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.running import RunningConsole, cpu_seconds

STORE_POINTS = 10
SETTLE_SECONDS = 40
SECONDS = 90


def main() -> None:
    """Start a console, add store points, wait, and add up memory and CPU time."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        with RunningConsole(root / "var") as console:
            # The store point Default is one of them.
            for number in range(1, STORE_POINTS):
                path = root / f"sp{number}"
                path.mkdir()
                console.add(f"SP-{number}", path)
            time.sleep(SETTLE_SECONDS)
            tree = console.tree()
            before = {process: cpu_seconds(process) for process in tree}
            begin = time.monotonic()
            time.sleep(SECONDS)
            spent = sum(cpu_seconds(process) - before[process] for process in tree)
            share = 100 * spent / (time.monotonic() - begin)
            memory = sum(process.memory_full_info().pss for process in tree)
            print(
                f"  {len(tree)} processes: {memory / 2**20:.0f} MiB proportional set "
                f"size, {share:.1f} % of one core over {SECONDS} s"
            )
