"""Signing in by a one-time link: what `make demo` prints."""

from __future__ import annotations

from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from console.accounts import services
from console.accounts.views.setup import BACKEND
from console.kit import clock


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def sign_in_link(request: HttpRequest, token: str) -> HttpResponse:
    """Offer to sign in; only the button does it, so that a preview uses nothing up."""
    now = clock.now()
    link = services.find_sign_in_link(token, now)
    if link is not None and request.method == "POST":
        try:
            user = services.use_sign_in_link(link, now)
        except ValidationError:
            link = None
        else:
            login(request, user, backend=BACKEND)
            return redirect("dashboard")
    return render(
        request,
        "accounts/sign_in_link.html",
        {"link": link},
        status=200 if link is not None else 403,
    )
