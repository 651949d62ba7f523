"""A verdict beside its floors, and beside monitoring-plugins' check_disk.

Two floors, in the same run and in turns with the verdict. The *least* is what a check
that writes cannot do without: ``stat``, ``statvfs`` and, with the write probe, 4 KiB
written, flushed, read back and removed. The *same calls* are all those that the verdict
makes, on the same files: the path is opened without following links, device and space
are asked of the open directory, the marker is read, and what was written is dropped
from memory before it is read back.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import volumes
from bench.figures import judged, ratio, spread
from storepoints.agent import disk
from storepoints.agent.memory import Memory
from storepoints.agent.messages import Spec
from storepoints.agent.mounts import Mounts, MountTable
from storepoints.agent.probe import probe
from storepoints.agent.progress import Progress

STORE_POINTS = 1_000
ROUNDS = 7

CHECK_DISK = Path("/usr/lib/nagios/plugins/check_disk")
CHECKED_PATHS = 100
CHECK_ROUNDS = 5

#: Targets: how much of a floor, and how much of check_disk, a verdict may cost.
MOST_OF_FLOOR = 2.0
MOST_OF_CHECK_DISK = 0.25

Work = Callable[[Spec], object]


@dataclass
class Cost:
    """CPU and wall milliseconds for one store point, one of each for a round."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def main() -> None:
    """Measure on an ext4 and on a tmpfs of its own."""
    for fs_type in ("ext4", "tmpfs"):
        if lacks := volumes.what_lacks(fs_type):
            print(f"  {fs_type} left out: {lacks}")
            continue
        with volumes.yard() as root:
            _measure(volumes.mount(root, fs_type), fs_type)


def _measure(place: Path, fs_type: str) -> None:
    specs = volumes.adopt_many(place, STORE_POINTS)
    table = Mounts().current()
    writing = _in_turns(
        specs,
        {
            "verdict": _verdict(table),
            "least floor": _stat_and_write,
            "same calls": _same_calls_and_write,
        },
    )
    print(f"  {STORE_POINTS:,} store points on {fs_type}, with the write probe")
    _print(writing, {"least floor": MOST_OF_FLOOR, "same calls": MOST_OF_FLOOR})
    specs = [replace(spec, write=False) for spec in specs]
    looking = _in_turns(
        specs,
        {
            "verdict": _verdict(table),
            "least floor": _stat,
            "same calls": _same_calls,
        },
    )
    print(f"  {STORE_POINTS:,} store points on {fs_type}, without it")
    _print(looking, {})
    _beside_check_disk(specs[:CHECKED_PATHS], table)


def _in_turns(specs: list[Spec], works: dict[str, Work]) -> dict[str, Cost]:
    """Do one after the other in each round; the first round warms up."""
    costs = {name: Cost() for name in works}
    for number in range(ROUNDS + 1):
        for name, work in works.items():
            cpu, wall = time.process_time(), time.perf_counter()
            for spec in specs:
                work(spec)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if number:
                costs[name].cpu.append(1000 * cpu / len(specs))
                costs[name].wall.append(1000 * wall / len(specs))
    return costs


def _print(costs: dict[str, Cost], targets: dict[str, float]) -> None:
    """Print a line for each; the first one is compared with the others."""
    (first, verdict), *others = costs.items()
    print(f"    {'':22}{'CPU, ms':26}{'wall, ms':26}verdict / this")
    print(f"    {first:22}{spread(verdict.cpu):26}{spread(verdict.wall)}")
    for name, cost in others:
        cpu, target = ratio(verdict.cpu, cost.cpu), targets.get(name)
        print(
            f"    {name:22}{spread(cost.cpu):26}{spread(cost.wall):26}"
            f"CPU {cpu:.3g}, wall {ratio(verdict.wall, cost.wall):.3g}"
            + (f"; {judged(cpu, target, f'{target:g}')}" if target else "")
        )


def _verdict(table: MountTable) -> Work:
    # As in the prober: what it remembers of each store point from the probe before.
    memories: dict[str, Memory] = defaultdict(Memory)

    def verdict(spec: Spec) -> None:
        finding = probe(spec, table, Progress(), cause="due", memory=memories[spec.id])
        if finding["state"] != "online":
            raise RuntimeError(f"the bench's own store point is {finding}")

    return verdict


# -- the floors ---------------------------------------------------------------------


def _stat(spec: Spec) -> None:
    os.stat(spec.path)  # noqa: PTH116 - the bare call is what is measured
    os.statvfs(spec.path)


def _stat_and_write(spec: Spec) -> None:
    _stat(spec)
    name = f"{spec.path}/.storepoint/floor"
    content = os.urandom(32) * 128
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.pread(descriptor, 4096, 0)
    os.close(descriptor)
    os.unlink(name)  # noqa: PTH108


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _same_calls(spec: Spec) -> None:
    directory, meta = _open_and_read(spec)
    os.close(meta)
    os.close(directory)


def _same_calls_and_write(spec: Spec) -> None:
    directory, meta = _open_and_read(spec)
    content = os.urandom(32) * 128
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(disk.PROBE, flags, 0o600, dir_fd=meta)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.pread(descriptor, 4097, 0)
    os.close(descriptor)
    os.unlink(disk.PROBE, dir_fd=meta)
    os.close(meta)
    os.close(directory)


def _open_and_read(spec: Spec) -> tuple[int, int]:
    directory = os.open(spec.path, _DIRECTORY)
    os.fstat(directory)
    os.fstatvfs(directory)
    meta = os.open(disk.META, _DIRECTORY, dir_fd=directory)
    marker = os.open(disk.MARKER, _FILE, dir_fd=meta)
    os.read(marker, os.fstat(marker).st_size + 1)
    os.close(marker)
    with contextlib.suppress(FileNotFoundError):
        os.close(os.open(disk.INBOUND, _FILE, dir_fd=meta))
    return directory, meta


# -- beside check_disk --------------------------------------------------------------


def _beside_check_disk(specs: list[Spec], table: MountTable) -> None:
    """Compare with one process for each path, and with one process for all of them."""
    if not CHECK_DISK.exists():
        print(f"    check_disk left out: {CHECK_DISK} is not installed")
        return
    work = _verdict(table)
    verdict, single, batch = Cost(), Cost(), Cost()
    for _ in range(CHECK_ROUNDS):
        cpu, wall = time.process_time(), time.perf_counter()
        for spec in specs:
            work(spec)
        _note(verdict, time.process_time() - cpu, time.perf_counter() - wall, specs)
        for cost, groups in ((single, [[spec] for spec in specs]), (batch, [specs])):
            cpu, wall = _cpu_of_children(), time.perf_counter()
            for group in groups:
                _check_disk(group)
            _note(cost, _cpu_of_children() - cpu, time.perf_counter() - wall, specs)
    calls = f"check_disk, {len(specs)} calls"
    # No monitoring system makes one call of them: the answer would be one for all.
    _print(
        {"verdict": verdict, calls: single, "check_disk, 1 call": batch},
        {calls: MOST_OF_CHECK_DISK},
    )


def _check_disk(specs: list[Spec]) -> None:
    paths = [argument for spec in specs for argument in ("-p", spec.path)]
    done = subprocess.run(
        [str(CHECK_DISK), "-w", "10%", "-c", "5%", *paths],
        capture_output=True,
        check=False,
    )
    # 1 and 2 are warnings about space: it has looked all the same.
    if done.returncode > 2:
        raise RuntimeError(f"check_disk: {done.stdout.decode(errors='replace')}")


def _cpu_of_children() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _note(cost: Cost, cpu: float, wall: float, specs: list[Spec]) -> None:
    cost.cpu.append(1000 * cpu / len(specs))
    cost.wall.append(1000 * wall / len(specs))
