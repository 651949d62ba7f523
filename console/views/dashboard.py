"""The dashboard: storage, servers, store points and alerts at a glance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from console.kit import clock, htmx
from console.kit.access import SIGNED_IN, needs

Level = Literal["", "good", "warning", "critical"]


@dataclass(frozen=True)
class Line:
    """A line of a card: a number with its words, perhaps an icon and a link.

    ``state`` or ``severity`` draws the icon that belongs to it.
    """

    value: str
    label: str
    state: str = ""
    severity: str = ""
    url: str = ""


@dataclass(frozen=True)
class Card:
    """A card: the number that matters most, large, then the lines that explain it.

    ``percent`` (0 to 100) draws a meter under the number; ``empty`` stands instead of
    everything when there is nothing yet, with ``action`` as (label, URL).
    """

    title: str
    icon: str
    value: str = ""
    caption: str = ""
    level: Level = ""
    percent: float | None = None
    lines: tuple[Line, ...] = ()
    url: str = ""
    empty: str = ""
    action: tuple[str, str] | None = None


@dataclass(frozen=True)
class Provider:
    """Who draws a card, for people with a permission; None leaves it out."""

    permission: str
    draw: Callable[[datetime], Card | None]


#: The cards of the dashboard, in their order.
PROVIDERS: tuple[Provider, ...] = ()


@require_safe
@needs(SIGNED_IN)
def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the cards that the person may see."""
    now = clock.now()
    drawn = [
        provider.draw(now)
        for provider in PROVIDERS
        if request.user.has_perm(provider.permission)
    ]
    context = {"cards": [card for card in drawn if card is not None]}
    return htmx.render(
        request, "console/dashboard.html", "console/_dashboard.html", context
    )
