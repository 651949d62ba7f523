"""`make bench`: run the benchmarks, or the ones that are named."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import signal
import sys
from importlib.metadata import version

import psutil

#: What can be measured, and what each needs.
NAMES = {
    "verdict": "CPU and wall time of a verdict beside the bare system calls and check_disk",
    "fleet": "10,000 store points on one server: CPU of its agent and of the master",
    "hang": "what one hung mount does to 999 other store points (root, FUSE)",
    "detect": "from umount(2) to the row in the database (root, loop devices)",
    "faults": "from every other fault to the row in the database (root, loop devices)",
    "pages": "overviews with 100, 1,000 and 10,000 rows, and one store point's page",
    "acknowledge": "10,000 alerts acknowledged beside one bare UPDATE, on both databases",
    "alerts": "the Alerts Overview with 100,000 alerts beside Django's own admin",
    "history": "what a stored sample takes, and so a store point in a year",
    "idle": "memory and CPU of the whole process tree with 10 store points",
}

#: What others may take of all processors together before figures mean little, and how
#: long that is looked at before anything is measured.
BUSY_PERCENT = 10.0
LISTEN_SECONDS = 2.0


def main() -> int:
    """Run what was asked for and print figures."""
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=…",
        description="\n".join(f"{name}: {text}" for name, text in NAMES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="all when none is named"
    )
    names = parser.parse_args().names or list(NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"expected names among {', '.join(NAMES)}, found {unknown[0]!r}")
    print(
        f"Python {platform.python_version()}, Django {version('django')}, "
        f"Linux {platform.release()}, {os.cpu_count()} cores"
    )
    # What is measured takes minutes: its lines are to be seen as they come.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a text file
    # Told to stop, it unmounts what it has mounted and stops what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed = 0
    for name in names:
        print(f"\n{name}: {NAMES[name]}")
        busy = psutil.cpu_percent(LISTEN_SECONDS)
        if busy > BUSY_PERCENT:
            print(f"  unreliable: something else took {busy:.0f} % of the processors")
        try:
            importlib.import_module(f"bench.{name}").main()
        except RuntimeError as error:
            print(f"  failed: {error}")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
