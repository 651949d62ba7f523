"""The verdict in words: which layer failed, what was found, and what to do about it.

Everything a person or a mail is told about a state comes from here, made from what the
agent found. No Django.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storepoints.pieces import instant
from storepoints.states import Reason, State

STATE_WORDS = {
    State.ONLINE: "Online",
    State.DEGRADED: "Degraded",
    State.OFFLINE: "Offline",
    State.NOT_RESPONDING: "Not responding",
    State.SERVER_OFFLINE: "Server offline",
    State.UNKNOWN: "Unknown",
    State.PENDING: "Pending",
    State.MAINTENANCE: "Maintenance",
}

REASON_WORDS = {
    Reason.NONE: "",
    Reason.PATH_MISSING: "path missing",
    Reason.PERMISSION_DENIED: "permission denied",
    Reason.NOT_A_DIRECTORY: "not a directory",
    Reason.NOT_MOUNTED: "not mounted",
    Reason.DIFFERENT_VOLUME: "different volume",
    Reason.WRONG_STORE_POINT: "wrong store point",
    Reason.MARKER_MISSING: "identity marker missing",
    Reason.READ_ONLY: "read-only",
    Reason.FULL: "full",
    Reason.NO_INODES: "no inodes left",
    Reason.IO_ERROR: "I/O error",
    Reason.SLOW: "slow",
    Reason.LOW_SPACE: "low on space",
    Reason.LOW_INODES: "low on inodes",
    Reason.VOLUME_DEGRADED: "volume degraded",
    Reason.DRIVE_FAILING: "drive failing",
    Reason.SERVER_OFFLINE: "",
    Reason.STALE: "no recent reading",
}

#: What each check is called on the store point's page, in order. All are the agent's
#: but the limits, which the master judges.
CHECK_WORDS = {
    "path": "Path exists",
    "volume": "Right volume",
    "identity": "Right identity",
    "mount": "Mounted read-write",
    "space": "Volume answers",
    "write": "Can be written and read",
    "limits": "Within its limits",
    "device": "Drive, array, volume",
}

#: Limits of space, inodes and latency, in words; what devices say is another step.
LIMIT_WORDS = {
    "critically-low-space": "critically low on space",
    "low-space": "low on space",
    "low-inodes": "low on inodes",
    "filling-up": "filling up",
    "slow": "writing is slow",
}

#: What is said of a check that has an explanation in place of an answer. Whether the
#: path exists is only noted where its volume is not there: that is the verdict.
UNANSWERED = {"path": "noted", "write": "skipped", "device": "unknown"}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of "Why".

    ``mark`` is passed, failed, noted, skipped, unknown or not-asked.
    """

    label: str
    mark: str
    detail: str
    seconds: float | None = None


def describe(state: State | str, reason: Reason | str) -> str:
    """Return the state and its reason in words: "Offline: not mounted"."""
    word = STATE_WORDS[State(state)]
    why = REASON_WORDS[Reason(reason)]
    return f"{word}: {why}" if why else word


def steps(
    *,
    state: State,
    evidence: Mapping[str, Any],
    server_says: str,
    server_ok: bool,
    limits: Collection[str] | None = None,
) -> list[Step]:
    """Return the layers of the newest verdict, in the order in which they were asked.

    What could not be asked, because a layer below had failed, is said to be so.
    ``limits`` are those that are passed, None where that is not judged.
    """
    first = Step("Server reports", "passed" if server_ok else "failed", server_says)
    if state == State.SERVER_OFFLINE:
        return [first, *(Step(word, "not-asked", "") for word in CHECK_WORDS.values())]
    found = {
        str(check.get("name")): check
        for check in evidence.get("checks") or ()
        if isinstance(check, dict)
    }
    return [
        first,
        *(
            _step_of_limits(word, limits)
            if name == "limits"
            else _step(name, word, found.get(name))
            for name, word in CHECK_WORDS.items()
        ),
    ]


def _step_of_limits(word: str, limits: Collection[str] | None) -> Step:
    if limits is None:
        return Step(word, "not-asked", "")
    passed = [words for limit, words in LIMIT_WORDS.items() if limit in limits]
    if passed:
        return Step(word, "failed", ", ".join(passed))
    return Step(word, "passed", "space, inodes and latency")


def _step(name: str, word: str, check: Mapping[str, Any] | None) -> Step:
    if check is None or check.get("ok") is None:
        why = str((check or {}).get("found") or "")
        return Step(
            word, UNANSWERED.get(name, "not-asked") if why else "not-asked", why
        )
    seconds = check.get("seconds")
    seconds = float(seconds) if isinstance(seconds, int | float) else None
    if check["ok"] is True:
        return Step(word, "passed", str(check.get("found") or ""), seconds)
    parts = []
    if check.get("expected"):
        parts.append(f"expected {check['expected']}")
    if check.get("found"):
        parts.append(f"found {check['found']}")
    if check.get("errno"):
        parts.append(f"({check['errno']})")
    return Step(
        word,
        "failed",
        ", ".join(parts[:2]) + (f" {parts[2]}" if len(parts) > 2 else ""),
        seconds,
    )


def found_in_words(found: Mapping[str, Any]) -> str:
    """Return in one line what an alert kept of its evidence; empty when it kept none.

    "Right volume: expected ext4 a1b2 on /dev/sdd1, found the root filesystem (EIO)".
    """
    parts = []
    if found.get("expected"):
        parts.append(f"expected {found['expected']}")
    if found.get("found"):
        parts.append(f"found {found['found']}" if parts else str(found["found"]))
    text = ", ".join(parts)
    if found.get("errno"):
        text = f"{text} ({found['errno']})".strip()
    return f"{found['check']}: {text}" if found.get("check") and text else text


@dataclass(frozen=True, slots=True)
class Cure:
    """What to do: a sentence, and the command to type on the server if there is one."""

    text: str
    command: str = ""


def cure(
    *,
    state: State,
    reason: Reason,
    path: str,
    volume: Mapping[str, Any],
    server_name: str,
    marker: Mapping[str, Any] | None = None,
    devices: Mapping[str, Any] | None = None,
) -> Cure | None:
    """Return what to do about a state, or None where nothing is to be done.

    ``devices`` is what lies below the volume, as ``Filesystem.devices`` has it.
    """
    mount_point = str(volume.get("mount_point") or path)
    quoted = shlex.quote(path)
    if state == State.SERVER_OFFLINE:
        return Cure(
            f"Check that {server_name} is running, reachable and its agent is started. "
            "Nothing can be said about the volume until it reports again."
        )
    if state == State.NOT_RESPONDING:
        return Cure(
            "A call to the file system does not return: the drive, the array or the "
            "network storage behind it hangs. Look at the kernel's messages for it; "
            "when it answers again, the store point recovers by itself.",
            "dmesg --level=err,warn | tail -50",
        )
    if state == State.UNKNOWN:
        return Cure(
            "There is no recent reading. Check that the console's own checks are "
            "running; “manage.py doctor” says what is missing."
        )
    cures = {
        Reason.PATH_MISSING: Cure(
            f"The directory {path} is gone although its volume is there. If it was "
            "renamed, rename it back; if it was deleted, restore it.",
            f"ls -la {shlex.quote(path.rsplit('/', 1)[0] or '/')}",
        ),
        Reason.PERMISSION_DENIED: Cure(
            "The agent may not read or write the directory. Give its account read and "
            "write permission on the directory and on .storepoint inside it.",
            f"ls -ld {quoted} {shlex.quote(path + '/.storepoint')}",
        ),
        Reason.NOT_A_DIRECTORY: Cure(
            f"{path} is no longer a directory. Move away what is there, and put the "
            "store point's own directory back.",
            f"ls -ld {quoted}",
        ),
        Reason.NOT_MOUNTED: Cure(
            f"Mount the volume again at {mount_point}. Until then nothing must be "
            "written below the path: it would land on the file system underneath.",
            f"mount {shlex.quote(mount_point)}",
        ),
        Reason.DIFFERENT_VOLUME: Cure(
            f"Another volume is at {mount_point} than the one this store point was "
            "adopted on. Find out why, and mount the right one.",
            f"findmnt --target {quoted}",
        ),
        Reason.WRONG_STORE_POINT: Cure(_wrong_store_point(marker)),
        Reason.MARKER_MISSING: Cure(
            "The volume is there, but the identity marker .storepoint/identity.json "
            "is missing or damaged. If the data was wiped or the wrong copy was "
            "restored, find out before anything is written. If only the marker was "
            "lost, restore it, or re-adopt the store point.",
            f"ls -la {shlex.quote(path + '/.storepoint')}",
        ),
        Reason.READ_ONLY: Cure(
            "The volume is read-only; the kernel does that when it finds an error in "
            "the file system. Look at its messages, check the file system, and "
            "remount it read-write.",
            f"dmesg --level=err,warn | tail -50; mount -o remount,rw {shlex.quote(mount_point)}",
        ),
        Reason.FULL: Cure(
            "No space is left, or the quota is used up. Remove what does not belong "
            "there, extend the volume, or disable inbound backup meanwhile.",
            f"df -h {quoted}",
        ),
        Reason.NO_INODES: Cure(
            "The file system has no inodes left, though it may have space: too many "
            "small files. Remove some, or move the store point to a larger volume.",
            f"df -i {quoted}",
        ),
        Reason.IO_ERROR: Cure(
            "The drive, array or network storage returned an error. Look at the "
            "kernel's messages and at the drive's health before anything else.",
            "dmesg --level=err,warn | tail -50",
        ),
        Reason.SLOW: Cure(
            "Writing takes unusually long. Look for a rebuild, a failing drive or too "
            "much load.",
            "iostat -x 5 3",
        ),
        Reason.LOW_SPACE: Cure(
            "Make room, extend the volume, or disable inbound backup before it is full.",
            f"df -h {quoted}",
        ),
        Reason.LOW_INODES: Cure(
            "Few inodes are left: reduce the number of files before none are.",
            f"df -i {quoted}",
        ),
        Reason.VOLUME_DEGRADED: Cure(
            _with_what(devices, "The volume works, but something below it does not.")
            + " Find out which device it is and replace it before another one fails; "
            "the data is not safe until the volume is whole again.",
            device_command(devices, mount_point=mount_point, volume=volume),
        ),
        Reason.DRIVE_FAILING: Cure(
            _with_what(devices, "A drive below the volume is failing.")
            + " See that there is a copy of what is on it, then replace the drive.",
            device_command(devices, mount_point=mount_point, volume=volume),
        ),
    }
    return cures.get(reason)


def _wrong_store_point(marker: Mapping[str, Any] | None) -> str:
    owner = (marker or {}).get("name") or (marker or {}).get("store_point")
    whose = f"This is the disk of the store point “{owner}”. " if owner else ""
    return (
        f"{whose}Mount it at its own place, and the right disk here. Nothing must be "
        "written to it under this name."
    )


def _with_what(devices: Mapping[str, Any] | None, otherwise: str) -> str:
    what = str((devices or {}).get("text") or "")
    return f"{what[:1].upper()}{what[1:]}." if what else otherwise


#: What to type about the level that is not well, by the beginning of its kind; its
#: own name, or the directory that the volume is mounted at, stands in the braces.
_DEVICE_COMMANDS = (
    ("array", "mdadm --detail /dev/{name}"),
    ("ZFS pool", "zpool status -v {name}"),
    ("ZFS", "zpool status -x"),
    ("btrfs", "btrfs device stats {mount_point}; btrfs filesystem show {mount_point}"),
    ("ext", "dmesg --level=err,warn | tail -50; findmnt {mount_point}"),
    ("multipath", "multipath -ll {name}"),
    ("LVM", "lvs -a -o +devices,lv_health_status"),
    ("loop", "losetup --list"),
    ("drive", "smartctl -a /dev/{name}"),
    ("NVMe", "smartctl -a /dev/{name}"),
    ("virtual disk", "dmesg --level=err,warn | tail -50"),
)


def device_command(
    devices: Mapping[str, Any] | None,
    *,
    mount_point: str,
    volume: Mapping[str, Any],
) -> str:
    """Return what to type to see what is wrong below a volume.

    It asks about the topmost level that is not well, or about the volume by its type
    when the levels are not known. A failing drive is asked itself, wherever it is.
    """
    stack = (devices or {}).get("stack")
    levels = list(_levels(stack)) if isinstance(stack, Mapping) else []
    bad = [each for each in levels if each.get("health") in ("degraded", "failing")]
    if (devices or {}).get("health") == "failing":
        bad.sort(key=lambda each: each.get("health") != "failing")
    kinds = [(str(each.get("kind")), str(each.get("name"))) for each in bad]
    kinds.append((str(volume.get("fs_type") or ""), ""))
    for kind, name in kinds:
        for beginning, command in _DEVICE_COMMANDS:
            if kind.lower().startswith(beginning.lower()) and (
                name or "{name}" not in command
            ):
                return command.format(
                    name=shlex.quote(name), mount_point=shlex.quote(mount_point)
                )
    return "lsblk -o NAME,TYPE,SIZE,MODEL,SERIAL,STATE,MOUNTPOINTS"


def _levels(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for below in node.get("below") or ():
        if isinstance(below, Mapping):
            yield from _levels(below)


def fallen_through(
    found: Mapping[str, Any], *, since: datetime | None, reason: Reason
) -> dict[str, Any] | None:
    """Return what was written below a path while its volume was not mounted.

    ``found`` is StorePoint.fall_through, ``since`` when the state began that holds now.
    Instants instead of seconds; ``is_over`` when the volume is back, ``is_measuring``
    while this outage has no measure yet. None when there is nothing to say.
    """
    is_now = reason == Reason.NOT_MOUNTED
    began = found.get("since") or 0
    if is_now and (not found or (since is not None and began < since.timestamp())):
        return {"is_measuring": True}
    if not found:
        return None
    newest = found.get("newest_at")
    return {
        **found,
        "since": instant(began) if began else None,
        "newest_at": instant(newest) if newest else None,
        "is_over": not is_now,
    }
