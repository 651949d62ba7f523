"""One view for a page and for the part of it that refreshes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render as render_template
from django.utils.cache import patch_vary_headers
from django_htmx.middleware import HtmxDetails


def is_part(request: HttpRequest) -> bool:
    """Return whether a script asks for a part of the page and not for all of it."""
    htmx: HtmxDetails | None = getattr(request, "htmx", None)
    if not htmx:
        return False
    return not htmx.boosted and not htmx.history_restore_request


def render(
    request: HttpRequest,
    page_template: str,
    part_template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
) -> HttpResponse:
    """Return the page, or only its part when htmx asks, with the same context."""
    template = part_template if is_part(request) else page_template
    response = render_template(request, template, dict(context), status=status)
    # The same address has two answers: a cache and the back button must know.
    patch_vary_headers(response, ["HX-Request"])
    return response
