"""What an agent says beside its verdict, reduced to what the pages know how to show.

It is signed, but an agent can be of another version, or broken: what has the wrong
shape is left out here, once, so that no reader of a row needs to ask again. Numbers
that JSON or a database cannot hold (infinity, 10**400) do not get in either.
"""

from __future__ import annotations

from typing import Any

from storepoints import wire
from storepoints.archives import CRITICAL_DAYS, NAMED, WARNING_DAYS

#: Longest text of a check, a volume or a marker, in characters: paths are the longest.
TEXT_LENGTH = 4096
#: More volumes than this are cut off.
VOLUMES = 10_000
#: Deepest and largest tree of devices that is kept, and the longest list of notes.
DEVICE_DEPTH = 8
DEVICE_NODES = 200
DEVICE_FACTS = 40
DEVICE_NOTES = 20
#: Longest name or fact of a device, and longest sentence about it, in characters.
DEVICE_NAME_LENGTH = 200
DEVICE_TEXT_LENGTH = 1000
#: No filesystem has longer names.
ARCHIVE_NAME_LENGTH = 255

HEALTHS = ("ok", "degraded", "failing", "unknown")
#: Which reasons go with which health; any other is left out.
REASONS_OF: dict[str, tuple[str, ...]] = {
    "ok": (),
    "unknown": (),
    "degraded": ("volume-degraded", "drive-failing"),
    "failing": ("volume-degraded", "drive-failing"),
}

_TEXTS = ("mount_point", "fs_type", "fs_uuid", "source", "fsid")
_SIZES = ("total_bytes", "free_bytes", "used_bytes", "total_inodes", "free_inodes")


def evidence_of(finding: dict[str, Any]) -> dict[str, Any]:
    """Return checks, volume, marker and since of a finding; None for what is wrong."""
    checks = finding.get("checks")
    return {
        "checks": [
            _check(check)
            for check in (checks if isinstance(checks, list) else ())
            if isinstance(check, dict)
        ],
        "volume": _texts(finding.get("volume"), _TEXTS),
        "marker": _texts(finding.get("marker"), ("store_point", "name", "server")),
        "since": _number(finding.get("since")),
    }


def fall_through_of(value: object) -> dict[str, Any] | None:
    """Return what was written below an unmounted path; None when nothing is said.

    Has always ``bytes``, ``files``, ``newest_at`` (seconds since 1970 or None) and
    ``is_complete``.
    """
    if not isinstance(value, dict):
        return None
    size, files = _size(value.get("bytes")), _size(value.get("files"))
    if size is None or files is None:
        return None
    return {
        "bytes": size,
        "files": files,
        "newest_at": _number(value.get("newest_at")),
        "is_complete": value.get("is_complete") is True,
    }


def archives_of(value: object) -> dict[str, Any] | None:
    """Return what was found of a store point's archives; None when nothing is said.

    Has always ``at``, ``count``, ``newest_at`` (seconds since 1970 or None) and
    ``stale``, an object of ``warning``, ``critical``, ``warning_days``, ``critical_days``,
    ``oldest`` (a list of ``name`` and ``changed_at``) and ``is_complete``. Raises wire.Refused when it is something else.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wire.Refused(f"expected archives or null, found {type(value).__name__}")
    sizes = {}
    for name in ("count", "warning", "critical"):
        size = value.get(name)
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**31:
            raise wire.Refused(f"expected a number of archives in {name!r}")
        sizes[name] = size
    if not sizes["critical"] <= sizes["warning"] <= sizes["count"]:
        raise wire.Refused(f"expected no more stale archives than archives: {sizes}")
    newest_at, oldest = value.get("newest_at"), value.get("oldest")
    if not isinstance(oldest, list):
        raise wire.Refused("expected a list of archives in 'oldest'")
    # An older agent does not say by which limits it counted: it knows only these.
    days = {
        name: _days(value.get(name, usual), name)
        for name, usual in (
            ("warning_days", WARNING_DAYS),
            ("critical_days", CRITICAL_DAYS),
        )
    }
    return {
        "at": wire.seconds_in(value, "at"),
        "count": sizes["count"],
        "newest_at": None if newest_at is None else wire.seconds_in(value, "newest_at"),
        "stale": {
            "warning": sizes["warning"],
            "critical": sizes["critical"],
            **days,
            "oldest": [_archive(each) for each in oldest[:NAMED]],
            "is_complete": value.get("is_complete") is True,
        },
    }


def _days(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1e5:
        raise wire.Refused(f"expected a number of days in {name!r}")
    return value


def _archive(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise wire.Refused("expected an archive with a name in 'oldest'")
    return {
        "name": _text(value["name"])[:ARCHIVE_NAME_LENGTH],
        "changed_at": wire.seconds_in(value, "changed_at"),
    }


def space_of(value: object) -> dict[str, int]:
    """Return the sizes of a volume; nothing when they do not fit together."""
    given = value if isinstance(value, dict) else {}
    sizes = {
        name: size for name in _SIZES if (size := _size(given.get(name))) is not None
    }
    if len(sizes) < len(_SIZES) or sizes["free_bytes"] > sizes["total_bytes"]:
        return {}
    return sizes


def volume_id_of(value: object) -> dict[str, str] | None:
    """Return what tells a volume from another, or None when it has no place."""
    volume = _texts(value, _TEXTS)
    return volume if volume and volume["mount_point"] else None


def volumes_of(volumes: list[Any]) -> list[dict[str, Any]]:
    """Return the volumes that have a place, with sizes in bytes or None."""
    return [
        {
            **{name: _text(volume.get(name)) for name in _TEXTS},
            **{name: _size(volume.get(name)) for name in _SIZES},
            "options": [_text(each) for each in _list(volume.get("options"))],
            "is_read_only": volume.get("is_read_only") is True,
            "devices": devices_of(volume.get("devices")),
        }
        for volume in volumes[:VOLUMES]
        if isinstance(volume, dict) and _text(volume.get("mount_point"))
    ]


def devices_of(value: object) -> dict[str, Any]:
    """Return what lies below a volume as a tree that a page can show.

    Has always ``health``, ``reason``, ``text``, ``stack`` (None or a node) and
    ``notes``; a node has ``name``, ``kind``, ``text``, ``health``, ``facts`` and
    ``below``. Anything but an object is a volume of which nothing is known.
    """
    given = value if isinstance(value, dict) else {}
    health = _health(given.get("health"))
    reason = given.get("reason")
    return {
        "health": health,
        "reason": reason if reason in REASONS_OF[health] else "",
        "text": _text(given.get("text"))[:DEVICE_TEXT_LENGTH],
        "stack": _Trees().node(given.get("stack")),
        "notes": [
            text[:DEVICE_TEXT_LENGTH]
            for each in _list(given.get("notes"))[:DEVICE_NOTES]
            if (text := _text(each))
        ],
    }


class _Trees:
    """Copies the nodes of one tree until there are too many."""

    def __init__(self) -> None:
        self._left = DEVICE_NODES

    def node(self, value: object, depth: int = 1) -> dict[str, Any] | None:
        if not isinstance(value, dict) or depth > DEVICE_DEPTH or self._left <= 0:
            return None
        self._left -= 1
        facts = value.get("facts")
        below = value.get("below")
        return {
            **{
                name: _text(value.get(name))[:DEVICE_NAME_LENGTH]
                for name in ("name", "kind")
            },
            "text": _text(value.get("text"))[:DEVICE_TEXT_LENGTH],
            "health": _health(value.get("health")),
            "facts": _facts(facts) if isinstance(facts, dict) else {},
            "below": [
                node
                for each in (below if isinstance(below, list) else ())
                if (node := self.node(each, depth + 1)) is not None
            ],
        }


def _facts(facts: dict[Any, Any]) -> dict[str, str]:
    # A template that walks over "facts.items" would find a fact of that name instead.
    facts = {name: fact for name, fact in facts.items() if name != "items"}
    return {
        _text(name)[:DEVICE_NAME_LENGTH]: _text(fact)[:DEVICE_NAME_LENGTH]
        for name, fact in list(facts.items())[:DEVICE_FACTS]
        if _text(name) and _text(fact)
    }


def _health(value: object) -> str:
    return value if isinstance(value, str) and value in HEALTHS else "unknown"


def _check(check: dict[str, Any]) -> dict[str, Any]:
    ok = check.get("ok")
    return {
        **{name: _text(check.get(name)) for name in ("name", "expected", "found")},
        "errno": _text(check.get("errno"))[:20],
        "layer": _size(check.get("layer")),
        "ok": ok if isinstance(ok, bool) else None,
        "seconds": _number(check.get("seconds")),
    }


def _texts(value: object, names: tuple[str, ...]) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {name: _text(value.get(name)) for name in names}


def _text(value: object) -> str:
    # PostgreSQL takes no null character in a text.
    return value[:TEXT_LENGTH].replace("\0", "") if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value[:100] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and 0 <= value < 1e12:
        return float(value)
    return None


def _size(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**63 else None
