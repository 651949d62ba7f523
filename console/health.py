"""Health of the web process for whatever supervises it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

from console import broker
from console.kit import clock
from storepoints import selectors

#: Seconds to wait for the broker: a supervisor asks again soon.
BROKER_SECONDS = 1.0


class HealthMiddleware:
    """Answers /livez and /readyz before anything else looks at the request.

    Whoever supervises asks by whatever name or address it has, so the host is nobody's
    business here; and a cookie must not cost a query for the person behind it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        """Keep what answers all other requests."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        if request.path_info == "/livez":
            return livez(request)
        if request.path_info == "/readyz":
            return readyz(request)
        return self.get_response(request)


@require_safe
@never_cache
def livez(_request: HttpRequest) -> HttpResponse:
    """Say that this process answers; touches nothing, so that nothing else kills it."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")


@require_safe
@never_cache
def readyz(_request: HttpRequest) -> JsonResponse:
    """Say whether database, migrations, broker and checks are all right (200 or 503).

    ``{"ready": false, "checks": {"broker": "not reachable", ...}}``; a check that is
    well says "ok". Nothing here tells a stranger more than that.
    """
    checks: dict[str, str] = {}
    for name, ask in CHECKS.items():
        try:
            checks[name] = ask()
        except DatabaseError:
            checks[name] = "the database does not answer"
    is_ready = all(found == "ok" for found in checks.values())
    return JsonResponse(
        {"ready": is_ready, "checks": checks}, status=200 if is_ready else 503
    )


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


#: The databases that had every migration when they were looked at. One does not lose
#: them again while this process runs, and building the graph takes a tenth of a second.
_migrated: set[str] = set()


def _migrations() -> str:
    name = str(connection.settings_dict["NAME"])
    if name in _migrated:
        return "ok"
    executor = MigrationExecutor(connection)
    if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return f"{len(plan)} not applied"
    _migrated.add(name)
    return "ok"


def _broker() -> str:
    client = broker.connect(settings.BROKER_URL, timeout_seconds=BROKER_SECONDS)
    with contextlib.closing(client):
        try:
            client.ping()
        except RedisError:
            return "not reachable"
    return "ok"


def _checks() -> str:
    pulse = selectors.read_pulse(clock.now())
    return "ok" if pulse.is_running else "not running"


CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "checks": _checks,
}
