"""What each request knows about the person behind it."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable

from allauth.core.internal.httpkit import get_client_ip
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from console.accounts.models import User
from console.kit import audit

Next = Callable[[HttpRequest], HttpResponseBase]


class TimeZoneMiddleware:
    """Shows times in the person's zone and notes the address for the audit log."""

    def __init__(self, get_response: Next) -> None:
        """Keep what answers the request."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request in the person's time zone."""
        # The same address as the sign-in's rate limits use, behind a proxy too.
        token = audit.address.set(get_client_ip(request))
        try:
            with timezone.override(_zone(request)):
                return self.get_response(request)
        finally:
            audit.address.reset(token)


def _zone(request: HttpRequest) -> zoneinfo.ZoneInfo | None:
    """Return the person's zone; None stands for the console's own."""
    person = request.user
    if not isinstance(person, User) or not person.time_zone:
        return None
    try:
        return zoneinfo.ZoneInfo(person.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        # The database of zones changed under a stored name: times must still show.
        return None
