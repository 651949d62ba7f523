"""The outbound heartbeat: calls an address while the console is well."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from console.accounts.models import User
from console.kit import audit, clock, secrets
from notifications.models import OutboundHeartbeat
from notifications.services.channels import CHANGED
from notifications.services.sending import Tested
from notifications.transports import http
from notifications.transports.masking import Mask

logger = logging.getLogger(__name__)

#: What is put behind the path to say that something is wrong, as Healthchecks has it.
FAIL = "/fail"

#: How long to wait before a failure that could not be said is said again.
SAY_AGAIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class HeartbeatFields:
    """The heartbeat as an administrator typed it; ``url`` None keeps the stored one."""

    url: str | None
    is_enabled: bool
    allows_private: bool
    every_seconds: int
    says_failure: bool


def change_heartbeat(fields: HeartbeatFields, *, actor: User, now: datetime) -> bool:
    """Choose what is called and how often; return whether anything changed.

    The audit entry says which fields changed, of the address only that it did.
    """
    chosen = asdict(fields)
    url = chosen.pop("url")
    with transaction.atomic():
        row = _locked()
        changes: dict[str, Any] = {
            name: [getattr(row, name), value]
            for name, value in chosen.items()
            if getattr(row, name) != value
        }
        if url is not None:
            row.sealed_url = secrets.encrypt(url)
            changes["url"] = CHANGED
        if not changes:
            return False
        for name, value in chosen.items():
            setattr(row, name, value)
        # What is new is tried at once.
        row.called_at = None
        row.failure_said_at = None
        row.save()
        audit.record(
            actor=actor, verb="heartbeat.change", subject=row, now=now, data=changes
        )
    return True


def _locked() -> OutboundHeartbeat:
    rows = OutboundHeartbeat.objects.select_for_update().filter(
        pk=OutboundHeartbeat.ONLY
    )
    found = rows.first()
    if found is None:
        OutboundHeartbeat.objects.bulk_create(
            [OutboundHeartbeat(pk=OutboundHeartbeat.ONLY)], ignore_conflicts=True
        )
        found = rows.get()
    return found


def call_out(troubles: Sequence[str], *, now: datetime) -> None:
    """Call the address if that is due and there are no troubles; note what came of it.

    With troubles nothing is called and the row says why, since when; where that is
    wanted, the failure is said once. Several processes may ask: one of them calls.
    Blocks for at most 20 s; never to be called inside a transaction.
    """
    row = OutboundHeartbeat.objects.filter(
        pk=OutboundHeartbeat.ONLY, is_enabled=True
    ).first()
    if row is None:
        return
    rows = OutboundHeartbeat.objects.filter(pk=row.pk)
    if troubles:
        rows.update(why="; ".join(troubles))
        rows.filter(unhealthy_since__isnull=True).update(unhealthy_since=now)
        if row.says_failure and row.failure_said_at is None:
            is_new = row.unhealthy_since is None
            _call(row, FAIL, pause=timedelta(0) if is_new else SAY_AGAIN, now=now)
        return
    if row.unhealthy_since is not None:
        rows.update(unhealthy_since=None, why="", failure_said_at=None)
    # It is well again, and whoever heard of the failure shall hear of that too.
    pause = timedelta(seconds=0 if row.failure_said_at else row.every_seconds)
    _call(row, "", pause=pause, now=now)


def _call(
    row: OutboundHeartbeat, ending: str, *, pause: timedelta, now: datetime
) -> None:
    if row.called_at is not None and row.called_at <= now < row.called_at + pause:
        return
    rows = OutboundHeartbeat.objects.filter(pk=row.pk)
    # Compare and set: of several processes that see it is due, one calls.
    if not rows.filter(called_at=row.called_at).update(called_at=now):
        return
    is_taken, words, cure = _ask(row, ending)
    at = max(now, clock.now())
    _note(is_taken=is_taken, words=words, cure=cure, at=at)
    if ending and is_taken:
        rows.update(failure_said_at=at)
    if not is_taken:
        logger.warning("the outbound heartbeat: %s", words)


def _note(*, is_taken: bool, words: str, cure: str, at: datetime) -> None:
    when = {"last_success_at": at} if is_taken else {"last_failure_at": at}
    OutboundHeartbeat.objects.filter(pk=OutboundHeartbeat.ONLY).update(
        last_answer=words, last_cure=cure, **when
    )


def _ask(row: OutboundHeartbeat, ending: str) -> tuple[bool, str, str]:
    """Call; return whether that was taken, what was answered, and what to do."""
    try:
        url = secrets.decrypt(row.sealed_url)
    except secrets.Unreadable:
        return (
            False,
            "The address cannot be read: it was stored with another secret key.",
            "Type it again.",
        )
    parts = http.read_url(url)
    where = http.where_of(parts)
    if ending:
        parts = parts._replace(path=(parts.path or "").rstrip("/") + ending)
    try:
        answer = http.request("GET", parts.url, allows_private=row.allows_private)
    except http.NoAnswer as error:
        return False, error.words, error.cure
    words = Mask(url).over(f"{answer.where} answered {answer.words}", where)
    if 200 <= answer.status < 300:
        return True, words, ""
    return False, words, "Check the address with whoever runs the service."


def send_heartbeat(*, actor: User, now: datetime) -> Tested | None:
    """Call the address now, whether it is switched on and the console is well or not.

    Returns the answer; None when there is no address. Audited.
    """
    row = OutboundHeartbeat.objects.filter(pk=OutboundHeartbeat.ONLY).first()
    if row is None or not row.sealed_url:
        return None
    start = time.monotonic()
    is_taken, words, cure = _ask(row, "")
    seconds = time.monotonic() - start
    with transaction.atomic():
        _note(is_taken=is_taken, words=words, cure=cure, at=max(now, clock.now()))
        audit.record(
            actor=actor,
            verb="heartbeat.test",
            subject=row,
            now=now,
            note="" if is_taken else words,
            data={"is_taken": is_taken},
        )
    return Tested(is_sent=is_taken, words=words, cure=cure, seconds=seconds)
