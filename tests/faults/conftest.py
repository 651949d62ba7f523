"""A real prober that looks at store points on filesystems that are made to fail."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent import adoption
from storepoints.agent.mounts import Mounts
from storepoints.agent.prober_client import ProberClient
from tests import needs
from tests.faults.volumes import Disk, clean_up, run

__all__ = ["Disk", "Watch", "adopted", "run", "wait_until"]

ROOT = Path(__file__).resolve().parents[2]

#: A user who is not root, and whose files nobody misses.
NOBODY = 65534


@pytest.fixture(scope="session")
def needs_loop_devices() -> None:
    """Skip a test, saying why, where filesystems cannot be mounted."""
    needs.need_root("mount filesystems")
    needs.need_programs(
        losetup="mount", mount="mount", umount="mount", fsfreeze="util-linux"
    )
    needs.need_programs(mkfs__ext4="e2fsprogs", e2fsck="e2fsprogs")
    if not Path("/dev/loop-control").exists():
        pytest.skip("needs loop devices (/dev/loop-control)")
    done = subprocess.run(
        ["losetup", "-f"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs a free loop device: {done.stderr.strip()}")


@pytest.fixture(scope="session")
def needs_fuse(needs_loop_devices: None) -> None:
    """Skip a test, saying why, where FUSE cannot be mounted."""
    if not Path("/dev/fuse").exists():
        pytest.skip("needs /dev/fuse")
    needs.need_programs(fusermount3="fuse3")


@pytest.fixture(autouse=True)
def administrators_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find mkfs and the like as an administrator does."""
    monkeypatch.setenv("PATH", needs.search_path())


@pytest.fixture
def yard(needs_loop_devices: None) -> Iterator[Path]:
    """A directory below which a test may mount what it likes."""
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    # A prober that is not root has to get there too.
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        clean_up(directory)


@pytest.fixture
def disk(yard: Path) -> Disk:
    """A disk that is mounted."""
    disk = Disk(yard, "tank")
    disk.mount()
    return disk


class Sink:
    """Collects what the prober says."""

    def __init__(self) -> None:
        self.findings: list[dict[str, Any]] = []
        self.listed: list[dict[str, Any]] = []

    def finding(self, finding: dict[str, Any]) -> None:
        self.findings.append({**finding, "received_at": time.time()})

    def answer(self, order: str, kind: str, answer: dict[str, Any]) -> None:
        pass

    def volumes(self, volumes: list[dict[str, Any]]) -> None:
        self.listed = volumes


class Watch:
    """A prober with the store points that it was told of."""

    def __init__(self, hook: str = "", hook_timeout_seconds: float = 5.0) -> None:
        self.sink = Sink()
        self.client = ProberClient(
            self.sink,
            server="a server",
            hook=hook,
            hook_timeout_seconds=hook_timeout_seconds,
        )
        self.client.start()

    def stop(self) -> None:
        self.client.stop()

    @property
    def pid(self) -> int:
        """The process id of the prober."""
        return int(wait_until(lambda: self.client.pid))

    def probe(self, *specs: dict[str, Any], cause: str = "due") -> None:
        self.client.probe(cause, list(specs), is_complete=False)

    @contextmanager
    def asking(self, *specs: dict[str, Any], every: float = 0.1) -> Iterator[None]:
        """Ask again and again meanwhile, as the master does at each interval."""
        is_over = threading.Event()

        def ask() -> None:
            while True:
                self.probe(*specs)
                if is_over.wait(every):
                    return

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def verdict(self, spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Probe a store point and return the finding."""
        self.sink.findings.clear()
        self.probe(spec)
        return self.wait(spec, **fields)

    def wait(
        self, spec: dict[str, Any], *, seconds: float = 10.0, **fields: Any
    ) -> dict[str, Any]:
        """Wait until a finding on a store point says this, and return it."""

        def fits(finding: dict[str, Any]) -> bool:
            return finding["id"] == spec["id"] and all(
                finding[name] == value for name, value in fields.items()
            )

        found: dict[str, Any] = wait_until(
            lambda: next((f for f in reversed(self.sink.findings) if fits(f)), None),
            seconds,
            lambda: str([(f["state"], f["reason"]) for f in self.sink.findings[-9:]]),
        )
        return found


def wait_until(
    what: Callable[[], Any],
    seconds: float = 10.0,
    explain: Callable[[], str] = lambda: "",
) -> Any:
    """Wait until something is so, and return it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {explain()}")


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.stop()


@pytest.fixture
def watch_as_nobody(yard: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """A prober that is not root."""
    program = yard / "as_nobody.py"
    # It imports first: the user may not be let into the directory of this project.
    program.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import psutil\n"
        "from storepoints.agent import prober\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "sys.argv = ['prober', sys.argv[-1]]\n"
        "prober.main()\n"
    )
    python = yard / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
    python.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(python))
        watch = Watch()
        wait_until(lambda: watch.client.pid)
    yield watch
    watch.stop()


def adopted(path: Path | bytes, **fields: Any) -> dict[str, Any]:
    """Adopt a directory and return its spec, as the master sends it."""
    text = os.fsdecode(path)
    table = Mounts().read()
    found = adoption.inspect(text, table)
    assert found["adoptable"], found
    spec = {
        "id": str(uuid.uuid4()),
        "name": "a store point",
        "path": text,
        "volume": found["volume"],
        "deadline_seconds": 5.0,
        "write": True,
        "inbound": "enabled",
        **fields,
    }
    answer = adoption.adopt(
        text,
        store_point=spec["id"],
        name=spec["name"],
        server="a server",
        volume=found["volume"],
        table=table,
    )
    assert answer["adopted"], answer
    return spec
