"""Silences: made, changed, ended, and what people are told when they are over.

What a silence keeps is decided when news is routed (notifications). That it is over is
found by looking, not by being told: news that was kept, and that no silence covers any
more, is made up for. So it does not matter who looks, how often, or how late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Greatest

from alerts import silences
from alerts.models import Alert, AlertEvent, Silence, SilenceWindow
from alerts.schedule import FIRST_DATE, LAST_DATE
from alerts.services.events import event, write_events
from console.accounts.models import User
from console.kit import audit
from console.kit.bulk import BulkResult, Left

#: What a person may set.
FIELDS = (
    *("name", "note", "kinds", "severities", "subjects", "server", "destination"),
    *("repeats", "time_zone", "starts_at", "ends_at", "first_day", "last_day"),
    *("weekdays", "starts_local", "ends_local"),
)

#: Those of them that are other rows, and those that say when.
RELATED = ("server", "destination")
TIMES = FIELDS[7:]

#: How many alerts one transaction settles.
BATCH = 500

#: How far back windows are looked for that nobody noticed.
MISSED = timedelta(days=400)


def create_silence(
    fields: Mapping[str, Any],
    *,
    actor: User,
    now: datetime,
    is_everything_meant: bool = False,
) -> Silence:
    """Make a silence; raises ValidationError, saying what is wrong with it.

    One that narrows nothing silences everything, and has to be meant.
    """
    silence = Silence(
        **fields,
        created_at=now,
        created_by=actor,
        created_by_name=actor.get_username(),
    )
    refuse_wrong(silence, is_everything_meant=is_everything_meant)
    with transaction.atomic():
        silence.save(force_insert=True)
        audit.record(
            actor=actor,
            verb="silence.create",
            subject=silence,
            now=now,
            note=silence.note,
            data=_data(silence),
        )
        _open_windows(now, Q(pk=silence.pk))
    return silence


def change_silence(
    key: int,
    fields: Mapping[str, Any],
    *,
    actor: User,
    now: datetime,
    is_everything_meant: bool = False,
) -> Silence:
    """Change a silence that has not been ended; raises ValidationError otherwise.

    A window that is in force goes on when it still begins at the same instant, else it
    is over and compared. What the silence does not cover any more is told at once.
    """
    with transaction.atomic():
        _open_windows(now, Q(pk=key))
        silence = Silence.objects.select_for_update(of=("self",)).get(pk=key)
        if silence.ended_at is not None:
            raise ValidationError(
                f"{silence.name} was ended by {silence.ended_by_name} meanwhile. "
                "Make a new silence instead."
            )
        before = _data(silence)
        for name, value in fields.items():
            setattr(silence, name, value)
        refuse_wrong(silence, is_everything_meant=is_everything_meant)
        after = _data(silence)
        if before == after:
            return silence
        if any(before[name] != after[name] for name in TIMES):
            silence.changed_at = now
        silence.save()
        for window in silence.windows.filter(compared_at__isnull=True, ends_at__gt=now):
            current = silence.schedule.at(now)
            goes_on = current is not None and current.starts_at == window.starts_at
            window.ends_at = current.ends_at if current and goes_on else now
            window.save(update_fields=["ends_at"])
        audit.record(
            actor=actor,
            verb="silence.change",
            subject=silence,
            now=now,
            note=silence.note,
            data={
                name: [before[name], after[name]]
                for name in after
                if before[name] != after[name]
            },
        )
        _open_windows(now, Q(pk=key))
        _compare_windows(now, Q(silence=key))
        _settle(AlertEvent.objects.filter(withheld_by=key), now)
    return silence


def end_silences(keys: Iterable[int], *, actor: User, now: datetime) -> BulkResult:
    """End silences before their time; those that are over or ended are skipped.

    Compare-and-set: of two people one ends it. What was kept is told at once.
    """
    done = 0
    skipped: list[Left] = []
    with transaction.atomic():
        rows = Silence.objects.select_for_update(of=("self",)).filter(pk__in=keys)
        for silence in rows.order_by("pk"):
            why_not = why_not_ended(silence, now)
            if why_not:
                skipped.append(Left(silence.name, why_not))
                continue
            _open_windows(now, Q(pk=silence.pk))
            silence.ended_at = now
            silence.ended_by_name = actor.get_username()
            silence.save(update_fields=["ended_at", "ended_by_name"])
            silence.windows.filter(compared_at__isnull=True, ends_at__gt=now).update(
                ends_at=Greatest("starts_at", now)
            )
            audit.record(actor=actor, verb="silence.end", subject=silence, now=now)
            _compare_windows(now, Q(silence=silence.pk))
            _settle(AlertEvent.objects.filter(withheld_by=silence), now)
            done += 1
    return BulkResult(done, tuple(skipped))


def delete_silences(keys: Iterable[int], *, actor: User, now: datetime) -> BulkResult:
    """Delete silences with their windows; the timelines of alerts keep their sentence.

    One that is in force, or whose news is still owed, is skipped: end it first.
    """
    done = 0
    skipped: list[Left] = []
    with transaction.atomic():
        rows = Silence.objects.select_for_update(of=("self",)).filter(pk__in=keys)
        for silence in rows.order_by("pk"):
            why_not = why_not_deleted(silence, now)
            if not why_not and _owed(Q(withheld_by=silence)).exists():
                why_not = "still keeps news that people have to be told"
            if why_not:
                skipped.append(Left(silence.name, why_not))
                continue
            audit.record(
                actor=actor,
                verb="silence.delete",
                subject=silence,
                now=now,
                note=silence.note,
                data=_data(silence),
            )
            silence.delete()
            done += 1
    return BulkResult(done, tuple(skipped))


def why_not_ended(silence: Silence, now: datetime) -> str:
    """Return why a silence cannot be ended, to follow its name; "" when it can."""
    if silence.ended_at is not None:
        return f"was ended by {silence.ended_by_name} already"
    schedule = silence.schedule
    if schedule.at(now) is None and schedule.next_after(now) is None:
        return "is over"
    return ""


def why_not_deleted(silence: Silence, now: datetime) -> str:
    """Return why a silence cannot be deleted, to follow its name; "" when it can."""
    return "is in force: end it first" if silence.schedule.at(now) else ""


def follow_silences(*, now: datetime) -> int:
    """Open the windows that began, compare those that are over, tell what was kept.

    Return of how many alerts people are told. Doing it twice, at once or hours late
    says everything once.
    """
    with transaction.atomic():
        _open_windows(now, Q())
        _compare_windows(now, Q())
    in_force = [row.pk for row in silences.silences_in_force(now)]
    return _settle(AlertEvent.objects.exclude(withheld_by__in=in_force), now)


def refuse_wrong(silence: Silence, *, is_everything_meant: bool) -> None:
    """Raise ValidationError, by field, when a silence cannot be as it is."""
    problems: dict[str, str] = {}
    if not silence.name.strip():
        problems["name"] = "Expected a name, such as “Array rebuild”."
    if silence.coverage.is_everything and not is_everything_meant:
        problems["is_everything_meant"] = (
            "This narrows nothing, so it would silence every alert of the console. "
            "Choose what it covers, or confirm that everything is meant."
        )
    if silence.repeats == Silence.Repeats.NEVER:
        if silence.starts_at is None or silence.ends_at is None:
            problems["starts_at"] = "Expected a start and an end."
        elif silence.ends_at <= silence.starts_at:
            problems["ends_at"] = "It ends before it begins; expected a later end."
        elif not (
            silence.starts_at.date() > FIRST_DATE and silence.ends_at.date() < LAST_DATE
        ):
            problems["starts_at"] = f"Expected dates before {LAST_DATE}."
    else:
        if silence.starts_local is None or silence.ends_local is None:
            problems["starts_local"] = "Expected the local times of start and end."
        if silence.first_day is None:
            problems["first_day"] = "Expected the first day."
        elif not FIRST_DATE < silence.first_day < LAST_DATE:
            problems["first_day"] = f"Expected a day before {LAST_DATE}."
        elif silence.last_day is not None and silence.last_day < silence.first_day:
            problems["last_day"] = "The last day is before the first."
        if silence.repeats == Silence.Repeats.WEEKLY and not silence.weekdays:
            problems["weekdays"] = "Expected at least one day of the week."
    if problems:
        raise ValidationError(problems)


def _data(silence: Silence) -> dict[str, Any]:
    """Return what the audit log keeps of a silence."""
    values = {
        name: getattr(silence, f"{name}_id" if name in RELATED else name)
        for name in FIELDS
    }
    return {
        name: value
        if value is None or isinstance(value, str | int | list)
        else str(value)
        for name, value in values.items()
    }


def _open_windows(now: datetime, which: Q) -> None:
    """Write down the windows that have begun and are not known, missed ones too."""
    known = SilenceWindow.objects.filter(
        silence=OuterRef("pk"), starts_at=OuterRef("starts_at")
    )
    rows = Silence.objects.filter(
        which,
        Q(repeats="", starts_at__lte=now) & ~Exists(known)
        | ~Q(repeats="")
        & (Q(last_day__isnull=True) | Q(last_day__gte=(now - MISSED).date())),
        ended_at__isnull=True,
    ).annotate(latest=Max("windows__starts_at"))
    windows = []
    for silence in rows:
        since = max(
            silence.created_at, silence.changed_at or now - MISSED, now - MISSED
        )
        for each in silence.schedule.windows(since, now + timedelta(microseconds=1)):
            if silence.latest is not None and each.starts_at <= silence.latest:
                continue
            began = max(each.starts_at, silence.created_at)
            before = silences.ongoing_at(silence.coverage, began)
            windows.append(
                SilenceWindow(
                    silence=silence,
                    starts_at=each.starts_at,
                    ends_at=each.ends_at,
                    before=before,
                )
            )
    # Two sweeps at once: the constraint keeps one of each.
    SilenceWindow.objects.bulk_create(windows, ignore_conflicts=True)


def _compare_windows(now: datetime, which: Q) -> None:
    """Write down what holds after each window that is over."""
    over = SilenceWindow.objects.filter(
        which, compared_at__isnull=True, ends_at__lte=now
    )
    for window in over.select_related("silence").order_by("pk"):
        after = silences.ongoing_at(window.silence.coverage, window.ends_at)
        over.filter(pk=window.pk).update(after=after, compared_at=now)


def _owed(which: Q) -> QuerySet[AlertEvent]:
    """Return the events whose news a silence kept and that is not made up for."""
    return AlertEvent.objects.filter(
        which, withheld_by__isnull=False, settled_at__isnull=True
    )


def _settle(events: QuerySet[AlertEvent], now: datetime) -> int:
    """Tell what was kept, where no silence covers the alert any more.

    An alert that another one explains now is left until that is over.
    """
    told = 0
    after = 0
    owed = events.filter(
        Q(alert__parent__isnull=True) | Q(alert__cleared_at__isnull=False),
        withheld_by__isnull=False,
        settled_at__isnull=True,
    )
    while keys := list(
        owed.filter(alert__gt=after)
        .order_by("alert_id")
        .values_list("alert_id", flat=True)
        .distinct()[:BATCH]
    ):
        with transaction.atomic():
            told += _settle_some(keys, now)
        after = keys[-1]
    return told


def _settle_some(keys: list[int], now: datetime) -> int:
    # Locked in this order by everybody; then what is owed is read, so that of two
    # sweeps at once the second finds nothing.
    locked = Alert.objects.select_for_update(of=("self",)).filter(pk__in=keys)
    alerts = {row.pk: row for row in locked.order_by("pk")}
    owed: dict[int, list[AlertEvent]] = {}
    for each in _owed(Q(alert__in=alerts)).select_related("withheld_by").order_by("pk"):
        owed.setdefault(each.alert_id, []).append(each)
    covered = silences.silence_of([alerts[key] for key in owed], now)
    for key, silence in covered.items():
        # Another one keeps it from here on.
        others = [each.pk for each in owed.pop(key) if each.withheld_by != silence]
        AlertEvent.objects.filter(pk__in=others).update(withheld_by=silence)
    last_said = _last_said(owed)
    news: list[AlertEvent] = []
    settled: list[int] = []
    for key, kept in owed.items():
        settled += [each.pk for each in kept]
        found = _news(alerts[key], kept[-1].withheld_by, last_said.get(key, ""), now)
        if found is not None:
            news.append(found)
    AlertEvent.objects.filter(pk__in=settled).update(settled_at=now)
    write_events(news, now=now)
    return len(news)


def _last_said(alerts: Iterable[int]) -> dict[int, str]:
    """Return, for each alert, the kind of the last news that was not kept."""
    return dict(
        AlertEvent.objects.filter(
            alert__in=list(alerts), kind__in=AlertEvent.NEWS, is_withheld=False
        )
        .order_by("pk")
        .values_list("alert", "kind")
    )


def _news(
    alert: Alert, silence: Silence | None, last_said: str, now: datetime
) -> AlertEvent | None:
    """Return what is to be said of an alert after a silence, if anything."""
    name = silence.name if silence else "a silence"
    if alert.cleared_at is None:
        seen_by = alert.acknowledged_by_name if alert.is_acknowledged(now) else ""
        found = event(
            alert.pk,
            AlertEvent.Kind.UNSILENCED,
            now,
            text=alert.text,
            held_back=f"{seen_by} has acknowledged it" if seen_by else "",
        )
        found.note = f"“{name}” is over, and it still holds."
        return found
    if last_said in {"", AlertEvent.Kind.CLEARED.value}:
        # Nobody was told that it was raised.
        return None
    found = event(alert.pk, AlertEvent.Kind.CLEARED, now)
    found.note = f"It had cleared while “{name}” silenced it."
    return found
