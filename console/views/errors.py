"""Pages for when something went wrong: what happened, and what to do now."""

from __future__ import annotations

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from console.accounts import roles
from console.accounts.models import User
from console.accounts.selectors import active_administrators
from console.kit.problems import Forbidden, WrongInput


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say what was expected (400)."""
    # Other exceptions speak of the inside of the console: their text is not shown.
    is_ours = isinstance(exception, (WrongInput, BadRequest))
    context = {"problem": str(exception) if is_ours else ""}
    if not hasattr(request, "user"):
        # A wrong Host header: refused before anybody was signed in.
        return _plain("400_plain.html", 400)
    return render(request, "400.html", context, status=400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say which role the page needs and which one the person has (403)."""
    context: dict[str, object] = {}
    if isinstance(exception, Forbidden):
        least = roles.least(exception.permission)
        context["least"] = least
        context["texts"] = roles.ROLE_TEXTS[least]
        if isinstance(request.user, User):
            context["mine"] = request.user.role
        context["administrators"] = list(
            active_administrators().values_list("username", flat=True)[:5]
        )
    return render(request, "403.html", context, status=403)


def not_found(
    request: HttpRequest,
    exception: Exception,
) -> HttpResponse:
    """Say that there is nothing here, and where to look (404)."""
    return render(request, "404.html", {"path": request.path}, status=404)


def too_many(request: HttpRequest) -> HttpResponse:
    """Say that somebody tries too often, and for how long to wait (429)."""
    return render(request, "429.html", status=429)


def server_error(_request: HttpRequest) -> HttpResponse:
    """Say that the console failed (500), without asking anything that may have failed.

    No database, no person, no navigation: any of these may be what is broken.
    """
    return _plain("500.html", 500)


def csrf_failure(
    request: HttpRequest,
    reason: str = "",
) -> HttpResponse:
    """Say that a form was too old or came from elsewhere (403), and what to do."""
    return render(request, "403_csrf.html", {"path": request.path}, status=403)


def _plain(template: str, status: int) -> HttpResponse:
    return HttpResponse(render_to_string(template), status=status)
