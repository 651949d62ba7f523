"""Destinations: named groups of servers."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from console.accounts.people import person_of
from console.kit import clock, htmx, humane, paging
from console.kit.access import needs
from console.kit.sorting import Column, Sorting
from storepoints import selectors, services
from storepoints.fence import Policy
from storepoints.forms import DestinationForm
from storepoints.views import history
from storepoints.views.saving import edit_page
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
    page = paging.page(
        request, selectors.destinations(now=clock.now()).order_by(*order.fields)
    )
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
    destination = get_object_or_404(selectors.destinations(now=clock.now()), pk=key)
    servers = selectors.servers(now=now, pulse=pulse).filter(destination=destination)
    page = paging.page(request, servers)
    return htmx.render(
        request,
        "storepoints/destination.html",
        "storepoints/_destination.html",
        {
            "destination": destination,
            "fence": fence_text(services.policy_of(destination)),
            "page": page,
            "rows": [with_state(row, now, pulse) for row in page.rows],
            # Called by the whole page alone, not by the part that refreshes itself.
            "history": partial(history.of_destination, destination, request, now=now),
        },
    )


def fence_text(policy: Policy) -> str:
    """Return what a destination's fence does, in a sentence."""
    if not policy.is_on:
        return (
            "off: inbound backup stays enabled while a store point is not mounted, or "
            "another disk is in its place"
        )
    if not policy.good_probes:
        return "on: the console disables inbound backup, a person enables it again"
    checks = humane.counted(policy.good_probes, "good check")
    return f"on: the console disables inbound backup, and enables it after {checks}"


@require_http_methods(["GET", "POST"])
@needs("storepoints.add_destination")
def add(request: HttpRequest) -> HttpResponse:
    """Add a destination; servers are moved into it from their own pages."""
    return edit_page(
        request,
        DestinationForm(request.POST or None),
        save=partial(
            services.add_destination, actor=person_of(request), now=clock.now()
        ),
        title="Add a destination",
        text="Afterwards open a server, choose Edit, and move it into the destination.",
        back=reverse("storepoints:destinations"),
    )


@require_http_methods(["GET", "POST"])
@needs("storepoints.change_destination")
def edit(request: HttpRequest, key: int) -> HttpResponse:
    """Change a destination's name, note and fence."""
    destination = get_object_or_404(selectors.destinations(now=clock.now()), pk=key)
    return edit_page(
        request,
        DestinationForm(request.POST or None, instance=destination),
        save=partial(
            services.edit_destination,
            destination,
            actor=person_of(request),
            now=clock.now(),
        ),
        title=f"Edit {destination.name}",
        text=_what_is_at_stake(destination),
        back=destination.get_absolute_url(),
    )


def _what_is_at_stake(destination: Any) -> str:
    """Say how many store points the fence is about, and what is fenced by it now."""
    text = (
        f"{destination.accepting_count} of "
        f"{humane.counted(destination.store_point_count, 'store point')} accept backup "
        "data now."
    )
    if destination.fenced_count:
        fenced = humane.counted(
            destination.fenced_count, "store point is", "store points are"
        )
        text += (
            f" {fenced} fenced: switching the fence off enables inbound backup there "
            "again at once, mounted or not."
        )
    return text
