"""Servers and store points: the first start, editing, removing."""

from __future__ import annotations

import secrets as random_secrets
import socket
import uuid
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction

from console.accounts.models import User
from console.kit import audit, secrets
from storepoints.agent.config import write_configuration
from storepoints.engine import end_of_belief
from storepoints.models import AgentRequest, Destination, Server, StorePoint
from storepoints.services.adoption import adoption_request_of, create_store_point
from storepoints.services.checks import ask_store_points, send_everything
from storepoints.services.filesystems import lock_servers_of
from storepoints.services.refusals import Refusal
from storepoints.signals import facts_recorded


def ensure_master_server(*, now: datetime) -> Server:
    """Enrol this machine as the master server, once, and return it.

    The first call makes destination Default, the server with a key of its own, and
    the store point Default under the data directory. Each call writes the agent's
    configuration file; a hook that the administrator put there is kept.
    """
    directory = Path(settings.DATA_DIR) / "store-points" / "default"
    with transaction.atomic():
        server = Server.objects.filter(is_master=True).first()
        if server is None:
            server = _enrol_master(now)
            directory.mkdir(parents=True, exist_ok=True)
            create_store_point(
                server=server,
                name="Default",
                path=str(directory.resolve()),
                volume={},
                guid=uuid.uuid4(),
                note="",
                actor=None,
                now=now,
            )
    write_configuration(
        Path(settings.AGENT_FILE),
        server=str(server.guid),
        name=server.name,
        key=secrets.decrypt(server.sealed_key),
        broker_url=settings.BROKER_URL,
    )
    return server


def _enrol_master(now: datetime) -> Server:
    destination, _ = Destination.objects.get_or_create(
        name="Default", defaults={"created_at": now}
    )
    server = Server.objects.create(
        name=socket.gethostname()[:100] or "master",
        destination=destination,
        is_master=True,
        created_at=now,
        sealed_key=secrets.encrypt(random_secrets.token_hex(32)),
    )
    audit.record(actor=None, verb="server.enrol", subject=server, now=now)
    return server


def edit_store_point(
    store_point: StorePoint,
    *,
    name: str,
    note: str,
    check_seconds: int,
    write_seconds: int | None = None,
    actor: User | None,
    now: datetime,
) -> None:
    """Change what a person may change of a store point, and audit the difference.

    Without ``write_seconds`` that is left as it is.
    """
    wanted: dict[str, str | int] = {
        "name": name,
        "note": note,
        "check_seconds": check_seconds,
    }
    if write_seconds is not None:
        wanted["write_seconds"] = write_seconds
    with transaction.atomic():
        # Its name may stand in the alert of its filesystem.
        lock_servers_of([store_point.pk])
        current = (
            StorePoint.objects.select_for_update(no_key=True)
            .filter(pk=store_point.pk)
            .first()
        )
        if current is None:
            raise Refusal("", f"{store_point.name} is no longer there.", "gone")
        before = {field: getattr(current, field) for field in wanted}
        if before == wanted:
            return
        stale_at = (
            end_of_belief(current.checked_at, check_seconds)
            if current.checked_at
            else None
        )
        try:
            with transaction.atomic():
                StorePoint.objects.filter(pk=current.pk).update(
                    **wanted, stale_at=stale_at, due_at=now
                )
        except IntegrityError:
            raise Refusal(
                "name", f"There is already a store point named {name}.", "taken"
            ) from None
        current.name = name
        audit.record(
            actor=actor,
            verb="storepoint.edit",
            subject=current,
            now=now,
            data={
                field: [before[field], wanted[field]]
                for field in wanted
                if before[field] != wanted[field]
            },
        )
        facts_recorded.send(
            StorePoint,
            store_points=[current.pk],
            servers=[],
            filesystems=[current.filesystem_id] if current.filesystem_id else [],
            now=now,
        )
        transaction.on_commit(lambda: ask_store_points([current.pk], now=now))


def remove_store_points(
    store_points: Iterable[int], *, actor: User | None, now: datetime
) -> int:
    """Stop watching store points, and return how many there were to remove.

    The data on their disks is not touched. Their alerts stay in the history under
    their names; those that are still ongoing clear, because nothing will be said
    about them any more. Each server is sent its new list once.
    """
    wanted = list(store_points)
    with transaction.atomic():
        lock_servers_of(wanted)
        rows = list(
            StorePoint.objects.select_for_update(of=("self",))
            .select_related("server")
            .filter(pk__in=wanted)
            .order_by("pk")
        )
        keys = [row.pk for row in rows]
        servers = {row.server_id: row.server for row in rows}
        for row in rows:
            audit.record(
                actor=actor,
                verb="storepoint.remove",
                subject=row,
                now=now,
                data={"path": row.path, "guid": str(row.guid)},
            )
        AgentRequest.objects.filter(
            guid__in=[adoption_request_of(row) for row in rows]
        ).delete()
        StorePoint.objects.filter(pk__in=keys).delete()
        facts_recorded.send(
            StorePoint,
            store_points=keys,
            servers=[],
            filesystems=sorted({row.filesystem_id for row in rows} - {None}),
            destinations=sorted({each.destination_id for each in servers.values()}),
            now=now,
        )
        for server in servers.values():
            transaction.on_commit(partial(send_everything, server, now=now))
    return len(rows)
