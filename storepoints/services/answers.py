"""Answers of agents: written to the questions they belong to, and to what they adopted."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from storepoints.models import AgentRequest, Server, StorePoint
from storepoints.services.checks import send_everything
from storepoints.services.evidence import volume_id_of
from storepoints.services.readoption import record_readoption

logger = logging.getLogger(__name__)


def record_answers(server: Server, answers: list[Any], now: datetime) -> list[int]:
    """Write answers to the questions they belong to, and adoptions to their rows.

    Returns the store points whose adoption was answered.
    """
    adopted: list[int] = []
    for entry in answers:
        if not isinstance(entry, dict) or not isinstance(entry.get("answer"), dict):
            logger.warning("%s: refused an answer that is no object", server)
            continue
        answer = entry["answer"]
        try:
            order = UUID(str(entry.get("order")))
        except ValueError:
            logger.warning("%s: refused an answer to no order", server)
            continue
        request = (
            AgentRequest.objects.select_for_update()
            .filter(server=server, guid=order, answered_at__isnull=True)
            .first()
        )
        if request is None:
            continue
        request.answer = answer
        request.answered_at = now
        request.save(update_fields=["answer", "answered_at"])
        if request.kind == "adopt":
            adopted += _record_adoption(server, request, answer, now)
        elif request.kind == "readopt":
            adopted += record_readoption(server, request, answer, now=now)
    return adopted


def _record_adoption(
    server: Server, request: AgentRequest, answer: dict[str, Any], now: datetime
) -> list[int]:
    store_point = (
        StorePoint.objects.select_for_update(no_key=True)
        .filter(server=server, guid=request.payload["id"], adopted_at__isnull=True)
        .first()
    )
    if store_point is None:
        return []
    if answer.get("adopted") is True:
        store_point.adopted_at = now
        store_point.adoption_error = ""
        store_point.due_at = now
        if not store_point.volume:
            store_point.volume = volume_id_of(answer.get("volume")) or {}
    else:
        store_point.adoption_error = str(answer.get("message", ""))[:500] or "refused"
    store_point.save(update_fields=["adopted_at", "adoption_error", "due_at", "volume"])
    if store_point.adopted_at:
        transaction.on_commit(lambda: send_everything(server, now=now))
    return [store_point.pk]
