"""Pages beside a bare query: the overviews with many rows, and one object's own page.

An overview's bare query fetches one page of the same rows. A store point's page is
measured with a year of history, of which it draws charts.
"""

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
#: Store points that share a filesystem.
SHARE = 10


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
    _measure_store_point(client)
    server = factories.make_server()
    destination = server.destination.get_absolute_url()
    made = 0
    for size in SIZES:
        while made < size:
            if made % SHARE == 0:
                filesystem = factories.make_filesystem(server=server)
            factories.make_store_point(server=server, filesystem=filesystem)
            factories.make_alert()
            made += 1
        heartbeat.beat("tick", clock.now())
        for url, name, model in (
            ("/destinations/store-points/", "", StorePoint),
            (destination, "its destination's page", StorePoint),
            ("/alerts/", "", Alert),
        ):
            _print(
                f"{name or url} of {size:,}",
                _median(partial(_ok, client, url)),
                _median(partial(_fetch, model)),
                "50 bare rows",
            )


def _measure_store_point(client: Any) -> None:
    """Time the page of a store point with a year of history, before there are others."""
    from console.demo_history import make_up_history
    from console.kit import clock
    from storepoints.models import ProbeSample, SpaceSample, StorePoint
    from tests import factories

    server = factories.make_server()
    store_point = factories.make_store_point(
        server=server, filesystem=factories.make_filesystem(server=server)
    )
    if not make_up_history((store_point.name,), now=clock.now()):
        raise RuntimeError("no history was made up")
    samples = SpaceSample.objects.count() + ProbeSample.objects.count()
    page = store_point.get_absolute_url()
    bare = _median(lambda: StorePoint.objects.get(pk=store_point.pk))
    for name, url in (
        ("a store point's page", page),
        ("its history", f"{page}history/"),
    ):
        _print(
            f"{name}, {samples:,} samples",
            _median(partial(_ok, client, url)),
            bare,
            "its bare row",
        )


def _print(what: str, page: float, bare: float, name: str) -> None:
    print(f"  {what}: {page:.1f} ms, {name} {bare:.1f} ms, ratio {page / bare:.0f}")


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
