"""A verdict beside its floor: the same system calls in a bare loop, in the same run."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from storepoints.agent.adoption import adopt, inspect
from storepoints.agent.messages import Spec
from storepoints.agent.mounts import Mounts, MountTable
from storepoints.agent.probe import Progress, probe

STORE_POINTS = 200
ROUNDS = 5


def main() -> None:
    """Measure on the directory for temporary files and, as root, on a tmpfs."""
    with tempfile.TemporaryDirectory() as directory:
        _measure(Path(directory))
    with tempfile.TemporaryDirectory() as directory:
        if os.geteuid() != 0:
            print("  tmpfs left out: mounting needs root")
            return
        subprocess.run(["mount", "-t", "tmpfs", "bench", directory], check=True)
        try:
            _measure(Path(directory))
        finally:
            subprocess.run(["umount", directory], check=True)


def _measure(root: Path) -> None:
    table = Mounts().current()
    specs = [_adopted(root / f"sp{number}", table) for number in range(STORE_POINTS)]
    fs_type = specs[0].volume["fs_type"] if specs[0].volume else "?"
    for words, floor, verdict in (
        ("with the write probe", _stat_and_write, _verdict(table, is_writing=True)),
        ("without it", _stat, _verdict(table, is_writing=False)),
    ):
        floors, verdicts = [], []
        for _ in range(ROUNDS):
            floors.append(_timed(specs, floor))
            verdicts.append(_timed(specs, verdict))
        for index, name in enumerate(("CPU", "wall")):
            below = statistics.median(each[index] for each in floors)
            above = statistics.median(each[index] for each in verdicts)
            print(
                f"  {fs_type}, {words}: {name} {above:.3f} ms, "
                f"floor {below:.3f} ms, ratio {above / below:.1f}"
            )


def _adopted(path: Path, table: MountTable) -> Spec:
    path.mkdir()
    volume = inspect(str(path), table)["volume"]
    guid = path.name
    adopt(
        str(path),
        store_point=guid,
        name=guid,
        server="bench",
        volume=volume,
        table=table,
    )
    return Spec(guid, guid, str(path), volume, 5.0, write=True, inbound="")


def _timed(specs: list[Spec], work: Callable[[Spec], object]) -> tuple[float, float]:
    """Return CPU and wall milliseconds for one store point."""
    cpu, wall = time.process_time(), time.perf_counter()
    for spec in specs:
        work(spec)
    return (
        1000 * (time.process_time() - cpu) / len(specs),
        1000 * (time.perf_counter() - wall) / len(specs),
    )


def _verdict(table: MountTable, *, is_writing: bool) -> Callable[[Spec], object]:
    def verdict(spec: Spec) -> None:
        asked = replace(spec, write=is_writing)
        finding = probe(asked, table, Progress(), cause="due")
        if finding["state"] != "online":
            raise RuntimeError(f"the bench's own store point is {finding}")

    return verdict


def _stat(spec: Spec) -> None:
    os.stat(spec.path)  # noqa: PTH116 - the bare call is what is measured
    os.statvfs(spec.path)


def _stat_and_write(spec: Spec) -> None:
    _stat(spec)
    name = f"{spec.path}/.storepoint/floor"
    content = os.urandom(4096)
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.pread(descriptor, 4096, 0)
    os.close(descriptor)
    os.unlink(name)  # noqa: PTH108
