"""Who was told of something, for whom it is meant to be seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django import template
from django.template import Context

from alerts.models import AlertEvent
from notifications import engine
from notifications.models import Delivery

register = template.Library()


@dataclass(frozen=True)
class Told:
    """What the page says of an event's mails.

    ``sentence`` is "" while the event is not routed; ``deliveries`` is empty for those
    who may see no address. ``counts`` says how many were sent and how many not yet,
    ``sent_at`` when the first of them was.
    """

    sentence: str
    deliveries: list[Delivery]
    counts: str = ""
    sent_at: datetime | None = None


@register.simple_tag(takes_context=True)
def told(context: Context, event: AlertEvent) -> Told:
    """Return who was told of an event; no query when its deliveries are prefetched.

    ``{% load told %}{% told event as told %}``, then ``told.sentence`` ("to ana, ben",
    or "to 2 recipients" for those who may see no address) and ``told.deliveries``.
    """
    deliveries: list[Delivery] = list(event.deliveries.all())
    counts = Counter(engine.DeliveryState(each.state) for each in deliveries)
    words = ", ".join(
        f"{counts[state]:,} {state.label.lower()}"
        for state in engine.DeliveryState
        if counts[state]
    )
    sent_at = min((each.sent_at for each in deliveries if each.sent_at), default=None)
    if context["request"].user.has_perm("notifications.view_recipient"):
        return Told(event.routing, deliveries, words, sent_at)
    return Told(
        engine.without_names(event.routing, len(deliveries)), [], words, sent_at
    )


@register.filter
def masked(address: str) -> str:
    """Return an address for those who may not see it."""
    return engine.mask(address)
