"""Health of the web process for whatever supervises it."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

from console import broker
from console.kit import clock
from storepoints import selectors

#: Seconds to wait for the broker: a supervisor asks again soon.
BROKER_SECONDS = 1.0


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


def _migrations() -> str:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(plan)} not applied" if plan else "ok"


def _broker() -> str:
    try:
        broker.connect(settings.BROKER_URL, timeout_seconds=BROKER_SECONDS).ping()
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
