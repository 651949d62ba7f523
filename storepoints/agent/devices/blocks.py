"""Block devices from sysfs: partition, device mapper, md, loop, drive.

``/sys/dev/block/MAJOR:MINOR`` leads to the device; ``slaves/`` of an array or a mapped
device to those below it. Formats: ``Documentation/admin-guide/md.rst``,
``Documentation/ABI/testing/sysfs-block*`` of the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from storepoints.agent.devices import smart
from storepoints.agent.devices.sysfs import Recorder, Sysfs
from storepoints.agent.devices.tools import RAN, Result
from storepoints.agent.devices.tree import (
    DEGRADED,
    FAILING,
    MAXIMUM_DEPTH,
    OK,
    UNKNOWN,
    Level,
    count,
    size_text,
)

SECTOR_BYTES = 512


class Ask(NamedTuple):
    """A question that only a program can answer: of which kind, about what."""

    kind: str
    what: str
    argument: str = ""


#: Returns the newest answer to a question, or None while there is none.
Answers = Callable[[Ask], object]
#: Returns the level of the filesystem that a file lies on, for loop devices.
Host = Callable[[str, int], Level | None]

SMART, MAPPER = "smart", "mapper"

_MAPPED = {
    "LVM": "LVM volume",
    "CRYPT": "encrypted device",
    "mpath": "multipath device",
    "DMRAID": "firmware RAID",
    "VDO": "VDO volume",
}

#: Kinds of drives by the beginning of their names; asked for SMART if True.
_DRIVES = (
    ("nvme", "NVMe drive", True),
    ("sd", "drive", True),
    ("vd", "virtual disk", True),
    ("hd", "drive", True),
    ("xvd", "virtual disk", False),
    ("mmcblk", "memory card", False),
    ("pmem", "persistent memory", False),
    ("zram", "compressed memory", False),
    ("zd", "ZFS volume", False),
    ("ram", "memory", False),
    ("nbd", "network block device", False),
    ("rbd", "Ceph block device", False),
    ("drbd", "replicated device (DRBD)", False),
    ("bcache", "cached device", False),
    ("sr", "optical drive", False),
)

#: What the kernel says of a SCSI drive that it does not send commands to any more.
_SCSI_GONE = ("offline", "transport-offline", "blocked", "deleted", "cancel")


class Blocks:
    """Builds the levels of block devices for one tree."""

    def __init__(self, recorder: Recorder, answers: Answers, host: Host) -> None:
        self._files = recorder
        self._sysfs: Sysfs = recorder.sysfs
        self._answers = answers
        self._host = host
        self.asks: list[Ask] = []

    def known(self, number: str) -> bool:
        """Return whether the kernel lists a block device with this number."""
        return self._sysfs.real(f"/sys/dev/block/{number}") is not None

    def named(self, path: str) -> str:
        """Return ``major:minor`` of a device file, or of the device of its name."""
        if number := self._sysfs.device_number(path):
            return number
        return self._sysfs.text(f"/sys/class/block/{path.rpartition('/')[2]}/dev") or ""

    def level(self, number: str, depth: int, name: str = "") -> Level:
        """Return the level of a block device with all below it.

        ``name`` is what to call it when the kernel does not list it any more.
        """
        real = self._sysfs.real(f"/sys/dev/block/{number}")
        if real is not None:
            return self._at(real, depth)
        # The link cannot be watched as such; the size behind it goes away with it.
        self._files.text(f"/sys/dev/block/{number}/size")
        level = Level(name=name or number, kind="block device")
        if not self._sysfs.names("/sys/dev/block"):
            level.text = "the kernel's list of devices (/sys) is not there"
            level.notes.append(f"{level.text}: nothing below could be asked")
            return level
        level.text = "gone: the kernel does not list it any more"
        level.has_problem(FAILING, f"device {level.name} is gone")
        return level

    def _at(self, real: str, depth: int) -> Level:
        name = real.rpartition("/")[2]
        text = self._sysfs.text
        if depth > MAXIMUM_DEPTH:
            return Level(name=name, kind="block device", text="not followed further")
        level = Level(name=name.replace("!", "/"), kind="block device")
        sectors = self._files.text(f"{real}/size")
        if sectors and sectors.isdigit():
            level.fact("size", size_text(int(sectors) * SECTOR_BYTES))
        if text(f"{real}/ro") == "1":
            level.fact("access", "read-only")
        if text(f"{real}/partition") is not None:
            level.kind, level.health, level.is_carrier = "partition", OK, True
            level.below = [self._at(real.rpartition("/")[0], depth + 1)]
        elif name.startswith("dm-"):
            self._mapped(level, real, depth)
        elif name.startswith("md"):
            self._array(level, real, depth)
        elif name.startswith("loop"):
            self._loop(level, real, depth)
        else:
            self._drive(level, real, name, depth)
        return level

    def _slaves(self, real: str, depth: int) -> list[Level]:
        slaves = []
        for name in self._files.names(f"{real}/slaves"):
            below = self._sysfs.real(f"{real}/slaves/{name}")
            if below is not None:
                slaves.append(self._at(below, depth + 1))
        return slaves

    # -- device mapper ------------------------------------------------------------

    def _mapped(self, level: Level, real: str, depth: int) -> None:
        name = self._sysfs.text(f"{real}/dm/name") or level.name
        uuid = self._sysfs.text(f"{real}/dm/uuid") or ""
        level.fact("device", level.name)
        level.name = name
        prefix = uuid.partition("-")[0]
        level.kind = _MAPPED.get(prefix, "mapped device")
        if re.match(r"part\d+$", prefix):
            level.kind = "partition"
        level.below = self._slaves(real, depth)
        level.health = OK if level.below else UNKNOWN
        level.is_carrier = True
        if self._sysfs.text(f"{real}/dm/suspended") == "1":
            level.fact("suspended", "yes: reads and writes wait")
        if prefix == "mpath":
            self._paths(level)
        if prefix == "mpath" or (prefix == "LVM" and len(level.below) > 1):
            self._ask_mapper(level, name)

    def _paths(self, level: Level) -> None:
        good = [path for path in level.below if path.text in ("running", "live")]
        level.fact("paths", f"{len(good)} of {len(level.below)}")
        if level.below and not good:
            level.has_problem(FAILING, f"multipath {level.name} has no path left")
        elif len(good) < len(level.below):
            for path in level.below:
                if path not in good:
                    # It is told here: the drive answers over the other paths.
                    path.problems.clear()
            what = f"{len(good)} of {len(level.below)} paths"
            level.has_problem(DEGRADED, f"multipath {level.name} has {what}")

    def _ask_mapper(self, level: Level, name: str) -> None:
        result = self._ask(level, Ask(MAPPER, name))
        if not isinstance(result, Result):
            return
        if result.how != RAN:
            level.notes.append(f"{name}: {result.why}, so the mapper was not asked")
        elif result.status:
            why = result.error.splitlines()[0][:200] if result.error else "no status"
            level.notes.append(f"{name}: dmsetup could not ask it: {why}")
        else:
            judge_mapper(level, result.output)

    # -- md -----------------------------------------------------------------------

    def _array(self, level: Level, real: str, depth: int) -> None:
        md = f"{real}/md"
        raid = self._sysfs.text(f"{md}/level") or ""
        level.kind = f"array ({raid})" if raid else "array"
        level.fact("raid level", raid)
        state = self._files.text(f"{md}/array_state") or ""
        level.fact("state", state)
        wanted = self._sysfs.number(f"{md}/raid_disks") or 0
        lost = self._files.number(f"{md}/degraded") or 0
        members = [
            self._member(f"{md}/{entry}", entry.removeprefix("dev-"), depth)
            for entry in self._files.names(md)
            if entry.startswith("dev-")
        ]
        level.below = members
        if wanted:
            level.fact("devices", f"{max(0, wanted - lost)} of {wanted}")
        working = self._work_of(md)
        level.fact("sync", working)
        level.health, level.text = OK, working or state
        if state in ("broken", "inactive", "clear", "suspended"):
            level.has_problem(FAILING, f"array {level.name} is {state}")
        elif lost:
            faulty = [each.name for each in members if each.text.startswith("faulty")]
            which = f" (faulty: {', '.join(faulty)})" if faulty else ""
            is_rebuilding = (self._sysfs.text(f"{md}/sync_action") or "") == "recover"
            what = (
                f"array {level.name} lacks {lost} of {count(wanted, 'device')}{which}"
            )
            level.has_problem(
                DEGRADED, what + (" and is being rebuilt" if is_rebuilding else "")
            )
            level.text = "; ".join(text for text in ("degraded", working) if text)

    def _work_of(self, md: str) -> str:
        """Return what an array is doing: ``recover, 45 %``; empty when it is idle."""
        action = self._files.text(f"{md}/sync_action") or ""
        if action in ("", "idle", "frozen"):
            return "" if action != "frozen" else "frozen"
        # "1234 / 5678" sectors, "none", or "delayed" behind another array.
        done = self._sysfs.text(f"{md}/sync_completed") or ""
        match = re.match(r"(\d+) / (\d+)$", done)
        if match and int(match[2]):
            return f"{action}, {100 * int(match[1]) // int(match[2])} %"
        return f"{action}, delayed" if done == "delayed" else action

    def _member(self, member: str, name: str, depth: int) -> Level:
        real = self._sysfs.real(f"{member}/block")
        state = self._files.text(f"{member}/state") or ""
        words = state.split(",")
        below = self._at(real, depth + 1) if real else None
        level = below or Level(name=name, kind="device")
        level.fact("in the array", state.replace("_", "-").replace(",", ", "))
        errors = self._sysfs.number(f"{member}/errors")
        if errors:
            level.fact("corrected errors", str(errors))
        if below is None:
            level.text = "missing"
        if "faulty" in words:
            level.health, level.text = FAILING, "faulty: the array has put it out"
        elif "want_replacement" in words or "write_error" in words:
            level.has_problem(
                DEGRADED, f"device {level.name} of an array should be replaced"
            )
        elif "spare" in words and level.text in ("", "running", "live"):
            level.text = "spare"
        return level

    # -- loop ---------------------------------------------------------------------

    def _loop(self, level: Level, real: str, depth: int) -> None:
        level.kind = "loop device"
        path = self._files.text(f"{real}/loop/backing_file")
        if not path:
            level.text = "not attached to a file"
            return
        level.health, level.is_carrier = OK, True
        level.fact("file", path)
        if path.endswith(" (deleted)"):
            level.has_problem(
                DEGRADED, f"the file behind {level.name} was deleted: {path[:-10]}"
            )
            return
        below = self._host(path, depth + 1)
        if below is not None:
            level.below = [below]

    # -- drives -------------------------------------------------------------------

    def _drive(self, level: Level, real: str, name: str, depth: int) -> None:
        is_asked = False
        for prefix, kind, is_smart in _DRIVES:
            if name.startswith(prefix):
                level.kind, is_asked = kind, is_smart
                break
        text = self._sysfs.text
        rotates = text(f"{real}/queue/rotational")
        if level.kind == "drive" and rotates in ("0", "1"):
            level.fact("type", "hard disk" if rotates == "1" else "solid state")
        for fact, files in (
            ("vendor", ("device/vendor",)),
            ("model", ("device/model", "device/name")),
            ("serial", ("device/serial", "serial", "device/vpd_pg80")),
            ("firmware", ("device/firmware_rev", "device/rev")),
        ):
            for file in files:
                if value := _printable(text(f"{real}/{file}") or ""):
                    level.fact(fact, value)
                    break
        if level.kind == "virtual disk":
            # The number of the maker of the virtual machine says nothing.
            level.facts.pop("vendor", None)
            level.text = "the host of this machine knows the drive behind it"
        if level.kind in ("memory", "compressed memory"):
            level.health = OK
        slaves = self._slaves(real, depth)
        level.below = slaves
        if name.startswith("nvme"):
            self._nvme(level, real)
        elif level.kind == "drive":
            self._scsi(level, real)
        elif level.kind == "memory card":
            self._card(level, real)
        if is_asked:
            self._smart(level, real, name)

    def _scsi(self, level: Level, real: str) -> None:
        state = self._files.text(f"{real}/device/state")
        if state is None:
            return
        level.text = state
        if state in _SCSI_GONE:
            level.has_problem(
                FAILING, f"drive {level.name} does not answer: the kernel says {state}"
            )

    def _nvme(self, level: Level, real: str) -> None:
        device = f"{real}/device"
        if self._sysfs.text(f"{device}/subsysnqn") and not self._sysfs.text(
            f"{device}/state"
        ):
            # One drive behind several controllers.
            controllers = [
                f"{device}/{name}"
                for name in self._sysfs.names(device)
                if re.match(r"nvme\d+$", name)
            ]
        else:
            controllers = [device]
        states = [self._files.text(f"{each}/state") or "" for each in controllers]
        live = [state for state in states if state == "live"]
        if len(states) > 1:
            level.fact("paths", f"{len(live)} of {len(states)}")
        if live or not any(states):
            level.text = "live" if live else ""
            if len(live) < len(states) and live:
                what = f"drive {level.name} has {len(live)} of {len(states)} paths"
                level.has_problem(DEGRADED, what)
            return
        level.text = states[0]
        is_gone = all(state in ("dead", "deleting") for state in states)
        level.has_problem(
            FAILING if is_gone else DEGRADED,
            f"drive {level.name} does not answer: the kernel says {states[0]}",
        )

    def _card(self, level: Level, real: str) -> None:
        """Judge a memory card or eMMC by what it says of its end of life (JEDEC)."""
        left = self._sysfs.text(f"{real}/device/pre_eol_info")
        if left in ("0x01", "0x02", "0x03"):
            words = {"0x01": "normal", "0x02": "80 % used", "0x03": "90 % used"}
            level.health = OK
            level.fact("spare blocks", words[left])
            if left != "0x01":
                what = f"drive {level.name}: {words[left]} of its spare blocks"
                level.has_problem(FAILING if left == "0x03" else DEGRADED, what)

    def _smart(self, level: Level, real: str, name: str) -> None:
        # Another drive in its place gets the same name, but not its answers.
        which = self._files.text(f"{real}/device/wwid")
        which = which or self._files.text(f"{real}/wwid") or ""
        reading = self._ask(level, Ask(SMART, name.replace("!", "/"), which))
        if not isinstance(reading, smart.Reading):
            return
        if reading.note:
            level.notes.append(reading.note)
        if reading.health is None:
            return
        for fact, value in reading.facts.items():
            level.fact(fact, value)
        if reading.health == OK and not level.problems:
            level.health = OK
        for health, text in reading.problems:
            level.has_problem(health, text)

    def _ask(self, level: Level, ask: Ask) -> object:
        """Return the answer to a question, and note that it is asked or awaited."""
        self.asks.append(ask)
        answer = self._answers(ask)
        if answer is None:
            level.is_pending = True
        return answer


#: "A" alive and in sync, "a" alive and not in sync, "D" dead, "-" not there:
#: Documentation/admin-guide/device-mapper/dm-raid.rst.
_RAID = re.compile(r"^\d+ \d+ raid (?P<type>\S+) \d+ (?P<health>[AaD-]+) (?P<rest>.*)$")
#: A path, whether it is active or failed, and how often it has failed.
_PATH = re.compile(r"(\d+:\d+) ([AF]) \d+")


def judge_mapper(level: Level, output: str) -> None:
    """Judge a mapped device by the lines of ``dmsetup status``."""
    for line in output.splitlines():
        if match := _RAID.match(line.strip()):
            health = match["health"]
            dead = sum(letter in "D-" for letter in health)
            level.fact("raid level", match["type"])
            level.fact("devices", f"{len(health) - dead} of {len(health)}")
            if dead:
                what = f"{level.name} lacks {dead} of {count(len(health), 'device')}"
                level.has_problem(DEGRADED, f"LVM volume {what}")
            elif "a" in health:
                level.fact("sync", " ".join(match["rest"].split()[:2]))
        elif " multipath " in line:
            paths = _PATH.findall(line)
            failed = [path for path, state in paths if state == "F"]
            if paths:
                good = len(paths) - len(failed)
                level.fact("paths", f"{good} of {len(paths)}")
            if failed and not level.problems:
                health = DEGRADED if len(failed) < len(paths) else FAILING
                what = f"{len(paths) - len(failed)} of {len(paths)} paths"
                level.has_problem(health, f"multipath {level.name} has {what}")


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable()).strip()[:100]
