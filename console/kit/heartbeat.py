"""Signs of life: a part of the console beats, another part looks how long ago."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from console.kit.models import Heartbeat


def beat(name: str, now: datetime, data: Mapping[str, Any] | None = None) -> None:
    """Note that the part of this name is alive; one statement, safe in races."""
    Heartbeat.objects.bulk_create(
        [Heartbeat(name=name, beaten_at=now, data=dict(data or {}))],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["beaten_at", "data"],
    )


def age(name: str, now: datetime) -> float | None:
    """Return the seconds since the part last beat, or None if it never has."""
    beaten_at = (
        Heartbeat.objects.filter(name=name).values_list("beaten_at", flat=True).first()
    )
    if beaten_at is None:
        return None
    # A clock that was set back must not make a dead part look alive for ever.
    return abs((now - beaten_at).total_seconds())


def read(names: Iterable[str]) -> dict[str, datetime]:
    """Return when each of these parts last beat; one query, without those that never."""
    return dict(
        Heartbeat.objects.filter(name__in=list(names)).values_list("name", "beaten_at")
    )
