"""The shapes of what the agent is told and of what it reports.

Plain dictionaries, because they cross two pipes and the broker as JSON. Paths are
texts made with ``os.fsdecode``: bytes that are not UTF-8 stand as surrogates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict


class VolumeId(TypedDict):
    """What tells one volume from another; a text is empty where there is none.

    ``fsid`` is ``f_fsid`` in hexadecimal, only for filesystem types that derive it
    from the filesystem and not from the number of the device it happens to be on.
    """

    mount_point: str
    fs_type: str
    fs_uuid: str
    source: str
    fsid: str


class Space(TypedDict):
    """What ``statvfs`` says; ``free_bytes`` is what is free for ordinary users."""

    total_bytes: int
    free_bytes: int
    used_bytes: int
    total_inodes: int
    free_inodes: int


class Volume(VolumeId, Space):
    """A volume of this machine on which a store point can lie."""

    options: list[str]
    is_read_only: bool


class Check(TypedDict):
    """One piece of evidence; ``ok`` is None when the question was not asked."""

    layer: int
    name: str
    ok: bool | None
    seconds: float
    expected: str
    found: str
    errno: str


class InboundFinding(TypedDict):
    """What of the inbound switch is applied, as read back from the disk."""

    applied: str | None
    pending: bool
    error: str


class Finding(TypedDict):
    """The verdict on one store point with its evidence; times in epoch seconds."""

    id: str
    at: float
    cause: str
    state: str
    reason: str
    layer: int
    errno: str
    since: float | None
    duration_seconds: float
    latency_seconds: float | None
    space: Space | None
    volume: VolumeId | None
    checks: list[Check]
    marker: dict[str, Any] | None
    inbound: InboundFinding


@dataclass(frozen=True, slots=True)
class Spec:
    """What the master wants to know about one store point."""

    id: str
    name: str
    path: str
    volume: VolumeId | None
    deadline_seconds: float
    write: bool
    inbound: str


def spec_of(data: dict[str, Any]) -> Spec:
    """Return the spec in an order's entry.

    Raises ValueError that names the field, the value and what was expected.
    """
    for name in ("id", "name", "path"):
        if not isinstance(data.get(name), str) or not data[name]:
            raise ValueError(f"{name} is {data.get(name)!r}: expected a text")
    path = data["path"]
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"path is {path!r}: expected an absolute path")
    deadline = data.get("deadline_seconds", 5.0)
    if (
        isinstance(deadline, bool)
        or not isinstance(deadline, int | float)
        or not 0.05 <= deadline <= 600
    ):
        raise ValueError(
            f"deadline_seconds is {deadline!r}: expected a number from 0.05 to 600"
        )
    write = data.get("write", True)
    if not isinstance(write, bool):
        raise ValueError(f"write is {write!r}: expected true or false")
    inbound = data.get("inbound", "")
    if inbound not in ("", "enabled", "disabled"):
        raise ValueError(f"inbound is {inbound!r}: expected enabled or disabled")
    revision = data.get("inbound_revision", 0)
    if isinstance(revision, bool) or not isinstance(revision, int):
        raise ValueError(f"inbound_revision is {revision!r}: expected a whole number")
    return Spec(
        id=data["id"],
        name=data["name"],
        path=tidy_path(path),
        volume=volume_of(data.get("volume")),
        deadline_seconds=float(deadline),
        write=write,
        inbound=inbound,
    )


def volume_of(data: object) -> VolumeId | None:
    """Return the identity of a volume in an order, or None when it names none.

    Raises ValueError when it is something else than texts.
    """
    if data is None or data == {}:
        return None
    if not isinstance(data, dict):
        raise ValueError(f"volume is {data!r}: expected an object or null")
    texts: dict[str, str] = {}
    for name in ("mount_point", "fs_type", "fs_uuid", "source", "fsid"):
        value = data.get(name) or ""
        if not isinstance(value, str):
            raise ValueError(f"volume.{name} is {value!r}: expected a text")
        texts[name] = value
    if not texts["mount_point"]:
        return None
    return VolumeId(
        mount_point=tidy_path(texts["mount_point"]),
        fs_type=texts["fs_type"],
        fs_uuid=texts["fs_uuid"],
        source=texts["source"],
        fsid=texts["fsid"],
    )


def tidy_path(path: str) -> str:
    """Return a path without doubled and trailing slashes; ``..`` stays as it is.

    A trailing slash would make the kernel follow a symbolic link.
    """
    if "//" in path or "/./" in path or path.endswith(("/", "/.")):
        return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    return path


NO_INBOUND: InboundFinding = {"applied": None, "pending": False, "error": ""}
