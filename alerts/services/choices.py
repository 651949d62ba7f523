"""What administrators choose for the kinds of alerts, everywhere or in a destination."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from alerts import selectors
from alerts.catalogue import KINDS, Kind, Scope
from alerts.models import (
    Alert,
    NotificationOverride,
    NotificationSetting,
    WaitingCondition,
)
from alerts.settings import Choice, Settings
from console.accounts.models import User
from console.kit import audit, spans
from storepoints.models import Destination

#: The kind whose row is locked before any is changed: what two people choose at once
#: has to fit together too.
FIRST = next(iter(KINDS))

#: What stands in the audit log for a choice that was not made.
INHERITED = "as everywhere"


def change_notification_settings(
    choices: Mapping[str, Choice],
    *,
    destination: Destination | None = None,
    actor: User,
    now: datetime,
) -> list[str]:
    """Choose for kinds, in all destinations or in one; return the kinds that changed.

    All or nothing, with an audit entry for each that changed. What is switched off is
    still recorded. Alerts that stand already appear and disappear with the switch; their
    severity follows when they are reconciled next. Raises ValidationError that names
    each value that cannot be, or that does not fit another one, and what was expected.
    """
    place = destination.pk if destination else None
    with transaction.atomic():
        before = _locked(now)
        refuse_wrong_choices(before, choices, place)
        after = before.changed(choices, place)
        changed = [
            kind
            for kind in choices
            if before.choice(kind, place) != after.choice(kind, place)
        ]
        for kind in changed:
            _write(KINDS[kind], before, after, destination, actor=actor, now=now)
        _show(changed, before, after, place)
        _look_at_waiting(changed, now)
    return changed


def reset_notification_settings(
    *, destination: Destination | None = None, actor: User, now: datetime
) -> list[str]:
    """Choose nothing any more; return the kinds that changed.

    Without a destination that is so everywhere, and in each destination.
    """
    nothing = dict.fromkeys(KINDS, Choice())
    with transaction.atomic():
        _lock_alerts_of(_switched_anywhere(_locked(now)))
        changed: dict[str, None] = {}
        if destination is None:
            places = NotificationOverride.objects.values("destination")
            rows = list(Destination.objects.filter(pk__in=places.order_by()))
        else:
            rows = [destination]
        for row in rows:
            changed |= dict.fromkeys(
                change_notification_settings(
                    nothing, destination=row, actor=actor, now=now
                )
            )
        if destination is None:
            changed |= dict.fromkeys(
                change_notification_settings(nothing, actor=actor, now=now)
            )
    return list(changed)


def refuse_wrong_choices(
    settings: Settings, choices: Mapping[str, Choice], destination: int | None
) -> None:
    """Refuse what cannot be chosen, or does not fit what else is chosen.

    Raises ValidationError with a sentence for each.
    """
    wrong = [
        words
        for kind, choice in choices.items()
        for words in choice.refusals(KINDS[kind]).values()
    ]
    if destination is not None:
        wrong += [
            f"{KINDS[kind].short_name} is about the console itself: expected a kind that "
            "a destination can have."
            for kind, choice in choices.items()
            if KINDS[kind].scope is Scope.CONSOLE and not choice.is_empty
        ]
    if not wrong:
        # What did not fit before, by the defaults of an earlier release, must not keep
        # anybody from changing, or resetting, something else.
        known = {(each.pair, each.destination) for each in settings.contradictions()}
        found = [
            each
            for each in settings.changed(choices, destination).contradictions()
            if (each.pair, each.destination) not in known
        ]
        places = {each.destination for each in found} - {None}
        names = Destination.objects.in_bulk(places) if places else {}
        wrong = [
            each.words
            if each.destination is None
            else f"In {names.get(each.destination, each.destination)}: {each.words}"
            for each in found
        ]
    if wrong:
        raise ValidationError(wrong)


def _locked(now: datetime) -> Settings:
    """Let nobody else choose until the transaction ends, and return what is chosen."""
    NotificationSetting.objects.get_or_create(kind=FIRST, defaults={"changed_at": now})
    NotificationSetting.objects.select_for_update().get(kind=FIRST)
    return selectors.settings()


def _write(
    kind: Kind,
    before: Settings,
    after: Settings,
    destination: Destination | None,
    *,
    actor: User,
    now: datetime,
) -> None:
    place = destination.pk if destination else None
    choice = after.choice(kind.slug, place)
    values: dict[str, Any] = {
        "severity": choice.severity,
        "delay_seconds": choice.delay_seconds,
        "parameters": dict(choice.parameters),
        "changed_at": now,
    }
    row: NotificationSetting | NotificationOverride
    if destination is None:
        row, _ = NotificationSetting.objects.update_or_create(
            kind=kind.slug,
            defaults={
                **values,
                "is_shown": choice.is_shown is not False,
                "is_mailed": choice.is_mailed is not False,
            },
        )
    else:
        row, _ = NotificationOverride.objects.update_or_create(
            kind=kind.slug,
            destination=destination,
            defaults={
                **values,
                "is_shown": choice.is_shown,
                "is_mailed": choice.is_mailed,
            },
        )
    old, new = _words(kind, before, place), _words(kind, after, place)
    audit.record(
        actor=actor,
        verb="notification.change",
        subject=row,
        now=now,
        data={name: [old[name], new[name]] for name in new if old[name] != new[name]},
    )
    if destination is not None and choice.is_empty:
        row.delete()


def _words(kind: Kind, settings: Settings, place: int | None) -> dict[str, Any]:
    """Return what the audit log says of a choice, by what was chosen."""
    choice = settings.choice(kind.slug, place)
    if place is None:
        setting = settings.of(kind.slug)
        return {
            "is_shown": setting.is_shown,
            "is_mailed": setting.is_mailed,
            "severity": setting.severity.label,
            "after": spans.in_words(setting.delay),
            **{each.name: each.words for each in setting.told.parameters},
        }
    delay = choice.delay_seconds
    return {
        "is_shown": INHERITED if choice.is_shown is None else choice.is_shown,
        "is_mailed": INHERITED if choice.is_mailed is None else choice.is_mailed,
        "severity": choice.severity.label if choice.severity else INHERITED,
        "after": INHERITED
        if delay is None
        else spans.in_words(timedelta(seconds=delay)),
        **{
            each.name: each.in_words(choice.parameters[each.name])
            if each.name in choice.parameters
            else INHERITED
            for each in kind.parameters
            if each.is_changeable
        },
    }


def _look_at_waiting(kinds: list[str], now: datetime) -> None:
    """Have what is put off of these kinds looked at anew.

    What a report is writing now is left to the next one: waiting for it, with alerts
    locked, could be waiting for each other.
    """
    free = WaitingCondition.objects.select_for_update(skip_locked=True, no_key=True)
    keys = list(free.filter(kind__in=kinds).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), selectors.MANY):
        some = keys[start : start + selectors.MANY]
        WaitingCondition.objects.filter(pk__in=some).update(due_at=now)


def _show(
    kinds: list[str], before: Settings, after: Settings, place: int | None
) -> None:
    """Let the alerts of these kinds that stand appear and disappear with the switch."""
    switched = [
        kind
        for kind in kinds
        if before.of(kind, place).is_shown != after.of(kind, place).is_shown
    ]
    rows = _lock_alerts_of({kind: _concerned(kind, after, place) for kind in switched})
    for is_shown in (False, True):
        keys = [key for key, kind in rows if after.of(kind, place).is_shown is is_shown]
        for start in range(0, len(keys), selectors.MANY):
            some = keys[start : start + selectors.MANY]
            Alert.objects.filter(pk__in=some).update(is_shown=is_shown)


def _lock_alerts_of(concerned: Mapping[str, Q]) -> list[tuple[int, str]]:
    """Lock the alerts of these kinds for which this holds; return their keys and kinds.

    As a report locks them: those of destinations after all others, each by key.
    """
    rows: list[tuple[int, str]] = []
    for are_last in (False, True):
        wanted = Q(pk__in=[])
        for kind, condition in concerned.items():
            if (KINDS[kind].scope is Scope.DESTINATION) is are_last:
                wanted |= Q(condition, kind=kind)
        locked = Alert.objects.select_for_update(no_key=True).filter(wanted)
        rows += locked.order_by("pk").values_list("pk", "kind")
    return rows


def _switched_anywhere(settings: Settings) -> dict[str, Q]:
    """Return the kinds for which somebody chose whether they are shown."""
    chosen = [
        *settings.choices.items(),
        *((kind, choice) for (_, kind), choice in settings.overrides.items()),
    ]
    return {kind: Q() for kind, choice in chosen if choice.is_shown is not None}


def _concerned(kind: str, after: Settings, place: int | None) -> Q:
    """Return the condition that an alert of a kind has to appear or to disappear."""
    concerned = ~Q(is_shown=after.of(kind, place).is_shown)
    if place is not None:
        return concerned & selectors.belongs_to(place)
    for destination, slug in after.overrides:
        own = after.choice(slug, destination).is_shown
        if slug == kind and own is not None:
            concerned &= ~selectors.belongs_to(destination)
    return concerned
