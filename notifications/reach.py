"""Reads: who can be told of alerts, and by which routes, in constant queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Lower

from alerts.coverage import Coverage
from alerts.engine import Severity
from console.accounts.models import User
from console.accounts.selectors import IS_ADMINISTRATOR
from notifications.following import Reminders
from notifications.models import Channel, Group, Recipient, ReminderSettings, Route
from notifications.pace import Clock, Pace, Quiet
from notifications.rules import Listener, Rule


def console_zone() -> ZoneInfo:
    """Return the console's own time zone."""
    return ZoneInfo(settings.TIME_ZONE)


def quiet_of(user: User) -> Quiet | None:
    """Return somebody's quiet hours."""
    if user.quiet_from is None or user.quiet_until is None:
        return None
    return Quiet(
        user.quiet_from,
        user.quiet_until,
        user.zone or console_zone(),
        lets_critical=user.quiet_lets_critical,
    )


def listener_of(user: User, groups: Iterable[int]) -> Listener:
    """Return how somebody can be told by mail."""
    return Listener(
        lane=user.email,
        name=user.get_username(),
        hears_everything=user.is_administrator,
        groups=frozenset(groups),
        quiet=quiet_of(user),
        zone=user.zone or console_zone(),
    )


def listeners() -> list[Listener]:
    """Return everybody who can be told; six queries.

    Administrators first, then members of groups, recipients, and the channels that are
    switched on; each address once, in whatever case. A recipient's address that is a
    person's has that person's name, quiet hours and time zone.
    """
    groups = _pairs(Group.users.through, "user_id", "group_id")
    addresses = Recipient.objects.order_by().values_list(Lower("address"))
    people = (
        User.objects.filter(is_active=True)
        .alias(lower=Lower("email"))
        .filter(
            IS_ADMINISTRATOR
            | Q(pk__in=Group.users.through.objects.values("user_id"))
            | Q(lower__in=addresses)
        )
        .exclude(email="")
    )
    found: dict[str, Listener] = {}
    for user in sorted(people, key=lambda each: (not each.is_administrator, each.pk)):
        _add(found, listener_of(user, groups.get(user.pk, ())))
    in_groups = _pairs(Group.recipients.through, "recipient_id", "group_id")
    for row in Recipient.objects.order_by("address"):
        _add(found, listener_of_recipient(row, in_groups.get(row.pk, ())))
    named = set(Route.channels.through.objects.values_list("channel_id", flat=True))
    for channel in Channel.objects.filter(is_enabled=True).order_by("name", "pk"):
        found[channel.lane] = listener_of_channel(channel, is_named=channel.pk in named)
    return list(found.values())


def listener_of_recipient(row: Recipient, groups: Iterable[int]) -> Listener:
    """Return how a recipient is told: of everything, while they are in no group."""
    keys = frozenset(groups)
    return Listener(
        lane=row.address,
        name=row.address,
        hears_everything=not keys,
        groups=keys,
        zone=console_zone(),
    )


def listener_of_channel(channel: Channel, *, is_named: bool) -> Listener:
    """Return how a channel is told: of everything, while no route names it."""
    return Listener(
        lane=channel.lane,
        name=channel.name,
        hears_everything=not is_named,
        zone=console_zone(),
        is_channel=True,
        is_failing=channel.failing_since is not None,
    )


def coverages_of(address: str) -> list[Coverage] | None:
    """Return what routes may tell an address of; None when it hears everything.

    Three queries; the address in whatever case.
    """
    own = Recipient.objects.filter(address__iexact=address)
    if (
        own.filter(groups__isnull=True).exists()
        or User.objects.filter(
            IS_ADMINISTRATOR, is_active=True, email__iexact=address
        ).exists()
    ):
        return None
    groups = Group.objects.filter(
        Q(recipients__in=own)
        | Q(users__in=User.objects.filter(is_active=True, email__iexact=address))
    )
    rows = Route.objects.filter(is_enabled=True, groups__in=groups).distinct()
    return [row.coverage for row in rows]


def _add(found: dict[str, Listener], new: Listener) -> None:
    """Add somebody; the same address as two rows is one who hears of both."""
    key = new.lane.strip().lower()
    if not key:
        return
    old = found.get(key)
    found[key] = (
        new
        if old is None
        else replace(
            old,
            groups=old.groups | new.groups,
            hears_everything=old.hears_everything or new.hears_everything,
        )
    )


def _pairs(through: Any, key: str, value: str) -> dict[int, list[int]]:
    """Return the rows of a table between two others: one side by the other."""
    found: dict[int, list[int]] = {}
    for one, other in through.objects.order_by("pk").values_list(key, value):
        found.setdefault(one, []).append(other)
    return found


def routes() -> QuerySet[Route]:
    """Return the routes in their order, with what lists show of them."""
    return (
        Route.objects.select_related("destination", "server")
        .prefetch_related("groups", "channels")
        .order_by("position", "pk")
    )


def groups() -> QuerySet[Group]:
    """Return the groups with their members, by name."""
    return Group.objects.prefetch_related("users", "recipients", "routes").order_by(
        "name", "pk"
    )


def rule_of(
    route: Route, *, groups: Iterable[int], channels: Iterable[Channel]
) -> Rule:
    """Return what a route decides; its groups and channels are given."""
    try:
        zone = ZoneInfo(route.time_zone)
    except (KeyError, ValueError):
        # The database of zones changed under a stored name: people must still hear.
        zone = console_zone()
    return Rule(
        key=route.pk or 0,
        name=route.name,
        coverage=route.coverage,
        groups=frozenset(groups),
        lanes=frozenset(each.lane for each in channels),
        clock=Clock(Pace(route.pace), route.digest_at, zone),
        after=None
        if route.after_seconds is None
        else timedelta(seconds=route.after_seconds),
    )


def rules_of(rows: Iterable[Route]) -> list[Rule]:
    """Return what these routes decide; their groups and channels are prefetched."""
    return [
        rule_of(
            row,
            groups=[each.pk for each in row.groups.all()],
            channels=row.channels.all(),
        )
        for row in rows
    ]


def rules() -> list[Rule]:
    """Return what the routes that are switched on decide, in order; three queries."""
    return rules_of(routes().filter(is_enabled=True))


def reminder_settings() -> ReminderSettings:
    """Return when people are reminded; the defaults when nobody has set it."""
    return ReminderSettings.objects.filter(
        pk=ReminderSettings.ONLY
    ).first() or ReminderSettings(pk=ReminderSettings.ONLY)


def reminders_of(row: ReminderSettings) -> Reminders:
    """Return the settings as the decisions take them."""
    spans = {
        Severity.CRITICAL: row.critical_seconds,
        Severity.WARNING: row.warning_seconds,
    }
    return Reminders(
        {
            severity.value: timedelta(seconds=seconds)
            for severity, seconds in spans.items()
            if seconds is not None
        }
    )
