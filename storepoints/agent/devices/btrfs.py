"""What ``btrfs device stats`` says, as JSON (btrfs-progs 5.13 or so) or as text."""

from __future__ import annotations

import json
import re

from storepoints.agent.devices.tools import RAN, Result, Tools

#: The counters of a device, by the names that the kernel gives them in sysfs.
COUNTERS = ("write", "read", "flush", "corruption", "generation")

Counts = dict[str, dict[str, int]]

_LINE = re.compile(r"^\[(?P<device>.*)\]\.(?P<name>\w+)_errs\s+(?P<count>\d+)\s*$")


def ask(uuid: str, mount_point: str, tools: Tools) -> tuple[Counts | None, str]:
    """Return the counters by device number or name, or None and why not."""
    device = f"btrfs {uuid}"
    result = tools.run(
        device, "btrfs", "--format", "json", "device", "stats", mount_point
    )
    counts = None
    if result.how == RAN:
        counts = from_json(result.output)
        if counts is None and result.status:
            # Older ones know no JSON.
            result = tools.run(device, "btrfs", "device", "stats", mount_point)
            counts = from_text(result.output) if result.how == RAN else None
    return (counts, "") if counts is not None else (None, _why(result))


def _why(result: Result) -> str:
    if result.how != RAN:
        return f"{result.why}, so the counters of errors were not asked"
    said = result.error.splitlines()[0] if result.error else "no output"
    return f"btrfs could not tell the counters of errors: {said[:200]}"


def from_json(output: str) -> Counts | None:
    """Return the counters in JSON; numbers stand there as texts or as numbers."""
    try:
        said = json.loads(output)
    except (ValueError, RecursionError):
        return None
    entries = said.get("device-stats") if isinstance(said, dict) else None
    if not isinstance(entries, list):
        return None
    counts: Counts = {}
    for entry in entries:
        if isinstance(entry, dict):
            key = str(entry.get("devid") or entry.get("device") or "")
            counts[key] = _counters(
                {
                    name: entry.get(f"{name}_io_errs", entry.get(f"{name}_errs"))
                    for name in COUNTERS
                }
            )
    return counts


def from_text(output: str) -> Counts | None:
    """Return the counters in lines such as ``[/dev/sdb].write_io_errs    0``."""
    counts: Counts = {}
    for line in output.splitlines():
        if match := _LINE.match(line.strip()):
            name = match["name"].removesuffix("_io")
            entry = counts.setdefault(match["device"], {})
            entry |= _counters({name: match["count"]})
    return counts or None


def from_sysfs(text: str) -> dict[str, int]:
    """Return the counters in ``devinfo/*/error_stats``: ``write_errs 0``."""
    found: dict[str, object] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        found[name.removesuffix("_errs")] = value.strip()
    return _counters(found)


def _counters(found: dict[str, object]) -> dict[str, int]:
    counters: dict[str, int] = {}
    for name, value in found.items():
        text = str(value)
        if name in COUNTERS and text.isdigit():
            counters[name] = int(text[:18])
    return counters


def in_words(counters: dict[str, int]) -> str:
    """Return the counters that are not zero: ``3 corruption, 1 read``."""
    return ", ".join(f"{n} {name}" for name, n in counters.items() if n)
