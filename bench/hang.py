"""What one hung mount does to the other store points of its server.

A real agent, with a real broker and signed orders, is asked about 1,000 store points
again and again: 999 on an ext4 volume, and one on a FUSE mount that nobody serves.
Blocks of rounds with the hang and without it take turns, and there are twice as many
without, so that the same comparison between two like halves says how large the noise
is. A verdict's time is from the order's being sent to the finding.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench import volumes
from bench.figures import judged, percentile
from storepoints.agent.messages import Spec
from tests.agent.harness import AgentProcess, Broker, Master, make_spec
from tests.faults.volumes import HungFuse

STORE_POINTS = 1_000
#: Each turn is a block of each kind; the order of the kinds is turned round each time.
TURNS = 9
ROUNDS = 6
#: Until what a mount and an unmount set off has passed.
SETTLE_SECONDS = 2.0
ROUND_SECONDS = 60.0
#: What a probe may take before it is said not to respond, as the master has it.
DEADLINE_SECONDS = 5.0

#: The target: by how much the others' p99 may change.
MOST_PERCENT = 10.0


@dataclass
class Times:
    """Milliseconds from order to finding: all of them, and each round's p99 by turn."""

    every: list[float] = field(default_factory=list)
    p99: list[list[float]] = field(default_factory=list)

    def __add__(self, other: Times) -> Times:
        turns = zip(self.p99, other.p99, strict=True)
        return Times(self.every + other.every, [a + b for a, b in turns])


def main() -> None:
    """Measure on an ext4 of its own, beside a FUSE mount that hangs."""
    lacks = volumes.what_lacks("ext4")
    if not lacks and not Path("/dev/fuse").exists():
        lacks = "there is no /dev/fuse"
    if lacks:
        print(f"  left out: {lacks}")
        return
    with volumes.yard() as root:
        place = volumes.mount(root, "ext4")
        specs = volumes.adopt_many(place, STORE_POINTS - 1)
        broker = Broker(root)
        broker.start()
        master = Master(broker)
        agent = AgentProcess(root, master)
        try:
            _measure(root, master, specs)
        finally:
            agent.stop()
            broker.stop()


def _measure(root: Path, master: Master, specs: list[Spec]) -> None:
    others = [
        make_spec(spec.path, volume=spec.volume, deadline_seconds=DEADLINE_SECONDS)
        | {"id": spec.id}
        for spec in specs
    ]
    mount = HungFuse(root)
    hung = make_spec(mount.place, deadline_seconds=DEADLINE_SECONDS)
    # The first time round imports, allocates and reads directories.
    for _ in range(2):
        _round(master, [*others, hung])
    times = {"one": Times(), "other": Times(), "hung": Times()}
    kinds = list(times)
    for turn in range(TURNS):
        for kind in kinds[turn % 3 :] + kinds[: turn % 3]:
            if kind == "hung":
                mount.mount()
            try:
                time.sleep(SETTLE_SECONDS)
                times[kind].p99.append([])
                for number in range(ROUNDS):
                    if kind == "hung" and number == ROUNDS // 2:
                        # One half while the call is awaited, the other when it is late.
                        _expect_hung(master, hung)
                    each = _round(master, [*others, hung])
                    times[kind].every += each
                    times[kind].p99[-1].append(percentile(each, 0.99))
            finally:
                if kind == "hung":
                    mount.die()
                    mount.umount()
    _print(times)


def _round(master: Master, specs: list[dict[str, object]]) -> list[float]:
    """Order a probe of all and return what each but the last took, in milliseconds."""
    others = {str(spec["id"]) for spec in specs[:-1]}
    master.findings.clear()
    master.reports.clear()
    sent_at = time.time()
    master.probe(*specs)
    found: dict[str, float] = {}
    until = time.monotonic() + ROUND_SECONDS
    while len(found) < len(others):
        if time.monotonic() > until:
            raise RuntimeError(f"{len(found)} of {len(others)} verdicts came")
        master.read(0.05)
        for finding in master.findings:
            if finding["id"] in others and finding["cause"] == "due":
                if finding["state"] != "online":
                    raise RuntimeError(f"the bench's own store point is {finding}")
                found.setdefault(finding["id"], 1000 * (finding["at"] - sent_at))
        master.findings.clear()
    return list(found.values())


def _expect_hung(master: Master, hung: dict[str, object]) -> None:
    """Make sure that it did hang: without that the comparison says nothing."""
    master.probe(hung, complete=False)
    master.wait_finding(
        str(hung["id"]), state="not-responding", seconds=DEADLINE_SECONDS + 5
    )


def _print(times: dict[str, Times]) -> None:
    one, other, hung = times["one"], times["other"], times["hung"]
    without = one + other
    for words, each in (("without a hang", without), ("with one hung mount", hung)):
        rounds = [p99 for turn in each.p99 for p99 in turn]
        print(
            f"  {words}: p50 {percentile(each.every, 0.5):.0f} ms, "
            f"p99 {percentile(each.every, 0.99):.0f} ms of {len(each.every):,} verdicts; "
            f"p99 of a round {statistics.median(rounds):.0f} ms "
            f"({min(rounds):.0f} to {max(rounds):.0f}) of {len(rounds)} rounds"
        )
    change, noise = _change(without, hung), _change(one, other)
    words = judged(change, MOST_PERCENT, f"{MOST_PERCENT:g} %")
    print(
        f"  the hang changes the p99 by {change:+.1f} % (median of {TURNS} turns); {words}"
    )
    print(
        f"  noise, the same between two halves of the rounds without it: {noise:+.1f} %"
    )
    if abs(noise) >= MOST_PERCENT:
        print("  unreliable: the noise is as large as the target")


def _change(before: Times, after: Times) -> float:
    """Return by how many percent the p99 changed; turns are compared one by one."""
    return 100 * statistics.median(
        statistics.median(then) / statistics.median(first) - 1
        for first, then in zip(before.p99, after.p99, strict=True)
    )
