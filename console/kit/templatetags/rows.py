"""Cells that every row of a list has, drawn without a template of their own.

A list has a hundred of them, and including a template costs more than what it says.
"""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def row_select(menu: str, key: object, name: object) -> SafeString:
    """Return the cell with a row's checkbox, for the action menu of this id.

    ``{% row_select menu.id row.pk row.name %}``; ``name`` is what the row is called.
    """
    return format_html(
        '<td class="cell-select"><input class="form-check-input" '
        'id="select-{}-{}" type="checkbox" name="ids" value="{}" form="menu-{}" '
        'data-select aria-label="Select {}"></td>',
        menu,
        key,
        key,
        menu,
        name,
    )
