"""Destinations > Store Points: the Store Point Overview, and adding to it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.contrib import messages
from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    QueryDict,
)
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from console.accounts.people import person_of
from console.kit import actions, clock, htmx, humane, paging, querystring
from console.kit.access import needs
from console.kit.sorting import Column, Sorting
from console.kit.spreadsheet import csv_response
from storepoints import selectors, services
from storepoints.actions import MENU
from storepoints.engine import Limit, free_percent
from storepoints.fence import progress
from storepoints.filters import SHOWN, StorePointFilter, narrow
from storepoints.forms import AddStorePointForm, volume_choices
from storepoints.models import Destination, Server, StorePoint
from storepoints.outlook import full_in
from storepoints.states import READOPTABLE, WORKING, Reason, State
from storepoints.verdict import REASON_WORDS, describe

SORTING = Sorting(
    columns=(
        Column("name", "Name", ("name",)),
        Column("server", "Server", ("server__name", "name")),
        Column("online", "Online", ("shown_state", "name")),
        Column("used", "Used", ("used_bytes",), is_first_descending=True),
        Column("free", "Free", ("free_bytes",), is_number=True),
        Column("full", "Full in", ("filesystem__full_at", "name"), is_number=True),
        Column("inbound", "Inbound backup", ("is_accepting", "name")),
        Column("checked", "Checked", ("checked_at",), is_number=True),
    ),
    default="name",
)


@require_GET
@needs("storepoints.view_storepoint")
def overview(request: HttpRequest) -> HttpResponse:
    """List the store points: filtered, sorted and cut into pages by the database."""
    now = clock.now()
    pulse = selectors.read_pulse(now)
    everything = selectors.store_points(now=now, pulse=pulse)
    narrowed = narrow(StorePointFilter, request.GET, everything)
    order = SORTING.read(request)
    page = paging.page(request, narrowed.qs.order_by(*order.fields))
    counts = selectors.count_by_shown_state(everything)
    return htmx.render(
        request,
        "storepoints/store_points.html",
        "storepoints/_store_points.html",
        {
            "page": page,
            "rows": [shown(row, now) for row in page.rows],
            "order": order,
            "counts": counts,
            "total": sum(counts.values()),
            "online": counts.get(State.ONLINE, 0),
            "degraded": counts.get(State.DEGRADED, 0),
            "not_online": sum(
                number for state, number in counts.items() if state not in WORKING
            ),
            "pills": pills(request.GET),
            "filter": narrowed.form,
            "is_filtered": any(request.GET.get(name) for name in narrowed.form.fields),
            "destinations": Destination.objects.order_by("name"),
            "servers": Server.objects.order_by("name"),
            "menu": MENU.for_list(request, total=page.total),
            "export_query": querystring.without(request.GET, "page", "size"),
        },
    )


def pills(query: QueryDict) -> list[dict[str, Any]]:
    """Return the choices above the list, with the one that is chosen."""
    chosen = query.get("show", "")
    return [
        {
            "label": label,
            "query": querystring.changed(query, show=value or None),
            "is_current": value == chosen,
        }
        for value, label in (("", "All"), *SHOWN)
    ]


def shown(row: Any, now: datetime) -> Any:
    """Add to a row what its cells show."""
    row.is_green = row.shown_state in WORKING
    row.since = shown_since(row)
    row.words = describe(row.shown_state, row.shown_reason)
    free = free_percent(row.free_bytes, row.used_bytes)
    row.used_percent = None if free is None else 100 - free
    row.level = level_of(row)
    row.inbound = inbound_words(row)
    row.fence = fence_words(row)
    row.may_be_readopted = (
        row.adopted_at is not None and row.shown_reason in READOPTABLE
    )
    row.latest_at = row.space_at if row.is_green else None
    row.full_in, row.full_title = humane.NONE, "Not said while it is not online"
    if row.is_green:
        row.full_in, row.full_title = full_in(row.filesystem, now)
    return row


def shown_since(row: Any) -> datetime | None:
    """Return since when a store point is in the state that is shown.

    What only the time that passed has made of it began when it was believed no more,
    not when the state began that was recorded last.
    """
    since: datetime | None = row.since
    if row.shown_state == row.state:
        return since
    if row.shown_state == State.SERVER_OFFLINE:
        since = row.server.silent_at
    elif row.shown_state == State.UNKNOWN:
        since = row.stale_at
    return since


def full_at_of(row: StorePoint) -> str:
    """Return when its filesystem will be full, in ISO 8601, or nothing."""
    full_at = row.filesystem.full_at if row.filesystem else None
    return full_at.isoformat(timespec="minutes") if full_at else ""


def level_of(row: StorePoint) -> str:
    """Return how the space meter is coloured: critical, warning or not at all."""
    if Limit.CRITICALLY_LOW_SPACE in row.limits:
        return "critical"
    return "warning" if Limit.LOW_SPACE in row.limits else ""


def inbound_words(row: StorePoint) -> str:
    """Return what stands in the inbound backup column.

    One of enabled, disabled, enabling, disabling, fenced; the middle two until the
    agent has applied the wish. Fenced is disabled by the console, whatever the wish.
    """
    if row.fenced_at is not None:
        return "fenced"
    wanted = "enabled" if row.accepts_inbound else "disabled"
    if row.inbound_applied == wanted and not row.is_inbound_pending:
        return wanted
    return "enabling" if row.accepts_inbound else "disabling"


def fence_words(row: StorePoint) -> str:
    """Return why a store point is fenced and how far it is from being enabled again.

    "not mounted, by the console; 2 of 3 good checks"; nothing when it is not fenced.
    """
    if row.fenced_at is None:
        return ""
    why = f"{REASON_WORDS[Reason(row.fence_reason)]}, by the console"
    policy = services.policy_of(row.server.destination)
    counted = progress(services.fence_of(row), policy)
    if not policy.good_probes:
        counted = "until somebody enables it"
    return f"{why}; {counted}" if counted else why


def _matching(query: QueryDict) -> QuerySet[StorePoint]:
    now = clock.now()
    rows = selectors.store_points(now=now, pulse=selectors.read_pulse(now))
    matching: QuerySet[StorePoint] = narrow(StorePointFilter, query, rows).qs
    return matching.order_by("name")


@require_POST
@needs("storepoints.view_storepoint")
def act(request: HttpRequest) -> HttpResponse:
    """Do what the action menu was asked for."""
    response = actions.respond(
        request, menu=MENU, back="storepoints:store_points", matching=_matching
    )
    if isinstance(response, HttpResponseRedirect) and _is_gone(response.url):
        return redirect("storepoints:store_points")
    return response


def _is_gone(url: str) -> bool:
    """Return whether an address is the page of a store point that was just removed."""
    try:
        match = resolve(urlsplit(url).path)
    except Resolver404:
        return False
    return (
        match.view_name == "storepoints:store_point"
        and not StorePoint.objects.filter(pk=match.kwargs["key"]).exists()
    )


@require_GET
@needs("storepoints.view_storepoint")
def export(request: HttpRequest) -> HttpResponseBase:
    """Return what the filter matches as CSV, sizes in bytes."""
    rows: Iterable[Any] = _matching(request.GET).iterator(chunk_size=500)
    return csv_response(
        "store-points.csv",
        [
            "name",
            "destination",
            "server",
            "path",
            "state",
            "reason",
            "checked_at",
            "total_bytes",
            "used_bytes",
            "free_bytes",
            "full_at",
            "inbound_backup",
            "fenced_because",
            "fenced_at",
        ],
        (
            (
                row.name,
                row.server.destination.name,
                row.server.name,
                row.path,
                row.shown_state,
                row.shown_reason,
                row.checked_at.isoformat() if row.checked_at else "",
                row.total_bytes,
                row.used_bytes,
                row.free_bytes,
                full_at_of(row),
                inbound_words(row),
                row.fence_reason,
                row.fenced_at.isoformat() if row.fenced_at else "",
            )
            for row in rows
        ),
    )


@require_http_methods(["GET", "POST"])
@needs("storepoints.add_storepoint")
def add(request: HttpRequest) -> HttpResponse:
    """Add a directory as a store point, after its server's agent has looked at it."""
    servers = list(Server.objects.order_by("name"))
    status = 200
    if request.method == "POST":
        form = AddStorePointForm(
            request.POST, may_take_over="is_taking_over" in request.POST
        )
        if form.is_valid():
            try:
                store_point = services.add_store_point(
                    **form.cleaned_data, actor=person_of(request), now=clock.now()
                )
            except services.Refusal as refusal:
                if refusal.code == "has-marker":
                    form = AddStorePointForm(request.POST, may_take_over=True)
                    form.is_valid()
                form.add_error(refusal.field, str(refusal))
            else:
                messages.success(
                    request,
                    f"Added {store_point.name}. It is adopted and checked now; this "
                    "page shows the result by itself.",
                )
                return redirect(store_point)
        status = 422
    else:
        path = request.GET.get("path", "")
        form = AddStorePointForm(
            initial={
                "server": request.GET.get("server")
                or (servers[0].pk if servers else None),
                "path": path,
            }
        )
    return render(
        request,
        "storepoints/add_store_point.html",
        {
            "form": form,
            "volumes": [
                {"server": server, "choices": volume_choices(server)}
                for server in servers
            ],
        },
        status=status,
    )
