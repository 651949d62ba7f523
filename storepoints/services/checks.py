"""Asking agents to probe: what is due, what somebody asked for, and everything."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import ExpressionWrapper, F, Q, QuerySet, Value
from django.db.models.fields import DateTimeField

from console.kit import heartbeat
from storepoints.engine import end_of_belief
from storepoints.models import Server, StorePoint
from storepoints.rules import DEFAULT, Rules, rules_of
from storepoints.selectors import read_pulse
from storepoints.services.orders import send_order
from storepoints.states import Inbound

#: A probe must answer within this, or the store point is said not to respond.
DEADLINE_SECONDS = 5.0

#: A last tick further ahead than this was made before the clock was set back.
CLOCK_STEP = timedelta(seconds=5)

#: What is due within half a tick is asked now: between two looks lies an interval, and
#: not an interval and up to a tick.
LOOK_AHEAD = timedelta(seconds=1)

#: Fields of a store point that its specification is made of.
SPECIFIED = (
    "guid",
    "name",
    "path",
    "volume",
    "accepts_inbound",
    "inbound_revision",
    "fenced_at",
    "inbound_applied",
    "write_seconds",
    "is_online",
    "well_at",
)


def specification(
    row: dict[str, Any],
    *,
    clock_offset_seconds: float | None = None,
    rules: Rules = DEFAULT,
) -> dict[str, Any]:
    """Return what an agent must know of a store point, from a row of SPECIFIED.

    ``clock_offset_seconds`` is what the agent's clock is behind this one. Of the rules
    it has to know when an archive is stale; what it assumes anyway is not said.
    """
    is_accepting = row["accepts_inbound"] and row["fenced_at"] is None
    wanted = {
        "id": str(row["guid"]),
        "name": row["name"],
        "path": row["path"],
        "volume": row["volume"] or None,
        "deadline_seconds": DEADLINE_SECONDS,
        "write": True,
        "write_seconds": row["write_seconds"],
        "inbound": Inbound.ENABLED if is_accepting else Inbound.DISABLED,
        "is_fenced": row["fenced_at"] is not None,
        "inbound_revision": row["inbound_revision"],
        "told": row["inbound_applied"],
    }
    if not row["is_online"] and row["well_at"] is not None:
        # Only now, and in whole seconds: to the agent, a store point that is told of in
        # other words is another one.
        at = row["well_at"].timestamp()
        wanted["well_at"] = math.floor(at) - round(clock_offset_seconds or 0.0)
    if rules.archives != DEFAULT.archives:
        wanted["warning_days"] = rules.archives.warning_days
        wanted["critical_days"] = rules.archives.critical_days
    return wanted


def send_due_probes(*, now: datetime) -> int:
    """Send each server one order with its store points that are due.

    1. Beat the heartbeat that every page's freshness is judged by. If it had
       stopped, forget which servers owe an answer: the silence was the console's. If
       the clock was set back, everything is due.
    2. Send. A server without due store points is pinged at its own interval.
    3. Only then move the due times on, so that what the broker did not take is due
       again at the next tick.

    Returns the number of store points that were asked about.
    """
    pulse = read_pulse(now)
    if not pulse.is_running:
        _write_in_order(Server.objects.all(), awaiting_since=None, silent_at=None)
        heartbeat.beat("resume", now)
    if pulse.tick_at is not None and pulse.tick_at > now + CLOCK_STEP:
        # The clock was set back: what was due soon now seems to be due much later.
        _write_in_order(StorePoint.objects.filter(due_at__gt=now), due_at=now)
        _write_in_order(Server.objects.filter(due_at__gt=now), due_at=now)
    heartbeat.beat("tick", now)

    due: dict[int, list[dict[str, Any]]] = defaultdict(list)
    soon = now + LOOK_AHEAD
    rows = StorePoint.objects.filter(due_at__lte=soon, adopted_at__isnull=False)
    for row in rows.values("pk", "server_id", *SPECIFIED):
        due[row["server_id"]].append(row)
    servers = list(
        Server.objects.filter(
            Q(pk__in=list(due)) | Q(due_at__lte=soon) | Q(due_at__isnull=True)
        )
    )
    rules = rules_of({server.destination_id for server in servers})

    asked = 0
    for server in servers:
        rows_of_server = due.get(server.pk, [])
        theirs = rules[server.destination_id]
        if not _send_probe(server, rows_of_server, theirs, cause="due"):
            continue
        asked += len(rows_of_server)
        _put_off([row["pk"] for row in rows_of_server], now=now)
        Server.objects.filter(pk=server.pk).update(
            due_at=now + timedelta(seconds=server.check_seconds)
        )
        expect_answer(server, now=now)
    return asked


def _write_in_order(rows: QuerySet[Any], **fields: Any) -> None:
    """Write to many rows, which are locked by key first, as everybody locks them.

    An UPDATE alone locks them as it comes upon them.
    """
    with transaction.atomic():
        locked = rows.select_for_update(no_key=True).order_by("pk")
        list(locked.values_list("pk", flat=True))
        rows.update(**fields)


def _put_off(store_points: Sequence[int], *, now: datetime) -> None:
    """Move the due times of store points on by their pace.

    One that a report is writing now has its due time from there: a tick waits for
    nobody.
    """
    if not store_points:
        return
    with transaction.atomic():
        free = list(
            StorePoint.objects.select_for_update(skip_locked=True, no_key=True)
            .filter(pk__in=store_points)
            .values_list("pk", flat=True)
        )
        StorePoint.objects.filter(pk__in=free).update(
            due_at=ExpressionWrapper(
                Value(now, output_field=DateTimeField()) + F("pace"),
                output_field=DateTimeField(),
            )
        )


def ask_store_points(store_points: Iterable[int], *, now: datetime) -> int:
    """Ask for a probe of these store points at once; return how many were sent."""
    wanted: dict[int, list[dict[str, Any]]] = defaultdict(list)
    rows = StorePoint.objects.filter(
        pk__in=list(store_points), adopted_at__isnull=False
    )
    for row in rows.values("pk", "server_id", *SPECIFIED):
        wanted[row["server_id"]].append(row)
    sent = 0
    servers = list(Server.objects.filter(pk__in=list(wanted)))
    rules = rules_of({server.destination_id for server in servers})
    for server in servers:
        theirs = rules[server.destination_id]
        if _send_probe(server, wanted[server.pk], theirs, cause="asked"):
            sent += len(wanted[server.pk])
            expect_answer(server, now=now)
    return sent


def send_everything(server: Server, *, now: datetime) -> None:
    """Send a server the whole list of its store points, as it needs after a start."""
    rows = list(
        StorePoint.objects.filter(server=server, adopted_at__isnull=False).values(
            "pk", "server_id", *SPECIFIED
        )
    )
    rules = rules_of([server.destination_id])[server.destination_id]
    if _send_probe(server, rows, rules, cause="due", is_complete=True):
        expect_answer(server, now=now)


def expect_answer(server: Server, *, now: datetime) -> None:
    """Note since when a server owes an answer; an older debt stands."""
    Server.objects.filter(pk=server.pk, awaiting_since__isnull=True).update(
        awaiting_since=now, silent_at=end_of_belief(now, server.check_seconds)
    )


def _send_probe(
    server: Server,
    rows: list[dict[str, Any]],
    rules: Rules,
    *,
    cause: str,
    is_complete: bool = False,
) -> bool:
    return send_order(
        server,
        "probe",
        {
            "cause": cause,
            "complete": is_complete,
            "last_report": server.last_sequence,
            "store_points": [
                specification(
                    row,
                    clock_offset_seconds=server.clock_offset_seconds,
                    rules=rules,
                )
                for row in rows
            ],
        },
        expires_seconds=server.check_seconds,
    )
