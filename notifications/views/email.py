"""Settings > Email: the mail server, and whether it takes mail."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from console.accounts.people import person_of
from console.kit import clock
from console.kit.access import needs
from notifications import selectors, services
from notifications.forms import EmailSettingsForm, TestForm
from notifications.services.sending import Tested

PERMISSION = "notifications.change_emailsettings"


@require_safe
@needs(PERMISSION)
def settings(request: HttpRequest) -> HttpResponse:
    """Show how mail is sent and how that went."""
    return _show(request)


def _show(
    request: HttpRequest,
    *,
    form: EmailSettingsForm | None = None,
    test_form: TestForm | None = None,
    tested: Tested | None = None,
    status: int = 200,
) -> HttpResponse:
    stored = selectors.email_settings()
    own = getattr(request.user, "email", "")
    context: dict[str, Any] = {
        "form": form or EmailSettingsForm(settings=stored),
        "test_form": test_form or TestForm(initial={"address": own}),
        "tested": tested,
        "email": stored,
        "problem": selectors.delivery_problem(clock.now()),
    }
    return render(request, "notifications/email.html", context, status=status)


@sensitive_post_parameters("password")
@require_POST
@needs(PERMISSION)
def save(request: HttpRequest) -> HttpResponse:
    """Save how mail is sent."""
    form = EmailSettingsForm(request.POST, settings=selectors.email_settings())
    if not form.is_valid():
        return _show(request, form=form, status=422)
    if services.change_email_settings(
        form.server(), actor=person_of(request), now=clock.now()
    ):
        messages.success(request, "Saved. Choose Send test to see whether it works.")
    else:
        messages.info(request, "Nothing was changed.")
    return redirect("notifications:email")


@require_POST
@needs(PERMISSION)
def test(request: HttpRequest) -> HttpResponse:
    """Send a test mail now and show what the server answers."""
    form = TestForm(request.POST)
    if not form.is_valid():
        return _show(request, test_form=form, status=422)
    tested = services.send_test(
        form.cleaned_data["address"], actor=person_of(request), now=clock.now()
    )
    return _show(request, test_form=form, tested=tested)
