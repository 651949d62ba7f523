"""Who was told of something, for whom it is meant to be seen."""

from __future__ import annotations

from dataclasses import dataclass

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
    who may see no address.
    """

    sentence: str
    deliveries: list[Delivery]


@register.simple_tag(takes_context=True)
def told(context: Context, event: AlertEvent) -> Told:
    """Return who was told of an event; no query when its deliveries are prefetched.

    ``{% load told %}{% told event as told %}``, then ``told.sentence`` ("to ana, ben",
    or "to 2 recipients" for those who may see no address) and ``told.deliveries``.
    """
    deliveries: list[Delivery] = list(event.deliveries.all())
    if context["request"].user.has_perm("notifications.view_recipient"):
        return Told(event.routing, deliveries)
    return Told(engine.without_names(event.routing, len(deliveries)), [])


@register.filter
def masked(address: str) -> str:
    """Return an address for those who may not see it."""
    return engine.mask(address)
