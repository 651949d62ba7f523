"""Reads: alerts as lists show them, in constant queries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import (
    BigIntegerField,
    Count,
    Exists,
    F,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Value,
    Window,
)
from django.db.models.functions import RowNumber

from alerts.catalogue import KINDS
from alerts.engine import RULES, Held, Key, Severity, Waiting
from alerts.models import (
    EVIDENCE,
    Alert,
    AlertEvent,
    AlertHistoryLimit,
    NotificationOverride,
    NotificationSetting,
    WaitingCondition,
)
from alerts.settings import Choice, Setting, Settings
from storepoints.models import Filesystem, Server, StorePoint
from storepoints.states import MEASURED

#: How many keys one statement names: SQLite takes a limited number of parameters.
MANY = 5_000


def is_acknowledged(now: datetime, *, of: str = "") -> Q:
    """Return the condition that a person has seen an alert, expiry reckoned now.

    ``of`` leads to it from a row that is related to it: "event__alert__".
    """
    return Q((f"{of}acknowledged_at__isnull", False)) & (
        Q((f"{of}acknowledged_until__isnull", True))
        | Q((f"{of}acknowledged_until__gt", now))
    )


def is_active(now: datetime, *, of: str = "") -> Q:
    """Return the condition that an alert still needs a person.

    ``of`` leads to it from a row that is related to it: "parent__". The first half is
    what the index ``alert_active`` is narrowed down to, word for word: a database uses
    such an index only for a question that says so. Without an acknowledgement there is
    no time at which it ends, so the second half asks for that alone.
    """
    return (
        Q((f"{of}acknowledged_at__isnull", True))
        | Q((f"{of}acknowledged_until__isnull", False))
    ) & (
        Q((f"{of}acknowledged_until__isnull", True))
        | Q((f"{of}acknowledged_until__lte", now))
    )


def stands_apart(among: Q, *, with_hidden: bool = False) -> Q:
    """Return the condition that an alert is not folded under the one that explains it.

    It is folded while that one stands in the same list: ``among`` is the condition that
    an alert does. A parent that somebody has acknowledged, or whose kind is not shown,
    must not take along what nobody saw. ``with_hidden`` is for a list that has those
    whose kind is not shown too. Asked for each alert that has a parent, and not
    as a join: that would read all alerts to list some.
    """
    parents = Alert.objects.filter(among, pk=OuterRef("parent_id"))
    if not with_hidden:
        parents = parents.filter(is_shown=True)
    return Q(Q(parent__isnull=True) | ~Exists(parents))


def active_alerts(now: datetime) -> QuerySet[Alert]:
    """Return the alerts that nobody has acknowledged, the worst and newest first.

    Those that another active alert explains stand under that one.
    """
    return Alert.objects.filter(
        is_active(now), stands_apart(is_active(now)), is_shown=True
    )


def count_by_severity(now: datetime) -> dict[Severity, int]:
    """Return how many active alerts there are of each severity; one query."""
    counts = {
        row["severity"]: row["count"]
        for row in active_alerts(now)
        .order_by()
        .values("severity")
        .annotate(count=Count("pk"))
    }
    return {severity: counts.get(severity.value, 0) for severity in Severity}


def held_alerts(subjects: Iterable[str], *, now: datetime) -> list[Held]:
    """Return the alerts of these subjects that are ongoing or can return.

    The rows are locked until the transaction ends, so that an acknowledgement at the
    same instant comes before or after and not in between.
    """
    wanted = sorted(subjects)
    can_return = (
        Q(cleared_at__isnull=True)
        | is_active(now)
        | Q(cleared_at__gte=now - RULES.reopen_window)
        | Q(flapping_since__isnull=False)
    )
    if len(wanted) <= MANY:
        return [_held(row) for row in _lock(can_return & Q(subject__in=wanted))]
    # In the order of their keys, as everybody locks: not one part after the other.
    keys = sorted(
        key
        for start in range(0, len(wanted), MANY)
        for key in Alert.objects.filter(
            can_return, subject__in=wanted[start : start + MANY]
        ).values_list("pk", flat=True)
    )
    return [
        _held(row)
        for start in range(0, len(keys), MANY)
        for row in _lock(can_return & Q(pk__in=keys[start : start + MANY]))
    ]


def _lock(condition: Q) -> QuerySet[Alert]:
    return (
        Alert.objects.select_for_update(of=("self",))
        .select_related("parent")
        .filter(condition)
        .order_by("pk")
    )


def _held(row: Alert) -> Held:
    parent = row.parent
    return Held(
        id=row.pk,
        kind=row.kind,
        subject=row.subject,
        severity=Severity(row.severity),
        data={key: row.data[key] for key in row.data if key != EVIDENCE},
        evidence=row.data.get(EVIDENCE) or {},
        text=row.text,
        reported_by=row.reported_by,
        raised_at=row.raised_at,
        cleared_at=row.cleared_at,
        acknowledged_at=row.acknowledged_at,
        acknowledged_until=row.acknowledged_until,
        parent=(parent.kind, parent.subject) if parent is not None else None,
        is_presumed=row.is_presumed,
        returns=tuple(datetime.fromisoformat(at) for at in row.returns),
        flapping_since=row.flapping_since,
        is_shown=row.is_shown,
        gives_way_to=KINDS[row.kind].gives_way_to if row.kind in KINDS else frozenset(),
    )


def waiting_conditions(subjects: Iterable[str]) -> dict[Key, Waiting]:
    """Return what is waited for of these subjects; one query for each MANY."""
    wanted = sorted(subjects)
    return {
        (row.kind, row.subject): Waiting(row.since, row.due_at)
        for start in range(0, len(wanted), MANY)
        for row in WaitingCondition.objects.filter(
            subject__in=wanted[start : start + MANY]
        )
    }


def parts_in_trouble(kind: str, prefix: str) -> set[str]:
    """Return the subjects of a kind that have an ongoing alert, or wait for one.

    Those that begin so, such as the parts of the console; one query.
    """
    about = {"kind": kind, "subject__startswith": prefix}
    ongoing = Alert.objects.filter(cleared_at__isnull=True, **about)
    waiting = WaitingCondition.objects.filter(**about)
    return set(
        ongoing.order_by()
        .values_list("subject", flat=True)
        .union(waiting.order_by().values_list("subject", flat=True))
    )


def count_store_points(
    filesystems: Iterable[Filesystem],
) -> dict[int, tuple[int, bool]]:
    """Return how many store points lie on each, and whether it is measured; one query.

    It is measured while one of them works, or fails at nothing but being written to:
    then its space was read as well.
    """
    rows = (
        StorePoint.objects.filter(filesystem__in=[row.pk for row in filesystems])
        .order_by()
        .values("filesystem")
        .annotate(
            count=Count("pk"),
            measured=Count(
                "pk", filter=Q(is_online=True) | Q(reason__in=sorted(MEASURED))
            ),
        )
    )
    return {row["filesystem"]: (row["count"], row["measured"] > 0) for row in rows}


def name_store_points(filesystems: Iterable[Filesystem], *, most: int = 3) -> None:
    """Give each filesystem ``named``: the first names of its store points; one query."""
    names: dict[int, list[str]] = {row.pk: [] for row in filesystems}
    rows = (
        StorePoint.objects.filter(filesystem__in=list(names))
        .annotate(
            place=Window(
                RowNumber(), partition_by=F("filesystem"), order_by=F("name").asc()
            )
        )
        .filter(place__lte=most)
        .order_by("filesystem", "place")
        .values_list("filesystem", "name")
    )
    for key, name in rows:
        names[key].append(name)
    for row in filesystems:
        named: Any = row
        named.named = names[row.pk]


def of_store_points(store_points: Iterable[StorePoint | int]) -> Q:
    """Return the condition that an alert is about one of these store points.

    An alert of a filesystem is about every store point that lies on it.
    """
    keys = [each if isinstance(each, int) else each.pk for each in store_points]
    return Q(store_point__in=keys) | Q(
        filesystem__in=StorePoint.objects.filter(
            pk__in=keys, filesystem__isnull=False
        ).values("filesystem")
    )


_CHOSEN = ("is_shown", "is_mailed", "severity", "delay_seconds", "parameters")


def settings() -> Settings:
    """Return what is chosen for every kind, everywhere and by destination; one query."""
    everywhere = (
        NotificationSetting.objects.order_by()
        .annotate(place=Value(None, output_field=BigIntegerField()))
        .values_list("kind", "place", *_CHOSEN)
    )
    somewhere = (
        NotificationOverride.objects.order_by()
        .annotate(place=F("destination_id"))
        .values_list("kind", "place", *_CHOSEN)
    )
    choices: dict[str, Choice] = {}
    overrides: dict[tuple[int, str], Choice] = {}
    for (
        kind,
        place,
        is_shown,
        is_mailed,
        severity,
        delay,
        parameters,
    ) in somewhere.union(everywhere, all=True):
        if kind not in KINDS:
            continue
        choice = Choice(
            is_shown,
            is_mailed,
            None if severity is None else Severity(severity),
            delay,
            parameters,
        )
        if place is None:
            choices[kind] = choice.without_defaults(KINDS[kind])
        else:
            overrides[place, kind] = choice
    return Settings(choices, overrides)


def settings_of(
    alerts: Iterable[Alert], among: Settings | None = None
) -> dict[int, Setting | None]:
    """Return what holds for each alert, where it is about, by the alert's key.

    None for a kind that has left the catalogue. Two queries for any number of alerts;
    ``among`` are the settings, if they are known already.
    """
    rows = list(alerts)
    chosen = settings() if among is None else among
    places = destinations_of(rows)
    return {row.pk: chosen.find(row.kind, places.get(row.pk)) for row in rows}


def destinations_of(alerts: Iterable[Alert]) -> dict[int, int | None]:
    """Return the destination that each alert belongs to, if any; one query."""
    rows = list(alerts)
    servers = sorted({row.server_id for row in rows if row.server_id})
    places: dict[int | None, int] = {}
    for start in range(0, len(servers), MANY):
        found = Server.objects.filter(pk__in=servers[start : start + MANY])
        places.update(found.order_by().values_list("pk", "destination_id"))
    return {row.pk: row.destination_id or places.get(row.server_id) for row in rows}


def belongs_to(destination: int) -> Q:
    """Return the condition that an alert is about a destination or what is in it."""
    servers = Server.objects.filter(destination=destination).order_by().values("pk")
    return Q(destination=destination) | Q(server__in=servers)


def alert_history_limit() -> AlertHistoryLimit:
    """Return how long alerts are kept; the default when nobody has set it."""
    return AlertHistoryLimit.objects.filter(
        pk=AlertHistoryLimit.ONLY
    ).first() or AlertHistoryLimit(pk=AlertHistoryLimit.ONLY)


def over_alerts(keep_days: int, *, now: datetime) -> QuerySet[Alert]:
    """Return the alerts that are over for longer than so many days.

    Over is an alert that has cleared and that a person has seen, from the later of both
    on. One that explains another one stays as long as that one does; what explains is
    never itself explained, so that one look at what stays is enough.
    """
    until = now - timedelta(days=keep_days)
    is_over = is_acknowledged(now) & Q(cleared_at__lt=until, acknowledged_at__lt=until)
    staying = Alert.objects.exclude(
        pk__in=Alert.objects.filter(is_over).order_by().values("pk")
    )
    return Alert.objects.filter(
        is_over,
        ~Exists(staying.filter(parent=OuterRef("pk"))),
    )


def count_held(
    parents: Iterable[int], condition: Q, *, with_hidden: bool = False
) -> dict[int, tuple[int, int]]:
    """Return how many alerts are held under each, and of how many store points.

    Only those that fulfil a condition, and whose kind is shown if not ``with_hidden``;
    one query.
    """
    held = Alert.objects.filter(condition, parent__in=list(parents))
    if not with_hidden:
        held = held.filter(is_shown=True)
    rows = (
        held.order_by()
        .values("parent")
        .annotate(count=Count("pk"), points=Count("store_point", distinct=True))
    )
    return {
        row["parent"]: (row["count"], row["points"])
        for row in rows
        if row["parent"] is not None
    }


def newest_news(alerts: Iterable[int]) -> dict[int, Any]:
    """Return the newest event of each alert that was worth a message; one query.

    With ``mails``, how many deliveries were made of it, and ``mailed``, how many of
    them were sent.
    """
    newest = (
        AlertEvent.objects.filter(alert__in=list(alerts), kind__in=AlertEvent.NEWS)
        .order_by()
        .values("alert")
        .annotate(newest=Max("pk"))
        .values("newest")
    )
    rows = (
        AlertEvent.objects.filter(pk__in=newest)
        .order_by()
        .annotate(
            mails=Count("deliveries"),
            mailed=Count("deliveries", filter=Q(deliveries__state="sent")),
        )
        .values_list("alert", "routed_at", "routing", "mails", "mailed", named=True)
    )
    return {row.alert: row for row in rows}
