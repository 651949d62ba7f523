"""`make bench`: run the benchmarks, or the ones that are named."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
from importlib.metadata import version

#: What can be measured, and what each needs.
NAMES = {
    "verdict": "CPU and wall time of a verdict beside the bare system calls",
    "pages": "the overviews with 100, 1,000 and 10,000 rows beside a bare query",
    "idle": "memory and CPU of the whole process tree with 10 store points",
    "detect": "from umount(2) to the row in the database (root, loop devices)",
}


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
        f"Linux {platform.release()}"
    )
    for name in names:
        print(f"\n{name}: {NAMES[name]}")
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
