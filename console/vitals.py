"""Whether the console itself is well: what its outbound heartbeat stands for."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from console import figures
from console.kit import humane
from notifications.selectors import delivery_problem
from storepoints.models import Server
from storepoints.selectors import read_pulse

#: A message that waits longer than this in a queue of the console's own says that the
#: queue is not worked off.
WAITS_SECONDS = 60


def troubles(now: datetime) -> list[str]:
    """Return what is wrong with checks, queues and deliveries; empty when all is well.

    Nothing in the words is a secret or an address: they are shown, and logged.
    """
    found: list[str] = []
    if not read_pulse(now).is_running:
        found.append("checks are not running")
    # One server that is offline is an alert; all of them are a console that sees nothing.
    servers = Server.objects.filter(store_points__isnull=False)
    if servers.exists() and not servers.filter(offline_since__isnull=True).exists():
        found.append("no server reports")
    queues = figures.queues(now)
    if queues.problem:
        found.append("the broker does not answer")
    found += [
        f"what is in the queue {queue.name} has waited for "
        f"{humane.duration(queue.seconds)}"
        for queue in queues.rows
        if queue.name in settings.CONSUMED_QUEUES
        and queue.seconds is not None
        and queue.seconds > WAITS_SECONDS
    ]
    problem = delivery_problem(now)
    if problem is not None:
        title = problem.public_title or problem.title
        found.append(title[:1].lower() + title[1:])
    return found
