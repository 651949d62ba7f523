"""Adoption: a directory becomes a store point, after its agent has looked at it."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from console.accounts.models import User
from console.kit import audit, clock
from storepoints.models import AgentRequest, Server, StorePoint
from storepoints.services.evidence import volume_id_of
from storepoints.services.orders import send_order
from storepoints.services.refusals import Refusal
from storepoints.signals import facts_recorded

#: How long a person waits for an agent's answer.
ANSWER_SECONDS = 5.0
#: How often the answer's row is looked at meanwhile.
LOOK_SECONDS = 0.05
#: How soon an adoption is asked for again that was not answered, or was refused.
ASK_AGAIN = timedelta(seconds=4)
REFUSED_AGAIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an agent found at a path that is to become a store point."""

    path: str
    volume: dict[str, str]
    guid: uuid.UUID | None
    """The store point whose marker is already there, when it is to be continued."""


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
    refuse_taken_path(server, path)
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
    answer = await_answer(request) if is_sent else None
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


def refuse_taken_path(
    server: Server, path: str, *, besides: StorePoint | None = None
) -> None:
    """Raise Refusal unless a path is absolute and apart from every store point's.

    ``besides`` is the store point whose own path it may become.
    """
    if not path.startswith("/"):
        raise Refusal(
            "path",
            f"“{path}” is not an absolute path. Give the whole path, from “/” on.",
            code="not-absolute",
        )
    below = path.rstrip("/") + "/"
    for taken in StorePoint.objects.filter(server=server).only("name", "path"):
        if besides is not None and taken.pk == besides.pk:
            continue
        if taken.path == path:
            raise Refusal(
                "path",
                f"{path} on {server.name} is already the store point {taken.name}.",
                code="taken",
            )
        if path.startswith(taken.path.rstrip("/") + "/") or taken.path.startswith(
            below
        ):
            raise Refusal(
                "path",
                f"{path} overlaps the store point {taken.name} ({taken.path}). "
                "A store point must not lie inside another.",
                code="taken",
            )


def await_answer(request: AgentRequest) -> dict[str, Any] | None:
    """Return the answer to a question, or None when none came in ANSWER_SECONDS."""
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
        volume=volume_id_of(answer.get("volume")) or {},
        guid=guid,
    )


def add_store_point(
    *,
    server: Server,
    name: str,
    path: str,
    note: str = "",
    is_taking_over: bool = False,
    is_drill: bool = False,
    actor: User | None,
    now: datetime,
) -> StorePoint:
    """Inspect a directory, add it as a store point and have its agent adopt it.

    The row comes first and the marker follows: if the adoption is lost on its way it
    is asked for again. A marker that nobody knows can only be left by removing the
    store point in the seconds between; it can then be continued. Raises Refusal when
    the name or the path cannot be taken.
    """
    if StorePoint.objects.filter(name=name).exists():
        raise Refusal("name", f"There is already a store point named {name}.", "taken")
    inspection = inspect_path(
        server, path, actor=actor, now=now, is_taking_over=is_taking_over
    )
    try:
        with transaction.atomic():
            # One after the other for each server: what was free may have been taken.
            server = Server.objects.select_for_update(no_key=True).get(pk=server.pk)
            refuse_taken_path(server, path)
            store_point = create_store_point(
                server=server,
                name=name,
                path=path,
                volume=inspection.volume,
                guid=inspection.guid or uuid.uuid4(),
                note=note,
                is_drill=is_drill,
                actor=actor,
                now=clock.now(),
            )
            transaction.on_commit(lambda: ask_for_adoption(now=clock.now()))
    except IntegrityError:
        raise Refusal(
            "name",
            f"Somebody added {name} at this moment. Look at the list before you try "
            "again.",
            "taken",
        ) from None
    return store_point


def create_store_point(
    *,
    server: Server,
    name: str,
    path: str,
    volume: dict[str, Any],
    guid: uuid.UUID,
    note: str,
    is_drill: bool = False,
    actor: User | None,
    now: datetime,
) -> StorePoint:
    """Write a store point that waits for its adoption; call it in a transaction."""
    store_point = StorePoint.objects.create(
        server=server,
        name=name,
        path=path,
        volume=volume,
        guid=guid,
        note=note,
        is_drill=is_drill,
        created_at=now,
        pace=timedelta(seconds=30),
    )
    audit.record(actor=actor, verb="storepoint.add", subject=store_point, now=now)
    facts_recorded.send(StorePoint, store_points=[store_point.pk], servers=[], now=now)
    return store_point


def ask_for_adoption(*, now: datetime) -> None:
    """Ask agents to adopt the store points that wait for it.

    What was asked and not answered is asked again after ASK_AGAIN, what was refused
    after REFUSED_AGAIN: what is in its way may have gone. Three queries, whatever
    the number of store points that wait.
    """
    waiting = list(
        StorePoint.objects.filter(adopted_at__isnull=True).select_related("server")
    )
    if not waiting:
        return
    guids = {adoption_request_of(store_point): store_point for store_point in waiting}
    known = {
        request.guid: request
        for request in AgentRequest.objects.filter(kind="adopt", guid__in=list(guids))
    }
    due = [
        guid
        for guid in guids
        if guid not in known or _is_adoption_due(known[guid], now)
    ]
    AgentRequest.objects.bulk_create(
        [
            AgentRequest(
                guid=guid,
                server=guids[guid].server,
                kind="adopt",
                payload={"id": str(guids[guid].guid)},
                asked_at=now,
            )
            for guid in due
        ],
        update_conflicts=True,
        unique_fields=["guid"],
        update_fields=["asked_at", "answer", "answered_at"],
        batch_size=200,
    )
    for guid in due:
        store_point = guids[guid]
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
            order=guid,
        )


def _is_adoption_due(request: AgentRequest, now: datetime) -> bool:
    again = ASK_AGAIN if request.answered_at is None else REFUSED_AGAIN
    return not timedelta(0) <= now - request.asked_at < again


def adoption_request_of(store_point: StorePoint) -> uuid.UUID:
    """Return the guid of the one adoption request of a store point."""
    return uuid.uuid5(store_point.guid, "adopt")
