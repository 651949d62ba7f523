"""Removing what nobody will ask for again, so that the database does not grow for ever.

The audit log stays. An alert stays with its events and with what was mailed of it until
it is over for longer than Settings > System says; then all of that goes together, so
that what there is of an alert is always the whole of it. Everything here is removed in
small batches, each a transaction of its own: no lock is held for long, and a run that
is cut short has done a part. Doing it twice changes nothing.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from alerts.services import remove_old_alerts
from console.accounts.models import OneTimeLink
from console.accounts.services import has_administrator
from notifications.models import MailLink
from storepoints.models import AgentRequest, StatusChange, StorePoint
from storepoints.services.adoption import adoption_request_of
from storepoints.services.filesystems import empty_filesystems

logger = logging.getLogger(__name__)

BATCH_ROWS = 500
#: Of each kind in one run: a run is over before the broker thinks that its worker died.
MOST_BATCHES = 20

LINKS_ARE_KEPT = timedelta(days=30)
REQUESTS_ARE_KEPT = timedelta(days=1)
#: A year, and the month in which somebody asks how that year was.
HISTORY_IS_KEPT = timedelta(days=400)


def sweep_out(*, now: datetime) -> dict[str, int]:
    """Remove what is over, and return how many rows of each kind that were."""
    removed = {
        "sessions": _remove(Session.objects.filter(expire_date__lt=now)),
        "cache entries": _remove_cache_entries(now),
        "links": _remove(_links(now)),
        "mail links": _remove(
            MailLink.objects.filter(expires_at__lt=now - LINKS_ARE_KEPT)
        ),
        "agent requests": _remove(_agent_requests(now)),
        "status changes": _remove(_status_changes(now)),
        "filesystems": _remove(empty_filesystems(now=now)),
        "alerts": remove_old_alerts(now=now, most=BATCH_ROWS * MOST_BATCHES),
    }
    logger.info("removed: %s", removed)
    return removed


def _links(now: datetime) -> QuerySet[OneTimeLink]:
    """Return the links that were used or expired long ago, or have become useless."""
    until = now - LINKS_ARE_KEPT
    over = Q(used_at__lt=until) | Q(expires_at__lt=until)
    if has_administrator():
        over |= Q(purpose=OneTimeLink.Purpose.SETUP, created_at__lt=until)
    return OneTimeLink.objects.filter(over)


def _agent_requests(now: datetime) -> QuerySet[AgentRequest]:
    """Return the old questions, but not an adoption's that is asked until it is done."""
    unadopted = StorePoint.objects.filter(adopted_at__isnull=True).only("guid")
    return AgentRequest.objects.filter(asked_at__lt=now - REQUESTS_ARE_KEPT).exclude(
        guid__in=[adoption_request_of(row) for row in unadopted]
    )


def _status_changes(now: datetime) -> QuerySet[StatusChange]:
    """Return the old changes, but not a store point's last: it says since when."""
    newer = StatusChange.objects.filter(
        store_point=OuterRef("store_point"), pk__gt=OuterRef("pk")
    )
    return StatusChange.objects.filter(
        Exists(newer), recorded_at__lt=now - HISTORY_IS_KEPT
    )


def _remove(rows: QuerySet[Any]) -> int:
    total = 0
    for _ in range(MOST_BATCHES):
        keys = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH_ROWS])
        if not keys:
            break
        # With the condition once more: a row may have changed since it was listed.
        total += rows.filter(pk__in=keys).delete()[0]
    return total


def _remove_cache_entries(now: datetime) -> int:
    """Remove what has expired; Django itself does so only when the table is full."""
    cache = caches["default"]
    if not isinstance(cache, DatabaseCache):
        return 0
    # The cache compares with whole seconds, rounded down.
    until = connection.ops.adapt_datetimefield_value(now.replace(microsecond=0))
    table = connection.ops.quote_name(settings.CACHES["default"]["LOCATION"])
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE expires < %s", [until])  # noqa: S608
        return max(0, int(cursor.rowcount))
