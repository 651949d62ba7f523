"""What a stored sample takes, and so a store point in a year, on both databases."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from console import env

STORE_POINTS = 50
#: How many days of five minutes, hours and days each of them gets.
DAYS = (7, 60, 365)
END = datetime(2026, 7, 15, tzinfo=UTC)


def main() -> None:
    """Fill a scratch database of each kind, and divide its growth by the rows."""
    with tempfile.TemporaryDirectory() as directory:
        _run({"CONSOLE_DATA_DIR": directory})
    try:
        from tests.postgres import Postgres
    except ImportError as error:
        print(f"  PostgreSQL was left out: {error}")
        return
    server = Postgres.start()
    try:
        with tempfile.TemporaryDirectory() as directory:
            _run({"CONSOLE_DATA_DIR": directory, "CONSOLE_DATABASE_URL": server.url})
    finally:
        server.stop()


def _run(environment: dict[str, str]) -> None:
    """Measure in a process of its own, which has the database that is named."""
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith("CONSOLE")
    }
    environment |= {"DJANGO_SETTINGS_MODULE": "console.settings"}
    for argv in (["manage.py", "migrate", "-v", "0"], ["-m", "bench.history"]):
        subprocess.run(
            [sys.executable, *argv],
            check=True,
            cwd=env.REPOSITORY,
            env={**clean, **environment},
        )


def _measure() -> None:
    import django

    django.setup()
    from django.db import connection

    from console import system
    from storepoints import series
    from storepoints.models import (
        Destination,
        Filesystem,
        ProbeSample,
        Resolution,
        Server,
        SpaceSample,
        StorePoint,
    )
    from storepoints.pieces import DAY, PIECE_SECONDS
    from storepoints.services import keeping

    destination = Destination.objects.create(name="D", created_at=END)
    server = Server.objects.create(name="S", destination=destination, created_at=END)
    filesystems = Filesystem.objects.bulk_create(
        Filesystem(server=server, identity=str(number), created_at=END)
        for number in range(STORE_POINTS)
    )
    store_points = StorePoint.objects.bulk_create(
        StorePoint(
            name=f"SP-{number}",
            server=server,
            path=f"/srv/{number}",
            created_at=END,
            pace=timedelta(seconds=30),
        )
        for number in range(STORE_POINTS)
    )

    def probe(row: StorePoint, resolution: int, at: datetime) -> ProbeSample:
        return ProbeSample(
            store_point=row,
            resolution=resolution,
            at=at,
            probes=10,
            failures=0,
            writes=10,
            latency_least=0.00081234,
            latency_mean=0.00123456,
            latency_most=0.00456789,
        )

    def space(row: Filesystem, resolution: int, at: datetime) -> SpaceSample:
        return SpaceSample(
            filesystem=row,
            resolution=resolution,
            at=at,
            total_bytes=16_000_000_000_000,
            free_bytes=5_123_456_789_012,
            used_bytes=10_876_543_210_988,
            used_inodes=1_234_567,
        )

    def instants(resolution: int) -> list[datetime]:
        """In order of time, as reports bring them: all store points at each instant."""
        seconds = PIECE_SECONDS[resolution]
        count = DAYS[resolution] * DAY // seconds
        return [
            END - timedelta(seconds=seconds * number) for number in range(count, 0, -1)
        ]

    def growth(write: Callable[[int, datetime], int]) -> float:
        """Return by how many bytes a row the database grew, all resolutions written."""
        before = system.read_database().bytes
        rows = sum(
            write(resolution, at)
            for resolution in Resolution
            for at in instants(resolution)
        )
        return (system.read_database().bytes - before) / rows

    def write_probes(resolution: int, at: datetime) -> int:
        samples = [probe(row, resolution, at) for row in store_points]
        return len(ProbeSample.objects.bulk_create(samples))

    def write_space(resolution: int, at: datetime) -> int:
        samples = [space(row, resolution, at) for row in filesystems]
        return len(SpaceSample.objects.bulk_create(samples))

    each = {"probes": growth(write_probes), "space": growth(write_space)}

    ProbeSample.objects.filter(resolution=Resolution.HOUR).delete()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # As its own housekeeping does sooner or later.
            cursor.execute("ANALYZE")
    begin = time.perf_counter()
    rolled, _ = keeping.roll_up(now=END + timedelta(minutes=15))
    pause = (time.perf_counter() - begin) / max(1, rolled)

    sizes = series.bytes_when_full(
        series.history_limit(), store_points=1, filesystems=1
    )
    share = (each["probes"] + each["space"]) / (series.PROBE_BYTES + series.SPACE_BYTES)
    print(f"  {system.read_database().engine}")
    print(
        f"    a sample of probes {each['probes']:.0f} bytes, of space "
        f"{each['space']:.0f} bytes, indexes included"
    )
    print(
        f"    a store point on a volume of its own, default limits: "
        f"{sizes['one_year'] * share / 1000:.0f} kB after a year, "
        f"{sizes['end'] * share / 1000:.0f} kB after five and for good"
    )
    print(
        f"    rolling up an hour of {STORE_POINTS} store points: {1000 * pause:.1f} ms"
    )


if __name__ == "__main__":
    _measure()
