"""What people change of themselves."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from console.accounts import services
from console.accounts.forms import OwnAccountForm, OwnPasswordForm, add_errors
from console.accounts.models import Theme
from console.accounts.people import person_of
from console.kit import clock
from console.kit.access import SIGNED_IN, needs


@require_http_methods(["GET", "HEAD", "POST"])
@needs(SIGNED_IN)
def account(request: HttpRequest) -> HttpResponse:
    """Show and change one's own names, address, time zone and theme."""
    user = person_of(request)
    form = OwnAccountForm(
        request.POST if request.method == "POST" else None,
        console_zone=settings.TIME_ZONE,
        initial={
            "first_name": user.first_name,
            "last_name": user.last_name,
            "email": user.email,
            "time_zone": user.time_zone,
            "theme": user.theme,
            **OwnAccountForm.quiet_of(user),
        },
    )
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            services.change_own_account(
                user,
                first_name=data["first_name"],
                last_name=data["last_name"],
                email=data["email"],
                time_zone=data["time_zone"],
                theme=Theme(data["theme"]),
                quiet=form.quiet(),
                now=clock.now(),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            messages.success(request, "Your account was saved.")
            return redirect("account")
    return render(
        request,
        "accounts/account.html",
        {"form": form},
        status=422 if form.is_bound else 200,
    )


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@needs(SIGNED_IN)
def password(request: HttpRequest) -> HttpResponse:
    """Change one's own password; this session stays, the others end."""
    user = person_of(request)
    form = OwnPasswordForm(
        request.POST if request.method == "POST" else None, user=user
    )
    if request.method == "POST" and form.is_valid():
        try:
            services.set_password(
                user, form.cleaned_data["password"], actor=user, now=clock.now()
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            update_session_auth_hash(request, user)
            messages.success(
                request, "Your password was changed. Other sessions were signed out."
            )
            return redirect("account")
    return render(
        request,
        "accounts/password.html",
        {"form": form, "person": user, "is_own": True},
        status=422 if form.is_bound else 200,
    )
