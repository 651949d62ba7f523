"""Store points on real filesystems of the benchmark's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from storepoints.agent.adoption import adopt, inspect
from storepoints.agent.messages import Spec
from storepoints.agent.mounts import Mounts, MountTable
from tests.faults.volumes import Disk, Tmpfs, clean_up


def what_lacks(fs_type: str, *programs: str) -> str:
    """Return what this machine lacks for mounting a filesystem, or nothing."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if fs_type != "tmpfs":
        programs = ("losetup", f"mkfs.{fs_type}", *programs)
        if not Path("/dev/loop-control").exists():
            return "there are no loop devices (/dev/loop-control)"
    for program in ("mount", *programs):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if fs_type != "tmpfs":
        done = subprocess.run(
            ["losetup", "-f"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return f"no loop device is free: {done.stderr.strip()}"
    return ""


@contextlib.contextmanager
def yard() -> Iterator[Path]:
    """Yield a directory below which anything may be mounted, and clear it at the end."""
    root = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield root
    finally:
        clean_up(root)


def mount(root: Path, fs_type: str, *, megabytes: int = 512) -> Path:
    """Mount a new ext4 (from a file, by a loop device) or tmpfs below a yard."""
    if fs_type == "tmpfs":
        return Tmpfs(root, fs_type, options=f"size={megabytes}m").mount()
    # Enough inodes for as many directories, markers and probes as fit.
    return Disk(root, fs_type, "-i", "4096", fs=fs_type, megabytes=megabytes).mount()


def adopt_many(place: Path, number: int) -> list[Spec]:
    """Make directories and adopt each as the agent does; return what to probe."""
    table = Mounts().current()
    paths = [place / f"sp{index:05}" for index in range(number)]
    # Together, because each waits for the disk a few times.
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda path: _adopted(path, table), paths))


def _adopted(path: Path, table: MountTable) -> Spec:
    path.mkdir()
    guid = str(uuid.uuid4())
    answer = adopt(
        str(path),
        store_point=guid,
        name=path.name,
        server="bench",
        volume=inspect(str(path), table)["volume"],
        table=table,
    )
    if not answer["adopted"]:
        raise RuntimeError(f"{path} could not be adopted: {answer['message']}")
    return Spec(
        guid, path.name, str(path), answer["volume"], 5.0, write=True, inbound=""
    )
