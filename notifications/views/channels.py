"""Settings > Channels: how people are told besides mail, and who is told of our life."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from console.accounts.people import person_of
from console.kit import clock
from console.kit.access import needs
from console.kit.problems import WrongInput
from notifications import selectors, services
from notifications.engine import DeliveryState
from notifications.forms import ChannelForm, HeartbeatForm
from notifications.models import Channel
from notifications.services import Saved
from notifications.services.sending import Tested
from notifications.transports import webhook

VIEW = "notifications.view_channel"
ADD = "notifications.add_channel"
CHANGE = "notifications.change_channel"
REMOVE = "notifications.delete_channel"
HEARTBEAT = "notifications.change_outboundheartbeat"


@require_safe
@needs(VIEW)
def channels(request: HttpRequest) -> HttpResponse:
    """List the channels and how they are, and the outbound heartbeat."""
    return _list(request)


def _list(
    request: HttpRequest,
    *,
    form: HeartbeatForm | None = None,
    tested: Tested | None = None,
    status: int = 200,
) -> HttpResponse:
    heartbeat = selectors.outbound_heartbeat()
    context: dict[str, Any] = {
        "channels": list(selectors.channels()),
        "heartbeat": heartbeat,
        "heartbeat_form": form or HeartbeatForm(heartbeat=heartbeat),
        "tested": tested,
        "email": selectors.email_settings(),
    }
    return render(request, "notifications/channels.html", context, status=status)


@sensitive_post_parameters("url")
@require_http_methods(["GET", "POST"])
@needs(ADD)
def add(request: HttpRequest, kind: str) -> HttpResponse:
    """Add a channel of a kind; the key of a new webhook is shown this once."""
    if kind not in Channel.Kind.values:
        raise Http404("There is no such kind of channel.")
    form = ChannelForm(request.POST if request.method == "POST" else None, kind=kind)
    if form.is_valid():
        try:
            saved = services.add_channel(
                kind, form.channel(), actor=person_of(request), now=clock.now()
            )
        except ValidationError as error:
            _tell(form, error)
        else:
            return _saved(request, saved)
    return render(
        request,
        "notifications/add_channel.html",
        {
            "form": form,
            "kind": Channel.Kind(kind),
            "back": reverse("notifications:channels"),
        },
        status=422 if form.is_bound else 200,
    )


@sensitive_post_parameters("url")
@require_http_methods(["GET", "POST"])
@needs(CHANGE)
def channel(request: HttpRequest, key: int) -> HttpResponse:
    """Show a channel and how it goes; save what was changed."""
    row = get_object_or_404(Channel, pk=key)
    if request.method != "POST":
        return _show(request, row)
    form = ChannelForm(request.POST, kind=row.kind, channel=row)
    if form.is_valid():
        try:
            saved = services.change_channel(
                key, form.channel(), actor=person_of(request), now=clock.now()
            )
        except ValidationError as error:
            _tell(form, error)
        else:
            if saved is None:
                raise Http404("There is no such channel.")
            return _saved(request, saved)
    return _show(request, row, form=form, status=422)


def _tell(form: ChannelForm, error: ValidationError) -> None:
    for name, said in error.message_dict.items():
        form.add_error(name if name in form.fields else None, said)


def _saved(request: HttpRequest, saved: Saved) -> HttpResponse:
    if saved.secret:
        # Not kept anywhere that it could be read again, so it cannot be redirected to.
        return _show(request, saved.channel, secret=saved.secret)
    if saved.has_changed and not saved.channel.is_enabled:
        # Who has mended what the console switched off may think that it is on again.
        messages.warning(
            request, f"Saved. {saved.channel} is off: nothing is sent by it."
        )
    elif saved.has_changed:
        messages.success(request, "Saved. Choose Send test to see whether it works.")
    else:
        messages.info(request, "Nothing was changed.")
    return redirect(saved.channel.get_absolute_url())


def _show(
    request: HttpRequest,
    row: Channel,
    *,
    form: ChannelForm | None = None,
    tested: Tested | None = None,
    secret: str = "",
    status: int = 200,
) -> HttpResponse:
    counts = selectors.count_by_state(row)
    context: dict[str, Any] = {
        "channel": row,
        "form": form or ChannelForm(kind=row.kind, channel=row),
        "tested": tested,
        "secret": secret,
        "waiting": sum(
            counts[state]
            for state in (
                DeliveryState.PENDING,
                DeliveryState.SENDING,
                DeliveryState.RETRY,
            )
        ),
        "sent": counts[DeliveryState.SENT],
        "failed": counts[DeliveryState.FAILED],
        "used": selectors.used_budget(row, clock.now()),
    }
    response = render(request, "notifications/channel.html", context, status=status)
    if secret:
        response["Cache-Control"] = "no-store"
    return response


@require_POST
@needs(CHANGE)
def test(request: HttpRequest, key: int) -> HttpResponse:
    """Send a test now and show what the service answers."""
    tested = services.send_channel_test(key, actor=person_of(request), now=clock.now())
    if tested is None:
        raise Http404("There is no such channel.")
    return _show(request, get_object_or_404(Channel, pk=key), tested=tested)


@require_POST
@needs(CHANGE)
def switch(request: HttpRequest, key: int) -> HttpResponse:
    """Switch a channel on or off."""
    wanted = request.POST.get("to", "")
    if wanted not in {"on", "off"}:
        raise WrongInput(f"Expected “on” or “off”, found {wanted[:40]!r}.")
    row = services.switch_channel(
        key, is_enabled=wanted == "on", actor=person_of(request), now=clock.now()
    )
    if row is None:
        messages.info(request, "This channel is no longer there.")
    elif row.is_enabled:
        messages.success(request, f"{row} is on; what waited for it is sent now.")
    else:
        messages.success(request, f"{row} is off; what waits for it is kept.")
    return redirect("notifications:channels")


@require_http_methods(["GET", "POST"])
@needs(REMOVE)
def remove(request: HttpRequest, key: int) -> HttpResponse:
    """Ask, then remove a channel with what was sent by it."""
    if request.method == "POST":
        name = services.remove_channel(key, actor=person_of(request), now=clock.now())
        if name is None:
            messages.info(request, "This channel is no longer there.")
        else:
            messages.success(request, f"{name} is removed.")
        return redirect("notifications:channels")
    row = get_object_or_404(Channel, pk=key)
    counts = selectors.count_by_state(row)
    total = sum(counts.values())
    return render(
        request,
        "notifications/confirm_remove_channel.html",
        {
            "channel": row,
            "total": total,
            "not_sent": total - counts[DeliveryState.SENT],
        },
    )


@sensitive_post_parameters("heartbeat-url")
@require_POST
@needs(HEARTBEAT)
def save_heartbeat(request: HttpRequest) -> HttpResponse:
    """Save what is called while the console is well."""
    form = HeartbeatForm(request.POST, heartbeat=selectors.outbound_heartbeat())
    if not form.is_valid():
        return _list(request, form=form, status=422)
    if services.change_heartbeat(
        form.heartbeat(), actor=person_of(request), now=clock.now()
    ):
        messages.success(request, "Saved.")
    else:
        messages.info(request, "Nothing was changed.")
    return redirect("notifications:channels")


@require_POST
@needs(HEARTBEAT)
def test_heartbeat(request: HttpRequest) -> HttpResponse:
    """Call the address now and show the answer."""
    tested = services.send_heartbeat(actor=person_of(request), now=clock.now())
    if tested is None:
        messages.info(request, "There is no address to call: save one first.")
        return redirect("notifications:channels")
    return _list(request, tested=tested)


@require_safe
@needs(VIEW)
def webhook_schema(_request: HttpRequest) -> JsonResponse:
    """Return what the body of a webhook keeps to."""
    return JsonResponse(
        json.loads(webhook.SCHEMA.read_text(encoding="utf-8")),
        json_dumps_params={"indent": 2, "ensure_ascii": False},
        content_type="application/schema+json",
    )
