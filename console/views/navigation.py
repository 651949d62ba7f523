"""The navigation on the left: declared once, drawn as far as its pages exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from alerts import selectors as alerts
from console.accounts.models import User
from console.kit import humane
from storepoints import selectors as storepoints
from storepoints.selectors import Pulse
from storepoints.states import WORKING


@dataclass(frozen=True)
class Badge:
    """A count beside an entry, with what it counts for those who do not see it."""

    count: int
    text: str


@dataclass(frozen=True)
class Item:
    """An entry: its label, the page's URL name, who may see it, and its badge."""

    label: str
    url_name: str
    permission: str
    badge: Callable[[datetime, Pulse], Badge | None] | None = None
    icon: str = ""


@dataclass(frozen=True)
class Section:
    """Entries under a heading; a section without a heading shows its entries alone."""

    items: tuple[Item, ...]
    label: str = ""
    icon: str = ""


@dataclass(frozen=True)
class DrawnItem:
    """An entry as the template draws it; ``current`` is its aria-current, or ""."""

    key: str
    label: str
    url: str
    icon: str
    badge: Badge | None
    current: str


@dataclass(frozen=True)
class DrawnSection:
    """A section as the template draws it."""

    label: str
    icon: str
    items: tuple[DrawnItem, ...] = field(default_factory=tuple)


def store_points_not_online(now: datetime, pulse: Pulse) -> Badge | None:
    """Return how many store points lack the green indicator."""
    rows = storepoints.store_points(now=now, pulse=pulse)
    counts = storepoints.count_by_shown_state(rows)
    count = sum(n for state, n in counts.items() if state not in WORKING)
    text = f"{humane.counted(count, 'store point')} not online"
    return Badge(count, text) if count else None


def alerts_unacknowledged(now: datetime, _pulse: Pulse) -> Badge | None:
    """Return how many alerts nobody has acknowledged."""
    return alerts_badge(sum(alerts.count_by_severity(now).values()))


def alerts_badge(count: int) -> Badge | None:
    """Return the badge for so many alerts that nobody has acknowledged."""
    text = f"{humane.counted(count, 'alert')} not acknowledged"
    return Badge(count, text) if count else None


SECTIONS: tuple[Section, ...] = (
    Section(
        items=(Item("Dashboard", "dashboard", "", icon="layout-dashboard"),),
    ),
    Section(
        label="Destinations",
        icon="network",
        items=(
            Item(
                "Destinations",
                "storepoints:destinations",
                "storepoints.view_destination",
            ),
            Item("Servers", "storepoints:servers", "storepoints.view_server"),
            Item(
                "Store Points",
                "storepoints:store_points",
                "storepoints.view_storepoint",
                badge=store_points_not_online,
            ),
        ),
    ),
    Section(
        items=(
            Item(
                "Alerts",
                "alerts:alerts",
                "alerts.view_alert",
                badge=alerts_unacknowledged,
                icon="bell",
            ),
        ),
    ),
    Section(
        label="Settings",
        icon="settings",
        items=(
            Item(
                "Notifications",
                "notifications:settings",
                "notifications.view_notificationsetting",
            ),
            Item("Email", "notifications:email", "notifications.change_emailsettings"),
            Item("Channels", "notifications:channels", "notifications.view_channel"),
            Item("Drills", "notifications:drills", "notifications.view_drill"),
            Item("Users", "users", "accounts.view_user"),
            Item("Audit log", "audit_log", "kit.view_auditentry"),
            Item("System", "system", "storepoints.change_historylimit"),
        ),
    ),
)


def draw(
    request: HttpRequest,
    now: datetime,
    pulse: Pulse,
    sections: Iterable[Section] = SECTIONS,
    *,
    known: Mapping[str, Badge | None] | None = None,
) -> list[DrawnSection]:
    """Return the navigation for the person: what exists and what may be seen.

    ``known`` has badges, by the name of their URL, that the page has counted already.
    """
    person = request.user
    if not isinstance(person, User):
        return []
    urls = {
        item.url_name: url
        for section in sections
        for item in section.items
        if (not item.permission or person.has_perm(item.permission))
        and (url := _url(item.url_name))
    }
    current = _current(request.path, urls.values())
    drawn = [
        DrawnSection(
            label=section.label,
            icon=section.icon,
            items=tuple(
                _draw(
                    item,
                    urls[item.url_name],
                    _badge(item, now, pulse, known or {}),
                    _aria(urls[item.url_name], request.path, current),
                )
                for item in section.items
                if item.url_name in urls
            ),
        )
        for section in sections
    ]
    return [section for section in drawn if section.items]


def _badge(
    item: Item, now: datetime, pulse: Pulse, known: Mapping[str, Badge | None]
) -> Badge | None:
    if item.badge is None:
        return None
    if item.url_name in known:
        return known[item.url_name]
    return item.badge(now, pulse)


def _draw(item: Item, url: str, badge: Badge | None, current: str) -> DrawnItem:
    return DrawnItem(
        key=item.url_name.replace(":", "-"),
        label=item.label,
        url=url,
        icon=item.icon,
        badge=badge,
        current=current,
    )


def _aria(url: str, path: str, current: str) -> str:
    """Return aria-current of an entry: the page itself, or a page below it."""
    if url != current:
        return ""
    return "page" if url == path else "true"


def _url(name: str) -> str:
    try:
        return reverse(name)
    except NoReverseMatch:
        return ""


def _current(path: str, urls: Iterable[str]) -> str:
    """Return the address of the entry that a path lies under: the longest one."""
    above = [
        url for url in urls if path == url or (url != "/" and path.startswith(url))
    ]
    return max(above, key=len, default="")
