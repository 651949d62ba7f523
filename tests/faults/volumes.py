"""Volumes that a test may break: real filesystems, mounted below a directory."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

from storepoints.agent.mounts import Mounts

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2

#: How each filesystem is made, and in how many megabytes: hardly more than its least.
#: The files are sparse.
MAKE = {
    "ext4": (8, ("mkfs.ext4", "-q", "-F")),
    "xfs": (320, ("mkfs.xfs", "-q", "-f")),
    "btrfs": (128, ("mkfs.btrfs", "-q", "-f")),
}

#: Filesystems in processes that have to be ended with the test.
_served: list[Faulty] = []


def run(*command: str | Path) -> str:
    """Run a program and return what it printed; RuntimeError has what it complained."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")
    return done.stdout


def mount_tmpfs(place: Path | bytes, options: str = "size=4m") -> None:
    """Mount a tmpfs with the system call itself: a thousand times if need be."""
    if _libc.mount(b"none", os.fsencode(place), b"tmpfs", 0, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def umount(place: Path | bytes) -> None:
    """Unmount as an administrator does: again when a probe is just in there."""
    for _ in range(100):
        if _libc.umount2(os.fsencode(place), 0) == 0:
            return
        time.sleep(0.02)
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


class Volume(ABC):
    """Something that is mounted at a place of its own."""

    def __init__(self, yard: Path, name: str) -> None:
        self.yard = yard
        self.name = name
        self.place = yard / name
        self.place.mkdir(exist_ok=True)

    @abstractmethod
    def mount(self, place: Path | None = None, options: str = "") -> Path:
        """Mount it, at its own place if no other is given, and return where."""

    def umount(self, place: Path | None = None) -> None:
        umount(place or self.place)

    def remount(self, options: str) -> None:
        for attempt in range(50):
            try:
                run("mount", "-o", f"remount,{options}", self.place)
            except RuntimeError:
                # Busy: a probe has just a file open for writing.
                if attempt == 49:
                    raise
                time.sleep(0.02)
            else:
                return


class Disk(Volume):
    """A filesystem in a file, on a loop device."""

    def __init__(
        self,
        yard: Path,
        name: str,
        *options: str,
        fs: str = "ext4",
        megabytes: int = 0,
        image: Path | None = None,
        mount_options: str = "rw",
    ) -> None:
        super().__init__(yard, name)
        least, make = MAKE[fs]
        self.fs = fs
        self.image = image or yard / f"{name}.img"
        self.mount_options = mount_options
        with self.image.open("wb") as file:
            file.truncate((megabytes or least) << 20)
        run(*make, *options, self.image)

    def mount(self, place: Path | None = None, options: str = "") -> Path:
        options = f"loop,{options or self.mount_options}"
        run("mount", "-o", options, self.image, place or self.place)
        return place or self.place


class Tmpfs(Volume):
    """Memory; what was in it is gone once it is unmounted."""

    def __init__(self, yard: Path, name: str, options: str = "size=4m") -> None:
        super().__init__(yard, name)
        self.options = options

    def mount(self, place: Path | None = None, options: str = "") -> Path:
        mount_tmpfs(place or self.place, self.options)
        return place or self.place


class Faulty(Volume):
    """A directory, shown through a filesystem that fails as it is told (faulty.py)."""

    def __init__(self, yard: Path, name: str) -> None:
        super().__init__(yard, name)
        self.below = yard / f"{name}.below"
        self.below.mkdir()
        self._orders = yard / f"{name}.orders"
        self._process: subprocess.Popen[bytes] | None = None

    def mount(self, place: Path | None = None, options: str = "") -> Path:
        program = Path(__file__).with_name("faulty.py")
        self._process = subprocess.Popen(
            [sys.executable, program, self.below, place or self.place, self._orders],
            stdin=subprocess.DEVNULL,
            stderr=(self.yard / f"{self.name}.log").open("ab"),
            cwd="/",
            env={**os.environ, "FUSE_LIBRARY_NAME": "fuse3"},
        )
        _served.append(self)
        where = str(place or self.place)
        until = time.monotonic() + 10
        while Mounts().read().at(where) is None:
            if self._process.poll() is not None or time.monotonic() > until:
                log = (self.yard / f"{self.name}.log").read_text()
                raise RuntimeError(f"the filesystem did not start: {log}")
            time.sleep(0.01)
        return place or self.place

    def order(self, **orders: str | float) -> None:
        """Say what becomes of which call; ``everything`` stands for all of them."""
        if "everything" in orders:
            orders["*"] = orders.pop("everything")
        named = {
            name.replace("_of_", " ").replace("__", "."): order
            for name, order in orders.items()
        }
        new = self._orders.with_suffix(".new")
        new.write_text(json.dumps(named))
        new.rename(self._orders)

    def withdraw(self) -> None:
        """Let every call succeed again, those that hang too."""
        self._orders.unlink(missing_ok=True)

    def suspend(self) -> None:
        """Stop the process that serves it: calls wait in the kernel."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process that serves it go on."""
        self._signal(signal.SIGCONT)

    def die(self) -> None:
        """Kill the process that serves it: calls fail from now on."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None
            _served.remove(self)

    def umount(self, place: Path | None = None) -> None:
        super().umount(place)
        if self._process is not None:
            self._process.wait(10)
            self._process = None
            _served.remove(self)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


class DyingDisk(Volume):
    """A real filesystem on a loop device whose blocks lie on one that fails.

    So errors and hanging come to it from the device below, as a disk makes them.
    """

    def __init__(self, yard: Path, name: str, *, fs: str = "ext4") -> None:
        super().__init__(yard, name)
        self.fs = fs
        self.blocks = Faulty(yard, f"{name}.blocks")
        Disk(yard, name, fs=fs, image=self.blocks.below / "disk.img")
        self.blocks.mount()

    def mount(self, place: Path | None = None, options: str = "rw") -> Path:
        image = self.blocks.place / "disk.img"
        run("mount", "-o", f"loop,{options}", image, place or self.place)
        return place or self.place


class ThinDisk(Disk):
    """An ext4 that was promised more room than there is below it."""

    def __init__(self, yard: Path, name: str) -> None:
        self.below = Tmpfs(yard, f"{name}.below", options="size=6m")
        self.below.mount()
        super().__init__(yard, name, megabytes=64, image=self.below.place / "disk.img")


class BtrfsMirror(Volume):
    """A Btrfs that keeps everything on two devices, and lives with one."""

    def __init__(self, yard: Path, name: str) -> None:
        super().__init__(yard, name)
        self.images = [yard / f"{name}.{number}.img" for number in (1, 2)]
        for image in self.images:
            with image.open("wb") as file:
                file.truncate(128 << 20)
        self._attach(*self.images)
        run(*MAKE["btrfs"][1], "-d", "raid1", "-m", "raid1", *self.devices)

    def _attach(self, *images: Path) -> None:
        self.devices = [run("losetup", "-f", "--show", i).strip() for i in images]

    def mount(self, place: Path | None = None, options: str = "rw") -> Path:
        for device in self.devices:
            run("btrfs", "device", "scan", device)
        run("mount", "-o", options, self.devices[0], place or self.place)
        # They go when the filesystem does, whatever happens to the test.
        for device in self.devices:
            run("losetup", "-d", device)
        return place or self.place

    def umount(self, place: Path | None = None) -> None:
        super().umount(place)
        # The kernel remembers devices that are gone.
        run("btrfs", "device", "scan", "--forget")

    def mount_with_one_missing(self) -> None:
        self._attach(self.images[0])
        self.mount(options="degraded")

    def mount_with_both(self) -> None:
        self._attach(*self.images)
        self.mount()


class HungFuse(Volume):
    """A FUSE filesystem that nobody serves: every call on it hangs."""

    def __init__(self, yard: Path, name: str = "hung") -> None:
        super().__init__(yard, name)
        self._descriptor = -1

    def mount(self, place: Path | None = None, options: str = "") -> Path:
        self._descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        data = f"fd={self._descriptor},rootmode=40000,user_id=0,group_id=0".encode()
        where = place or self.place
        if _libc.mount(b"hung", os.fsencode(where), b"fuse", 0, ctypes.c_char_p(data)):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return where

    def die(self) -> None:
        """Let go of it: calls that hang fail with ENOTCONN."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def clean_up(directory: Path) -> None:
    """End, thaw and unmount all below a directory, then remove it."""
    for volume in [each for each in _served if each.place.is_relative_to(directory)]:
        volume.withdraw()
        volume.die()
    for _ in range(20):
        below = [
            mount
            for mount in Mounts().read().by_id.values()
            if mount.mount_point.startswith(f"{directory}/")
        ]
        if not below:
            break
        for mount in reversed(below):
            with contextlib.suppress(subprocess.TimeoutExpired):
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
