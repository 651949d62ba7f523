"""Reads: silences, when they are in force, and which alerts they cover."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery

from alerts.catalogue import Scope
from alerts.coverage import About, Coverage
from alerts.models import Alert, AlertEvent, Silence
from alerts.schedule import LONGEST
from storepoints.models import Destination, Filesystem, Server, StorePoint

#: What the subject of an alert may begin with.
SCOPES = frozenset(scope.value for scope in Scope if scope != Scope.CONSOLE)

#: Events that say from when on an alert is ongoing, or is not.
TURNS = (
    AlertEvent.Kind.RAISED,
    AlertEvent.Kind.REOPENED,
    AlertEvent.Kind.FLAPPING,
    AlertEvent.Kind.WORSENED,
    AlertEvent.Kind.CLEARED,
)


def silences_in_force(now: datetime) -> list[Silence]:
    """Return the silences that are in force, each with its ``window``; one query."""
    recent = (now - LONGEST).date()
    rows = Silence.objects.filter(
        Q(ended_at__isnull=True) | Q(ended_at__gt=now),
        Q(repeats="", starts_at__lte=now, ends_at__gt=now)
        | (
            ~Q(repeats="")
            & Q(first_day__lte=(now + timedelta(days=1)).date())
            & (Q(last_day__isnull=True) | Q(last_day__gte=recent))
        ),
    )
    for row in rows:
        row.window = row.schedule.at(now)
    return [row for row in rows if row.window is not None]


def silence_of(
    alerts: Iterable[Alert],
    now: datetime,
    *,
    among: Iterable[Silence] | None = None,
) -> dict[int, Silence]:
    """Return the silence that covers each alert now, by the alert's key.

    Of several it is the one that lasts longest; its ``window`` says until when. One
    query when none is in force, else three for any number of alerts. ``among`` are the
    silences in force, if they are known already.
    """
    silences = list(silences_in_force(now) if among is None else among)
    if not silences:
        return {}
    silences.sort(key=lambda row: row.window.ends_at if row.window else now)
    rows = list(alerts)
    about = about_of(rows)
    return {
        row.pk: silence
        for silence in silences
        for row in rows
        if silence.coverage.covers(about[row.pk])
    }


def about_of(alerts: Iterable[Alert]) -> dict[int, About]:
    """Return what silences and routes look at of each alert, by its key; two queries."""
    rows = list(alerts)
    servers = {row.server_id for row in rows if row.server_id}
    destinations: dict[int | None, int] = {}
    if servers:
        found = Server.objects.filter(pk__in=servers).order_by()
        destinations.update(found.values_list("pk", "destination_id"))
    members: dict[int | None, set[str]] = {
        row.filesystem_id: set() for row in rows if row.filesystem_id
    }
    if members:
        for filesystem, key in (
            StorePoint.objects.filter(filesystem__in=list(members))
            .order_by()
            .values_list("filesystem", "pk")
        ):
            members[filesystem].add(subject_of_store_point(key))
    return {
        row.pk: About(
            kind=row.kind,
            severity=row.severity,
            subject=row.subject,
            server=row.server_id,
            destination=row.destination_id or destinations.get(row.server_id),
            members=frozenset(members.get(row.filesystem_id, ())),
        )
        for row in rows
    }


def subject_of_store_point(key: int) -> str:
    """Return what the alerts of a store point are found by."""
    return f"{Scope.STORE_POINT}:{key}"


def names_of(subjects: Iterable[str]) -> dict[str, str]:
    """Return what the objects of subjects are called; at most four queries.

    What was removed meanwhile is not in it.
    """
    keys: dict[str, set[int]] = {}
    for subject in subjects:
        scope, _, key = subject.partition(":")
        if key.isascii() and key.isdigit():
            keys.setdefault(scope, set()).add(int(key))
    return {
        f"{scope}:{row.pk}": str(row)
        for scope, rows in (
            (Scope.STORE_POINT, StorePoint.objects.only("name")),
            (Scope.SERVER, Server.objects.only("name")),
            (Scope.DESTINATION, Destination.objects.only("name")),
            (Scope.FILESYSTEM, Filesystem.objects.select_related("server")),
        )
        if scope in keys
        for row in rows.filter(pk__in=keys[scope])
    }


def store_points_of(subjects: Iterable[str]) -> list[int]:
    """Return the keys of the store points among subjects."""
    parts = [subject.partition(":") for subject in subjects]
    return [
        int(key)
        for scope, _, key in parts
        if scope == Scope.STORE_POINT and key.isascii() and key.isdigit()
    ]


def covered(coverage: Coverage) -> Q:
    """Return the condition that an alert is covered: `Coverage.covers`, as SQL."""
    condition = Q()
    if coverage.kinds:
        condition &= Q(kind__in=sorted(coverage.kinds))
    if coverage.severities:
        condition &= Q(severity__in=sorted(coverage.severities))
    if coverage.server is not None:
        condition &= Q(server=coverage.server)
    if coverage.destination is not None:
        condition &= Q(destination=coverage.destination) | Q(
            destination__isnull=True, server__destination=coverage.destination
        )
    if coverage.subjects:
        members = StorePoint.objects.filter(filesystem=OuterRef("filesystem"))
        chosen = store_points_of(coverage.subjects)
        of_filesystem = (
            Q(filesystem__isnull=False)
            & Exists(members.filter(pk__in=chosen))
            & ~Exists(members.exclude(pk__in=chosen))
        )
        condition &= Q(subject__in=sorted(coverage.subjects)) | of_filesystem
    return condition


def covered_alerts(coverage: Coverage) -> QuerySet[Alert]:
    """Return the ongoing alerts that are covered, the worst and newest first."""
    return Alert.objects.filter(covered(coverage), cleared_at__isnull=True)


def covered_store_points(coverage: Coverage) -> QuerySet[StorePoint]:
    """Return the store points whose own alerts could be covered."""
    rows = StorePoint.objects.all()
    if coverage.subjects:
        rows = rows.filter(pk__in=store_points_of(coverage.subjects))
    if coverage.server is not None:
        rows = rows.filter(server=coverage.server)
    if coverage.destination is not None:
        rows = rows.filter(server__destination=coverage.destination)
    return rows


def ongoing_at(coverage: Coverage, at: datetime) -> dict[str, int]:
    """Return what is covered and was ongoing at an instant: severity by the key.

    The severity of one that got worse since is what it was before, as far as that is
    known: at least one step less.
    """
    events = AlertEvent.objects.filter(alert=OuterRef("pk"))
    rows = (
        Alert.objects.filter(
            Q(cleared_at__isnull=True) | Q(cleared_at__gt=at),
            covered(coverage),
            raised_at__lte=at,
        )
        .annotate(
            turn=Subquery(
                events.filter(at__lte=at, kind__in=TURNS)
                .order_by("-at", "-pk")
                .values("kind")[:1]
            ),
            has_worsened=Exists(
                events.filter(at__gt=at, kind=AlertEvent.Kind.WORSENED)
            ),
        )
        .order_by("pk")
        .values_list("pk", "severity", "turn", "has_worsened")
    )
    return {
        str(key): min(severity + has_worsened, 3)
        for key, severity, turn, has_worsened in rows
        if turn != AlertEvent.Kind.CLEARED
    }


def silences() -> QuerySet[Silence]:
    """Return all silences as lists show them, the newest first."""
    return Silence.objects.select_related("server", "destination").order_by("-pk")


def count_covered(rows: Iterable[Silence]) -> dict[int, int]:
    """Return how many ongoing alerts each silence covers; one query for all of them."""
    wanted = {f"covered_{row.pk}": row for row in rows}
    if not wanted:
        return {}
    found: Mapping[str, int] = Alert.objects.filter(cleared_at__isnull=True).aggregate(
        **{
            name: Count("pk", filter=covered(row.coverage))
            if not row.coverage.is_everything
            else Count("pk")
            for name, row in wanted.items()
        }
    )
    return {row.pk: found[name] for name, row in wanted.items()}


def until_words(silence: Silence, now: datetime) -> str:
    """Return "silenced by “Array rebuild” until 18:00 CEST", in the console's zone.

    With the date when that is another day; ``silence.window`` must be set.
    """
    assert silence.window is not None  # noqa: S101 - said above
    zone = ZoneInfo(settings.TIME_ZONE)
    end = silence.window.ends_at.astimezone(zone)
    is_today = end.date() == now.astimezone(zone).date()
    shown = f"{end:%H:%M %Z}" if is_today else f"{end:%Y-%m-%d %H:%M %Z}"
    return f"silenced by “{silence.name}” until {shown}"
