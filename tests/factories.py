"""What tests are about, made with one call each. Names and numbers are arbitrary."""

from __future__ import annotations

import itertools
import time
import uuid
from datetime import datetime, timedelta
from typing import Any

from alerts.engine import Severity
from alerts.models import Alert
from console import __version__
from console.kit import clock, secrets
from storepoints import wire
from storepoints.models import Destination, Filesystem, Server, StorePoint
from storepoints.states import WORKING, State

_numbers = itertools.count(1)
KEY = "5e" * 32


def make_destination(name: str = "", **fields: Any) -> Destination:
    """A destination without servers."""
    return Destination.objects.create(
        name=name or f"Destination {next(_numbers)}", created_at=clock.now(), **fields
    )


def make_server(name: str = "", **fields: Any) -> Server:
    """A server that has just reported."""
    fields.setdefault("destination", None)
    fields["destination"] = fields["destination"] or make_destination()
    if fields.get("awaiting_since"):
        fields.setdefault("silent_at", fields["awaiting_since"] + timedelta(seconds=90))
    return Server.objects.create(
        **{
            "name": name or f"stor-{next(_numbers)}",
            "created_at": clock.now(),
            "sealed_key": secrets.encrypt(KEY),
            "last_report_at": clock.now(),
            **fields,
        }
    )


def make_store_point(name: str = "", **fields: Any) -> StorePoint:
    """A store point that is adopted, online and was checked just now."""
    number = next(_numbers)
    now = clock.now()
    state = State(fields.pop("state", State.ONLINE))
    checked_at = fields.setdefault("checked_at", now)
    fields["stale_at"] = checked_at and checked_at + timedelta(seconds=90)
    return StorePoint.objects.create(
        **{
            "name": name or f"Tank-{number}",
            "server": fields.pop("server", None) or make_server(),
            "path": f"/srv/backup/tank-{number}",
            "created_at": now,
            "adopted_at": now,
            "since": now,
            "state": state,
            "is_online": state in WORKING,
            "pace": timedelta(seconds=30),
            "inbound_applied": "enabled",
            "total_bytes": 1000,
            "used_bytes": 600,
            "free_bytes": 400,
            **fields,
        }
    )


def make_alert(severity: str = "critical", **fields: Any) -> Alert:
    """An ongoing alert that nobody has acknowledged."""
    number = next(_numbers)
    now = fields.pop("raised_at", None) or clock.now()
    return Alert.objects.create(
        **{
            "kind": "store-point-offline",
            "subject": f"store-point:{10_000 + number}",
            "severity": Severity[severity.upper()],
            "text": f"Store point is unavailable: Tank-{number}",
            "object_name": f"Tank-{number}",
            "reported_by": "stor-1",
            "failed_at": now,
            "raised_at": now,
            "last_seen_at": now,
            **fields,
        }
    )


def make_volume(store_point: StorePoint | None = None, **fields: Any) -> dict[str, Any]:
    """A volume as an agent names it: one for each store point, unless said otherwise."""
    guid = str(store_point.guid) if store_point else some_guid()
    return {
        "mount_point": store_point.path if store_point else f"/srv/{guid[:8]}",
        "fs_type": "ext4",
        "fs_uuid": guid,
        "source": f"/dev/{guid[:8]}",
        "fsid": "",
        **fields,
    }


def make_filesystem(**fields: Any) -> Filesystem:
    """A filesystem that is half full and was read just now."""
    number = next(_numbers)
    now = clock.now()
    return Filesystem.objects.create(
        **{
            "server": fields.pop("server", None) or make_server(),
            "identity": f"uuid:{number}",
            "mount_point": f"/srv/volume-{number}",
            "fs_type": "ext4",
            "created_at": now,
            "space_at": now,
            "total_bytes": 1000,
            "free_bytes": 500,
            "used_bytes": 500,
            "total_inodes": 0,
            "free_inodes": 0,
            **fields,
        }
    )


def make_finding(store_point: StorePoint, **fields: Any) -> dict[str, Any]:
    """What an agent reports of a store point: online unless said otherwise."""
    return {
        "id": str(store_point.guid),
        "at": clock.now().timestamp(),
        "cause": "due",
        "state": "online",
        "reason": "",
        "layer": 0,
        "errno": "",
        "since": None,
        "duration_seconds": 0.002,
        "latency_seconds": 0.001,
        "space": {
            "total_bytes": 1000,
            "free_bytes": 400,
            "used_bytes": 600,
            "total_inodes": 0,
            "free_inodes": 0,
        },
        "volume": make_volume(store_point),
        "checks": [],
        "marker": None,
        "inbound": {"applied": "enabled", "pending": False, "error": ""},
        "wrote": True,
        "fall_through": None,
        "device": None,
        "archives": None,
        **fields,
    }


def make_report(
    server: Server, *findings: dict[str, Any], key: str = KEY, **fields: Any
) -> wire.Envelope:
    """A signed report, newer than any made before it."""
    now: datetime = clock.now()
    return wire.seal(
        {
            "kind": "report",
            "sequence": time.time_ns(),
            "sent_at": now.timestamp(),
            "agent": {
                "version": __version__,
                "hostname": "stor",
                "started_at": now.timestamp(),
                "pid": 1,
            },
            "cause": "due",
            "findings": list(findings),
            "volumes": None,
            "answers": [],
            **fields,
        },
        server=str(server.guid),
        key=key,
    )


def some_guid() -> str:
    """A guid that nothing has."""
    return str(uuid.uuid4())
