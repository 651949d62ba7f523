"""What an agent says beside its verdict, reduced to what the pages know how to show.

It is signed, but an agent can be of another version, or broken: what has the wrong
shape is left out here, once, so that no reader of a row needs to ask again. Numbers
that JSON or a database cannot hold (infinity, 10**400) do not get in either.
"""

from __future__ import annotations

from typing import Any

#: Longest text of a check, a volume or a marker, in characters: paths are the longest.
TEXT_LENGTH = 4096
#: More volumes than this are cut off.
VOLUMES = 10_000

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


def volumes_of(volumes: list[Any]) -> list[dict[str, Any]]:
    """Return the volumes that have a place, with sizes in bytes or None."""
    return [
        {
            **{name: _text(volume.get(name)) for name in _TEXTS},
            **{name: _size(volume.get(name)) for name in _SIZES},
            "options": [_text(each) for each in _list(volume.get("options"))],
            "is_read_only": volume.get("is_read_only") is True,
        }
        for volume in volumes[:VOLUMES]
        if isinstance(volume, dict) and _text(volume.get("mount_point"))
    ]


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
