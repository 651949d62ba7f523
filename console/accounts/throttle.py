"""Limits on what may go wrong from one address: those of the sign-in, for other pages.

The rates are in settings.ACCOUNT_RATE_LIMITS, by action; the counts are in the cache.
"""

from __future__ import annotations

from allauth.core.internal import ratelimit
from django.http import HttpRequest

_APP = "allauth.account"


def may_try(request: HttpRequest, action: str) -> bool:
    """Return whether this address may try; what is only asked is not counted."""
    return bool(
        ratelimit.consume(
            request, app=_APP, action=action, dry_run=True, limit_get=True
        )
    )


def note_failure(request: HttpRequest, action: str) -> None:
    """Count a try that failed; a GET counts too."""
    ratelimit.consume(request, app=_APP, action=action, limit_get=True)
