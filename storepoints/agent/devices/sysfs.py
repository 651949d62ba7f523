"""Reading the kernel's own files, and noticing which of them have changed since.

Paths are given as on a running system and read below ``root``, so that the same code
reads a directory tree that was written down elsewhere.
"""

from __future__ import annotations

import os

#: A file of sysfs is at most a page; ``/proc/self/mountstats`` can be long.
MAXIMUM_BYTES = 4096
MAXIMUM_LONG_BYTES = 1 << 20


class Sysfs:
    """The kernel's files below one root, each read once.

    What a file said is kept as long as this object, which is one look at the machine:
    a thousand filesystems on one drive ask the drive once.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")
        self._real_root = os.path.realpath(self.root) if self.root else ""
        self._texts: dict[str, str | None] = {}
        self._names: dict[str, list[str]] = {}
        self._real: dict[str, str | None] = {}

    def text(self, path: str, maximum: int = MAXIMUM_BYTES) -> str | None:
        """Return the text of a file without the space around it, or None.

        None when it is not there, may not be read, or says that it cannot tell.
        """
        try:
            return self._texts[path]
        except KeyError:
            text = self._texts[path] = self._read(path, maximum)
            return text

    def _read(self, path: str, maximum: int) -> str | None:
        try:
            descriptor = os.open(self.root + path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            raw = os.read(descriptor, maximum)
            while maximum > MAXIMUM_BYTES and len(raw) < maximum:
                if not (more := os.read(descriptor, maximum - len(raw))):
                    break
                raw += more
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return raw.decode("utf-8", "replace").replace("\0", "").strip()

    def number(self, path: str) -> int | None:
        """Return the whole number in a file, or None."""
        text = self.text(path)
        try:
            return int(text) if text is not None else None
        except ValueError:
            return None

    def names(self, path: str) -> list[str]:
        """Return the names in a directory in order; none when it is not there."""
        names = self._names.get(path)
        if names is None:
            try:
                names = sorted(os.listdir(self.root + path), key=_in_order)  # noqa: PTH208
            except OSError:
                names = []
            self._names[path] = names
        return names

    def real(self, path: str) -> str | None:
        """Return where a link leads to, as a path of a running system, or None."""
        if path not in self._real:
            try:
                real = os.path.realpath(self.root + path, strict=True)
            except OSError:
                real = ""
            is_inside = real.startswith(self._real_root + "/")
            self._real[path] = real[len(self._real_root) :] if is_inside else None
        return self._real[path]

    def device_number(self, path: str) -> str | None:
        """Return ``major:minor`` of a device file, or None."""
        try:
            number = os.stat(self.root + path).st_rdev  # noqa: PTH116
        except (OSError, ValueError):
            return None
        return f"{os.major(number)}:{os.minor(number)}" if number else None

    def has_changed(self, watched: dict[str, str | None]) -> bool:
        """Return whether one of the files says something else than it did then."""
        for path, said in watched.items():
            if path.endswith("/"):
                if "/".join(self.names(path[:-1])) != said:
                    return True
            elif self.text(path) != said:
                return True
        return False


class Recorder:
    """Remembers what the files said by which the health of one tree is told.

    ``watched`` can then be read again at little cost: as long as it says the same, the
    tree need not be built again.
    """

    def __init__(self, sysfs: Sysfs) -> None:
        self.sysfs = sysfs
        self.watched: dict[str, str | None] = {}

    def text(self, path: str) -> str | None:
        """Return the text of a file by which health is told."""
        text = self.watched[path] = self.sysfs.text(path)
        return text

    def names(self, path: str) -> list[str]:
        """Return the names in a directory by which health is told."""
        names = self.sysfs.names(path)
        self.watched[path + "/"] = "/".join(names)
        return names

    def number(self, path: str) -> int | None:
        """Return the number in a file by which health is told."""
        self.text(path)
        return self.sysfs.number(path)


def _in_order(name: str) -> tuple[int, str]:
    """Sort ``10`` behind ``2``."""
    return (int(name), "") if name.isdigit() else (-1, name)
