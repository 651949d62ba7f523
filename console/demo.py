"""The stage of `make demo`: a few store points, one of which breaks and mends."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

#: What the demonstration watches; the first one is broken and mended in turn.
NAMES = ("Tank-07", "Tank-08", "Vault-1")

IMAGE_BYTES = 48 * 1024 * 1024


class NoRight(Exception):
    """Volumes cannot be made here; the text says why."""


@dataclass
class Stage:
    """Scratch directories, each a loop-mounted ext4 volume where that is possible."""

    root: Path
    has_volumes: bool = False
    why_not: str = ""
    _mounted: set[str] = field(default_factory=set)

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

    def break_one(self) -> str:
        """Take the first store point away, and say how."""
        path = self.path(NAMES[0])
        if self.has_volumes:
            self._run("umount", "--lazy", str(path))
            self._mounted.discard(NAMES[0])
            return f"unmounted {path}"
        path.rename(path.with_name("moved-away"))
        return f"moved {path} away"

    def mend_one(self) -> str:
        """Bring the first store point back, and say how."""
        path = self.path(NAMES[0])
        if self.has_volumes:
            self._mount(NAMES[0])
            return f"mounted {path} again"
        path.with_name("moved-away").rename(path)
        return f"moved {path} back"

    def strike(self) -> None:
        """Unmount and remove everything that was built."""
        for name in sorted(self._mounted):
            with contextlib.suppress(NoRight):
                self._run("umount", "--lazy", str(self.path(name)))
        self._mounted.clear()
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
        self._run("mkfs.ext4", "-q", "-F", str(image))
        self.path(name).mkdir(parents=True, exist_ok=True)
        self._mount(name)

    def _mount(self, name: str) -> None:
        self._run("mount", "-o", "loop", str(self._image(name)), str(self.path(name)))
        self._mounted.add(name)

    def _run(self, *argv: str) -> None:
        try:
            # Fixed programs with paths of our own making; no shell.
            subprocess.run(argv, check=True, capture_output=True, timeout=30)
        except FileNotFoundError as error:
            raise NoRight(f"{argv[0]} is not installed") from error
        except subprocess.CalledProcessError as error:
            words = error.stderr.decode(errors="replace").strip()
            raise NoRight(f"{argv[0]}: {words}") from error
