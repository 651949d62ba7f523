"""Editing destinations and servers: plain fields, audited."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from django.db import IntegrityError, transaction

from console.accounts.models import User
from console.kit import audit
from storepoints.engine import end_of_belief
from storepoints.models import Destination, Server
from storepoints.services.fence import lift_with_policy, lock_store_points
from storepoints.services.refusals import Refusal
from storepoints.signals import facts_recorded

Row = TypeVar("Row", Destination, Server)


def add_destination(
    *,
    name: str,
    note: str,
    is_fencing: bool = False,
    fence_good_probes: int = 3,
    actor: User | None,
    now: datetime,
) -> Destination:
    """Add a destination without servers."""
    with transaction.atomic():
        try:
            with transaction.atomic():
                destination = Destination.objects.create(
                    name=name,
                    note=note,
                    is_fencing=is_fencing,
                    fence_good_probes=fence_good_probes,
                    created_at=now,
                )
        except IntegrityError:
            raise Refusal(
                "name", f"There is already a destination named {name}.", "taken"
            ) from None
        audit.record(actor=actor, verb="destination.add", subject=destination, now=now)
    return destination


def edit_destination(
    destination: Destination, *, actor: User | None, now: datetime, **fields: Any
) -> None:
    """Change a destination's fields, and audit the difference.

    Switching its fence off lifts the fences of its store points.
    """
    with transaction.atomic():
        # Before the destination, as a report locks them.
        locked = lock_store_points(destination)
        current = Destination.objects.select_for_update(no_key=True).get(
            pk=destination.pk
        )
        was_fencing = current.is_fencing
        _edit(current, fields, verb="destination.edit", actor=actor, now=now)
        if was_fencing and not current.is_fencing:
            lift_with_policy(locked, actor=actor, now=now)


def edit_server(
    server: Server, *, actor: User | None, now: datetime, **fields: Any
) -> None:
    """Change a server's fields, and audit the difference."""
    with transaction.atomic():
        current = Server.objects.select_for_update(no_key=True).get(pk=server.pk)
        left = current.destination_id
        if current.awaiting_since and "check_seconds" in fields:
            current.silent_at = end_of_belief(
                current.awaiting_since, fields["check_seconds"]
            )
        # Asked at once, so that a shorter interval does not begin after the longer one.
        current.due_at = now
        current.save(update_fields=["silent_at", "due_at"])
        _edit(current, fields, verb="server.edit", actor=actor, now=now)
        # Alerts name the server as it is called now.
        facts_recorded.send(
            Server,
            store_points=list(current.store_points.values_list("pk", flat=True)),
            servers=[current.pk],
            filesystems=list(current.filesystems.values_list("pk", flat=True)),
            destinations=sorted({left, current.destination_id}),
            now=now,
        )


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
    try:
        with transaction.atomic():
            current.save(update_fields=list(changed))
    except IntegrityError:
        raise Refusal(
            "name", f"There is already one named {fields['name']}.", "taken"
        ) from None
    audit.record(actor=actor, verb=verb, subject=current, now=now, data=changed)
