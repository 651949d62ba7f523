"""Destinations > Servers."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_http_methods

from console.accounts.people import person_of
from console.kit import clock, htmx, paging
from console.kit.access import needs
from console.kit.sorting import Column, Sorting
from storepoints import selectors, services
from storepoints.forms import EditServerForm, volume_choices
from storepoints.models import Server
from storepoints.selectors import Pulse
from storepoints.states import Reason, State
from storepoints.views.saving import edit_page
from storepoints.views.store_points import shown

SORTING = Sorting(
    columns=(
        Column("name", "Name", ("name",)),
        Column("destination", "Destination", ("destination__name", "name")),
        Column("online", "Online", ("is_silent", "last_report_at")),
        Column("store-points", "Store points", ("store_point_count",), is_number=True),
        Column("version", "Version", ("version", "name")),
        Column("reported", "Reported", ("last_report_at",), is_number=True),
    ),
    default="name",
)


def with_state(server: Any, now: datetime, pulse: Pulse) -> Any:
    """Add to a server what its row shows."""
    server.state = selectors.server_state(server, now=now, pulse=pulse)
    server.reason = {
        State.SERVER_OFFLINE: Reason.SERVER_OFFLINE,
        State.UNKNOWN: Reason.STALE,
    }.get(server.state, Reason.NONE)
    return server


@require_GET
@needs("storepoints.view_server")
def overview(request: HttpRequest) -> HttpResponse:
    """List the enterprise servers."""
    now = clock.now()
    pulse = selectors.read_pulse(now)
    order = SORTING.read(request)
    page = paging.page(
        request, selectors.servers(now=now, pulse=pulse).order_by(*order.fields)
    )
    return htmx.render(
        request,
        "storepoints/servers.html",
        "storepoints/_servers.html",
        {
            "page": page,
            "rows": [with_state(row, now, pulse) for row in page.rows],
            "order": order,
        },
    )


@require_GET
@needs("storepoints.view_server")
def detail(request: HttpRequest, key: int) -> HttpResponse:
    """Show a server: whether it reports, its volumes and its store points."""
    now = clock.now()
    pulse = selectors.read_pulse(now)
    server = selectors.servers(now=now, pulse=pulse).filter(pk=key).first()
    if server is None:
        raise Http404("There is no such server: it may have been removed.")
    page = paging.page(
        request,
        selectors.store_points(now=now, pulse=pulse)
        .filter(server=server)
        .order_by("name"),
    )
    return htmx.render(
        request,
        "storepoints/server.html",
        "storepoints/_server.html",
        {
            "server": with_state(server, now, pulse),
            "page": page,
            "rows": [shown(row, now) for row in page.rows],
            "volumes": volume_choices(server),
        },
    )


@require_http_methods(["GET", "POST"])
@needs("storepoints.change_server")
def edit(request: HttpRequest, key: int) -> HttpResponse:
    """Change a server's name, destination, interval and note."""
    server = get_object_or_404(Server, pk=key)
    return edit_page(
        request,
        EditServerForm(request.POST or None, instance=server),
        save=partial(
            services.edit_server, server, actor=person_of(request), now=clock.now()
        ),
        title=f"Edit {server.name}",
        back=server.get_absolute_url(),
    )
