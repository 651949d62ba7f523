"""The Alerts Overview."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET, require_POST

from alerts import selectors, silences
from alerts.actions import MENU
from alerts.catalogue import KINDS
from alerts.engine import Severity
from alerts.filters import HIDDEN, NARROWING, VIEWS, WITHIN, AlertFilter
from alerts.models import Alert
from console.kit import actions, clock, htmx, humane, paging, querystring
from console.kit.access import needs
from console.kit.actions import MenuLink
from console.kit.sorting import Column, Sorting
from console.kit.spreadsheet import csv_response
from storepoints.filters import narrow
from storepoints.models import Destination, Server

SORTING = Sorting(
    columns=(
        Column("priority", "Priority", ("severity", "-raised_at", "-pk")),
        Column("description", "Description", ("text", "-raised_at")),
        Column("reported", "Reported by", ("reported_by", "-raised_at")),
        Column("object", "Object", ("object_name", "-raised_at")),
        Column("when", "When", ("raised_at",), is_first_descending=True),
        Column("condition", "Condition", ("cleared_at", "-raised_at")),
        Column("notes", "Notes"),
    ),
    default="priority",
    filled=frozenset({"severity", "raised_at", "text", "reported_by", "object_name"}),
)

#: How many rows a printed list has at most; it says when there are more.
PRINTED = 1_000


def matching(query: QueryDict) -> QuerySet[Alert]:
    """Return the alerts that a query string of the overview stands for."""
    data = query.copy()
    if not data.get("view"):
        data["view"] = "active"
    rows = Alert.objects.defer("data", "returns")
    narrowed: QuerySet[Alert] = narrow(AlertFilter, data, rows).qs
    return narrowed


@require_GET
@needs("alerts.view_alert")
def overview(request: HttpRequest) -> HttpResponse:
    """List the alerts that need a person, those somebody has seen, or all."""
    now = clock.now()
    rows = matching(request.GET)
    order = SORTING.read(request)
    if request.GET.get("print"):
        return _printed(request, rows.order_by(*order.fields), now)
    chosen = request.GET.get("view") or "active"
    counts = selectors.count_by_severity(now)
    is_filtered = any(request.GET.get(name) for name in NARROWING)
    # Without a filter the counts in the header are of these very rows.
    has_hidden = bool(request.GET.get("hidden"))
    is_counted = chosen == "active" and not is_filtered and not has_hidden
    page = paging.page(
        request,
        # A row shows neither; to read them for a hundred takes a fiftieth of the page.
        rows.order_by(*order.fields).defer("failed_at", "last_seen_at"),
        total=sum(counts.values()) if is_counted else None,
    )
    export = querystring.without(request.GET, "page", "size")
    shown_rows = listed(page.rows, now, view=chosen, with_hidden=has_hidden)
    bases = _bases()
    for row in shown_rows:
        row.mark = _mark(row.level)
        row.url = f"{bases['alert']}{row.pk}/"
        row.object_url = _object_url(row, bases)
    links = (
        MenuLink("Export CSV", f"{reverse('alerts:export')}?{export}", "download", "x"),
        MenuLink("Print", querystring.changed(request.GET, print=1), "printer"),
    )
    return htmx.render(
        request,
        "alerts/alerts.html",
        "alerts/_alerts.html",
        {
            "page": page,
            "active_alerts": sum(counts.values()),
            "rows": shown_rows,
            "order": order,
            "counts": [
                {
                    "severity": severity,
                    "count": count,
                    "query": querystring.changed(request.GET, severity=severity.slug),
                }
                for severity, count in counts.items()
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
            "within": WITHIN,
            "servers": Server.objects.only("name").order_by("name"),
            "destinations": Destination.objects.only("name").order_by("name"),
            "is_filtered": is_filtered or has_hidden,
            "hidden_name": HIDDEN[0][1],
            "carried": querystring.hidden(
                request.GET, leave_out=(*_IN_FORM, "page", "print")
            ),
            "menu": MENU.for_list(request, total=page.total, links=links),
        },
    )


#: Parameters that the form above the list has fields for.
_IN_FORM = (
    *("severity", "kind", "destination", "server", "within", "since", "until", "q"),
    "hidden",
)


def _printed(
    request: HttpRequest, rows: QuerySet[Alert], now: datetime
) -> HttpResponse:
    """Return all that matches as a plain table, with the filter and the time."""
    total = rows.count()
    filters = [
        (name, ", ".join(values) if name != "hidden" else HIDDEN[0][1].lower())
        for name, values in request.GET.lists()
        if name in {*NARROWING, "view", "hidden"} and any(values)
    ]
    return render(
        request,
        "alerts/print.html",
        {
            "rows": listed(
                list(rows[:PRINTED]),
                now,
                view="",
                with_hidden=bool(request.GET.get("hidden")),
            ),
            "total": total,
            "left_out": max(0, total - PRINTED),
            "most": PRINTED,
            "filters": filters or [("view", "active")],
            "now": now,
            "back": querystring.changed(request.GET, print=None),
        },
    )


def listed(
    rows: list[Alert], now: datetime, *, view: str, with_hidden: bool = False
) -> list[Any]:
    """Return the rows with what they show; two queries, however many there are."""
    keys = [row.pk for row in rows]
    among = _in_view(view, now)
    held = selectors.count_held(keys, among, with_hidden=with_hidden) if keys else {}
    news = selectors.newest_news(keys) if keys else {}
    silenced = silences.silence_of(rows, now)
    asked = "&hidden=1" if with_hidden else ""
    below = f"{reverse('alerts:alerts')}?view={view or 'all'}{asked}&parent="
    for row in rows:
        one: Any = shown(row, now)
        one.held = one.held_url = ""
        silence = silenced.get(row.pk)
        one.told = (
            silences.until_words(silence, now)
            if silence is not None
            else told_briefly(news.get(row.pk))
        )
        if row.pk in held:
            count, points = held[row.pk]
            noun = "store point" if count == points else "alert"
            one.held = humane.counted(count, noun)
            one.held_url = f"{below}{row.pk}"
    return rows


def _in_view(view: str, now: datetime) -> Q:
    if view == "active":
        return selectors.is_active(now)
    return selectors.is_acknowledged(now) if view == "acknowledged" else Q()


@functools.cache
def _mark(severity: Severity) -> SafeString:
    """Return the icon and the word of a severity: three for all rows there are."""
    return SafeString(
        render_to_string(
            "components/severity_icon.html",
            {"severity": severity.slug, "with_word": True},
        )
    )


def _object_url(row: Alert, bases: Mapping[str, str]) -> str:
    """Return the page of what an alert is about; "" when that was removed."""
    if row.store_point_id:
        return f"{bases['store_point']}{row.store_point_id}/"
    if row.filesystem_id:
        # Its store points stand on the alert's own page.
        return f"{bases['alert']}{row.pk}/#concerned"
    if row.server_id:
        return f"{bases['server']}{row.server_id}/"
    if row.destination_id:
        return f"{bases['destination']}{row.destination_id}/"
    return ""


def _bases() -> dict[str, str]:
    """Return where the pages of each kind of object lie: looked up once for a list."""
    return {
        "alert": reverse("alerts:alerts"),
        "store_point": reverse("storepoints:store_points"),
        "server": reverse("storepoints:servers"),
        "destination": reverse("storepoints:destinations"),
    }


def told_briefly(news: Any) -> str:
    """Return who was told of the newest news, without anybody's name or address.

    "mailed to 3", "mail to 3 not sent yet", "not mailed: no mail server is set up (…)".
    """
    if news is None or news.routed_at is None:
        return ""
    if not news.mails:
        routing: str = news.routing
        return routing if routing.startswith("not mailed:") else ""
    if news.mailed:
        return f"mailed to {humane.number(news.mailed)}"
    return f"mail to {humane.number(news.mails)} not sent yet"


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
