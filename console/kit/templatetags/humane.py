"""Words for numbers and times in templates; the thinking is in console.kit.humane."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString

from console.kit import clock, humane

register = template.Library()


def _span(value: datetime | timedelta | float | None) -> timedelta | float | None:
    return clock.now() - value if isinstance(value, datetime) else value


@register.filter
def elapsed(value: datetime | timedelta | float | None) -> str:
    """Return "2 min" for an instant (since then), a timedelta or seconds."""
    return humane.elapsed(_span(value))


@register.filter
def duration(value: float | None) -> str:
    """Return how long something took, from seconds: "0.2 ms"."""
    return humane.duration(value)


@register.filter
def size(value: float | None) -> str:
    """Return bytes as "5.2 TB"."""
    return humane.size(value)


@register.filter
def percent(value: float | None) -> str:
    """Return "74 %"."""
    return humane.percent(value)


@register.filter
def number(value: int) -> str:
    """Return "12,408"."""
    return humane.number(value)


@register.filter
def counted(value: int, nouns: str) -> str:
    """Return a number with its noun: ``{{ n|counted:"alert,alerts" }}``."""
    singular, _, plural = nouns.partition(",")
    return humane.counted(value, singular, plural)


@register.simple_tag
def ago(at: datetime | None, suffix: str = "") -> SafeString:
    """Return how long ago an instant was, in a <time> that a script keeps ticking.

    ``{% ago row.checked_at " ago" %}`` gives "4 s ago"; hovering shows the instant.
    """
    if at is None:
        return format_html("{}", humane.NONE)
    local = timezone.localtime(at)
    after = escape(suffix)
    # Only the suffix is somebody's text; a list has hundreds of these.
    return SafeString(
        f'<time datetime="{local.isoformat(timespec="seconds")}" '
        f'title="{humane.exact(local)}" data-elapsed data-suffix="{after}">'
        f"{humane.elapsed(clock.now() - at)}{after}</time>"
    )


@register.simple_tag
def at(instant: datetime | None, style: str = "auto") -> SafeString:
    """Return an instant in the person's time zone, in a <time> with all of it.

    ``style``: "time" 14:02:11, "date" 2026-11-22, "full" both, "auto" the time
    alone when it was today.
    """
    if instant is None:
        return format_html("{}", humane.NONE)
    local = timezone.localtime(instant)
    if style == "auto":
        is_today = local.date() == timezone.localtime(clock.now()).date()
        style = "time" if is_today else "full"
    shown = {
        "time": f"{local:%H:%M:%S}",
        "date": f"{local:%Y-%m-%d}",
        "full": f"{local:%Y-%m-%d %H:%M:%S}",
    }[style]
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        humane.exact(local),
        shown,
    )


@register.simple_tag
def now_stamp() -> str:
    """Return the present instant in ISO 8601, for scripts that reckon from it."""
    return clock.now().isoformat(timespec="milliseconds")
