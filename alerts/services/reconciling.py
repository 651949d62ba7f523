"""Reconciling: alerts follow from the facts, in the transaction that wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Q

from alerts import selectors
from alerts.catalogue import KINDS, DestinationFacts, Scope
from alerts.engine import (
    RULES,
    Change,
    Clear,
    Condition,
    Forget,
    Held,
    Hold,
    Key,
    OfAlert,
    Raise,
    Reopen,
    Severity,
    Steady,
    Update,
    Wait,
    reconcile,
)
from alerts.models import (
    EVIDENCE,
    NOT_ACKNOWLEDGED,
    Alert,
    AlertEvent,
    WaitingCondition,
)
from alerts.services.events import event, write_events
from alerts.services.facts import CONSOLE, Facts, Row, about, subjects_of
from alerts.settings import Settings
from console.kit.rows import write_rows
from storepoints.models import Destination, Filesystem, Server, StorePoint
from storepoints.states import State

#: What is written for news that an alert's flapping keeps quiet.
FLAPPING = "it flaps, and that was said when it began"


def reconcile_alerts(
    *,
    store_points: Iterable[int],
    servers: Iterable[int],
    filesystems: Iterable[int] = (),
    destinations: Iterable[int] = (),
    at_hand: Iterable[StorePoint | Filesystem] = (),
    settings: Settings | None = None,
    is_waited: bool = False,
    now: datetime,
) -> None:
    """Make the alerts of these store points, servers and filesystems say what holds now.

    To be called inside the transaction that wrote the facts. What is no longer there
    loses its alerts. ``is_waited`` says that something is known to be waited for, though
    nothing may be put off any more. ``at_hand`` are rows of these that are locked and as
    they were written, and are not read again; ``settings`` are what is chosen, where
    that was read already. The alerts of their destinations follow, and those of
    ``destinations``, which have lost or gained store points.
    """
    facts = Facts(selectors.settings() if settings is None else settings)
    # Locked in this order by everybody, so that facts and alerts are of one instant.
    server_rows = _locked(Server, servers)
    known = list(at_hand)
    filesystem_rows = _locked_filesystems(
        filesystems, {row.pk: row for row in known if isinstance(row, Filesystem)}
    )
    rows = _locked_store_points(
        store_points, {row.pk: row for row in known if isinstance(row, StorePoint)}
    )
    theirs: set[int] = set()
    for key, store_point in rows.items():
        subject = f"{Scope.STORE_POINT}:{key}"
        facts.subjects.add(subject)
        if store_point is not None:
            facts.add(Scope.STORE_POINT, subject, store_point)
            theirs.add(store_point.server.destination_id)
    for key, server in server_rows.items():
        subject = f"{Scope.SERVER}:{key}"
        facts.subjects.add(subject)
        if server is not None:
            facts.add(Scope.SERVER, subject, server)
            theirs.add(server.destination_id)
    for key, filesystem in filesystem_rows.items():
        subject = f"{Scope.FILESYSTEM}:{key}"
        facts.subjects.add(subject)
        if filesystem is None or not filesystem.store_point_count:
            continue
        if filesystem.server.offline_since is not None:
            facts.add_unknown(Scope.FILESYSTEM, subject)
        else:
            facts.add(Scope.FILESYSTEM, subject, filesystem)
    moved = set(destinations)
    # The alerts of destinations are locked behind their rows only: whoever held one
    # here and waited for its row could be waited for by who holds that row.
    has_moved = _apply(facts, now=now, is_waited=is_waited)
    moved |= theirs if has_moved else _with_alerts(theirs)
    if moved:
        _reconcile_destinations(
            moved, settings=facts.settings, is_waited=is_waited, now=now
        )


def _with_alerts(destinations: set[int]) -> set[int]:
    """Return those of these destinations that have an ongoing alert; one query."""
    if not destinations:
        return set()
    subjects = subjects_of(Scope.DESTINATION, destinations)
    ongoing = Alert.objects.filter(cleared_at__isnull=True, subject__in=subjects)
    return {
        int(subject.partition(":")[2])
        for subject in ongoing.order_by().values_list("subject", flat=True).distinct()
    }


def _reconcile_destinations(
    keys: Iterable[int],
    *,
    settings: Settings,
    is_waited: bool = False,
    now: datetime,
) -> None:
    """Make the alerts of these destinations say what holds now.

    Their rows are locked before their store points are counted: of two reports at the
    same instant the later one counts what the earlier one wrote. What fails in a drill
    holds no backups, and is not counted.
    """
    facts = Facts(settings)
    rows = _locked(Destination, sorted(keys))
    # As a store point's own alert has it: one good probe is not believed yet.
    is_down = Q(is_believed=True) | Q(state=State.SERVER_OFFLINE)
    counts = {
        row["server__destination"]: DestinationFacts(
            row["total"], row["down"], row["accepting"]
        )
        for row in StorePoint.objects.filter(
            server__destination__in=list(rows),
            adopted_at__isnull=False,
            is_drill=False,
        )
        .order_by()
        .values("server__destination")
        .annotate(
            total=Count("pk"),
            down=Count("pk", filter=is_down),
            accepting=Count(
                "pk",
                filter=~is_down & Q(accepts_inbound=True, fenced_at__isnull=True),
            ),
        )
    }
    for key, row in rows.items():
        facts.subjects |= subjects_of(Scope.DESTINATION, [key])
        if row is not None:
            facts.add_destination(row, counts.get(key, DestinationFacts(0, 0, 0)))
    _apply(facts, now=now, is_waited=is_waited)


def _locked(
    model: type[Any], keys: Iterable[int], known: Mapping[int, Any] | None = None
) -> dict[int, Any]:
    """Return the rows of these keys, locked; None for what is no longer there."""
    found: dict[int, Any] = {key: (known or {}).get(key) for key in keys}
    missing = [key for key, row in found.items() if row is None]
    if missing:
        rows = model.objects.select_for_update(no_key=True)
        rows = rows.filter(pk__in=missing).order_by("pk")
        found.update({row.pk: row for row in rows})
    return found


def _locked_filesystems(
    keys: Iterable[int], known: Mapping[int, Filesystem]
) -> dict[int, Any]:
    found = _locked(Filesystem, keys, known)
    rows = [row for row in found.values() if row is not None]
    if not rows:
        return found
    servers = Server.objects.in_bulk({row.server_id for row in rows})
    counts = selectors.count_store_points(rows)
    for row in rows:
        row.server = servers[row.server_id]
        row.store_point_count, row.is_measured = counts.get(row.pk, (0, False))
    return found


def _locked_store_points(
    keys: Iterable[int], known: Mapping[int, StorePoint]
) -> dict[int, StorePoint | None]:
    found = _locked(StorePoint, keys, known)
    rows = [row for row in found.values() if row is not None]
    if not rows:
        return found
    # Many rows have few servers: a join would make the same ones again and again.
    servers = Server.objects.select_related("destination").in_bulk(
        {row.server_id for row in rows}
    )
    for row in rows:
        row.server = servers[row.server_id]
    return found


def reconcile_console(
    facts: Mapping[str, Any], *, now: datetime, part: str = ""
) -> None:
    """Make the alerts about the console itself say what holds now.

    ``facts`` has, for each kind of the scope CONSOLE that somebody can speak of, what
    it is decided by; nothing is changed about the others. A ``part`` of the console,
    such as "channel:7", has alerts of its own.
    """
    told = Facts(selectors.settings())
    told.add_console(dict(facts), part=part)
    with transaction.atomic():
        _apply(told, now=now)


def reconcile_everything(*, now: datetime) -> None:
    """Reconcile everything that has alerts: what a sweep does now and then."""
    with transaction.atomic():
        reconcile_alerts(
            store_points=StorePoint.objects.values_list("pk", flat=True),
            servers=Server.objects.values_list("pk", flat=True),
            filesystems=Filesystem.objects.values_list("pk", flat=True),
            is_waited=True,
            now=now,
        )
        _reconcile_destinations(
            _destinations_there_are_or_were(),
            settings=selectors.settings(),
            is_waited=True,
            now=now,
        )


def _destinations_there_are_or_were() -> set[int]:
    ongoing = Alert.objects.filter(
        cleared_at__isnull=True, subject__startswith=f"{Scope.DESTINATION}:"
    ).values_list("subject", flat=True)
    return {
        *Destination.objects.values_list("pk", flat=True),
        *(int(subject.partition(":")[2]) for subject in ongoing),
    }


def settle_flapping(*, now: datetime) -> int:
    """Say of alerts that flapped that they are steady; return of how many.

    One that has cleared was kept quiet: that is news now, if its open was.
    """
    subjects = sorted(
        set(
            Alert.objects.filter(flapping_since__lte=now - RULES.flap_window)
            .order_by()
            .values_list("subject", flat=True)
        )
    )
    count = 0
    settings = selectors.settings() if subjects else Settings({})
    for start in range(0, len(subjects), SETTLED):
        with transaction.atomic():
            held = selectors.held_alerts(subjects[start : start + SETTLED], now=now)
            # Whether their conditions hold is nobody's question here.
            unknown = {alert.key for alert in held}
            changes = reconcile(held, [], unknown=unknown, now=now)
            _write(changes, Facts(settings), now=now)
        count += len(changes)
    return count


#: How many subjects are settled in one transaction.
SETTLED = 500


def raise_waiting(*, now: datetime) -> int:
    """Raise what was put off and has held for long enough; return how many were due.

    Nobody may report about it just then. What the facts say now decides, and of the
    console itself what was said last.
    """
    due = WaitingCondition.objects.filter(due_at__lte=now).order_by("subject", "kind")
    count = 0
    # What was due is not due any more afterwards, so that the first are others then.
    while rows := list(due[:SETTLED]):
        with transaction.atomic():
            _reconcile_waiting(rows, now=now)
        count += len(rows)
    return count


def _reconcile_waiting(rows: Sequence[WaitingCondition], *, now: datetime) -> None:
    keys: dict[str, set[int]] = {}
    told = Facts(selectors.settings())
    for row in rows:
        scope, _, key = row.subject.partition(":")
        if row.kind not in KINDS:
            row.delete()
        elif scope == CONSOLE:
            told.add_waiting(row.kind, row.subject, row.data)
        else:
            keys.setdefault(scope, set()).add(int(key))
    _apply(told, now=now, is_waited=True)
    offline = [
        int(row.subject.partition(":")[2]) for row in rows if row.kind == EXPLAINING
    ]
    if offline:
        # Their store points get their alerts with them, as when nothing is put off.
        theirs = StorePoint.objects.filter(
            server__in=offline, state=State.SERVER_OFFLINE, adopted_at__isnull=False
        )
        keys.setdefault(Scope.STORE_POINT, set()).update(
            theirs.values_list("pk", flat=True)
        )
    reconcile_alerts(
        store_points=sorted(keys.get(Scope.STORE_POINT, ())),
        servers=sorted(keys.get(Scope.SERVER, ())),
        filesystems=sorted(keys.get(Scope.FILESYSTEM, ())),
        destinations=sorted(keys.get(Scope.DESTINATION, ())),
        is_waited=True,
        now=now,
    )
    # Of what nothing can be said now, somebody will say something when they can.
    WaitingCondition.objects.filter(
        pk__in=[row.pk for row in rows], due_at__lte=now
    ).update(due_at=now + WAIT_ON)


#: After this it is looked again whether something can be said of what was put off.
WAIT_ON = timedelta(seconds=30)

#: The kind that explains what is wrong with others.
EXPLAINING = "server-offline"

#: Kinds whose coming and going changes what a destination has left.
MOVING = frozenset({"store-point-offline", "inbound-backup-disabled", "server-offline"})


def _apply(facts: Facts, *, now: datetime, is_waited: bool = False) -> bool:
    """Write what follows; return whether the destinations have to be counted anew.

    What is waited for is asked for only while something is put off, or ``is_waited``.
    """
    if not facts.subjects:
        return False
    facts.add_parents()
    held = selectors.held_alerts(facts.subjects, now=now)
    waiting = (
        selectors.waiting_conditions(facts.subjects)
        if is_waited or facts.settings.has_delays
        else {}
    )
    if not held and not facts.conditions and not waiting:
        return False
    facts.write_texts()
    changes = reconcile(
        held, facts.conditions, unknown=facts.unknown, waiting=waiting, now=now
    )
    _write(changes, facts, now=now)
    changed = {change.alert.id for change in changes if isinstance(change, OfAlert)}
    holding = {condition.key for condition in facts.conditions}
    _see_again(
        [
            alert.id
            for alert in held
            if alert.key in holding
            and alert.cleared_at is None
            and alert.id not in changed
        ],
        now=now,
    )
    return any(_kind_of(change) in MOVING for change in changes)


def _see_again(alerts: Sequence[int], *, now: datetime) -> None:
    for start in range(0, len(alerts), selectors.MANY):
        Alert.objects.filter(pk__in=alerts[start : start + selectors.MANY]).update(
            last_seen_at=now
        )


def _kind_of(change: Change) -> str:
    if isinstance(change, Raise | Wait):
        return change.condition.kind
    return change.key[0] if isinstance(change, Forget) else change.alert.kind


def _write(changes: Sequence[Change], facts: Facts, *, now: datetime) -> None:
    """Write what changes and its events; parents before those that they explain."""
    explaining, explained = _parted(changes)
    events = _raise_and_reopen(explaining, facts, {}, now)
    parents = _parents_of(explained)
    events += _raise_and_reopen(explained, facts, parents, now)
    events += _clear([each for each in changes if isinstance(each, Clear)], now)
    events += _update(
        [each for each in changes if isinstance(each, Update)], facts, now
    )
    events += _hold([each for each in changes if isinstance(each, Hold)], parents, now)
    for change in changes:
        if isinstance(change, Steady):
            events += _steady(change, now)
    _wait([each for each in changes if isinstance(each, Wait)])
    _forget([each.key for each in changes if isinstance(each, Forget)])
    write_events(events, now=now)


def _wait(changes: Sequence[Wait]) -> None:
    """Write what is waited for, as one statement for 500 of them."""
    WaitingCondition.objects.bulk_create(
        [
            WaitingCondition(
                kind=change.condition.kind,
                subject=change.condition.subject,
                since=change.waiting.since,
                due_at=change.waiting.due_at,
                data=dict(change.condition.data),
            )
            for change in changes
        ],
        batch_size=500,
        update_conflicts=True,
        unique_fields=["subject", "kind"],
        update_fields=["since", "due_at", "data"],
    )


def _forget(keys: Sequence[Key]) -> None:
    """Remove what is no longer waited for, kind by kind: few wait at once."""
    by_kind: dict[str, list[str]] = {}
    for kind, subject in keys:
        by_kind.setdefault(kind, []).append(subject)
    for kind, subjects in by_kind.items():
        for start in range(0, len(subjects), selectors.MANY):
            WaitingCondition.objects.filter(
                kind=kind, subject__in=subjects[start : start + selectors.MANY]
            ).delete()


Appearing = Raise | Reopen | Hold


def _parted(changes: Iterable[Change]) -> tuple[list[Appearing], list[Appearing]]:
    """Return those that nothing else explains, and those that are held under another."""
    parts: tuple[list[Appearing], list[Appearing]] = ([], [])
    for change in changes:
        if isinstance(change, Appearing):
            parts[change.condition.is_held].append(change)
    return parts


def _parents_of(changes: Iterable[Appearing]) -> dict[Key, Alert]:
    """Return the ongoing alerts that explain these changes, by their keys."""
    keys = {each.condition.parent for each in changes} - {None}
    if not keys:
        return {}
    named = {key for key in keys if key is not None}
    rows = Alert.objects.select_related("server").filter(
        cleared_at__isnull=True,
        kind__in={kind for kind, _ in named},
        subject__in={subject for _, subject in named},
    )
    return {(row.kind, row.subject): row for row in rows}


def _raise_and_reopen(
    changes: Sequence[Appearing],
    facts: Facts,
    parents: Mapping[Key, Alert],
    now: datetime,
) -> list[AlertEvent]:
    raised = [each.condition for each in changes if isinstance(each, Raise)]
    reopened = [each for each in changes if isinstance(each, Reopen)]
    return [
        *_raise(raised, facts, parents, now),
        *_reopen(reopened, facts, parents, now),
    ]


def _raise(
    conditions: Sequence[Condition],
    facts: Facts,
    parents: Mapping[Key, Alert],
    now: datetime,
) -> list[AlertEvent]:
    if not conditions:
        return []
    alerts = [_alert(each, facts, parents, now) for each in conditions]
    try:
        with transaction.atomic():
            Alert.objects.bulk_create(alerts, batch_size=500)
    except IntegrityError:
        # Another process raised one at this instant; the constraint keeps one of each.
        alerts = [alert for alert in alerts if _could_be_raised(alert)]
    return [
        event(
            alert.pk,
            AlertEvent.Kind.RAISED,
            now,
            text=alert.text,
            held_back=_explained_by(alert.parent, facts.settings),
        )
        for alert in alerts
    ]


def _could_be_raised(alert: Alert) -> bool:
    alert.pk = None
    alert._state.adding = True  # noqa: SLF001 - as Django's guide to copying rows says
    try:
        with transaction.atomic():
            alert.save(force_insert=True)
    except IntegrityError:
        return False
    return True


def _alert(
    condition: Condition,
    facts: Facts,
    parents: Mapping[Key, Alert],
    now: datetime,
) -> Alert:
    row = facts.rows.get(condition.subject)
    return Alert(
        kind=condition.kind,
        subject=condition.subject,
        severity=condition.severity,
        data=_data(condition, row),
        is_shown=condition.is_shown,
        failed_at=_failed_at(row, now),
        raised_at=now,
        last_seen_at=now,
        text=condition.text,
        parent=_parent_of(condition, parents),
        is_presumed=condition.is_held,
        **about(row),
    )


def _failed_at(row: Row | None, now: datetime) -> datetime:
    """Return the first reading that was part of what an alert is raised for."""
    if isinstance(row, StorePoint) and not row.is_online and row.since is not None:
        return min(row.since, now)
    if isinstance(row, Server) and row.offline_since is not None:
        return min(row.awaiting_since or row.offline_since, now)
    return now


def _explained_by(parent: Alert | None, settings: Settings) -> str:
    """Return why nobody is told of what a parent explains; "" when that is not told."""
    if parent is None:
        return ""
    destination = parent.server.destination_id if parent.server else None
    if not settings.of(parent.kind, destination).is_mailed:
        return ""
    return f"held under “{parent.text}”"


def _data(
    condition: Condition, row: Row | None, *, found: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what an alert keeps: the condition's numbers, and what was found.

    The evidence is taken when the alert is raised and stays readable when all is well
    again. It is no part of the condition: what a probe measures anew changes nothing.
    """
    evidence = KINDS[condition.kind].evidence
    if row is not None and evidence is not None:
        found = evidence(row)
    return {**condition.data, EVIDENCE: dict(found)} if found else dict(condition.data)


def _lapsed(alert: Held, now: datetime, why: str) -> AlertEvent:
    return event(
        alert.id,
        AlertEvent.Kind.LAPSED,
        now,
        text=f"The acknowledgement lapsed, because {why}.",
    )


def _why_it_lapses(alert: Held, condition: Condition) -> str:
    if condition.severity < alert.severity:
        return "the alert got worse"
    return "it was given to what explained this alert, and no longer does"


def _clear(changes: Sequence[Clear], now: datetime) -> list[AlertEvent]:
    keys = [change.alert.id for change in changes if change.alert.raised_at <= now]
    for start in range(0, len(keys), selectors.MANY):
        Alert.objects.filter(pk__in=keys[start : start + selectors.MANY]).update(
            cleared_at=now
        )
    for change in changes:
        # Raised by a process whose clock is ahead: it cannot clear before that.
        if change.alert.raised_at > now:
            Alert.objects.filter(pk=change.alert.id).update(
                cleared_at=change.alert.raised_at
            )
    return [
        event(
            change.alert.id,
            AlertEvent.Kind.CLEARED,
            now,
            held_back=FLAPPING if change.is_quiet else "",
        )
        for change in changes
    ]


def _reopen(
    changes: Sequence[Reopen],
    facts: Facts,
    parents: Mapping[Key, Alert],
    now: datetime,
) -> list[AlertEvent]:
    """Write the alerts that come back, as one statement; return their events."""
    if not changes:
        return []
    events: list[AlertEvent] = []
    rows: list[Alert] = []
    for start in range(0, len(changes), selectors.MANY):
        some = changes[start : start + selectors.MANY]
        alerts = Alert.objects.in_bulk([change.alert.id for change in some])
        for change in some:
            alert = alerts[change.alert.id]
            parent = _parent_of(change.condition, parents)
            _fill_reopened(alert, change, facts, parent, now)
            rows.append(alert)
            held_back = _explained_by(parent, facts.settings)
            events += _events_of_reopening(alert, change, held_back, now)
    write_rows(rows, REOPENED_FIELDS)
    return events


#: What coming back may change of an alert.
REOPENED_FIELDS = [
    *("store_point", "server", "filesystem", "destination"),
    *("object_name", "reported_by", "text", "severity", "data"),
    *("failed_at", "cleared_at", "last_seen_at", "times", "returns", "flapping_since"),
    *("parent", "is_presumed", "is_shown"),
    *NOT_ACKNOWLEDGED,
]


def _fill_reopened(
    alert: Alert, change: Reopen, facts: Facts, parent: Alert | None, now: datetime
) -> None:
    condition = change.condition
    row = facts.rows.get(condition.subject)
    for name, value in {
        **about(row),
        "text": condition.text,
        "severity": condition.severity,
        "data": _data(condition, row),
        "failed_at": _failed_at(row, now),
        "cleared_at": None,
        "last_seen_at": now,
        "times": alert.times + 1,
        "returns": [at.isoformat() for at in change.returns],
        "flapping_since": change.flapping_since,
        "parent": parent,
        "is_presumed": condition.is_held,
        "is_shown": condition.is_shown,
        **(NOT_ACKNOWLEDGED if change.does_lapse else {}),
    }.items():
        setattr(alert, name, value)


def _events_of_reopening(
    alert: Alert, change: Reopen, held_back: str, now: datetime
) -> list[AlertEvent]:
    if alert.is_acknowledged(now):
        held_back = f"{alert.acknowledged_by_name} has acknowledged it"
    kind = AlertEvent.Kind.REOPENED
    if change.starts_flapping:
        kind = AlertEvent.Kind.FLAPPING
    elif change.condition.severity < change.alert.severity:
        # Also while it flaps: what is worse is always said.
        kind = AlertEvent.Kind.WORSENED
    elif change.is_quiet:
        held_back = FLAPPING
    events = [event(alert.pk, kind, now, text=alert.text, held_back=held_back)]
    if change.does_lapse:
        why = _why_it_lapses(change.alert, change.condition)
        events.append(_lapsed(change.alert, now, why))
    return events


def _parent_of(condition: Condition, parents: Mapping[Key, Alert]) -> Alert | None:
    return parents.get(condition.parent) if condition.parent else None


#: What an update may change of an alert.
UPDATED_FIELDS = [
    *("store_point", "server", "filesystem", "destination"),
    *("object_name", "reported_by", "text", "severity", "data"),
    *("last_seen_at", "parent", "is_presumed", "is_shown"),
    *NOT_ACKNOWLEDGED,
]


def _update(changes: Sequence[Update], facts: Facts, now: datetime) -> list[AlertEvent]:
    """Write the alerts that go on with other numbers, as one statement."""
    events: list[AlertEvent] = []
    rows: list[Alert] = []
    for start in range(0, len(changes), selectors.MANY):
        some = changes[start : start + selectors.MANY]
        alerts = Alert.objects.in_bulk([change.alert.id for change in some])
        for change in some:
            alert = alerts[change.alert.id]
            _fill_updated(alert, change, facts, now)
            rows.append(alert)
            events += _events_of_updating(change, now)
    write_rows(rows, UPDATED_FIELDS)
    return events


def _fill_updated(alert: Alert, change: Update, facts: Facts, now: datetime) -> None:
    condition = change.condition
    row = facts.rows.get(condition.subject)
    is_other = dict(condition.data) != dict(change.alert.data)
    for name, value in {
        **about(row),
        "text": condition.text,
        "severity": condition.severity,
        "is_shown": condition.is_shown,
        # What was found first stays unless something else is wrong now.
        "data": _data(
            condition, row if is_other else None, found=change.alert.evidence
        ),
        "last_seen_at": now,
        "parent": None,
        "is_presumed": False,
        **(NOT_ACKNOWLEDGED if change.does_lapse else {}),
    }.items():
        setattr(alert, name, value)


def _events_of_updating(change: Update, now: datetime) -> list[AlertEvent]:
    condition, alert = change.condition, change.alert
    events = []
    if change.is_released:
        kind = AlertEvent.Kind.RELEASED
        events.append(event(alert.id, kind, now, text=condition.text))
    elif change.has_worsened:
        kind = AlertEvent.Kind.WORSENED
        events.append(event(alert.id, kind, now, text=condition.text))
    elif alert.parent or condition.severity != alert.severity:
        words = [
            *(["It stands for itself again."] if alert.parent else []),
            *(
                [_severity_words(condition)]
                if condition.severity != alert.severity
                else []
            ),
        ]
        kind = AlertEvent.Kind.UPDATED
        events.append(event(alert.id, kind, now, text=" ".join(words)))
    if change.does_lapse:
        events.append(_lapsed(alert, now, _why_it_lapses(alert, condition)))
    return events


def _hold(
    changes: Sequence[Hold], parents: Mapping[Key, Alert], now: datetime
) -> list[AlertEvent]:
    """Put alerts under what explains them: a statement for all that end up alike."""
    alike: dict[tuple[int, Severity, bool, bool], list[int]] = {}
    events = []
    for change in changes:
        alert, condition = change.alert, change.condition
        parent = _parent_of(condition, parents)
        if parent is None:
            continue
        key = parent.pk, condition.severity, condition.is_shown, change.does_lapse
        alike.setdefault(key, []).append(alert.id)
        if alert.parent != condition.parent:
            text = f"Held under “{parent.text}”."
            events.append(event(alert.id, AlertEvent.Kind.HELD, now, text=text))
        if alert.severity != condition.severity:
            text = _severity_words(condition)
            events.append(event(alert.id, AlertEvent.Kind.UPDATED, now, text=text))
        if change.does_lapse:
            why = _why_it_lapses(alert, condition)
            events.append(_lapsed(alert, now, why))
    for (parent_key, severity, is_shown, does_lapse), alerts in alike.items():
        for start in range(0, len(alerts), selectors.MANY):
            Alert.objects.filter(pk__in=alerts[start : start + selectors.MANY]).update(
                parent=parent_key,
                severity=severity,
                is_shown=is_shown,
                last_seen_at=now,
                **(NOT_ACKNOWLEDGED if does_lapse else {}),
            )
    return events


def _severity_words(condition: Condition) -> str:
    return f"It is {condition.severity.label} now."


def _steady(change: Steady, now: datetime) -> list[AlertEvent]:
    alert = change.alert
    Alert.objects.filter(pk=alert.id).update(flapping_since=None)
    events = [
        event(
            alert.id,
            AlertEvent.Kind.STEADIED,
            now,
            text="It has neither cleared nor come back for an hour.",
        )
    ]
    if change.is_close_owed:
        text = "It had cleared while it flapped."
        events.append(event(alert.id, AlertEvent.Kind.CLEARED, now, text=text))
    elif alert.cleared_at is None and _was_told_cleared(alert.id):
        # That it flaps was kept by a silence: nobody knows that it is back.
        kind = AlertEvent.Kind.REOPENED
        events.append(event(alert.id, kind, now, text=alert.text))
    return events


def _was_told_cleared(alert: int) -> bool:
    last = (
        AlertEvent.objects.filter(
            alert=alert, kind__in=AlertEvent.NEWS, is_withheld=False
        )
        .order_by("-pk")
        .values_list("kind", flat=True)
        .first()
    )
    return last == AlertEvent.Kind.CLEARED
