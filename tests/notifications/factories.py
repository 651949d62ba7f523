"""Rows for these tests: people, alerts and what happened to them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from alerts.engine import Severity
from alerts.models import Alert, AlertEvent
from console.accounts.models import User
from console.accounts.roles import Role
from console.kit import clock, secrets
from notifications.models import Channel, EmailSettings, Group, Recipient, Route

_numbers = itertools.count(1)


def make_user(
    name: str = "ana", role: Role = Role.ADMINISTRATOR, **fields: Any
) -> User:
    fields.setdefault("email", f"{name}@example.org")
    return User.objects.create_user(username=name, role=role.value, **fields)


def make_recipient(address: str = "ops@example.org") -> Recipient:
    return Recipient.objects.create(address=address, added_at=clock.now())


def set_up_mail(port: int, **fields: Any) -> EmailSettings:
    password = fields.pop("password", "")
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "Store Points <console@example.org>",
        "sealed_password": secrets.encrypt(password),
        **fields,
    }
    settings, _ = EmailSettings.objects.update_or_create(
        pk=EmailSettings.ONLY, defaults=values
    )
    return settings


def make_channel(
    name: str = "pager",
    url: str = "http://127.0.0.1:9/hook",
    *,
    kind: str = "webhook",
    secret: str = "spc_secret",
    **fields: Any,
) -> Channel:
    """A channel to this machine, which is where the fakes of the tests are."""
    values = {"allows_private": True, "created_at": clock.now(), **fields}
    return Channel.objects.create(
        name=name,
        kind=kind,
        sealed_url=secrets.encrypt(url),
        sealed_secret=secrets.encrypt(secret if kind == "webhook" else ""),
        **values,
    )


def make_alert(
    name: str = "",
    *,
    kind: str = "store-point-offline",
    severity: Severity = Severity.CRITICAL,
    text: str = "",
    at: datetime | None = None,
    event: bool = True,
    **fields: Any,
) -> Alert:
    number = next(_numbers)
    name = name or f"Tank-{number:02}"
    at = at or clock.now()
    alert = Alert.objects.create(
        kind=kind,
        subject=f"store-point:{number}",
        severity=severity,
        text=text or f"Store point is unavailable: {name}",
        object_name=name[:100],
        reported_by="stor-1",
        raised_at=at,
        last_seen_at=at,
        **fields,
    )
    if event:
        happens(alert, AlertEvent.Kind.RAISED, at=at)
    return alert


def happens(
    alert: Alert, kind: AlertEvent.Kind, *, at: datetime | None = None
) -> AlertEvent:
    at = at or clock.now()
    if kind == AlertEvent.Kind.CLEARED:
        Alert.objects.filter(pk=alert.pk).update(cleared_at=at)
    elif kind == AlertEvent.Kind.REOPENED:
        Alert.objects.filter(pk=alert.pk).update(cleared_at=None)
    return AlertEvent.objects.create(
        alert=alert,
        at=at,
        kind=kind,
        text="" if kind == AlertEvent.Kind.CLEARED else alert.text,
    )


def clear(alert: Alert, *, at: datetime | None = None) -> AlertEvent:
    return happens(alert, AlertEvent.Kind.CLEARED, at=at)


def later(seconds: float) -> datetime:
    return clock.now() + timedelta(seconds=seconds)


def make_group(
    name: str = "ops",
    *,
    users: Iterable[User] = (),
    recipients: Iterable[str] = (),
) -> Group:
    """Return a group; recipients by address, made where they are missing."""
    group = Group.objects.create(name=name, created_at=clock.now())
    group.users.set(users)
    for address in recipients:
        found = Recipient.objects.filter(address=address).first()
        group.recipients.add(found or make_recipient(address))
    return group


def make_route(
    name: str = "Pager",
    *,
    groups: Iterable[Group] = (),
    channels: Iterable[Channel] = (),
    **fields: Any,
) -> Route:
    fields.setdefault("position", next(_numbers))
    route = Route.objects.create(name=name, created_at=clock.now(), **fields)
    route.groups.set(groups)
    route.channels.set(channels)
    return route
