"""From where a request came, when proxies stand in front of web."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

Next = Callable[[HttpRequest], HttpResponseBase]


class ClientAddressMiddleware:
    """Puts the person's address in REMOTE_ADDR, where the proxy's stands.

    Once and before everything else, so that the audit log, the limits of the sign-in and
    whatever comes later agree. Nothing else reads X-Forwarded-For (allauth's own count
    stays 0: it answers a header that is too short with an error).
    """

    def __init__(self, get_response: Next) -> None:
        """Keep what answers the request."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request with its true address."""
        count = settings.TRUSTED_PROXIES
        if count:
            header = request.META.get("HTTP_X_FORWARDED_FOR", "")
            address = client_address(header, count)
            if address is not None:
                request.META["REMOTE_ADDR"] = address
        return self.get_response(request)


def client_address(header: str, proxies: int) -> str | None:
    """Return the address that the outermost of the proxies noted.

    Each proxy adds at the end of X-Forwarded-For the address it was asked from; what
    stands before the last `proxies` entries anybody can have written. None when there
    are fewer, because then the request did not come through all of them, or when the
    entry is no address (a port behind it is dropped).
    """
    entries = header.split(",")
    if not header.strip() or len(entries) < proxies:
        return None
    entry = entries[-proxies].strip()
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return str(ipaddress.ip_address(entry))
    except ValueError:
        return None
