"""Asking agents to probe: what is due, what somebody asked for, and everything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import ExpressionWrapper, F, Q, Value
from django.db.models.fields import DateTimeField

from console.kit import heartbeat
from storepoints.engine import end_of_belief
from storepoints.models import Server, StorePoint
from storepoints.selectors import read_pulse
from storepoints.services.orders import send_order
from storepoints.states import Inbound

#: A probe must answer within this, or the store point is said not to respond.
DEADLINE_SECONDS = 5.0

#: A last tick further ahead than this was made before the clock was set back.
CLOCK_STEP = timedelta(seconds=5)

#: Fields of a store point that its specification is made of.
SPECIFIED = ("guid", "name", "path", "volume", "accepts_inbound", "inbound_revision")


def specification(row: dict[str, Any]) -> dict[str, Any]:
    """Return what an agent must know of a store point, from a row of SPECIFIED."""
    return {
        "id": str(row["guid"]),
        "name": row["name"],
        "path": row["path"],
        "volume": row["volume"] or None,
        "deadline_seconds": DEADLINE_SECONDS,
        "write": True,
        "inbound": Inbound.ENABLED if row["accepts_inbound"] else Inbound.DISABLED,
        "inbound_revision": row["inbound_revision"],
    }


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
        Server.objects.update(awaiting_since=None, silent_at=None)
        heartbeat.beat("resume", now)
    if pulse.tick_at is not None and pulse.tick_at > now + CLOCK_STEP:
        # The clock was set back: what was due soon now seems to be due much later.
        StorePoint.objects.filter(due_at__gt=now).update(due_at=now)
        Server.objects.filter(due_at__gt=now).update(due_at=now)
    heartbeat.beat("tick", now)

    due: dict[int, list[dict[str, Any]]] = defaultdict(list)
    rows = StorePoint.objects.filter(due_at__lte=now, adopted_at__isnull=False)
    for row in rows.values("pk", "server_id", *SPECIFIED):
        due[row["server_id"]].append(row)
    servers = Server.objects.filter(
        Q(pk__in=list(due)) | Q(due_at__lte=now) | Q(due_at__isnull=True)
    )

    asked = 0
    for server in servers:
        rows_of_server = due.get(server.pk, [])
        if not _send_probe(server, rows_of_server, cause="due"):
            continue
        asked += len(rows_of_server)
        StorePoint.objects.filter(pk__in=[row["pk"] for row in rows_of_server]).update(
            due_at=ExpressionWrapper(
                Value(now, output_field=DateTimeField()) + F("pace"),
                output_field=DateTimeField(),
            )
        )
        Server.objects.filter(pk=server.pk).update(
            due_at=now + timedelta(seconds=server.check_seconds)
        )
        expect_answer(server, now=now)
    return asked


def ask_store_points(store_points: Iterable[int], *, now: datetime) -> int:
    """Ask for a probe of these store points at once; return how many were sent."""
    wanted: dict[int, list[dict[str, Any]]] = defaultdict(list)
    rows = StorePoint.objects.filter(
        pk__in=list(store_points), adopted_at__isnull=False
    )
    for row in rows.values("pk", "server_id", *SPECIFIED):
        wanted[row["server_id"]].append(row)
    sent = 0
    for server in Server.objects.filter(pk__in=list(wanted)):
        if _send_probe(server, wanted[server.pk], cause="asked"):
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
    if _send_probe(server, rows, cause="due", is_complete=True):
        expect_answer(server, now=now)


def expect_answer(server: Server, *, now: datetime) -> None:
    """Note since when a server owes an answer; an older debt stands."""
    Server.objects.filter(pk=server.pk, awaiting_since__isnull=True).update(
        awaiting_since=now, silent_at=end_of_belief(now, server.check_seconds)
    )


def _send_probe(
    server: Server, rows: list[dict[str, Any]], *, cause: str, is_complete: bool = False
) -> bool:
    return send_order(
        server,
        "probe",
        {
            "cause": cause,
            "complete": is_complete,
            "last_report": server.last_sequence,
            "store_points": [specification(row) for row in rows],
        },
        expires_seconds=server.check_seconds,
    )
