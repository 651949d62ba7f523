"""What an alert's page looks at: the alert's object and all around it, as it is now.

In as many queries for a destination of 400 store points as for one store point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from alerts import selectors as alert_selectors
from alerts.catalogue import Kind, Scope
from alerts.models import Alert
from storepoints import selectors, verdict
from storepoints.models import Filesystem, StorePoint
from storepoints.rules import DEFAULT, Rules
from storepoints.selectors import Pulse
from storepoints.states import WORKING, State

#: How many store points, servers, or alerts a page lists of each kind.
MOST = 50


@dataclass(frozen=True)
class Scene:
    """An alert and what it is about, as it is now.

    ``store_points`` are those that it concerns, the ones that do not work first, at
    most MOST of them; ``states`` counts all by the state that is shown. ``ongoing`` are
    the alerts of all these that are ongoing, by kind and subject. ``may`` says whether
    the person who looks has a permission. ``kind`` has in its texts the numbers that
    hold where the alert is about, and ``rules`` are those that it is judged by there.
    """

    alert: Any
    kind: Kind | None
    now: datetime
    pulse: Pulse
    may: Callable[[str], bool]
    store_points: list[Any] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    servers: list[Any] = field(default_factory=list)
    filesystem: Filesystem | None = None
    ongoing: dict[tuple[str, str], Alert] = field(default_factory=dict)
    rules: Rules = DEFAULT

    @property
    def is_ongoing(self) -> bool:
        """Whether the condition holds, as far as was written down."""
        return self.alert.cleared_at is None

    @property
    def total(self) -> int:
        """How many store points the alert concerns."""
        return sum(self.states.values())

    @property
    def working(self) -> int:
        """How many of these work now."""
        return sum(self.states.get(state, 0) for state in WORKING)

    @property
    def more(self) -> int:
        """How many store points it concerns that are not listed."""
        return self.total - len(self.store_points)

    @property
    def store_point(self) -> Any:
        """The store point that it is about; None when it is about something else."""
        if self.alert.store_point_id and self.store_points:
            return self.store_points[0]
        return None

    @property
    def server(self) -> Any:
        """The server that it is about, or on which its object lies; None without one."""
        if self.alert.server_id and self.servers:
            return self.servers[0]
        return None


def read_scene(alert: Alert, *, may: Callable[[str], bool], now: datetime) -> Scene:
    """Return an alert with all that its guide looks at; 7 queries at most."""
    pulse = selectors.read_pulse(now)
    settings = alert_selectors.settings()
    destination = alert_selectors.destinations_of([alert])[alert.pk]
    setting = settings.find(alert.kind, destination)
    kind = setting.told if setting else None
    concerned = _concerned(alert, kind, selectors.store_points(now=now, pulse=pulse))
    rows: list[Any] = []
    states: dict[str, int] = {}
    if concerned is not None:
        if alert.store_point_id:
            # Of the one store point the page says what lies below it.
            concerned = concerned.defer(None)
        states = selectors.count_by_shown_state(concerned)
        rows = [
            described(row) for row in concerned.order_by("is_online", "name")[:MOST]
        ]
    servers = _servers(alert, now=now, pulse=pulse)
    filesystem = alert.filesystem
    if alert.store_point_id and rows:
        filesystem = rows[0].filesystem
    return Scene(
        alert=alert,
        kind=kind,
        now=now,
        pulse=pulse,
        may=may,
        store_points=rows,
        states=states,
        servers=servers,
        filesystem=filesystem,
        ongoing=_ongoing(rows, servers),
        rules=settings.rules(destination),
    )


def _concerned(
    alert: Alert, kind: Kind | None, rows: QuerySet[StorePoint]
) -> QuerySet[StorePoint] | None:
    if alert.store_point_id:
        return rows.filter(pk=alert.store_point_id)
    if alert.filesystem_id:
        return rows.filter(filesystem=alert.filesystem_id)
    if alert.server_id and kind is not None and kind.scope is Scope.SERVER:
        return rows.filter(server=alert.server_id)
    if alert.destination_id:
        return rows.filter(server__destination=alert.destination_id)
    return None


def described(row: Any) -> Any:
    """Add to a store point its state in words."""
    row.is_green = row.shown_state in WORKING
    row.words = verdict.describe(row.shown_state, row.shown_reason)
    return row


def _servers(alert: Alert, *, now: datetime, pulse: Pulse) -> list[Any]:
    rows = selectors.servers(now=now, pulse=pulse)
    if alert.server_id:
        rows = rows.filter(pk=alert.server_id)
    elif alert.destination_id:
        rows = rows.filter(destination=alert.destination_id)
    else:
        return []
    servers: list[Any] = list(rows[:MOST])
    for row in servers:
        row.shown_state = selectors.server_state(row, now=now, pulse=pulse)
        row.words = verdict.STATE_WORDS[State(row.shown_state)]
    return servers


def _ongoing(store_points: list[Any], servers: list[Any]) -> dict[Any, Alert]:
    if not store_points and not servers:
        return {}
    rows = Alert.objects.filter(
        Q(store_point__in=[row.pk for row in store_points])
        | Q(subject__in=[f"{Scope.SERVER}:{row.pk}" for row in servers]),
        cleared_at__isnull=True,
    ).order_by("pk")
    return {(row.kind, row.subject): row for row in rows}


@dataclass(frozen=True)
class Related:
    """Another alert, and what it has to do with this one."""

    alert: Alert
    how: str


def related_alerts(scene: Scene) -> list[Related]:
    """Return ongoing alerts that have to do with this one, the nearest first; 1 query.

    Its server's, its volume's, those of other store points on the volume and the
    server, those of its destination. What it explains is told apart.
    """
    alert = scene.alert
    of = Q()
    if alert.server_id:
        of |= Q(server=alert.server_id)
    if scene.filesystem is not None:
        of |= Q(filesystem=scene.filesystem.pk)
        of |= Q(store_point__filesystem=scene.filesystem.pk)
    if alert.destination_id:
        of |= Q(destination=alert.destination_id)
        of |= Q(server__destination=alert.destination_id)
    elif scene.server is not None:
        of |= Q(destination=scene.server.destination_id)
    if not of:
        return []
    rows = (
        Alert.objects.filter(of, cleared_at__isnull=True)
        .exclude(pk=alert.pk)
        .exclude(parent=alert.pk)
        .select_related("store_point")
        .order_by("severity", "-raised_at", "-pk")[:MOST]
    )
    found = [Related(row, _how(scene, row)) for row in rows]
    return sorted(found, key=lambda each: _NEARNESS.index(each.how))


_NEARNESS = (
    "explains this one",
    "the same store point",
    "its server",
    "its volume",
    "on the same volume",
    "on the same server",
    "its destination",
    "in the same destination",
)


def _how(scene: Scene, other: Alert) -> str:
    alert = scene.alert
    volume = scene.filesystem.pk if scene.filesystem is not None else None
    if other.pk == alert.parent_id:
        return "explains this one"
    if alert.store_point_id and other.store_point_id == alert.store_point_id:
        return "the same store point"
    if volume and other.filesystem_id == volume:
        return "its volume"
    if volume and other.store_point and other.store_point.filesystem_id == volume:
        return "on the same volume"
    if alert.server_id and other.server_id == alert.server_id:
        is_servers = other.subject.startswith(f"{Scope.SERVER}:")
        return "its server" if is_servers else "on the same server"
    return "its destination" if other.destination_id else "in the same destination"
