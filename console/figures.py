"""The console's own figures: how soon it tells, and what waits in its queues."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import (
    Count,
    DurationField,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Window,
)
from django.db.models.functions import RowNumber
from redis.exceptions import RedisError

from alerts.catalogue import store_point_offline
from alerts.models import Alert, AlertEvent
from console import broker
from notifications.models import Delivery
from storepoints import wire
from storepoints.models import Server
from storepoints.transport import PUBLISHED_AT

#: How far back detection is measured.
MEASURED = timedelta(days=30)

#: The broker answers within milliseconds, or a page must not wait for it.
BROKER_SECONDS = 0.5

#: Where Kombu keeps what a worker has taken and not done yet, by when it was taken.
UNACKNOWLEDGED = "unacked_index"


@dataclass(frozen=True, slots=True)
class Latency:
    """Exact percentiles (nearest rank) in seconds, and how many alerts they rest on."""

    count: int
    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits in a queue; ``seconds`` is the age of the oldest, None if unknown."""

    name: str
    length: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues that somebody should know of, or why the broker does not say."""

    rows: list[Queue]
    empty_servers: int = 0
    problem: str = ""


def detection(now: datetime) -> tuple[Latency, Latency]:
    """Return how long alerts took from the first failed probe to being raised, mailed.

    Of store points that went offline in the last 30 days; two queries. Drills do not
    count, and neither do alerts that were raised only because a server is silent: no
    probe of theirs has failed. Of the mails, the first that was taken counts.
    """
    alerts = Alert.objects.filter(
        raised_at__gte=now - MEASURED,
        kind=store_point_offline.KIND.slug,
        failed_at__isnull=False,
        is_presumed=False,
        drills__isnull=True,
    )
    mailed = (
        Delivery.objects.filter(
            event__alert=OuterRef("pk"),
            event__kind=AlertEvent.Kind.RAISED,
            sent_at__isnull=False,
        )
        .order_by("sent_at")
        .values("sent_at")[:1]
    )
    return (
        _percentiles(alerts.annotate(told_at=F("raised_at"))),
        _percentiles(
            alerts.annotate(told_at=Subquery(mailed)).filter(told_at__isnull=False)
        ),
    )


def _percentiles(alerts: QuerySet[Any]) -> Latency:
    """Return p50 and p95 of ``told_at - failed_at``, ranked by the database."""
    span = ExpressionWrapper(
        F("told_at") - F("failed_at"), output_field=DurationField()
    )
    # The smallest span with at least so many per cent of all at or below it.
    half, most = ((F("total") * each + 99) / 100 for each in (50, 95))
    rows = list(
        alerts.order_by()
        .annotate(span=span)
        .annotate(
            place=Window(RowNumber(), order_by=[F("span").asc(), F("pk").asc()]),
            total=Window(Count("*")),
        )
        .filter(Q(place=half) | Q(place=most))
        .order_by("place")
        .values_list("span", "total")
    )
    if not rows:
        return Latency(0)
    return Latency(
        count=rows[0][1],
        p50=max(0.0, rows[0][0].total_seconds()),
        p95=max(0.0, rows[-1][0].total_seconds()),
    )


def queues(now: datetime) -> Queues:
    """Return what waits in each queue of the console, and of servers that owe answers.

    One query and at most two trips to the broker, which has a second in all.
    """
    own = list(settings.CONSUMED_QUEUES)
    servers = {
        wire.queue_of(str(guid)): name
        for guid, name in Server.objects.order_by("name").values_list("guid", "name")
    }
    names = [*own, *servers]
    try:
        client = broker.connect(settings.BROKER_URL, timeout_seconds=BROKER_SECONDS)
        with contextlib.closing(client):
            lengths, taken, oldest_taken = _lengths(client, names)
            full = [name for name in names if lengths[name]]
            oldest = _oldest(client, full)
    except (RedisError, OSError, ValueError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        return Queues([], problem=f"The broker does not answer: {text}")
    rows = [
        Queue(
            f"agent of {servers[name]}" if name in servers else name,
            lengths[name],
            _age(oldest.get(name), now),
        )
        for name in names
        if name in own or lengths[name]
    ]
    rows.append(Queue("taken, not done yet", taken, _age(oldest_taken, now)))
    return Queues(rows, empty_servers=sum(not lengths[name] for name in servers))


def _lengths(client: Any, names: list[str]) -> tuple[dict[str, int], int, float | None]:
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.llen(name)
    pipe.zcard(UNACKNOWLEDGED)
    pipe.zrange(UNACKNOWLEDGED, 0, 0, withscores=True)
    *lengths, taken, first = pipe.execute()
    oldest_taken = float(first[0][1]) if first else None
    return dict(zip(names, lengths, strict=True)), taken, oldest_taken


def _oldest(client: Any, names: Iterable[str]) -> dict[str, float | None]:
    """Return when the oldest message of each queue was published, as its header says."""
    wanted = list(names)
    if not wanted:
        return {}
    pipe = client.pipeline(transaction=False)
    for name in wanted:
        # Kombu pushes at the head and takes from the tail.
        pipe.lindex(name, -1)
    return {
        name: _published_at(message)
        for name, message in zip(wanted, pipe.execute(), strict=True)
    }


def _published_at(message: bytes | None) -> float | None:
    """Return what a message's header says, None for what has none or is no message."""
    try:
        at = json.loads(message or b"")["headers"][PUBLISHED_AT]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return float(at) if isinstance(at, int | float) else None


def _age(at: float | None, now: datetime) -> float | None:
    if at is None:
        return None
    try:
        then = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return max(0.0, (now - then).total_seconds())
