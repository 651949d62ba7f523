"""What ``zpool`` says of a pool, as JSON (OpenZFS 2.3) or as the text before that."""

from __future__ import annotations

import json
from typing import Any

from storepoints.agent.devices.tools import RAN, Result, Tools
from storepoints.agent.devices.tree import (
    DEGRADED,
    FAILING,
    OK,
    UNKNOWN,
    Level,
    count,
    size_text,
)

_HEALTH = {
    "ONLINE": OK,
    "AVAIL": OK,
    "INUSE": DEGRADED,
    "DEGRADED": DEGRADED,
    "OFFLINE": DEGRADED,
    "FAULTED": FAILING,
    "UNAVAIL": FAILING,
    "REMOVED": FAILING,
    "SUSPENDED": FAILING,
}
_GROUPS = ("logs", "cache", "spares", "special", "dedup")


def ask(pool: str, tools: Tools) -> tuple[Level | None, str]:
    """Return the pool as a level with its devices below, or None and why not."""
    device = f"pool {pool}"
    result = tools.run(device, "zpool", "status", "-j", "--json-int", pool)
    level = None
    if result.how == RAN:
        level = from_json(pool, result.output)
        if level is None and result.status:
            # Before OpenZFS 2.3 there is no -j.
            result = tools.run(device, "zpool", "status", "-p", pool)
            if result.how == RAN:
                level = from_text(pool, result.output)
    if level is None:
        return None, f"pool {pool}: {_why(result)}"
    listed = tools.run(
        device, "zpool", "list", "-Hp", "-o", "size,free,fragmentation", pool
    )
    if listed.how == RAN and not listed.status:
        _note_list(level, listed.output)
    return level, ""


def _why(result: Result) -> str:
    if result.how != RAN:
        return f"{result.why}, so the pool was not asked"
    said = result.error.splitlines()[0] if result.error else "no status"
    if "ermission denied" in said:
        return "zpool may not ask it: permission denied"
    return f"zpool could not ask it: {said[:200]}"


def from_json(pool: str, output: str) -> Level | None:
    """Return the pool in the output of ``zpool status -j``, or None."""
    try:
        said = json.loads(output)
    except (ValueError, RecursionError):
        return None
    found = _of(_of(said, "pools"), pool)
    if not isinstance(found, dict):
        return None
    level = _pool(pool, str(found.get("state", "")))
    root = _of(_of(found, "vdevs"), pool)
    for vdev in _children(root):
        level.below.append(_vdev_of(vdev, 1))
    for group in _GROUPS:
        for vdev in _children(found, group):
            level.below.append(_vdev_of(vdev, 1))
    scan = found.get("scan_stats")
    if isinstance(scan, dict):
        level.fact("scan", _scan_of(scan))
    _judge(level, _count(found.get("error_count")))
    return level


def _vdev_of(vdev: dict[str, Any], depth: int) -> Level:
    kind = str(vdev.get("vdev_type", "device"))
    level = _vdev(
        str(vdev.get("name", "")),
        str(vdev.get("state", "")),
        [_count(vdev.get(f"{what}_errors")) for what in ("read", "write", "checksum")],
        "" if kind in ("disk", "file") else kind,
    )
    path = vdev.get("path")
    if isinstance(path, str):
        level.fact("path", path)
    if depth < 6:
        level.below += [_vdev_of(below, depth + 1) for below in _children(vdev)]
    return level


def from_text(pool: str, output: str) -> Level | None:
    """Return the pool in the output of ``zpool status -p``, or None.

    The table of devices tells by its indentation, two spaces for each step, what lies
    below what.
    """
    level: Level | None = None
    scan = errors = ""
    is_table = False
    above: list[tuple[int, Level]] = []
    for line in output.splitlines():
        word, _, rest = line.strip().partition(":")
        if not is_table:
            if word == "state":
                level = _pool(pool, rest.strip())
            elif word == "scan":
                scan = rest.strip()
            elif word == "config" and not rest:
                is_table = True
            elif word == "errors":
                errors = rest.strip()
            continue
        columns = line.split()
        if word == "errors" and rest:
            is_table, errors = False, rest.strip()
        elif columns and columns[0] != "NAME" and level is not None:
            indent = len(line.expandtabs()) - len(line.expandtabs().lstrip())
            above = [each for each in above if each[0] < indent]
            if columns[0] == pool and not above:
                above.append((indent, level))
                continue
            vdev = _vdev_in(columns)
            (above[-1][1] if above else level).below.append(vdev)
            above.append((indent, vdev))
    if level is None:
        return None
    level.fact("scan", scan)
    is_bad = bool(errors) and not errors.startswith("No known data errors")
    number = next((int(word) for word in errors.split() if word.isdigit()), 1)
    _judge(level, number if is_bad else 0)
    return level


def _vdev_in(columns: list[str]) -> Level:
    name = columns[0]
    kind = next((k for k in ("mirror", "raidz", "draid") if name.startswith(k)), "")
    if len(columns) == 1:
        # "logs", "cache": a heading.
        return Level(name=name, kind="group", health=OK)
    numbers = [_count(column) for column in columns[2:5]]
    level = _vdev(name, columns[1], numbers, kind)
    if len(columns) > 5:
        level.text = f"{level.text}: {' '.join(columns[5:])}"
    if name.startswith("/"):
        level.fact("path", name)
    return level


def _pool(pool: str, state: str) -> Level:
    return Level(
        name=pool,
        kind="ZFS pool",
        text=state.lower(),
        health=_HEALTH.get(state, UNKNOWN),
    )


def _vdev(name: str, state: str, errors: list[int], kind: str) -> Level:
    health = _HEALTH.get(state, UNKNOWN)
    level = Level(
        name=name.rpartition("/")[2],
        kind=kind or "device",
        text=state.lower(),
        health=DEGRADED if health == OK and any(errors) else health,
    )
    if any(errors):
        read, write, checksum = [*errors, 0, 0, 0][:3]
        level.fact("errors", f"{read} read, {write} write, {checksum} checksum")
    return level


def _judge(level: Level, data_errors: int) -> None:
    """Say what is wrong with a pool whose devices are known."""
    state, health = level.text, level.health
    leaves = list(_leaves(level))
    bad = [leaf.name for leaf in leaves if leaf.health in (DEGRADED, FAILING)]
    level.fact("devices", f"{len(leaves) - len(bad)} of {len(leaves)}")
    if data_errors:
        level.fact("data errors", str(data_errors))
        what = f"pool {level.name} has {count(data_errors, 'data error')}"
        level.has_problem(DEGRADED, what)
    if health in (DEGRADED, FAILING):
        which = f" ({', '.join(bad[:3])})" if bad else ""
        level.has_problem(health, f"pool {level.name} is {state}{which}")
    elif bad:
        level.has_problem(
            DEGRADED, f"pool {level.name} counts errors of {', '.join(bad[:3])}"
        )


def _leaves(level: Level) -> Any:
    for below in level.below:
        if below.below:
            yield from _leaves(below)
        elif below.kind != "group":
            yield below


def _note_list(level: Level, output: str) -> None:
    columns = output.split()
    if len(columns) >= 2 and columns[0].isdigit() and columns[1].isdigit():
        level.fact("size", size_text(int(columns[0])))
        level.fact("free", size_text(int(columns[1])))
    if len(columns) >= 3 and columns[2].isdigit():
        level.fact("fragmentation", f"{columns[2]} %")


def _scan_of(scan: dict[str, Any]) -> str:
    what = " ".join(str(scan.get(name, "")).lower() for name in ("function", "state"))
    done, all_of_it = _count(scan.get("examined")), _count(scan.get("to_examine"))
    if scan.get("state") == "SCANNING" and all_of_it:
        return f"{what}, {100 * done // all_of_it} %"
    return what.strip()


def _children(data: object, name: str = "vdevs") -> list[dict[str, Any]]:
    found = _of(data, name)
    if not isinstance(found, dict):
        return []
    return [vdev for vdev in found.values() if isinstance(vdev, dict)]


def _of(data: object, name: str) -> object:
    return data.get(name) if isinstance(data, dict) else None


def _count(value: object) -> int:
    try:
        return max(0, int(str(value)))
    except ValueError:
        return 0
