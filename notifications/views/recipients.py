"""The recipients of Settings > Notifications."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from console.accounts.people import person_of
from console.kit import clock
from console.kit.access import needs
from notifications import services
from notifications.forms import RecipientForm
from notifications.views import kinds


@require_POST
@needs("notifications.add_recipient")
def add(request: HttpRequest) -> HttpResponse:
    """Add an address."""
    form = RecipientForm(request.POST)
    if form.is_valid():
        try:
            recipient = services.add_recipient(
                form.cleaned_data["address"], actor=person_of(request), now=clock.now()
            )
        except ValidationError as error:
            form.add_error("address", error.messages)
        else:
            messages.success(request, f"Alerts are mailed to {recipient} from now on.")
            return redirect("notifications:settings")
    return kinds.show(request, recipient_form=form, status=422)


@require_POST
@needs("notifications.delete_recipient")
def remove(request: HttpRequest, key: int) -> HttpResponse:
    """Remove an address."""
    address = services.remove_recipient(key, actor=person_of(request), now=clock.now())
    if address is None:
        messages.info(request, "This recipient is no longer there.")
    else:
        messages.success(request, f"{address} is no longer mailed.")
    return redirect("notifications:settings")
