"""The first administrator: created once, through the link that the terminal shows."""

from __future__ import annotations

from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from console.accounts import services
from console.accounts.forms import NewUserForm, add_errors
from console.kit import clock

#: Who signs people in that a link has let in.
BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def setup(request: HttpRequest) -> HttpResponse:
    """Show the form that creates the first administrator, or say why there is none."""
    token = request.POST.get("token") or request.GET.get("token") or ""
    if services.has_administrator():
        return _refuse(request, "done")
    link = services.find_setup_link(token) if token else None
    if link is None:
        return _refuse(request, "wrong" if token else "missing")
    form = NewUserForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            user = services.set_up(
                link,
                name=form.cleaned_data["name"],
                email=form.cleaned_data["email"],
                password=form.cleaned_data["password"],
                now=clock.now(),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            login(request, user, backend=BACKEND)
            return redirect("dashboard")
    return render(
        request,
        "accounts/setup.html",
        {"form": form, "token": token},
        status=422 if form.is_bound else 200,
    )


def _refuse(request: HttpRequest, why: str) -> HttpResponse:
    return render(request, "accounts/setup_refused.html", {"why": why}, status=403)
