"""Search: one box for names, paths and GUIDs; a single exact hit opens at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from console.kit.access import SIGNED_IN, needs

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
class Kind:
    """A kind of thing to search: ``find(question, most)`` returns the hits."""

    label: str
    permission: str
    find: Callable[[str, int], list[Hit]]


#: What is searched, in the order in which the page lists it.
PROVIDERS: tuple[Kind, ...] = ()


@require_safe
@needs(SIGNED_IN)
def search(request: HttpRequest) -> HttpResponse:
    """Show what is called so, or go there when exactly one thing is."""
    question = request.GET.get("q", "").strip()[:MAXIMUM]
    groups = []
    if question:
        for kind in PROVIDERS:
            if request.user.has_perm(kind.permission):
                hits = kind.find(question, MOST)
                groups.append((kind.label, hits, len(hits) >= MOST))
    found = [hit for _, hits, _ in groups for hit in hits]
    exact = [hit for hit in found if hit.is_exact]
    if len(exact) == 1:
        return redirect(exact[0].url)
    return render(
        request,
        "console/search.html",
        {
            "question": question,
            "groups": [group for group in groups if group[1]],
            "total": len(found),
            "most": MOST,
        },
    )
