"""Re-adopting a store point: look again, read what would happen, type its name."""

from __future__ import annotations

import uuid

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from console.accounts.people import person_of
from console.kit import clock
from console.kit.access import needs
from storepoints import selectors, services
from storepoints.forms import LookForm, ReadoptForm
from storepoints.models import StorePoint
from storepoints.readopting import named_volume
from storepoints.services import Look, Refusal
from storepoints.views.store_points import shown


@require_http_methods(["GET", "POST"])
@needs("storepoints.readopt_storepoint")
def readopt(request: HttpRequest, key: int) -> HttpResponse:
    """Show what is expected and what is found, and adopt that once it is confirmed.

    A POST without ``look`` has the agent look at ``path``; one with it confirms what
    that look found.
    """
    now = clock.now()
    rows = selectors.store_points(now=now, pulse=selectors.read_pulse(now))
    store_point = get_object_or_404(rows, pk=key)
    if request.method != "POST":
        form = LookForm(initial={"path": request.GET.get("path") or store_point.path})
        return _page(request, store_point, form)
    if "look" in request.POST:
        return _confirmed(request, store_point)
    form = LookForm(request.POST)
    if form.is_valid():
        try:
            look = services.look_again(
                store_point,
                form.cleaned_data["path"],
                actor=person_of(request),
                now=now,
            )
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            return _page(request, store_point, form, look=look)
    return _page(request, store_point, form, status=422)


def _confirmed(request: HttpRequest, store_point: StorePoint) -> HttpResponse:
    """Re-adopt what was shown, or say why not beside the field that it is about."""
    actor, now = person_of(request), clock.now()
    look: Look | None = None
    form = ReadoptForm(request.POST)
    try:
        key = _key_of(request.POST.get("look", ""))
        look = services.read_look(store_point, key, actor=actor, now=now)
        if form.is_valid():
            services.readopt_store_point(
                store_point,
                look=key,
                typed_name=form.cleaned_data["typed_name"],
                actor=actor,
                now=now,
            )
            messages.success(
                request,
                f"Re-adopted {store_point.name}. It is checked now; this page shows "
                "the result by itself.",
            )
            return redirect(store_point)
    except Refusal as refusal:
        if look is None or refusal.field != "typed_name":
            # What was shown is not so any more: it must not be confirmed again.
            path = look.found.path if look else store_point.path
            again = LookForm({"path": path})
            again.add_error(None, str(refusal))
            return _page(request, store_point, again, status=422)
        form.add_error(refusal.field, str(refusal))
    again = LookForm(initial={"path": look.found.path})
    return _page(request, store_point, again, look=look, confirm=form, status=422)


def _key_of(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Refusal("", "Look again before you adopt.", "stale") from None


def _page(
    request: HttpRequest,
    store_point: StorePoint,
    form: forms.Form,
    *,
    look: Look | None = None,
    confirm: forms.Form | None = None,
    status: int = 200,
) -> HttpResponse:
    elsewhere = services.place_elsewhere(store_point)
    return render(
        request,
        "storepoints/readopt.html",
        {
            "store_point": shown(store_point, clock.now()),
            "expected": named_volume(store_point.volume),
            "form": form,
            "look": look,
            "found": named_volume(look.found.volume) if look else "",
            "confirm": confirm or (ReadoptForm() if look else None),
            "elsewhere": elsewhere if not look or elsewhere != look.found.path else "",
        },
        status=status,
    )
