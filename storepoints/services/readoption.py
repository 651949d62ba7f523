"""Re-adoption: a store point is bound to the disk that is there now, by a person.

1. *Look again*: the agent looks at a path and writes nothing. Its answer is kept.
2. A person reads what would happen and types the store point's name.
3. *Readopt*: the agent is sent what was shown. It acts only if that is still so.
4. The row follows when the agent has answered, however late, and is audited.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from console.accounts.models import User
from console.kit import audit
from storepoints.models import AgentRequest, Server, StorePoint
from storepoints.readopting import Expected, Found, Plan, named_volume, plan
from storepoints.services.adoption import (
    ANSWER_SECONDS,
    await_answer,
    refuse_taken_path,
)
from storepoints.services.checks import ask_store_points
from storepoints.services.evidence import space_of, volume_id_of
from storepoints.services.orders import send_order
from storepoints.services.refusals import Refusal

#: What was found is not confirmed any more when it is older than this.
LOOK_LIFE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Look:
    """What an agent found at a path, and what re-adopting there would do.

    ``key`` names it when it is confirmed.
    """

    key: uuid.UUID
    found: Found
    plan: Plan
    space: dict[str, int]
    at: datetime


def look_again(
    store_point: StorePoint, path: str, *, actor: User, now: datetime
) -> Look:
    """Have the agent look at a path, and return what re-adopting there would do.

    Waits at most ANSWER_SECONDS. Raises Refusal when the path is another store
    point's, or the agent does not answer. Nothing is written to the disk.
    """
    refuse_taken_path(store_point.server, path, besides=store_point)
    request = AgentRequest.objects.create(
        server=store_point.server,
        kind="inspect",
        payload={
            "path": path,
            "id": str(store_point.guid),
            "before": _place_of(store_point),
        },
        asked_by=actor,
        asked_at=now,
    )
    is_sent = send_order(
        store_point.server,
        "inspect",
        {"path": path, "looks": True},
        expires_seconds=ANSWER_SECONDS,
        order=request.guid,
    )
    answer = await_answer(request) if is_sent else None
    if answer is None:
        raise _no_answer(
            store_point.server,
            "Nothing was changed; try again when the server is online.",
        )
    return _look_of(store_point, request, answer)


def read_look(
    store_point: StorePoint, key: uuid.UUID, *, actor: User, now: datetime
) -> Look:
    """Return what this person was shown of this store point not long ago.

    Raises Refusal when it was about another one, shown to somebody else, is too old,
    or the store point has changed its place since.
    """
    request, answer = _remembered(store_point, key, actor=actor, now=now)
    return _look_of(store_point, request, answer)


def _remembered(
    store_point: StorePoint, key: uuid.UUID, *, actor: User, now: datetime
) -> tuple[AgentRequest, dict[str, Any]]:
    request = AgentRequest.objects.filter(
        guid=key,
        kind="inspect",
        server=store_point.server,
        asked_by=actor,
        asked_at__gt=now - LOOK_LIFE,
        answer__isnull=False,
    ).first()
    if (
        request is None
        or request.payload.get("id") != str(store_point.guid)
        or request.payload.get("before") != _place_of(store_point)
    ):
        raise Refusal(
            "",
            "What was found is out of date: it was found too long ago, by somebody "
            "else, or before the store point was changed. Look again.",
            "stale",
        )
    answer: dict[str, Any] = request.answer or {}
    return request, answer


def readopt_store_point(
    store_point: StorePoint,
    *,
    look: uuid.UUID,
    typed_name: str,
    actor: User,
    now: datetime,
) -> None:
    """Bind a store point to the disk that was shown, once its name has been typed.

    The agent is sent what was shown and changes the marker only if that is still so;
    the row follows from its answer. Waits at most ANSWER_SECONDS. Raises Refusal,
    which says what is so and what to do; then the row has not changed.
    """
    seen, answer = _remembered(store_point, look, actor=actor, now=now)
    path = str(seen.payload["path"])
    shown = _look_of(store_point, seen, answer)
    if not shown.plan.is_possible:
        raise Refusal("", " ".join(shown.plan.warnings), str(shown.plan.case))
    if typed_name.strip() != store_point.name:
        raise Refusal(
            "typed_name",
            f"Type the name of the store point exactly: {store_point.name}",
            "name",
        )
    refuse_taken_path(store_point.server, path, besides=store_point)
    request = AgentRequest.objects.create(
        server=store_point.server,
        kind="readopt",
        payload={
            "id": str(store_point.guid),
            "path": path,
            "before": _place_of(store_point),
            "case": str(shown.plan.case),
            "marker": shown.found.marker,
        },
        asked_by=actor,
        asked_at=now,
    )
    is_sent = send_order(
        store_point.server,
        "readopt",
        {
            "id": str(store_point.guid),
            "name": store_point.name,
            "path": path,
            "expects": {
                "volume": answer.get("volume"),
                "fingerprint": answer.get("fingerprint"),
            },
        },
        expires_seconds=ANSWER_SECONDS,
        order=request.guid,
    )
    if not is_sent:
        request.delete()
        raise Refusal(
            "",
            "The server could not be asked: the message broker is away. Nothing was "
            "changed.",
            "broker",
        )
    outcome = await_answer(request)
    if outcome is None:
        raise _no_answer(
            store_point.server,
            "If it was only slow, the store point changes when its answer comes; look "
            "again before anything else.",
        )
    if outcome.get("adopted") is not True:
        raise Refusal(
            "",
            f"{outcome.get('message') or 'The agent refused.'} The store point is as "
            "it was. Look again.",
            str(outcome.get("problem") or "refused"),
        )


def record_readoption(
    server: Server, request: AgentRequest, answer: dict[str, Any], *, now: datetime
) -> list[int]:
    """Let the row follow an agent's answer; return the store point's key if it did.

    To be called in the transaction that records the answer. What cannot be taken over,
    because the store point changed its place or its path was taken meanwhile, is
    written into the answer for the person who waits for it.
    """
    if answer.get("adopted") is not True:
        return []
    # Paths are given away one after the other for each server, whose row is locked.
    store_point = (
        StorePoint.objects.select_for_update(no_key=True)
        .filter(server=server, guid=request.payload["id"])
        .first()
    )
    if store_point is None:
        return []
    path = str(request.payload["path"])
    volume = volume_id_of(answer.get("volume"))
    refusal = ""
    if volume is None:
        refusal = "The agent did not say which volume it adopted."
    elif request.payload["before"] != _place_of(store_point):
        refusal = "Somebody else re-adopted the store point meanwhile."
    else:
        try:
            refuse_taken_path(server, path, besides=store_point)
        except Refusal as taken:
            refusal = str(taken)
    if refusal:
        request.answer = {
            **answer,
            "adopted": False,
            "problem": "changed",
            "message": refusal,
        }
        request.save(update_fields=["answer"])
        return []
    before = _place_of(store_point)
    if path != store_point.path:
        # What was written below the path that it had.
        store_point.fall_through = {}
    # Others may lie there; the agent looks at them anew.
    store_point.archives_at = store_point.newest_archive_at = None
    store_point.archive_count = None
    store_point.stale_archives = {}
    store_point.path = path
    store_point.volume = volume
    store_point.adopted_at = now
    store_point.adoption_error = ""
    store_point.due_at = now
    store_point.save(
        update_fields=[
            "path",
            "volume",
            "adopted_at",
            "adoption_error",
            "due_at",
            "fall_through",
            "archives_at",
            "archive_count",
            "newest_archive_at",
            "stale_archives",
        ]
    )
    after = _place_of(store_point)
    audit.record(
        actor=request.asked_by,
        verb="storepoint.readopt",
        subject=store_point,
        now=now,
        data={
            "found": request.payload.get("case", ""),
            "marker": request.payload.get("marker") or "none",
            "path": [before["path"], after["path"]],
            "volume": [named_volume(each["volume"]) for each in (before, after)],
        },
    )
    transaction.on_commit(lambda: ask_store_points([store_point.pk], now=now))
    return [store_point.pk]


def place_elsewhere(store_point: StorePoint) -> str:
    """Return where the adopted volume is mounted now, as a path for the store point.

    By the server's own list of volumes; empty when it is not there, or at its place.
    """
    adopted = store_point.volume
    mount_point = str(adopted.get("mount_point") or "")
    if not mount_point:
        return ""
    for volume in store_point.server.volumes:
        is_it = any(
            adopted.get(name) and volume.get(name) == adopted[name]
            for name in ("fs_uuid", "fsid")
        )
        if is_it and volume.get("mount_point") != mount_point:
            below = store_point.path.removeprefix(mount_point.rstrip("/")).strip("/")
            there = str(volume["mount_point"]).rstrip("/")
            return f"{there}/{below}".rstrip("/") or "/"
    return ""


def _place_of(store_point: StorePoint) -> dict[str, Any]:
    return {"path": store_point.path, "volume": store_point.volume}


def _look_of(
    store_point: StorePoint, request: AgentRequest, answer: dict[str, Any]
) -> Look:
    found = _found(store_point, str(request.payload["path"]), answer)
    return Look(
        key=request.guid,
        found=found,
        plan=plan(
            Expected(
                name=store_point.name,
                guid=str(store_point.guid),
                path=store_point.path,
                volume=store_point.volume,
            ),
            found,
        ),
        space=space_of(answer.get("space")),
        at=request.asked_at,
    )


def _found(store_point: StorePoint, path: str, answer: dict[str, Any]) -> Found:
    """Return what an agent's answer says, with whose marker it is.

    An agent of an older version says nothing of fingerprints: then nothing can be
    confirmed, and that is said.
    """
    volume = volume_id_of(answer.get("volume"))
    problem = ""
    if answer.get("adoptable") is not True:
        problem = str(answer.get("message") or "The agent cannot look at it.")
    elif volume is None or not answer.get("fingerprint"):
        problem = (
            f"The agent on {store_point.server.name} is too old to re-adopt: bring it "
            "to the master's version first."
        )
    marker = answer.get("marker")
    marker = marker if isinstance(marker, dict) else {}
    named = str(marker.get("store_point") or "")
    archives = answer.get("archives")
    owner: StorePoint | None = None
    try:
        guid = uuid.UUID(named) if named else None
    except ValueError:
        guid = None
    if guid is not None:
        named = str(guid)
        owner = StorePoint.objects.filter(guid=guid).select_related("server").first()
    return Found(
        path=path,
        volume=volume or {},
        problem=problem,
        marker=named,
        damage=str(answer.get("damage") or ""),
        owner=owner.name if owner else str(marker.get("name") or named),
        is_owner_known=owner is not None,
        owner_place=f"{owner.path} on {owner.server.name}" if owner else "",
        archives=archives if isinstance(archives, int) else None,
    )


def _no_answer(server: Server, then: str) -> Refusal:
    return Refusal(
        "",
        f"{server.name} did not answer within {ANSWER_SECONDS:g} seconds. Is its agent "
        f"running? {then}",
        "no-answer",
    )
