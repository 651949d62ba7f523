"""Search: one box for names, paths and GUIDs; a single exact hit opens at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from alerts.models import Alert
from console.accounts.models import User
from console.accounts.people import person_of
from console.kit import querystring
from console.kit.access import SIGNED_IN, needs
from storepoints import selectors as storepoints
from storepoints.models import Destination, Server, StorePoint

#: Longer texts than this are no name, path or GUID of anything.
MAXIMUM = 1024

#: How many hits of one kind the page lists.
MOST = 25


@dataclass(frozen=True)
class Hit:
    """Something that was found; ``is_exact`` when its name or GUID is the question."""

    label: str
    url: str
    detail: str = ""
    state: str = ""
    is_exact: bool = False


@dataclass(frozen=True)
class Group:
    """The hits of one kind; ``is_cut`` when there may be more of it."""

    label: str
    hits: list[Hit]
    is_cut: bool


Provider = Callable[[str, User], list[Group]]

#: What destinations, servers and store points are called, and who may see them.
KINDS: tuple[tuple[type[Model], str, str], ...] = (
    (StorePoint, "Store points", "storepoints.view_storepoint"),
    (Server, "Servers", "storepoints.view_server"),
    (Destination, "Destinations", "storepoints.view_destination"),
)


def find_objects(question: str, person: User) -> list[Group]:
    """Search destinations, servers and store points by name, path and GUID."""
    found = storepoints.search(question, limit=MOST)
    folded, guid = question.casefold(), _guid(question)
    return [
        Group(
            label,
            [
                Hit(
                    label=row.name,
                    url=row.get_absolute_url(),
                    detail=row.path if isinstance(row, StorePoint) else "",
                    is_exact=row.name.casefold() == folded or row.guid == guid,
                )
                for row in found
                if isinstance(row, model)
            ],
            is_cut=len(found) >= MOST,
        )
        for model, label, permission in KINDS
        if person.has_perm(permission)
    ]


def _guid(question: str) -> UUID | None:
    try:
        return UUID(question)
    except ValueError:
        return None


def find_alerts(question: str, person: User) -> list[Group]:
    """Search the texts of alerts, the newest first."""
    if not person.has_perm("alerts.view_alert"):
        return []
    rows = Alert.objects.filter(text__icontains=question, is_shown=True)
    hits = [
        Hit(label=row.text, url=row.get_absolute_url(), detail=row.reported_by)
        for row in rows.order_by("-raised_at", "-pk")[:MOST]
    ]
    return [Group("Alerts", hits, is_cut=len(hits) >= MOST)]


#: What is searched, in the order in which the page lists it.
PROVIDERS: tuple[Provider, ...] = (find_objects, find_alerts)


@require_safe
@needs(SIGNED_IN)
def search(request: HttpRequest) -> HttpResponse:
    """Show what is called so, or go there when exactly one thing is."""
    question = querystring.text(request.GET, "q", most=MAXIMUM)
    person = person_of(request)
    groups = [
        group
        for provider in (PROVIDERS if question else ())
        for group in provider(question, person)
        if group.hits
    ]
    found = [hit for group in groups for hit in group.hits]
    exact = [hit for hit in found if hit.is_exact]
    if len(exact) == 1:
        return redirect(exact[0].url)
    return render(
        request,
        "console/search.html",
        {
            "question": question,
            "groups": groups,
            "total": len(found),
            "most": MOST,
        },
    )
