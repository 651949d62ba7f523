"""Editing destinations and servers: plain fields, audited."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from django.db import transaction

from console.accounts.models import User
from console.kit import audit
from storepoints.engine import end_of_belief
from storepoints.models import Destination, Server

Row = TypeVar("Row", Destination, Server)


def add_destination(
    *, name: str, note: str, actor: User | None, now: datetime
) -> Destination:
    """Add a destination without servers."""
    with transaction.atomic():
        destination = Destination.objects.create(name=name, note=note, created_at=now)
        audit.record(actor=actor, verb="destination.add", subject=destination, now=now)
    return destination


def edit_destination(
    destination: Destination, *, actor: User | None, now: datetime, **fields: Any
) -> None:
    """Change a destination's fields, and audit the difference."""
    with transaction.atomic():
        current = Destination.objects.select_for_update().get(pk=destination.pk)
        _edit(current, fields, verb="destination.edit", actor=actor, now=now)


def edit_server(
    server: Server, *, actor: User | None, now: datetime, **fields: Any
) -> None:
    """Change a server's fields, and audit the difference."""
    with transaction.atomic():
        current = Server.objects.select_for_update().get(pk=server.pk)
        if current.awaiting_since and "check_seconds" in fields:
            fields["silent_at"] = end_of_belief(
                current.awaiting_since, fields["check_seconds"]
            )
        _edit(current, fields, verb="server.edit", actor=actor, now=now)


def _edit(
    current: Row,
    fields: dict[str, Any],
    *,
    verb: str,
    actor: User | None,
    now: datetime,
) -> None:
    changed = {
        name: [str(getattr(current, name)), str(value)]
        for name, value in fields.items()
        if getattr(current, name) != value
    }
    if not changed:
        return
    for name in changed:
        setattr(current, name, fields[name])
    current.save(update_fields=list(changed))
    audit.record(actor=actor, verb=verb, subject=current, now=now, data=changed)
