"""Servers and store points: the first start, adding, editing, removing."""

from __future__ import annotations

import secrets as random_secrets
import socket
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from console.accounts.models import User
from console.kit import audit, clock, secrets
from storepoints.agent.config import write_configuration
from storepoints.engine import end_of_belief
from storepoints.models import AgentRequest, Destination, Server, StorePoint
from storepoints.services.checks import ask_store_points, send_everything
from storepoints.services.orders import send_order
from storepoints.signals import facts_recorded

#: How long a person waits for an agent's answer.
ANSWER_SECONDS = 5.0
#: How often the answer's row is looked at meanwhile.
LOOK_SECONDS = 0.05


class Refusal(ValueError):
    """Something that cannot be done, in words for the person who asked for it.

    ``field`` names the form field that it is about; ``code`` says which refusal it is.
    """

    def __init__(self, field: str, message: str, code: str = "refused") -> None:
        super().__init__(message)
        self.field = field
        self.code = code


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an agent found at a path that is to become a store point."""

    path: str
    volume: dict[str, Any]
    space: dict[str, Any]
    guid: uuid.UUID | None
    """The store point whose marker is already there, when it is to be continued."""


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
            _create_store_point(
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


def inspect_path(
    server: Server,
    path: str,
    *,
    actor: User | None,
    now: datetime,
    is_taking_over: bool = False,
) -> Inspection:
    """Ask the server's agent whether a path can become a store point.

    Waits at most ANSWER_SECONDS. Raises Refusal, with what to do about it, when the
    path is not absolute, already taken, not a directory or not adoptable, or when
    the agent does not answer. Nothing is written to the disk.
    """
    _refuse_taken_path(server, path)
    request = AgentRequest.objects.create(
        server=server,
        kind="inspect",
        payload={"path": path},
        asked_by=actor,
        asked_at=now,
    )
    is_sent = send_order(
        server,
        "inspect",
        {"path": path},
        expires_seconds=ANSWER_SECONDS,
        order=request.guid,
    )
    answer = _await_answer(request) if is_sent else None
    if answer is None:
        raise Refusal(
            "server",
            f"{server.name} did not answer within {ANSWER_SECONDS:g} seconds. Is its "
            "agent running? Nothing was changed; try again when the server is online.",
            code="no-answer",
        )
    marker = answer.get("marker") or None
    if answer.get("adoptable") is not True:
        if answer.get("problem") == "has-marker" and isinstance(marker, dict):
            guid = _guid_to_continue(marker, is_taking_over=is_taking_over)
            return _inspection(path, answer, guid)
        raise Refusal(
            "path",
            str(answer.get("message") or "The directory cannot be adopted."),
            code=str(answer.get("problem") or "refused"),
        )
    return _inspection(path, answer, None)


def _refuse_taken_path(server: Server, path: str) -> None:
    if not path.startswith("/"):
        raise Refusal(
            "path",
            f"“{path}” is not an absolute path. Give the whole path, from “/” on.",
            code="not-absolute",
        )
    for taken in StorePoint.objects.filter(server=server).only("name", "path"):
        if taken.path == path:
            raise Refusal(
                "path",
                f"{path} on {server.name} is already the store point {taken.name}.",
                code="taken",
            )
        if path.startswith(taken.path + "/") or taken.path.startswith(path + "/"):
            raise Refusal(
                "path",
                f"{path} overlaps the store point {taken.name} ({taken.path}). "
                "A store point must not lie inside another.",
                code="taken",
            )


def _await_answer(request: AgentRequest) -> dict[str, Any] | None:
    until = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        request.refresh_from_db(fields=["answer"])
        if request.answer is not None:
            answer: dict[str, Any] = request.answer
            return answer
    return None


def _guid_to_continue(marker: dict[str, Any], *, is_taking_over: bool) -> uuid.UUID:
    """Return the guid in a marker if it may be continued; Refusal says why not."""
    try:
        guid = uuid.UUID(str(marker.get("store_point")))
    except ValueError:
        raise Refusal(
            "path",
            "The directory has an identity marker that names no store point. If "
            "nothing else uses it, remove .storepoint/identity.json there first.",
            code="marker-unreadable",
        ) from None
    owner = StorePoint.objects.filter(guid=guid).select_related("server").first()
    if owner is not None:
        raise Refusal(
            "path",
            f"This is the disk of the store point {owner.name} ({owner.path} on "
            f"{owner.server.name}). Mount it there, or remove {owner.name} first.",
            code="other-store-point",
        )
    if not is_taking_over:
        name = str(marker.get("name") or guid)
        raise Refusal(
            "path",
            f"The directory carries the marker of a store point “{name}” that this "
            "console does not know: it was removed here, or belongs to another "
            "console. Tick “Continue this store point” to take it over.",
            code="has-marker",
        )
    return guid


def _inspection(
    path: str, answer: dict[str, Any], guid: uuid.UUID | None
) -> Inspection:
    return Inspection(
        path=path,
        volume=answer.get("volume") or {},
        space=answer.get("space") or {},
        guid=guid,
    )


def add_store_point(
    *,
    server: Server,
    name: str,
    path: str,
    note: str = "",
    is_taking_over: bool = False,
    actor: User | None,
    now: datetime,
) -> StorePoint:
    """Inspect a directory, add it as a store point and have its agent adopt it.

    The row comes first and the marker follows: if the adoption is lost on its way it
    is asked for again, so no directory is left with a marker that nobody knows.
    Raises Refusal when the name or the path cannot be taken.
    """
    if StorePoint.objects.filter(name=name).exists():
        raise Refusal("name", f"There is already a store point named {name}.", "taken")
    inspection = inspect_path(
        server, path, actor=actor, now=now, is_taking_over=is_taking_over
    )
    with transaction.atomic():
        store_point = _create_store_point(
            server=server,
            name=name,
            path=path,
            volume=inspection.volume,
            guid=inspection.guid or uuid.uuid4(),
            note=note,
            actor=actor,
            now=clock.now(),
        )
        transaction.on_commit(lambda: ask_for_adoption(now=clock.now()))
    return store_point


def _create_store_point(
    *,
    server: Server,
    name: str,
    path: str,
    volume: dict[str, Any],
    guid: uuid.UUID,
    note: str,
    actor: User | None,
    now: datetime,
) -> StorePoint:
    store_point = StorePoint.objects.create(
        server=server,
        name=name,
        path=path,
        volume=volume,
        guid=guid,
        note=note,
        created_at=now,
        pace=timedelta(seconds=30),
    )
    audit.record(actor=actor, verb="storepoint.add", subject=store_point, now=now)
    facts_recorded.send(
        StorePoint, store_points=[store_point.pk], servers=[server.pk], now=now
    )
    return store_point


def ask_for_adoption(*, now: datetime) -> None:
    """Ask agents to adopt the store points that wait for it.

    Each call asks anew, so an order that was lost costs one tick. An adoption that
    was refused is asked for again as well: what is in its way may have gone.
    """
    waiting = StorePoint.objects.filter(adopted_at__isnull=True)
    for store_point in waiting.select_related("server"):
        request, _ = AgentRequest.objects.get_or_create(
            server=store_point.server,
            kind="adopt",
            guid=adoption_request_of(store_point),
            defaults={"asked_at": now, "payload": {"id": str(store_point.guid)}},
        )
        if request.answered_at is not None:
            AgentRequest.objects.filter(pk=request.pk).update(
                answer=None, answered_at=None, asked_at=now
            )
        send_order(
            store_point.server,
            "adopt",
            {
                "id": str(store_point.guid),
                "name": store_point.name,
                "path": store_point.path,
                "volume": store_point.volume or None,
            },
            expires_seconds=ANSWER_SECONDS,
            order=request.guid,
        )


def adoption_request_of(store_point: StorePoint) -> uuid.UUID:
    """Return the guid of the one adoption request of a store point."""
    return uuid.uuid5(store_point.guid, "adopt")


def edit_store_point(
    store_point: StorePoint,
    *,
    name: str,
    note: str,
    check_seconds: int,
    actor: User | None,
    now: datetime,
) -> None:
    """Change what a person may change of a store point, and audit the difference."""
    wanted = {"name": name, "note": note, "check_seconds": check_seconds}
    with transaction.atomic():
        current = StorePoint.objects.select_for_update().get(pk=store_point.pk)
        before = {field: getattr(current, field) for field in wanted}
        if before == wanted:
            return
        if StorePoint.objects.filter(name=name).exclude(pk=current.pk).exists():
            raise Refusal(
                "name", f"There is already a store point named {name}.", "taken"
            )
        stale_at = (
            end_of_belief(current.checked_at, check_seconds)
            if current.checked_at
            else None
        )
        StorePoint.objects.filter(pk=current.pk).update(
            **wanted, stale_at=stale_at, due_at=now
        )
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
        facts_recorded.send(StorePoint, store_points=[current.pk], servers=[], now=now)
        transaction.on_commit(lambda: ask_store_points([current.pk], now=now))


def remove_store_point(
    store_point: StorePoint, *, actor: User | None, now: datetime
) -> None:
    """Stop watching a store point. The data on its disk is not touched.

    Its alerts stay in the history under its name; those that are still open are
    cleared, because nothing will be said about the store point any more.
    """
    with transaction.atomic():
        current = StorePoint.objects.select_for_update().get(pk=store_point.pk)
        server = current.server
        key = current.pk
        audit.record(
            actor=actor,
            verb="storepoint.remove",
            subject=current,
            now=now,
            data={"path": current.path, "guid": str(current.guid)},
        )
        AgentRequest.objects.filter(guid=adoption_request_of(current)).delete()
        current.delete()
        facts_recorded.send(StorePoint, store_points=[key], servers=[], now=now)
        transaction.on_commit(lambda: send_everything(server, now=now))
