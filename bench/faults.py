"""How long every fault goes unnoticed: from breaking it to the row in the database.

The ways to break a store point, and the reason that each must come to, are those of
tests/faults. Each store point lies on a volume of its own; all are broken under one
console, each at a moment of its own that is random within the interval, which stays at
its default. What the kernel does not tell is found when the store point is due; what
hangs is told when the deadline of that probe has passed.
"""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import volumes
from bench.figures import judged
from bench.running import RunningConsole, wait_until
from storepoints.agent.messages import spec_of
from tests import needs
from tests.faults.breaking import Scene, Way
from tests.faults.test_it_survives_what_hangs import HANGS
from tests.faults.test_it_tells_what_failed import FAULTS
from tests.faults.volumes import Volume, clean_up

#: The default of a store point; nothing here sets it.
INTERVAL_SECONDS = 30.0
#: Store points that are broken in each way.
COPIES = 3
#: The target: how long after the interval a fault may be told.
MORE_SECONDS = 2.0
#: A fault that is not told in this time is told wrong, or never.
PATIENCE_SECONDS = 2 * INTERVAL_SECONDS
LOOK_SECONDS = 0.05
#: What may be found as well, because the kernel does more before the next look: a disk
#: that takes no writes makes ext4 give up by itself.
AS_WELL = {"its disk failing to write": ("offline", "read-only")}


@dataclass(frozen=True)
class Kind:
    """One way to break a store point, on what, and what the row must say then."""

    name: str
    way: Way
    on: Callable[[Path], Volume]
    below: str
    says: tuple[str, str]

    @property
    def hangs(self) -> bool:
        """Whether calls on it do not come back."""
        return self.says[0] == "not-responding"


@dataclass
class Case:
    """One store point that is broken; epoch seconds of when it was and was told."""

    kind: Kind
    scene: Scene
    way: Iterator[None]
    broken_at: float = 0.0
    told_at: float = 0.0
    left_out: str = ""
    found: str = ""

    @property
    def seconds(self) -> float:
        """How long it went unnoticed."""
        return max(0.0, self.told_at - self.broken_at)


def main() -> None:
    """Break store points in every way that root can and watch their rows."""
    os.environ["PATH"] = needs.search_path()
    if lacks := volumes.what_lacks("ext4", "fsfreeze", "e2fsck"):
        print(f"  left out: {lacks}")
        return
    with volumes.yard() as root:
        cases = list(_cases(root))
        try:
            with RunningConsole(root / "var") as console:
                _break_all(console, cases)
        finally:
            # What hangs is mended first, or it would hold up the mending of the rest.
            for case in sorted(cases, key=lambda case: not case.kind.hangs):
                with contextlib.suppress(Exception):
                    next(case.way, None)
                clean_up(case.scene.yard)
    _print(cases)


def _kinds() -> Iterator[Kind]:
    """Yield each way once; what needs an agent without rights is none for root."""
    seen = set()
    faults = [
        Kind(_words(fault.broken), fault.broken, fault.on, fault.below, says)
        for fault in FAULTS
        if not fault.as_nobody
        for says in [("offline", fault.reason)]
    ]
    hangs = [
        Kind(_words(hang.begins), hang.begins, hang.on, "", ("not-responding", ""))
        for hang in HANGS
        if hang.layer
    ]
    for kind in (*faults, *hangs):
        if kind.name not in seen:
            seen.add(kind.name)
            yield kind


def _words(way: Way) -> str:
    return way.__name__.replace("_", " ")


def _cases(root: Path) -> Iterator[Case]:
    for number, kind in enumerate(_kinds()):
        for copy in range(COPIES):
            yard = root / f"{number}-{copy}"
            yard.mkdir()
            try:
                scene = Scene(yard, kind.on(yard), kind.below)
            except pytest.skip.Exception as why:
                print(f"  {kind.name}: left out, {why.msg}")
                break
            scene.spec["name"] = f"{kind.name} {copy}"
            yield Case(kind, scene, kind.way(scene))


def _break_all(console: RunningConsole, cases: list[Case]) -> None:
    console.fill([spec_of(case.scene.spec) for case in cases])
    wait_until(
        lambda: (
            set(_states(console).values()) == {("online", "")}
            and len(_states(console)) > len(cases)
        ),
        pause_seconds=0.5,
    )
    # A disk that hangs holds up whoever writes to any disk of this machine for a while:
    # what hangs is broken last, when nobody makes filesystems any more.
    _break_some(console, [case for case in cases if not case.kind.hangs])
    _break_some(console, [case for case in cases if case.kind.hangs])


def _break_some(console: RunningConsole, cases: list[Case]) -> None:
    with ThreadPoolExecutor(len(cases)) as pool:
        broken = [pool.submit(_break, case) for case in cases]
        waiting = list(cases)
        while waiting:
            time.sleep(LOOK_SECONDS)
            states, now = _states(console), time.time()
            for case in waiting:
                found = states.get(case.scene.spec["name"])
                right = (case.kind.says, AS_WELL.get(case.kind.name))
                if case.broken_at and found and found in right:
                    case.told_at = now
                elif case.broken_at and now > case.broken_at + PATIENCE_SECONDS:
                    case.found = " ".join(found or ()).strip()
            waiting = [
                case
                for case in waiting
                if not (case.told_at or case.found or case.left_out)
            ]
    for each in broken:
        each.result()


def _break(case: Case) -> None:
    time.sleep(random.uniform(0, INTERVAL_SECONDS))
    try:
        next(case.way)
    except pytest.skip.Exception as why:
        case.left_out = str(why.msg)
    except Exception as error:
        case.left_out = f"it could not be broken: {error}"
        raise
    else:
        case.broken_at = time.time()


def _states(console: RunningConsole) -> dict[str, tuple[str, str]]:
    rows = console.rows("select name, state, reason from storepoints_storepoint")
    return {name: (state, reason) for name, state, reason in rows}


def _print(cases: list[Case]) -> None:
    told: dict[Kind, list[Case]] = {}
    for case in cases:
        told.setdefault(case.kind, []).append(case)
    for kind, each in told.items():
        says = " ".join(kind.says).strip()
        if each[0].left_out:
            print(f"  {kind.name}: left out, {each[0].left_out}")
        elif wrong := [case.found for case in each if case.found]:
            print(f"  {kind.name}: NOT TOLD, expected {says}, found {wrong[0]}")
        else:
            seconds = ", ".join(f"{case.seconds:.1f}" for case in each)
            print(f"  {kind.name}: {says} after {seconds} s")
    for words, hangs in (("what fails", False), ("what hangs", True)):
        those = [
            case for case in cases if case.kind.hangs is hangs and not case.left_out
        ]
        _judge(words, those)


def _judge(words: str, cases: list[Case]) -> None:
    if not cases:
        return
    seconds = [case.seconds for case in cases if case.told_at]
    longest = max(seconds, default=0.0)
    most = INTERVAL_SECONDS + MORE_SECONDS
    is_told = len(seconds) == len(cases)
    target = judged(longest if is_told else float("inf"), most, f"{most:g} s")
    print(
        f"  {words}, {len(cases)} store points: told within p50 "
        f"{statistics.median(seconds):.1f} s, max {longest:.1f} s at an interval of "
        f"{INTERVAL_SECONDS:g} s; {target}"
    )
