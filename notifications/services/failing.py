"""The alert about telling people itself: nobody should believe that silence is good news."""

from __future__ import annotations

from datetime import datetime, timedelta

from alerts.catalogue import notification_delivery_failing
from alerts.services import reconcile_console
from notifications import selectors

PATIENCE = timedelta(seconds=notification_delivery_failing.FAILING_SECONDS)


def reconcile_delivery(*, now: datetime) -> None:
    """Raise or clear the alert that notifications cannot be delivered."""
    problem = selectors.delivery_problem(now)
    words = ""
    if problem is not None and now - problem.since >= PATIENCE:
        words = (problem.public_title or problem.title).lower()
    reconcile_console({notification_delivery_failing.KIND.slug: words}, now=now)
