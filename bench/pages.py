"""The overviews beside a bare query that fetches one page of the same rows."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

RUNS = 15
SIZES = (100, 1_000, 10_000)


def main() -> None:
    """Fill a throwaway database step by step and time the pages."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["CONSOLE_DATA_DIR"] = directory
        os.environ["CONSOLE_ALLOWED_HOSTS"] = "testserver,localhost"
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
        import django

        django.setup()
        _measure()


def _measure() -> None:
    from django.core.management import call_command
    from django.test import Client

    from alerts.models import Alert
    from console.kit import clock, heartbeat
    from storepoints.models import StorePoint
    from tests import factories, people

    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    heartbeat.beat("tick", clock.now())
    client: Client = people.client_of("administrator")
    server = factories.make_server()
    made = 0
    for size in SIZES:
        while made < size:
            factories.make_store_point(server=server)
            factories.make_alert()
            made += 1
        heartbeat.beat("tick", clock.now())
        for url, model in (
            ("/destinations/store-points/", StorePoint),
            ("/alerts/", Alert),
        ):
            page = _median(partial(_ok, client, url))
            bare = _median(partial(_fetch, model))
            print(
                f"  {url} of {size:,}: {page:.1f} ms, 50 bare rows {bare:.1f} ms, "
                f"ratio {page / bare:.0f}"
            )


def _ok(client: Any, url: str) -> None:
    response = client.get(url)
    if response.status_code != 200:
        raise RuntimeError(f"{url} answered {response.status_code}")


def _fetch(model: Any) -> list[object]:
    return list(model.objects.all()[:50])


def _median(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)
