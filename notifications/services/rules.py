"""What administrators choose of groups, routes and reminders; each audited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import Max

from alerts.catalogue import KINDS
from alerts.engine import Severity
from console.accounts.models import User, validate_time_zone
from console.kit import audit
from notifications import reach
from notifications.models import Channel, Group, Recipient, ReminderSettings, Route
from notifications.pace import MORNING, Pace
from notifications.rules import Listener, unreached
from notifications.services.lock import lock_mail
from storepoints.models import Destination, Server

#: The longest span of an escalation and of a reminder: four weeks.
LONGEST_SECONDS = 28 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Members:
    """Who is in a group."""

    name: str
    users: Sequence[User] = ()
    recipients: Sequence[Recipient] = ()


def save_group(
    key: int | None, members: Members, *, actor: User, now: datetime
) -> Group:
    """Make a group (key None), or change one; raises ValidationError and DoesNotExist.

    Who is in a group from then on hears what its routes say.
    """
    try:
        with transaction.atomic():
            # Whoever routes meanwhile sees the group as it was, or as it is then.
            lock_mail()
            group = (
                Group(created_at=now)
                if key is None
                else Group.objects.select_for_update().get(pk=key)
            )
            before = {} if key is None else _group_data(group)
            group.name = members.name.strip()
            group.full_clean()
            group.save()
            group.users.set(members.users)
            group.recipients.set(members.recipients)
            _note_change("group", key, group, before, _group_data(group), actor, now)
    except IntegrityError:
        raise ValidationError({"name": "Another group has this name."}) from None
    return group


def remove_group(key: int, *, actor: User, now: datetime) -> str | None:
    """Remove a group; return its name, or None when somebody was faster.

    Its recipients hear everything again when they are in no other.
    """
    with transaction.atomic():
        lock_mail()
        group = Group.objects.select_for_update().filter(pk=key).first()
        if group is None:
            return None
        audit.record(
            actor=actor,
            verb="group.remove",
            subject=group,
            now=now,
            data=_group_data(group),
        )
        group.delete()
    return group.name


@dataclass(frozen=True, slots=True)
class Plan:
    """A route as an administrator describes it."""

    name: str
    severities: Sequence[int] = ()
    kinds: Sequence[str] = ()
    destination: Destination | None = None
    server: Server | None = None
    groups: Sequence[Group] = ()
    channels: Sequence[Channel] = ()
    pace: Pace = Pace.NOW
    digest_at: time = MORNING
    time_zone: str = "UTC"
    after_seconds: int | None = None
    is_enabled: bool = True

    def route(self) -> Route:
        """Return it as a row that is not saved, without groups and channels."""
        return Route(
            name=self.name.strip(),
            severities=sorted(set(self.severities)),
            kinds=sorted(set(self.kinds)),
            destination=self.destination,
            server=self.server,
            pace=self.pace.value,
            digest_at=self.digest_at,
            time_zone=self.time_zone,
            after_seconds=self.after_seconds,
            is_enabled=self.is_enabled,
        )


_PLANNED = (
    *("name", "severities", "kinds", "destination", "server", "pace", "digest_at"),
    *("time_zone", "after_seconds", "is_enabled"),
)


def refuse_wrong_route(plan: Plan) -> None:
    """Raise ValidationError, by field, for what can be no route."""
    wrong: dict[str, str] = {}
    if not (plan.groups or plan.channels):
        wrong["groups"] = "Expected at least one group or channel to tell."
    for each in plan.severities:
        if each not in {severity.value for severity in Severity}:
            wrong["severities"] = f"Expected severities from 1 to 3, found {each}."
    for kind in plan.kinds:
        if kind not in KINDS:
            wrong["kinds"] = f"Expected kinds of alerts, found {kind[:50]!r}."
    if plan.after_seconds is not None and not (
        60 <= plan.after_seconds <= LONGEST_SECONDS
    ):
        wrong["after_seconds"] = "Expected 1 minute to 4 weeks (40,320 minutes)."
    if (
        plan.server is not None
        and plan.destination is not None
        and plan.server.destination_id != plan.destination.pk
    ):
        wrong["server"] = (
            f"{plan.server} belongs to another destination than {plan.destination}, so "
            "this route would match nothing."
        )
    if wrong:
        raise ValidationError(wrong)
    validate_time_zone(plan.time_zone)


def save_route(key: int | None, plan: Plan, *, actor: User, now: datetime) -> Route:
    """Make a route behind the others (key None), or change one.

    Raises ValidationError by field, and DoesNotExist.
    """
    refuse_wrong_route(plan)
    try:
        with transaction.atomic():
            lock_mail()
            if key is None:
                last = Route.objects.aggregate(last=Max("position"))["last"] or 0
                route = Route(position=last + 1, created_at=now)
            else:
                route = Route.objects.select_for_update(of=("self",)).get(pk=key)
            before = {} if key is None else _route_data(route)
            planned = plan.route()
            for name in _PLANNED:
                setattr(route, name, getattr(planned, name))
            route.full_clean()
            route.save()
            route.groups.set(plan.groups)
            route.channels.set(plan.channels)
            _note_change("route", key, route, before, _route_data(route), actor, now)
    except IntegrityError:
        raise ValidationError({"name": "Another route has this name."}) from None
    return route


def switch_route(
    key: int, *, is_enabled: bool, actor: User, now: datetime
) -> Route | None:
    """Switch a route on or off; return it, or None when it is gone or was so already."""
    with transaction.atomic():
        lock_mail()
        route = Route.objects.select_for_update(of=("self",)).filter(pk=key).first()
        if route is None or route.is_enabled == is_enabled:
            return None
        route.is_enabled = is_enabled
        route.save(update_fields=["is_enabled"])
        verb = "route.enable" if is_enabled else "route.disable"
        audit.record(actor=actor, verb=verb, subject=route, now=now)
    return route


def move_route(key: int, *, up: bool, actor: User, now: datetime) -> bool:
    """Move a route before the one above it, or behind the one below it.

    Returns whether it moved; the order decides who is named when two tell at once.
    """
    with transaction.atomic():
        lock_mail()
        rows = list(
            Route.objects.select_for_update(of=("self",)).order_by("position", "pk")
        )
        place = next((n for n, row in enumerate(rows) if row.pk == key), None)
        if place is None:
            return False
        other = place - 1 if up else place + 1
        if not 0 <= other < len(rows):
            return False
        moved = rows[place]
        rows[place], rows[other] = rows[other], rows[place]
        for position, row in enumerate(rows, start=1):
            row.position = position
        Route.objects.bulk_update(rows, ["position"])
        audit.record(
            actor=actor,
            verb="route.move",
            subject=moved,
            now=now,
            data={"position": [place + 1, other + 1]},
        )
    return True


def remove_route(key: int, *, actor: User, now: datetime) -> str | None:
    """Remove a route; return its name, or None when somebody was faster.

    Whoever was told an open by it is told its close all the same.
    """
    with transaction.atomic():
        lock_mail()
        route = Route.objects.select_for_update(of=("self",)).filter(pk=key).first()
        if route is None:
            return None
        audit.record(
            actor=actor,
            verb="route.remove",
            subject=route,
            now=now,
            data=_route_data(route),
        )
        route.delete()
    return route.name


def change_reminders(
    *,
    critical_seconds: int | None,
    warning_seconds: int | None,
    actor: User,
    now: datetime,
) -> bool:
    """Choose when people are reminded, None for never; return whether it changed."""
    chosen = {"critical_seconds": critical_seconds, "warning_seconds": warning_seconds}
    for name, seconds in chosen.items():
        if seconds is not None and not 60 <= seconds <= LONGEST_SECONDS:
            raise ValidationError({name: "Expected 1 minute to 4 weeks."})
    with transaction.atomic():
        ReminderSettings.objects.bulk_create(
            [ReminderSettings(pk=ReminderSettings.ONLY)], ignore_conflicts=True
        )
        row = ReminderSettings.objects.select_for_update().get(pk=ReminderSettings.ONLY)
        before = {name: getattr(row, name) for name in chosen}
        changes = {
            name: [before[name], value]
            for name, value in chosen.items()
            if before[name] != value
        }
        if not changes:
            return False
        for name, value in chosen.items():
            setattr(row, name, value)
        row.changed_at = now
        row.save()
        audit.record(
            actor=actor, verb="reminders.change", subject=row, now=now, data=changes
        )
    return True


def who_would_lose(change: Callable[[], object]) -> tuple[Listener, ...]:
    """Return who hears of something now, and would hear of nothing after a change.

    The change is made as it will be, looked at, and taken back. What it refuses
    (ValidationError) it refuses here as well.
    """
    before = _reached()
    with transaction.atomic():
        mark = transaction.savepoint()
        change()
        after = _reached()
        transaction.savepoint_rollback(mark)
    return tuple(each for lane, each in before.items() if lane not in after)


def _reached() -> dict[str, Listener]:
    everybody = reach.listeners()
    deaf = {each.lane for each in unreached(everybody, reach.rules())}
    return {each.lane: each for each in everybody if each.lane not in deaf}


def _note_change(
    noun: str,
    key: int | None,
    row: models.Model,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    actor: User,
    now: datetime,
) -> None:
    if key is None:
        audit.record(
            actor=actor, verb=f"{noun}.add", subject=row, now=now, data=dict(after)
        )
        return
    changes = {
        name: [before[name], after[name]]
        for name in after
        if before[name] != after[name]
    }
    if changes:
        audit.record(
            actor=actor, verb=f"{noun}.change", subject=row, now=now, data=changes
        )


def _names(rows: Iterable[object]) -> list[str]:
    return sorted(str(row) for row in rows)


def _group_data(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "users": _names(group.users.all()),
        "recipients": _names(group.recipients.all()),
    }


def _route_data(route: Route) -> dict[str, Any]:
    return {
        **{
            name: getattr(route, name)
            for name in _PLANNED
            if name not in {"destination", "server", "digest_at"}
        },
        "digest_at": f"{route.digest_at:%H:%M}",
        "destination": str(route.destination or ""),
        "server": str(route.server or ""),
        "groups": _names(route.groups.all()),
        "channels": _names(route.channels.all()),
    }
