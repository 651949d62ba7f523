"""The stage of `make demo`: a few store points, one of which breaks and mends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from console import startup

#: What the demonstration watches; the first one is broken and mended in turn.
NAMES = ("Tank-07", "Tank-08", "Vault-1")

IMAGE_BYTES = 48 * 1024 * 1024

#: How full each volume is from the beginning, so that its charts have something to show.
FILLED = {"Tank-07": 0.55, "Tank-08": 0.4, "Vault-1": 0.65}

PREFIX = "store-point-console-demo-"
#: Held by the demonstration for as long as it lives.
LOCK_FILE = "demonstration"
#: A scratch directory without a lock is one that is just being made, unless it is old.
MAKING_SECONDS = 600.0


class NoRight(Exception):
    """Volumes cannot be made here, or not be taken away; the text says why."""


@dataclass
class Stage:
    """Scratch directories, each a loop-mounted ext4 volume where that is possible."""

    root: Path
    has_volumes: bool = False
    why_not: str = ""
    is_broken: bool = False

    def build(self) -> None:
        """Make the directories; mount a small volume on each where the right is there."""
        try:
            for name in NAMES:
                self._make_volume(name)
            self.has_volumes = True
        except NoRight as error:
            self.why_not = str(error)
            self.strike()
            for name in NAMES:
                self.path(name).mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where a store point lies."""
        return self.root / "srv" / name.lower()

    def turn(self) -> str:
        """Break the first store point, or mend it when it is broken, and say how.

        Raises NoRight when the system does not let it; the next turn tries again.
        """
        said = self.mend_one() if self.is_broken else self.break_one()
        self.is_broken = not self.is_broken
        return said

    def break_one(self) -> str:
        """Take the first store point away, and say how. Raises NoRight."""
        path = self.path(NAMES[0])
        if self.has_volumes:
            _run("umount", "--lazy", str(path))
            return f"unmounted {path}"
        _move(path, path.with_name("moved-away"))
        return f"moved {path} away"

    def mend_one(self) -> str:
        """Bring the first store point back, and say how. Raises NoRight."""
        path = self.path(NAMES[0])
        if self.has_volumes:
            self._mount(NAMES[0])
            return f"mounted {path} again"
        _move(path.with_name("moved-away"), path)
        return f"moved {path} back"

    def strike(self) -> None:
        """Unmount and remove everything that was built."""
        unmount_below(self.root)
        shutil.rmtree(self.root / "srv", ignore_errors=True)
        shutil.rmtree(self.root / "images", ignore_errors=True)

    def _image(self, name: str) -> Path:
        return self.root / "images" / f"{name}.img"

    def _make_volume(self, name: str) -> None:
        if os.geteuid() != 0:
            raise NoRight("mounting needs root")
        image = self._image(name)
        image.parent.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(image))
        self.path(name).mkdir(parents=True, exist_ok=True)
        self._mount(name)
        # What a device has stored; nobody reads it.
        with (self.path(name) / "archive").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, int(FILLED[name] * IMAGE_BYTES))

    def _mount(self, name: str) -> None:
        _run("mount", "-o", "loop", str(self._image(name)), str(self.path(name)))


def lock(root: Path) -> int:
    """Mark a scratch directory as in use, and return the descriptor that says so.

    The lock is taken before its file has its name, so nobody finds one that is not held.
    """
    new = root / f"{LOCK_FILE}.new"
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    new.rename(root / LOCK_FILE)
    return descriptor


def remove_leftovers() -> list[Path]:
    """Remove what demonstrations left that were killed, and return their directories.

    A console of theirs that still runs keeps its directory.
    """
    removed = []
    for root in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            found = root.lstat()
            if found.st_uid != os.geteuid() or root.is_symlink():
                continue
            if _is_in_use(root) or startup.holder_of_data_dir(root / "var"):
                continue
            remove(root)
            removed.append(root)
    return removed


def remove(root: Path) -> None:
    """Unmount what is mounted in a scratch directory, and remove it."""
    unmount_below(root)
    shutil.rmtree(root, ignore_errors=True)


def unmount_below(root: Path) -> None:
    """Unmount every volume in a scratch directory, the innermost first."""
    for mount_point in sorted(_mounts_below(root), reverse=True):
        with contextlib.suppress(NoRight):
            _run("umount", "--lazy", mount_point)


def _mounts_below(root: Path) -> Iterator[str]:
    for partition in psutil.disk_partitions(all=True):
        if partition.mountpoint.startswith(f"{root.resolve()}/"):
            yield partition.mountpoint


def _is_in_use(root: Path) -> bool:
    try:
        descriptor = os.open(root / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return time.time() - root.lstat().st_mtime < MAKING_SECONDS
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _move(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except OSError as error:
        raise NoRight(f"{path} cannot be moved: {error.strerror}") from error


def _run(*argv: str) -> None:
    try:
        # Fixed programs with paths of our own making; no shell.
        subprocess.run(argv, check=True, capture_output=True, timeout=30)
    except FileNotFoundError as error:
        raise NoRight(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise NoRight(f"{argv[0]} did not end within 30 s") from error
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip()
        raise NoRight(f"{argv[0]}: {words}") from error
