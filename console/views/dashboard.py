"""The dashboard: storage, servers, store points and alerts at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.db.models import Max, Min
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from alerts import selectors as alerts
from alerts.engine import Severity
from console.kit import clock, htmx, humane
from console.kit.access import SIGNED_IN, needs
from storepoints import selectors as storepoints
from storepoints.engine import free_percent
from storepoints.models import StorePoint
from storepoints.selectors import Pulse
from storepoints.states import WORKING, State

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
    draw: Callable[[datetime, Pulse], Card | None]


def storage(_now: datetime, _pulse: Pulse) -> Card:
    """Draw how full the store points are together.

    Store points that share a volume count it once.
    """
    # One row for each volume, however many store points lie on it.
    volumes = (
        StorePoint.objects.filter(total_bytes__gt=0, used_bytes__isnull=False)
        .order_by()
        .values("server", "volume__mount_point")
        .annotate(
            total=Max("total_bytes"), free=Min("free_bytes"), used=Max("used_bytes")
        )
        .values_list("total", "free", "used")
    )
    sizes = list(volumes)
    total = sum(total for total, _, _ in sizes)
    free = sum(free for _, free, _ in sizes)
    # As everywhere: of what users can fill, not of what the volume keeps for root.
    free_share = free_percent(free, sum(used or 0 for _, _, used in sizes))
    if free_share is None:
        return Card("Storage", "hard-drive", empty="No store point was measured yet.")
    used = 100 - free_share
    count = humane.counted(len(sizes), "volume")
    return Card(
        "Storage",
        "hard-drive",
        value=f"{humane.size(free)} free",
        caption=f"of {humane.size(total)} on {count}",
        percent=used,
        level=level_of(used),
        url=f"{reverse('storepoints:store_points')}?sort=free",
    )


def level_of(used: float) -> Level:
    """Return how worrying a share of used space is, by what alerts begin with."""
    if used >= 95:
        return "critical"
    return "warning" if used >= 90 else ""


def servers(now: datetime, pulse: Pulse) -> Card:
    """Draw how many servers report."""
    states = Counter(
        str(storepoints.server_state(row, now=now, pulse=pulse))
        for row in storepoints.servers(now=now, pulse=pulse)
    )
    url = reverse("storepoints:servers")
    if not states:
        return Card("Servers", "server", empty="No server is enrolled yet.", url=url)
    total, online = states.total(), states[State.ONLINE]
    return Card(
        "Servers",
        "server",
        value=f"{humane.number(online)} of {humane.number(total)}",
        caption="report" if total != 1 else "reports",
        level="good" if online == total else "critical",
        lines=_lines(states, url, "state"),
        url=url,
    )


def store_points(now: datetime, pulse: Pulse) -> Card:
    """Draw how many store points are in which state."""
    counts = Counter(
        storepoints.count_by_shown_state(storepoints.store_points(now=now, pulse=pulse))
    )
    url = reverse("storepoints:store_points")
    if not counts:
        return Card(
            "Store points",
            "database",
            empty="No store point is watched yet. Add the directory that holds backups.",
            action=("Add store point", reverse("storepoints:add_store_point")),
            url=url,
        )
    total = counts.total()
    online = sum(counts[state] for state in WORKING)
    level: Level = "good" if online == total else "critical"
    if level == "good" and counts[State.DEGRADED]:
        level = "warning"
    return Card(
        "Store points",
        "database",
        value=f"{humane.number(online)} of {humane.number(total)}",
        caption="online",
        level=level,
        lines=_lines(counts, url, "state"),
        url=url,
    )


def open_alerts(now: datetime, _pulse: Pulse) -> Card:
    """Draw how many alerts wait for a person."""
    counts = alerts.count_by_severity(now)
    total = sum(counts.values())
    url = reverse("alerts:alerts")
    level: Level = "good"
    if total:
        level = "critical" if counts[Severity.CRITICAL] else "warning"
    return Card(
        "Alerts",
        "bell",
        value=humane.number(total) if total else "None",
        caption="not acknowledged" if total else "Nothing waits for you.",
        level=level,
        lines=tuple(
            Line(
                humane.number(counts[severity]),
                severity.label,
                severity=severity.slug,
                url=f"{url}?severity={severity.slug}",
            )
            for severity in Severity
        )
        if total
        else (),
        url=url,
    )


def _lines(counts: Mapping[str, int], url: str, parameter: str) -> tuple[Line, ...]:
    """Return a line for each state that is there, the worst first."""
    return tuple(
        Line(
            humane.number(counts[state]),
            state.replace("-", " ").capitalize(),
            state=str(state),
            url=f"{url}?{parameter}={state}",
        )
        for state in WORST_FIRST
        if counts.get(state)
    )


WORST_FIRST = (
    State.SERVER_OFFLINE,
    State.OFFLINE,
    State.NOT_RESPONDING,
    State.UNKNOWN,
    State.DEGRADED,
    State.PENDING,
    State.MAINTENANCE,
    State.ONLINE,
)

#: The cards of the dashboard, in their order.
PROVIDERS: tuple[Provider, ...] = (
    Provider("alerts.view_alert", open_alerts),
    Provider("storepoints.view_storepoint", store_points),
    Provider("storepoints.view_server", servers),
    Provider("storepoints.view_storepoint", storage),
)


@require_safe
@needs(SIGNED_IN)
def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the cards that the person may see."""
    now = clock.now()
    pulse = storepoints.read_pulse(now)
    drawn = [
        provider.draw(now, pulse)
        for provider in PROVIDERS
        if request.user.has_perm(provider.permission)
    ]
    context = {"cards": [card for card in drawn if card is not None]}
    return htmx.render(
        request, "console/dashboard.html", "console/_dashboard.html", context
    )
