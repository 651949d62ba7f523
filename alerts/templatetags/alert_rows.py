"""A row of the Alerts Overview, drawn in Python.

A page has a hundred, and every open list asks for them anew every two seconds. As a
template a row took 0.17 ms, four times what it takes so (`make bench ARGS=alerts`).
"""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from console.kit.actions import DrawnMenu
from console.kit.templatetags.humane import ago, at
from console.kit.templatetags.rows import row_select

register = template.Library()

#: How much of a note a row shows, in characters.
NOTE_LENGTH = 120

_EMPTY = SafeString("")


@register.simple_tag
def alert_row(row: Any, menu: DrawnMenu) -> SafeString:
    """Return the row of an alert; ``row`` is one of alerts.views.overview.listed()."""
    key, text, select = row.pk, escape(row.text), _EMPTY
    if menu.entries:
        select = row_select(menu.id, key, row.text)
    # What is not escaped here is the console's own: keys, words of an enum, addresses.
    return SafeString(
        f'<tr data-id="{key}" data-kind="{escape(row.kind)}" '
        f'data-severity="{row.level.slug}" '
        f'data-acknowledged="{"true" if row.is_seen else "false"}">{select}'
        f'<td data-label="Priority">{row.mark}</td>'
        f'<th scope="row"><a id="open-{key}" href="{row.url}" title="{text}">{text}</a>'
        f"{_held(row)}</th>"
        f'<td data-label="Reported by" class="cell-nowrap">{escape(row.reported_by)}'
        f'</td><td data-label="Object">{_object(row)}</td>'
        f'<td data-label="When" class="cell-nowrap">{ago(row.raised_at)}</td>'
        # A narrow page lays out what is in a cell beside its label: it is one thing.
        f'<td data-label="Condition"><span>{condition(row)}</span></td>'
        f'<td data-label="Notes"><span>{notes(row)}</span></td></tr>'
    )


def _held(row: Any) -> SafeString:
    if not row.held:
        return _EMPTY
    return format_html(' <a class="held" href="{}">▸ {}</a>', row.held_url, row.held)


def _object(row: Any) -> SafeString:
    if not row.object_url:
        return escape(row.object_name)
    return format_html('<a href="{}">{}</a>', row.object_url, row.object_name)


@register.simple_tag
def condition(row: Any) -> SafeString:
    """Return whether an alert's condition holds, and how often it came back."""
    if row.cleared_at:
        words = format_html("cleared {}", ago(row.cleared_at, " ago"))
    elif row.flapping_since:
        words = format_html("flapping since {}", at(row.flapping_since))
    else:
        words = SafeString("ongoing")
    if row.times > 1:
        words = format_html(
            '{} <span class="cell-quiet">{} times</span>', words, row.times
        )
    if not row.is_shown:
        words = format_html('{} <span class="cell-quiet">not shown</span>', words)
    return words


@register.simple_tag
def notes(row: Any) -> SafeString:
    """Return who acknowledged an alert and why, and who was told of it."""
    words = _acknowledgement(row) if row.acknowledged_at else _EMPTY
    if not row.told:
        return words
    return format_html('{} <span class="cell-quiet">{}</span>', words, row.told)


def _acknowledgement(row: Any) -> SafeString:
    if not row.is_seen:
        return format_html(
            '<span class="cell-quiet">acknowledgement by {} expired {}</span>',
            row.acknowledged_by_name,
            ago(row.acknowledged_until, " ago"),
        )
    words = format_html(
        "{}, {}", row.acknowledged_by_name, ago(row.acknowledged_at, " ago")
    )
    if row.acknowledged_until:
        words = format_html("{}, until {}", words, at(row.acknowledged_until))
    if row.note:
        note = Truncator(row.note).chars(NOTE_LENGTH)
        words = format_html("{}: {}", words, note)
    return words
