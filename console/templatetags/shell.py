"""The shell around a page: read when base.html is drawn, and not for parts."""

from __future__ import annotations

from dataclasses import dataclass

from django import template
from django.conf import settings
from django.template import Context

from console.accounts.models import User
from console.kit import clock
from console.views import banners, freshness, navigation
from console.views.banners import Banner
from console.views.freshness import Freshness
from console.views.navigation import DrawnSection
from storepoints.selectors import read_pulse

register = template.Library()


@dataclass(frozen=True)
class Shell:
    """What base.html draws around a page."""

    navigation: list[DrawnSection]
    banners: list[Banner]
    banners_digest: str
    freshness: Freshness | None
    version: str


@register.simple_tag(takes_context=True)
def shell(context: Context) -> Shell:
    """Return the shell for the person of this request; empty when signed out."""
    request = context["request"]
    person = getattr(request, "user", None)
    if not isinstance(person, User):
        return Shell([], [], "", None, settings.VERSION)
    now = clock.now()
    pulse = read_pulse(now)
    current = banners.current(person, now, pulse)
    known = {}
    if "active_alerts" in context:
        known["alerts:alerts"] = navigation.alerts_badge(context["active_alerts"])
    return Shell(
        navigation=navigation.draw(request, now, pulse, known=known),
        banners=current,
        banners_digest=banners.digest(current),
        freshness=freshness.read(now, pulse),
        version=settings.VERSION,
    )
