"""Filesystems: what each says of itself, and on what it lies.

Formats: ``Documentation/ABI/testing/sysfs-fs-ext4`` and ``sysfs-fs-btrfs`` of the
kernel; ``/proc/spl/kstat/zfs/POOL/state`` of OpenZFS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from storepoints.agent.devices import btrfs
from storepoints.agent.devices.blocks import Answers, Ask, Blocks
from storepoints.agent.devices.sysfs import MAXIMUM_LONG_BYTES, Recorder, Sysfs
from storepoints.agent.devices.tree import (
    DEGRADED,
    FAILING,
    MAXIMUM_DEPTH,
    OK,
    UNKNOWN,
    Level,
    count,
)

if TYPE_CHECKING:
    from storepoints.agent.mounts import Mount, MountTable

POOL, BTRFS = "pool", "btrfs"

#: How many devices may be lost without losing data, by the profile's name in sysfs.
_TOLERATED = {
    "raid1": 1,
    "raid1c3": 2,
    "raid1c4": 3,
    "raid10": 1,
    "raid5": 1,
    "raid6": 2,
    "single": 0,
    "dup": 0,
    "raid0": 0,
}

_NETWORK = {
    "nfs": "NFS",
    "nfs4": "NFS",
    "cifs": "SMB",
    "smb3": "SMB",
    "ceph": "CephFS",
    "9p": "9P",
    "virtiofs": "virtiofs",
    "fuse.sshfs": "SSHFS",
    "fuse.glusterfs": "GlusterFS",
    "fuse.ceph-fuse": "CephFS",
    "fuse.ceph": "CephFS",
    "glusterfs": "GlusterFS",
    "ocfs2": "",
}


@dataclass(slots=True)
class Resolved:
    """The tree below one mount, and how to notice that it says something else."""

    top: Level
    watched: dict[str, str | None]
    asks: list[Ask] = field(default_factory=list)


def resolve(
    mount: Mount, table: MountTable, sysfs: Sysfs, answers: Answers
) -> Resolved:
    """Return what lies below a mounted filesystem.

    Only the kernel's own files are read, and never the filesystem; ``answers`` gives
    what programs have said, and what would be asked of them stands in ``asks``.
    """
    recorder = Recorder(sysfs)
    work = _Work(table, recorder, answers)
    top = work.filesystem(mount, 1)
    return Resolved(top, recorder.watched, work.asks + work.blocks.asks)


class _Work:
    def __init__(self, table: MountTable, recorder: Recorder, answers: Answers) -> None:
        self._table = table
        self._files = recorder
        self._sysfs = recorder.sysfs
        self._answers = answers
        self._above: set[str] = set()
        self.asks: list[Ask] = []
        self.blocks = Blocks(recorder, answers, self.holding)

    def filesystem(self, mount: Mount, depth: int) -> Level:
        """Return the level of a mounted filesystem with all below it."""
        self._above.add(mount.device)
        level = Level(name=mount.mount_point, kind=mount.fs_type)
        if mount.is_read_only:
            level.fact("access", "read-only")
        kind = mount.fs_type
        if kind in ("tmpfs", "ramfs"):
            level.kind, level.health = f"{kind} (memory)", OK
            level.text = "kept in memory: it is empty after a restart"
        elif kind == "overlay":
            self._overlay(level, mount, depth)
        elif kind == "btrfs":
            self._btrfs(level, mount, depth)
        elif kind == "zfs":
            self._zfs(level, mount, depth)
        elif _NETWORK.get(kind):
            self._network(level, mount)
        elif self.blocks.known(mount.device) or not mount.device.startswith("0:"):
            self._on_block(level, mount, depth)
        elif kind.startswith("fuse"):
            level.text = "a program keeps it and says nothing of its health"
            level.fact("source", mount.source)
        return level

    def holding(self, path: str, depth: int) -> Level | None:
        """Return the level of the filesystem that a file lies on, once only."""
        mount = self._table.covering(path)
        if mount is None or mount.device in self._above or depth > MAXIMUM_DEPTH:
            return None
        return self.filesystem(mount, depth)

    # -- on one block device ------------------------------------------------------

    def _on_block(self, level: Level, mount: Mount, depth: int) -> None:
        level.below = [
            self.blocks.level(mount.device, depth + 1, mount.source.rpartition("/")[2])
        ]
        level.health, level.is_carrier = OK, True
        if mount.fs_type in ("ext2", "ext3", "ext4"):
            self._ext4(level, level.below[0], mount)
        elif mount.fs_type == "xfs":
            level.text = "XFS keeps no count of errors"

    def _ext4(self, level: Level, below: Level, mount: Mount) -> None:
        name = (self._sysfs.real(f"/sys/dev/block/{mount.device}") or "").rpartition(
            "/"
        )[2]
        here = f"/sys/fs/ext4/{name}"
        errors = self._files.number(f"{here}/errors_count")
        if errors is None:
            return
        level.fact("errors", str(errors))
        level.is_carrier = False
        if not errors:
            level.text = "no errors recorded"
            return
        for which in ("first", "last"):
            at = self._sysfs.number(f"{here}/{which}_error_time")
            if at:
                where = self._sysfs.text(f"{here}/{which}_error_func") or ""
                instant = datetime.fromtimestamp(min(at, 2**33), UTC)
                words = f"{instant:%Y-%m-%d %H:%M} UTC"
                level.fact(f"{which} error", f"{words} in {where}" if where else words)
        level.text = f"the kernel recorded {count(errors, 'error')}; run e2fsck"
        level.has_problem(
            DEGRADED,
            f"the kernel recorded {count(errors, 'error')} in the file system at "
            f"{mount.mount_point}; run e2fsck",
        )

    # -- Btrfs --------------------------------------------------------------------

    def _btrfs(self, level: Level, mount: Mount, depth: int) -> None:
        uuid = self._uuid_of(mount)
        if not uuid:
            level.text = "the kernel does not list this filesystem"
            level.notes.append(f"{mount.mount_point}: not found in /sys/fs/btrfs")
            return
        here = f"/sys/fs/btrfs/{uuid}"
        level.health = OK
        level.fact("label", self._sysfs.text(f"{here}/label") or "")
        profiles = {
            what: sorted(
                set(self._sysfs.names(f"{here}/allocation/{what}")) & _TOLERATED.keys()
            )
            for what in ("data", "metadata")
        }
        for what, names in profiles.items():
            level.fact(what, ", ".join(names))
        work = self._sysfs.text(f"{here}/exclusive_operation")
        if work and work != "none":
            level.fact("work", work)
        names = self._files.names(f"{here}/devices")
        for name in names:
            real = self._sysfs.text(f"{here}/devices/{name}/dev")
            if real:
                level.below.append(self.blocks.level(real, depth + 1, name))
        counts = self._counts(level, uuid, mount)
        self._judge_btrfs(level, mount, here, profiles, counts)

    def _uuid_of(self, mount: Mount) -> str:
        number = self.blocks.named(mount.source) if mount.source[:1] == "/" else ""
        real = self._sysfs.real(f"/sys/dev/block/{number}") if number else None
        name = (real or mount.source).rpartition("/")[2]
        for uuid in self._sysfs.names("/sys/fs/btrfs"):
            if name in self._sysfs.names(f"/sys/fs/btrfs/{uuid}/devices"):
                return uuid
        return ""

    def _counts(self, level: Level, uuid: str, mount: Mount) -> btrfs.Counts:
        """Return the counters of errors by device number: the kernel's and btrfs's."""
        here = f"/sys/fs/btrfs/{uuid}/devinfo"
        counts: btrfs.Counts = {}
        for number in self._files.names(here):
            text = self._files.text(f"{here}/{number}/error_stats")
            # "invalid" as long as they have not been read from the disk.
            if text and (found := btrfs.from_sysfs(text)):
                counts[number] = found
        answer = self._ask(level, Ask(BTRFS, uuid, mount.mount_point))
        if isinstance(answer, tuple):
            told, why = answer
            if told is None and not counts:
                level.notes.append(f"{mount.mount_point}: {why}")
            for key, counters in (told or {}).items():
                mine = counts.setdefault(key, {})
                for name, value in counters.items():
                    # Both count up; the kernel's is never behind but by a reset.
                    mine.setdefault(name, value)
        return counts

    def _judge_btrfs(
        self,
        level: Level,
        mount: Mount,
        here: str,
        profiles: dict[str, list[str]],
        counts: btrfs.Counts,
    ) -> None:
        numbers = self._files.names(f"{here}/devinfo")
        missing = [
            number
            for number in numbers
            if self._files.text(f"{here}/devinfo/{number}/missing") == "1"
        ]
        total = len(numbers) or len(level.below)
        level.fact("devices", f"{total - len(missing)} of {total}")
        for number in missing:
            level.below.append(
                Level(f"device {number}", "device", "missing", health=FAILING)
            )
        for number, counters in counts.items():
            if words := btrfs.in_words(counters):
                level.fact(f"errors of device {number}", words)
        if missing:
            tolerated = min(
                (
                    max(_TOLERATED[name] for name in names)
                    for names in profiles.values()
                    if names
                ),
                default=0,
            )
            level.text = f"{count(len(missing), 'device')} missing"
            level.has_problem(
                DEGRADED if len(missing) <= tolerated else FAILING,
                f"Btrfs at {mount.mount_point} lacks {len(missing)} of "
                f"{count(total, 'device')}",
            )
        sums: dict[str, int] = {}
        for counters in counts.values():
            for name, value in counters.items():
                sums[name] = sums.get(name, 0) + value
        if words := btrfs.in_words(sums):
            level.text = level.text or "errors were counted"
            level.has_problem(
                DEGRADED, f"Btrfs at {mount.mount_point} counted errors: {words}"
            )
        elif not missing:
            level.text = "no errors counted" if counts else ""

    # -- ZFS ----------------------------------------------------------------------

    def _zfs(self, level: Level, mount: Mount, depth: int) -> None:
        pool = mount.source.partition("/")[0]
        level.kind = "ZFS dataset"
        level.fact("dataset", mount.source)
        state = self._files.text(f"/proc/spl/kstat/zfs/{pool}/state")
        answer = self._ask(level, Ask(POOL, pool))
        told, why = answer if isinstance(answer, tuple) else (None, "")
        if isinstance(told, Level):
            level.health = OK
            below = _copy(told)
            self._drives_of(below, depth + 1)
        else:
            below = Level(pool, "ZFS pool")
        if why:
            level.notes.append(why)
        if state:
            below.fact("state", state.lower())
            if state == "SUSPENDED" or (told is None and state != "ONLINE"):
                below.has_problem(
                    DEGRADED if state == "DEGRADED" else FAILING,
                    f"pool {pool} is {state.lower()}",
                )
            elif told is None:
                below.health, below.text = OK, state.lower()
        level.below = [below]

    def _drives_of(self, level: Level, depth: int) -> None:
        """Put below each device of a pool the drive that it is."""
        for below in level.below:
            self._drives_of(below, depth + 1)
        path = level.facts.get("path", "")
        if path and not level.below and depth < MAXIMUM_DEPTH:
            number = self.blocks.named(path)
            if number and self.blocks.known(number):
                level.below = [self.blocks.level(number, depth + 1)]

    # -- over the network, over others --------------------------------------------

    def _network(self, level: Level, mount: Mount) -> None:
        kind = _NETWORK[mount.fs_type]
        level.kind = kind
        options = _options(f"{mount.super_options},{mount.options}")
        server = Level(name=_server_of(mount), kind=f"{kind} server")
        server.text = "a server is asked by the probe alone"
        server.fact("address", options.get("addr", ""))
        server.fact("addresses", options.get("mon_addr", "").replace("/", ", "))
        server.fact("source", mount.source)
        if kind == "NFS":
            self._nfs(level, mount, options)
        elif kind == "SMB":
            level.fact("version", options.get("vers", ""))
        level.below = [server]

    def _nfs(self, level: Level, mount: Mount, options: dict[str, str]) -> None:
        if "hard" not in options and "soft" not in options:
            options = {**options, **self._mountstats(mount)}
        level.fact("version", options.get("vers", ""))
        level.fact("protocol", options.get("proto", ""))
        if "soft" in options or "softerr" in options:
            level.fact("without an answer", "gives an error (soft)")
        elif "hard" in options:
            level.fact("without an answer", "waits for ever (hard)")

    def _mountstats(self, mount: Mount) -> dict[str, str]:
        text = self._sysfs.text("/proc/self/mountstats", MAXIMUM_LONG_BYTES) or ""
        head = f" mounted on {mount.mount_point} with fstype "
        _, found, rest = text.partition(head)
        match = re.search(r"^\s*opts:\s*(\S+)", rest[:4096], re.MULTILINE)
        return _options(match[1]) if found and match else {}

    def _overlay(self, level: Level, mount: Mount, depth: int) -> None:
        level.text = "writes go to the upper directory"
        upper = _options(mount.super_options).get("upperdir", "")
        level.fact("upper directory", upper)
        below = self.holding(upper, depth + 1) if upper.startswith("/") else None
        if below is not None:
            level.below = [below]
            level.health, level.is_carrier = OK, True
        else:
            level.health = UNKNOWN
            level.text += ", which cannot be seen from here"

    def _ask(self, level: Level, ask: Ask) -> object:
        self.asks.append(ask)
        answer = self._answers(ask)
        if answer is None:
            level.is_pending = True
        return answer


def _copy(level: Level) -> Level:
    """Return a tree of its own: what lies below is put into it anew each time."""
    return Level(
        level.name,
        level.kind,
        level.text,
        level.health,
        dict(level.facts),
        [_copy(below) for below in level.below],
        list(level.problems),
        list(level.notes),
    )


def _options(text: str) -> dict[str, str]:
    options = {}
    for option in text.split(","):
        name, _, value = option.partition("=")
        options[name] = value
    return options


def _server_of(mount: Mount) -> str:
    """Return the name of the server in a source, however its type writes it."""
    source = mount.source
    if source.startswith("//"):
        return source[2:].partition("/")[0]
    if source.startswith("["):
        return source[1:].partition("]")[0]
    if mount.fs_type in ("9p", "virtiofs"):
        return "the host of this machine"
    if mount.fs_type.endswith("sshfs"):
        source = source.rpartition("@")[2] if "@" in source else source
    host = source.partition(":")[0]
    return host.rpartition("@")[2] or source or "unknown"
