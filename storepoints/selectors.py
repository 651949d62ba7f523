"""Reads: store points and servers as they are to be shown now, in constant queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Count,
    ExpressionWrapper,
    F,
    Q,
    QuerySet,
    Value,
    When,
)

from console.kit import heartbeat
from storepoints.engine import FUTURE, TICK_SILENCE, end_of_belief
from storepoints.models import Destination, Filesystem, Server, StorePoint
from storepoints.states import Reason, State


@dataclass(frozen=True, slots=True)
class Pulse:
    """Whether checks are running, and since when they are not.

    ``tick_at`` is the last time that a worker asked what is due, ``report_at`` the
    last time that a report was recorded; None when that never happened.
    """

    is_running: bool
    tick_at: datetime | None
    report_at: datetime | None


def read_pulse(now: datetime) -> Pulse:
    """Return the pulse of the checks; one query."""
    beats = heartbeat.read(["tick", "report"])
    tick_at = beats.get("tick")
    return Pulse(
        # A clock that was set back must not make a dead worker look alive.
        is_running=tick_at is not None and abs(now - tick_at) <= TICK_SILENCE,
        tick_at=tick_at,
        report_at=beats.get("report"),
    )


def with_shown_state(
    store_points: QuerySet[StorePoint], *, now: datetime, pulse: Pulse
) -> QuerySet[StorePoint]:
    """Annotate ``shown_state`` and ``shown_reason``: engine.shown() in SQL."""
    is_silent = Q(server__silent_at__lt=now) if pulse.is_running else Q(pk__in=[])
    is_stale = (
        Q(stale_at__lt=now)
        | Q(checked_at__gt=now + FUTURE)
        | Q(state=State.SERVER_OFFLINE)
    )
    return store_points.annotate(
        shown_state=Case(
            When(is_silent, then=Value(str(State.SERVER_OFFLINE))),
            When(stale_at__isnull=True, then=Value(str(State.PENDING))),
            When(is_stale, then=Value(str(State.UNKNOWN))),
            default=F("state"),
            output_field=CharField(),
        ),
        shown_reason=Case(
            When(is_silent, then=Value(str(Reason.SERVER_OFFLINE))),
            When(stale_at__isnull=True, then=Value("")),
            When(is_stale, then=Value(str(Reason.STALE))),
            default=F("reason"),
            output_field=CharField(),
        ),
    )


def store_points(*, now: datetime, pulse: Pulse) -> QuerySet[StorePoint]:
    """Return all store points with server, destination, filesystem and shown state."""
    return with_shown_state(
        StorePoint.objects.select_related("server__destination", "filesystem")
        # A list of 100 rows has no use for what may be kilobytes in each.
        .defer("filesystem__devices", "filesystem__memory")
        .annotate(
            is_accepting=ExpressionWrapper(_is_accepting(), output_field=BooleanField())
        ),
        now=now,
        pulse=pulse,
    )


def servers(*, now: datetime, pulse: Pulse) -> QuerySet[Server]:
    """Return all servers with destination, ``is_silent`` and their store points' counts."""
    is_silent = Q(silent_at__lt=now)
    return (
        Server.objects.select_related("destination")
        .annotate(
            is_silent=Case(
                When(is_silent, then=Value(value=pulse.is_running)),
                default=Value(value=False),
                output_field=BooleanField(),
            ),
            store_point_count=Count("store_points"),
        )
        .order_by("name")
    )


def server_state(server: Any, *, now: datetime, pulse: Pulse) -> State:
    """Return the state to show for a server of ``servers()``: its own, not its disks'."""
    if server.is_silent:
        return State.SERVER_OFFLINE
    if server.last_report_at is None:
        return State.PENDING
    if end_of_belief(server.last_report_at, server.check_seconds) < now:
        return State.UNKNOWN
    return State.ONLINE


def _works_now(now: datetime, store_point: str = "") -> Q:
    """Return the condition that a store point works, by a reading that still counts."""
    silent_at = f"{store_point}server__silent_at"
    return Q(
        Q(**{f"{silent_at}__isnull": True}) | Q(**{f"{silent_at}__gte": now}),
        **{f"{store_point}is_online": True, f"{store_point}stale_at__gte": now},
    )


def _is_accepting(store_point: str = "") -> Q:
    """Return the condition that nobody, and no fence, disabled inbound backup."""
    return Q(
        **{
            f"{store_point}accepts_inbound": True,
            f"{store_point}fenced_at__isnull": True,
        }
    )


def destinations(*, now: datetime) -> QuerySet[Destination]:
    """Return all destinations with the counts of their servers and store points."""
    return Destination.objects.annotate(
        server_count=Count("servers", distinct=True),
        store_point_count=Count("servers__store_points", distinct=True),
        accepting_count=Count(
            "servers__store_points",
            filter=_is_accepting("servers__store_points__")
            & _works_now(now, "servers__store_points__"),
            distinct=True,
        ),
        fenced_count=Count(
            "servers__store_points",
            filter=Q(servers__store_points__fenced_at__isnull=False),
            distinct=True,
        ),
    ).order_by("name")


def is_in_alert() -> Q:
    """Return the condition that an ongoing alert concerns a store point.

    Its own, or one of the filesystem that it lies on; what Settings > Notifications
    hides does not count. Alerts are above this app, so they are asked by the relation.
    """
    ongoing = {"alerts__cleared_at__isnull": True, "alerts__is_shown": True}
    return Q(pk__in=StorePoint.objects.filter(**ongoing).order_by().values("pk")) | Q(
        filesystem__in=Filesystem.objects.filter(**ongoing).order_by().values("pk")
    )


def count_by_shown_state(
    rows: QuerySet[Any],
) -> dict[str, int]:
    """Return how many of the annotated store points are in each shown state."""
    return {
        row["shown_state"]: row["count"]
        for row in rows.order_by().values("shown_state").annotate(count=Count("pk"))
    }


def accepting_by_destination(keys: set[int], *, now: datetime) -> dict[str, set[int]]:
    """Return, for each destination's name, its store points that take data now."""
    accepting: dict[str, set[int]] = {
        name: set()
        for name in Destination.objects.filter(pk__in=keys).values_list(
            "name", flat=True
        )
    }
    rows = StorePoint.objects.filter(
        _works_now(now), _is_accepting(), server__destination__in=keys
    ).values_list("pk", "server__destination__name")
    for key, name in rows:
        accepting[name].add(key)
    return accepting


def search(text: str, *, limit: int = 10) -> list[StorePoint | Server | Destination]:
    """Return what a name, a path or a guid may mean, the closest first."""
    found: list[StorePoint | Server | Destination] = []
    try:
        guid: UUID | None = UUID(text)
    except ValueError:
        guid = None
    for model in (StorePoint, Server, Destination):
        by_guid = Q(guid=guid) if guid else Q(pk__in=[])
        by_text = Q(name__icontains=text)
        if model is StorePoint:
            by_text |= Q(path__icontains=text)
        found += model.objects.filter(by_guid | by_text)[:limit]
    found.sort(key=lambda row: (row.name.lower() != text.lower(), row.name.lower()))
    return found[:limit]
