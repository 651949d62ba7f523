"""The kernel's own files as its documentation gives them, written below a directory.

This machine may have neither md nor device mapper, NVMe nor ZFS. What is read from such
devices is read here from a directory tree of the same shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storepoints.agent.devices.blocks import Ask
from storepoints.agent.devices.filesystems import Resolved, resolve
from storepoints.agent.devices.sysfs import Sysfs
from storepoints.agent.devices.tree import Devices, Node, summary
from storepoints.agent.mounts import MountTable, parse

PCI = "/sys/devices/pci0000:00"


class Kernel:
    """A root directory with a ``/sys`` and a ``/proc`` of devices that were put in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[str] = []
        self.write("/sys/dev/block/.keep", "")

    def write(self, path: str, text: str | int) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def remove(self, path: str) -> None:
        (self.root / path.lstrip("/")).unlink()

    def link(self, path: str, to: str) -> None:
        link = self.root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(self.root / to.lstrip("/"))

    def device(self, number: str, place: str, sectors: int = 2048, **files: Any) -> str:
        """Put in a block device; returns its directory."""
        name = place.rpartition("/")[2]
        self.write(f"{place}/size", sectors)
        self.write(f"{place}/dev", number)
        self.write(f"{place}/ro", 0)
        for file, text in files.items():
            self.write(f"{place}/{file.replace('__', '/')}", text)
        self.link(f"/sys/dev/block/{number}", place)
        self.link(f"/sys/class/block/{name}", place)
        return place

    def drive(self, number: str, name: str, state: str = "running") -> str:
        """Put in a SATA drive."""
        return self.device(
            number,
            f"{PCI}/ata1/host0/{name}/block/{name}",
            31_251_759_104,
            device__state=state,
            device__vendor="ATA     ",
            device__model="ST16000NM001G-2K",
            device__rev="SN03",
            queue__rotational=1,
        )

    def partition(self, number: str, drive: str, part: int) -> str:
        name = drive.rpartition("/")[2]
        return self.device(number, f"{drive}/{name}{part}", partition=part)

    def slave(self, of: str, place: str) -> None:
        self.link(f"{of}/slaves/{place.rpartition('/')[2]}", place)

    def mount(self, number: str, fs_type: str, source: str, options: str = "rw") -> str:
        """Mount something; returns where."""
        place = f"/srv/{len(self.lines)}"
        self.lines.append(
            f"{len(self.lines) + 30} 1 {number} / {place} rw - {fs_type} {source} "
            f"{options}"
        )
        return place

    @property
    def table(self) -> MountTable:
        return parse("\n".join(self.lines).encode())

    def resolved(
        self, place: str, answers: dict[tuple[str, str], Any] | None = None
    ) -> Resolved:
        mount = self.table.at(place)
        assert mount is not None
        said = answers or {}

        def answer(ask: Ask) -> object:
            return said.get((ask.kind, ask.what))

        return resolve(mount, self.table, Sysfs(str(self.root)), answer)

    def devices(
        self, place: str, answers: dict[tuple[str, str], Any] | None = None
    ) -> Devices:
        """Return what lies below a mount."""
        return summary(self.resolved(place, answers).top)


def find(devices: Devices, name: str) -> Node:
    """Return the first node of a name."""

    def walk(node: Node) -> Node | None:
        if node["name"] == name:
            return node
        return next((found for each in node["below"] if (found := walk(each))), None)

    assert devices["stack"] is not None
    found = walk(devices["stack"])
    assert found is not None, devices
    return found


def names(node: Node | None) -> Any:
    """Return the names of a tree as nested lists."""
    assert node is not None
    return [node["name"], *[names(below) for below in node["below"]]]
