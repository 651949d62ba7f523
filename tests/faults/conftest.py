"""Real filesystems that are made to fail, and a real prober that looks at them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent import adoption
from storepoints.agent.mounts import Mounts
from storepoints.agent.prober_client import ProberClient

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2


def what_lacks_for_loop_devices() -> str:
    """Return what this machine lacks for mounting filesystems from files."""
    if os.geteuid() != 0:
        return "needs root to mount filesystems"
    for program in ("losetup", "mkfs.ext4", "mount", "umount", "fsfreeze"):
        if shutil.which(program) is None:
            return f"needs {program}"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices (/dev/loop-control)"
    done = subprocess.run(
        ["losetup", "-f"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"needs a free loop device: {done.stderr.strip()}"
    return ""


@pytest.fixture(scope="session")
def needs_loop_devices() -> None:
    """Skip a test, saying why, where filesystems cannot be mounted."""
    if lacks := what_lacks_for_loop_devices():
        pytest.skip(lacks)


@pytest.fixture(scope="session")
def needs_fuse(needs_loop_devices: None) -> None:
    """Skip a test, saying why, where FUSE cannot be mounted."""
    if not Path("/dev/fuse").exists():
        pytest.skip("needs /dev/fuse")


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")


class Disk:
    """A filesystem in a file, mounted at a directory of its own."""

    def __init__(self, directory: Path, name: str, *options: str, megabytes: int = 8):
        self.image = directory / f"{name}.img"
        self.place = directory / name
        self.place.mkdir(exist_ok=True)
        with self.image.open("wb") as file:
            file.truncate(megabytes << 20)
        run("mkfs.ext4", "-q", "-F", *options, self.image)

    def mount(self, place: Path | None = None, options: str = "rw") -> Path:
        run("mount", "-o", f"loop,{options}", self.image, place or self.place)
        return place or self.place

    def umount(self, place: Path | None = None) -> None:
        """Unmount as an administrator does: again if a probe is just in there."""
        for attempt in range(50):
            try:
                run("umount", place or self.place)
            except RuntimeError:
                if attempt == 49:
                    raise
                time.sleep(0.02)
            else:
                return


def clean_up(directory: Path) -> None:
    """Thaw and unmount all below a directory, then remove it."""
    for _ in range(20):
        below = [
            mount
            for mount in Mounts().read().by_id.values()
            if mount.mount_point.startswith(f"{directory}/")
        ]
        if not below:
            break
        for mount in reversed(below):
            subprocess.run(
                ["fsfreeze", "-u", mount.mount_point],
                capture_output=True,
                timeout=10,
                check=False,
            )
            _libc.umount2(os.fsencode(mount.mount_point), _MNT_DETACH)
    for attempt in range(20):
        # A frozen filesystem lets go of its loop device a moment after it is thawed.
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1 * attempt)


@pytest.fixture
def yard(needs_loop_devices: None) -> Iterator[Path]:
    """A directory below which a test may mount what it likes."""
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
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

    def finding(self, finding: dict[str, Any]) -> None:
        self.findings.append({**finding, "received_at": time.time()})

    def answer(self, order: str, kind: str, answer: dict[str, Any]) -> None:
        pass

    def volumes(self, volumes: list[dict[str, Any]]) -> None:
        pass


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

    def probe(self, *specs: dict[str, Any], cause: str = "due") -> None:
        self.client.probe(cause, list(specs), is_complete=False)

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
    watch.client.stop()


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


class HungFuse:
    """A FUSE filesystem that nobody serves: every call on it hangs."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        data = f"fd={self.descriptor},rootmode=40000,user_id=0,group_id=0"
        done = _libc.mount(
            b"hung", os.fsencode(place), b"fuse", 0, ctypes.c_char_p(data.encode())
        )
        if done:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def die(self) -> None:
        """Let go of it: calls that hang fail with ENOTCONN."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def umount(self) -> None:
        with contextlib.suppress(OSError):
            _libc.umount2(os.fsencode(self.place), _MNT_DETACH)
