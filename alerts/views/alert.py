"""An alert's own page: both texts, what to do, and everything that happened to it."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from alerts.actions import MENU
from alerts.catalogue import KINDS
from alerts.models import Alert
from alerts.views.overview import shown
from console.kit import clock, htmx
from console.kit.access import needs
from storepoints import selectors, verdict
from storepoints.models import StorePoint
from storepoints.states import WORKING, Reason, State


@require_GET
@needs("alerts.view_alert")
def detail(request: HttpRequest, key: int) -> HttpResponse:
    """Show an alert with its object as it is now, its timeline and what was sent."""
    now = clock.now()
    # The deliveries belong to the app above; here they are only looked at.
    row = (
        Alert.objects.select_related("store_point", "server")
        .prefetch_related("events__deliveries")
        .filter(pk=key)
        .first()
    )
    if row is None:
        raise Http404("There is no such alert.")
    store_point = _store_point_now(row.store_point_id) if row.store_point_id else None
    return htmx.render(
        request,
        "alerts/alert.html",
        "alerts/_alert.html",
        {
            "alert": shown(row, now),
            "kind": KINDS.get(row.kind),
            "events": row.events.all(),
            "store_point": store_point,
            "cure": _cure(store_point),
            "related": _related(row),
            "menu": MENU.for_row(request, row),
        },
    )


def _store_point_now(key: int) -> Any:
    now = clock.now()
    pulse = selectors.read_pulse(now)
    row: Any = selectors.store_points(now=now, pulse=pulse).filter(pk=key).first()
    if row is not None:
        row.is_green = row.shown_state in WORKING
        row.words = verdict.describe(row.shown_state, row.shown_reason)
    return row


def _cure(store_point: Any) -> verdict.Cure | None:
    if not isinstance(store_point, StorePoint):
        return None
    row: Any = store_point
    return verdict.cure(
        state=State(row.shown_state),
        reason=Reason(row.shown_reason),
        path=row.path,
        volume=row.volume,
        server_name=row.server.name,
        marker=row.evidence.get("marker"),
    )


def _related(alert: Alert) -> list[Alert]:
    """Return earlier alerts of the same object, and others of its server."""
    same = Q(subject=alert.subject)
    if alert.server_id:
        same |= Q(server=alert.server_id, cleared_at__isnull=True)
    rows = Alert.objects.filter(same).exclude(pk=alert.pk).order_by("-raised_at")
    return list(rows[:10])
