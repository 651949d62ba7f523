"""Destinations: named groups of servers."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from console.accounts.people import person_of
from console.kit import clock, htmx, paging
from console.kit.access import needs
from console.kit.sorting import Column, Sorting
from storepoints import selectors, services
from storepoints.forms import DestinationForm
from storepoints.models import Destination
from storepoints.views.servers import with_state

SORTING = Sorting(
    columns=(
        Column("name", "Name", ("name",)),
        Column("servers", "Servers", ("server_count",), is_number=True),
        Column("store-points", "Store points", ("store_point_count",), is_number=True),
        Column("accepting", "Accepting data", ("accepting_count",), is_number=True),
    ),
    default="name",
)


@require_GET
@needs("storepoints.view_destination")
def overview(request: HttpRequest) -> HttpResponse:
    """List the destinations."""
    order = SORTING.read(request)
    page = paging.page(request, selectors.destinations().order_by(*order.fields))
    return htmx.render(
        request,
        "storepoints/destinations.html",
        "storepoints/_destinations.html",
        {"page": page, "rows": page.rows, "order": order},
    )


@require_GET
@needs("storepoints.view_destination")
def detail(request: HttpRequest, key: int) -> HttpResponse:
    """Show a destination with its servers."""
    now = clock.now()
    pulse = selectors.read_pulse(now)
    destination = get_object_or_404(selectors.destinations(), pk=key)
    servers = selectors.servers(now=now, pulse=pulse).filter(destination=destination)
    page = paging.page(request, servers)
    return htmx.render(
        request,
        "storepoints/destination.html",
        "storepoints/_destination.html",
        {
            "destination": destination,
            "page": page,
            "rows": [with_state(row, now, pulse) for row in page.rows],
        },
    )


def _form_page(
    request: HttpRequest, form: DestinationForm, title: str, back: str
) -> HttpResponse:
    context: dict[str, Any] = {"form": form, "title": title, "text": "", "back": back}
    return render(
        request,
        "storepoints/edit.html",
        context,
        status=422 if form.is_bound else 200,
    )


@require_http_methods(["GET", "POST"])
@needs("storepoints.add_destination")
def add(request: HttpRequest) -> HttpResponse:
    """Add a destination."""
    form = DestinationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        destination = services.add_destination(
            **form.cleaned_data, actor=person_of(request), now=clock.now()
        )
        messages.success(request, f"Added {destination}. Move servers into it next.")
        return redirect(destination)
    return _form_page(request, form, "Add a destination", "/destinations/")


@require_http_methods(["GET", "POST"])
@needs("storepoints.change_destination")
def edit(request: HttpRequest, key: int) -> HttpResponse:
    """Change a destination's name and note."""
    destination = get_object_or_404(Destination, pk=key)
    name, back = destination.name, destination.get_absolute_url()
    form = DestinationForm(request.POST or None, instance=destination)
    if request.method == "POST" and form.is_valid():
        services.edit_destination(
            destination, **form.cleaned_data, actor=person_of(request), now=clock.now()
        )
        messages.success(request, f"Saved {form.cleaned_data['name']}.")
        return redirect(back)
    return _form_page(request, form, f"Edit {name}", back)
