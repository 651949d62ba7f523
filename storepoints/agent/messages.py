"""The shapes of what the agent is told and of what it reports.

Plain dictionaries, because they cross two pipes and the broker as JSON. Paths are
texts made with ``os.fsdecode``: bytes that are not UTF-8 stand as surrogates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from storepoints.archives import CRITICAL_DAYS, WARNING_DAYS


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
    #: What lies below it, None while that is not known: agent/devices/tree.py.
    devices: Mapping[str, Any] | None


class Check(TypedDict):
    """One piece of evidence; ``ok`` is None when the question was not asked."""

    layer: int
    name: str
    ok: bool | None
    seconds: float
    expected: str
    found: str
    errno: str


class FallThrough(TypedDict):
    """What lies below a store point's path while its volume is not mounted.

    Only what was written since the store point was last well. ``is_complete`` is false
    when there was more than the agent had time to count.
    """

    bytes: int
    files: int
    newest_at: float | None
    is_complete: bool


class StaleArchive(TypedDict):
    """An archive that has not changed for long; ``changed_at`` is its last change."""

    name: str
    changed_at: float


class Archives(TypedDict):
    """What was found of the archives in a store point; times in epoch seconds.

    ``warning`` and ``critical`` count those that have not changed for longer than
    ``warning_days`` and ``critical_days``; the second are among the first.
    ``is_complete`` is false when there was more than the agent had time to look at.
    """

    at: float
    count: int
    newest_at: float | None
    warning: int
    critical: int
    warning_days: int
    critical_days: int
    oldest: list[StaleArchive]
    is_complete: bool


class DeviceFinding(TypedDict):
    """What the devices below a store point's filesystem say, in short (layer 8).

    ``health`` is ok, degraded, failing or unknown; ``reason`` is volume-degraded,
    drive-failing or empty. The whole tree rides in the list of volumes.
    """

    health: str
    reason: str
    text: str


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
    #: Whether a file was written: False when that was skipped, None when not reached.
    wrote: bool | None
    fall_through: FallThrough | None
    device: DeviceFinding | None
    #: None while there is nothing new to say of them.
    archives: Archives | None


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
    #: A write probe is skipped when the last good one is younger than this.
    write_seconds: float = 0.0
    #: Whether inbound backup is disabled by the fence: then the hook is to be told
    #: even when the volume is not there to be written to.
    is_fenced: bool = False
    #: When it was last found working, in epoch seconds by this server's clock.
    well_at: float | None = None
    #: What the master was last told to be applied; empty when that is not known.
    told: str = ""
    #: For how many days an archive has not changed when it is stale, and critically.
    warning_days: int = WARNING_DAYS
    critical_days: int = CRITICAL_DAYS


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
    write_seconds = data.get("write_seconds", 0.0)
    if (
        isinstance(write_seconds, bool)
        or not isinstance(write_seconds, int | float)
        or not 0 <= write_seconds <= 86_400
    ):
        raise ValueError(
            f"write_seconds is {write_seconds!r}: expected a number from 0 to 86400"
        )
    is_fenced = data.get("is_fenced", False)
    if not isinstance(is_fenced, bool):
        raise ValueError(f"is_fenced is {is_fenced!r}: expected true or false")
    well_at = data.get("well_at")
    if isinstance(well_at, bool) or not isinstance(well_at, int | float | None):
        raise ValueError(f"well_at is {well_at!r}: expected seconds since 1970 or null")
    told = data.get("told", "")
    if told not in ("", "enabled", "disabled"):
        raise ValueError(f"told is {told!r}: expected enabled or disabled")
    days = [
        data.get("warning_days", WARNING_DAYS),
        data.get("critical_days", CRITICAL_DAYS),
    ]
    for name, value in zip(("warning_days", "critical_days"), days, strict=True):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1e5:
            raise ValueError(f"{name} is {value!r}: expected a number of days")
    return Spec(
        id=data["id"],
        name=data["name"],
        path=tidy_path(path),
        volume=volume_of(data.get("volume")),
        deadline_seconds=float(deadline),
        write=write,
        inbound=inbound,
        write_seconds=float(write_seconds),
        is_fenced=is_fenced,
        well_at=None if well_at is None else float(well_at),
        told=told,
        warning_days=days[0],
        critical_days=days[1],
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
