"""How the supervisor can tell a worker that does nothing from one with nothing to do.

A process touches a file in `run/` of the data directory whenever it has done something:
beat when it has sent a task, the worker when it is through with one. Beat sends several
every few seconds, so a worker that is silent while beat is not has stalled. Beat and watch
also touch a file at each turn, whatever came of it. Files and not rows, so that the supervisor needs neither Django nor the database to look.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

DIRECTORY = "run"
#: In it: where web listens, and the address that links have, each on a line of its own.
ADDRESS_FILE = "address"
#: Touching is cheap, but not for free: at most once in this time.
TOUCH_SECONDS = 1.0
#: Beat sends something every 2 s; after this long it is not sending.
BEAT_IS_SILENT_SECONDS = 10.0
#: A worker is behind when it has finished nothing for this long.
WORKER_IS_SILENT_SECONDS = 20.0
#: Beat and watch take a turn every few seconds; one that waits for a database or a
#: broker that does not answer takes the time-outs of those.
TURN_SECONDS = 45.0

_last_touch: dict[str, float] = {}


def touch(data_dir: Path, name: str) -> None:
    """Note that the process of this name has just done something; never raises."""
    moment = time.monotonic()
    if moment - _last_touch.get(name, -TOUCH_SECONDS) < TOUCH_SECONDS:
        return
    _last_touch[name] = moment
    path = data_dir / DIRECTORY / name
    with contextlib.suppress(OSError):  # a full disk is told elsewhere
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch()
        os.utime(path)


def age(data_dir: Path, name: str) -> float | None:
    """Return the seconds since a process last did something, None if it never did."""
    try:
        return max(0.0, time.time() - (data_dir / DIRECTORY / name).stat().st_mtime)
    except OSError:
        return None


def takes_turns(data_dir: Path, name: str) -> bool:
    """Say whether the process that notes its turns under this name does so."""
    last = age(data_dir, name)
    return last is not None and last <= TURN_SECONDS


def is_worker_alive(data_dir: Path) -> bool:
    """Say False only when beat sends tasks and the worker finishes none of them."""
    beat, worker = age(data_dir, "beat"), age(data_dir, "worker")
    if beat is None or beat > BEAT_IS_SILENT_SECONDS:
        return True
    return worker is not None and worker <= WORKER_IS_SILENT_SECONDS
