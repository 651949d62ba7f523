"""Ten thousand store points on one server: what agent and master spend on them.

The whole console runs as it does anywhere: beat asks what is due, the worker sends
signed orders through the broker, agent and prober look and report, the worker records.
Only the rows are put into the database at once, because adopting so many one by one
by hand would take all day; the markers are real.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from bench import volumes
from bench.figures import judged
from bench.running import RunningConsole, cpu_seconds, wait_until
from storepoints.agent.messages import Spec

STORE_POINTS = 10_000
INTERVAL_SECONDS = 30
#: Rounds for each figure; each begins when the one before it is over.
ROUNDS = 2
LOOK_SECONDS = 0.5
#: A round that takes longer is not kept up with.
PATIENCE_SECONDS = 3 * INTERVAL_SECONDS

#: What the defaults write, and a pause between writes that no run is as long as.
DEFAULT_WRITES = 15
NO_WRITES = 86_400

#: The target: what agent and prober together may take of one core.
MOST_OF_A_CORE = 100 / 3


@dataclass
class Seen:
    """What was seen in one stretch of time: CPU seconds, and the readings."""

    agent: float
    prober: float
    worker: float
    findings: int
    #: From the first to the last look of a round.
    round_seconds: float
    #: How old a reading became before the next one was in the database.
    oldest_seconds: float


def main() -> None:
    """Measure on ext4 with and without the write probe, and on a tmpfs."""
    for fs_type, writes in (
        ("ext4", (DEFAULT_WRITES, NO_WRITES)),
        ("tmpfs", (DEFAULT_WRITES,)),
    ):
        if lacks := volumes.what_lacks(fs_type):
            print(f"  {fs_type} left out: {lacks}")
            continue
        with volumes.yard() as root:
            place = volumes.mount(root, fs_type, megabytes=1024)
            specs = volumes.adopt_many(place, STORE_POINTS)
            with RunningConsole(root / "var") as console:
                for write_seconds in writes:
                    _measure(console, specs, fs_type, write_seconds)


def _measure(
    console: RunningConsole, specs: list[Spec], fs_type: str, write_seconds: int
) -> None:
    console.fill(specs, write_seconds=write_seconds)
    # The first time round every row goes from pending to online.
    wait_until(lambda: _online(console) >= STORE_POINTS, seconds=240, pause_seconds=0.5)
    _await_round(console)
    seen = _watch(console)
    spent = seen.agent + seen.prober
    # Not by the clock: how many rounds begin in the time that was watched is chance.
    share = 100 * spent / seen.findings * STORE_POINTS / INTERVAL_SECONDS
    what = (
        f"written to when the last write is over {write_seconds} s ago (the default)"
        if write_seconds == DEFAULT_WRITES
        else "not written to"
    )
    words = judged(share, MOST_OF_A_CORE, "a third of one core")
    print(f"  {STORE_POINTS:,} store points on {fs_type}, {what}")
    print(
        f"    agent {1000 * seen.agent / seen.findings:.3f} ms and prober "
        f"{1000 * seen.prober / seen.findings:.3f} ms of CPU a verdict: {share:.1f} % "
        f"of one core for all in {INTERVAL_SECONDS} s; {words}"
    )
    print(
        f"    master's worker {1000 * seen.worker / seen.findings:.3f} ms of CPU a "
        f"reading: {share / spent * seen.worker:.1f} % of one core"
    )
    print(
        f"    {seen.findings:,} readings in {ROUNDS} rounds, each looked at within "
        f"{seen.round_seconds:.1f} s; no reading was ever older than "
        f"{seen.oldest_seconds:.1f} s"
    )


def _watch(console: RunningConsole) -> Seen:
    """Add up CPU time from the end of one round to the end of another."""
    processes = {
        "agent": console.process("storepoints.agent"),
        "prober": console.process("storepoints.agent.prober"),
        "worker": console.process("[celeryd:"),
    }
    before = {name: cpu_seconds(process) for name, process in processes.items()}
    rounds = [_await_round(console) for _ in range(ROUNDS)]
    spent = {name: _spent(processes[name], before[name]) for name in processes}
    return Seen(
        **spent,
        findings=sum(findings for findings, _, _ in rounds),
        round_seconds=max(seconds for _, seconds, _ in rounds),
        oldest_seconds=max(oldest for _, _, oldest in rounds),
    )


def _await_round(console: RunningConsole) -> tuple[int, float, float]:
    """Wait until each store point has a new reading, and no more come.

    Returns how many came, how long the looking took, and the oldest age seen.
    """
    begin, until = _newest(console), time.monotonic() + PATIENCE_SECONDS
    last, findings, oldest = begin, 0, 0.0
    while True:
        time.sleep(LOOK_SECONDS)
        newest = _newest(console)
        first = min(newest.values())
        oldest = max(oldest, time.time() - first)
        changed = sum(1 for guid, at in newest.items() if last[guid] != at)
        findings += changed
        last = newest
        if not changed and all(at != begin[guid] for guid, at in newest.items()):
            return findings, max(newest.values()) - first, oldest
        if time.monotonic() > until:
            missing = sum(1 for guid, at in newest.items() if at == begin[guid])
            print(
                f"  unreliable: after {PATIENCE_SECONDS:g} s the round was not over, and "
                f"{missing:,} readings were missing"
            )
            return findings, max(newest.values()) - first, oldest


def _spent(process: psutil.Process, before: float) -> float:
    if not process.is_running():
        raise RuntimeError(f"process {process.pid} was ended while it was measured")
    return cpu_seconds(process) - before


def _online(console: RunningConsole) -> int:
    query = "select count(*) from storepoints_storepoint where state = 'online'"
    rows = console.rows(query)
    return int(rows[0][0]) if rows else 0


def _newest(console: RunningConsole) -> dict[str, float]:
    """Return when each store point was looked at last, in epoch seconds."""
    query = (
        "select guid, checked_at from storepoints_storepoint where name <> 'Default'"
    )
    return {
        guid: datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
        for guid, at in console.rows(query)
    }
