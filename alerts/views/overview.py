"""The Alerts Overview."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET, require_POST

from alerts import selectors
from alerts.actions import MENU
from alerts.catalogue import KINDS
from alerts.engine import Severity
from alerts.filters import VIEWS, AlertFilter
from alerts.models import Alert
from console.kit import actions, clock, htmx, paging, querystring
from console.kit.access import needs
from console.kit.sorting import Column, Sorting
from console.kit.spreadsheet import csv_response
from storepoints.filters import narrow
from storepoints.models import Server

SORTING = Sorting(
    columns=(
        Column("priority", "Priority", ("severity", "-raised_at")),
        Column("description", "Description", ("text", "-raised_at")),
        Column("reported", "Reported by", ("reported_by", "-raised_at")),
        Column("when", "When", ("raised_at",), is_first_descending=True),
        Column("condition", "Condition", ("cleared_at", "-raised_at")),
        Column("notes", "Notes"),
    ),
    default="priority",
)


def matching(query: QueryDict) -> QuerySet[Alert]:
    """Return the alerts that a query string of the overview stands for."""
    data = query.copy()
    data.setdefault("view", "active")
    rows = Alert.objects.filter(is_shown=True)
    narrowed: QuerySet[Alert] = narrow(AlertFilter, data, rows).qs
    return narrowed


@require_GET
@needs("alerts.view_alert")
def overview(request: HttpRequest) -> HttpResponse:
    """List the alerts that need a person, those somebody has seen, or all."""
    now = clock.now()
    rows = matching(request.GET)
    order = SORTING.read(request)
    page = paging.page(request, rows.order_by(*order.fields))
    chosen = request.GET.get("view", "active")
    return htmx.render(
        request,
        "alerts/alerts.html",
        "alerts/_alerts.html",
        {
            "page": page,
            "rows": [shown(row, now) for row in page.rows],
            "order": order,
            "counts": [
                {
                    "severity": severity,
                    "count": count,
                    "query": querystring.changed(request.GET, severity=severity.slug),
                }
                for severity, count in selectors.count_by_severity(now).items()
            ],
            "view": chosen,
            "views": [
                {
                    "label": label,
                    "query": querystring.changed(request.GET, view=value),
                    "is_current": value == chosen,
                    "shortcut": {"active": "a", "acknowledged": "k"}.get(value, ""),
                }
                for value, label in VIEWS
            ],
            "kinds": KINDS.values(),
            "severities": list(Severity),
            "servers": Server.objects.order_by("name"),
            "is_filtered": any(
                request.GET.get(name)
                for name in (
                    "severity",
                    "kind",
                    "server",
                    "store_point",
                    "destination",
                    "q",
                )
            ),
            "menu": MENU.for_list(request, total=page.total),
            "export_query": querystring.without(request.GET, "page", "size"),
        },
    )


def shown(row: Any, now: Any) -> Any:
    """Add to an alert what its row shows."""
    row.level = Severity(row.severity)
    row.is_seen = row.is_acknowledged(now)
    return row


@require_POST
@needs("alerts.view_alert")
def act(request: HttpRequest) -> HttpResponse:
    """Do what the action menu was asked for."""
    return actions.respond(
        request,
        menu=MENU,
        back="alerts:alerts",
        matching=lambda query: matching(query).order_by("pk"),
    )


@require_GET
@needs("alerts.view_alert")
def export(request: HttpRequest) -> HttpResponseBase:
    """Return what the filter matches as CSV, all of it."""
    rows = matching(request.GET).order_by("severity", "-raised_at")
    return csv_response(
        "alerts.csv",
        [
            "severity",
            "kind",
            "description",
            "object",
            "reported_by",
            "raised_at",
            "cleared_at",
            "times",
            "acknowledged_at",
            "acknowledged_by",
            "acknowledged_until",
            "note",
        ],
        (
            (
                Severity(row.severity).label,
                row.kind,
                row.text,
                row.object_name,
                row.reported_by,
                _instant(row.raised_at),
                _instant(row.cleared_at),
                row.times,
                _instant(row.acknowledged_at),
                row.acknowledged_by_name,
                _instant(row.acknowledged_until),
                row.note,
            )
            for row in rows.iterator(chunk_size=500)
        ),
    )


def _instant(at: datetime | None) -> str:
    return at.isoformat() if at else ""
