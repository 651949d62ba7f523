"""What a message offers to take back."""

from __future__ import annotations

from typing import Any

from django import template

from console.kit.undo import Offer, offer_of

register = template.Library()


@register.filter
def undo_offer(message: Any) -> Offer | None:
    """Return the offer of a message: ``{% with undo=message|undo_offer %}``."""
    return offer_of(message.extra_tags or "")
