"""Acknowledging 10,000 alerts beside one bare UPDATE of the same rows.

Each acknowledgement writes its event and its audit entry in the same transaction. Both
databases in one run; the two are taken in turns, and every time on rows that nobody
has acknowledged.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from bench.figures import judged, ratio, spread

ALERTS = 10_000
#: Others that lie in the table as history.
HISTORY = 20_000
RUNS = 7

#: The target, from the issue: times one bare UPDATE.
MOST_TIMES = 10


def main() -> None:
    """Measure on SQLite, then on a PostgreSQL of its own, each in a process of its own."""
    from tests.postgres import Postgres

    _measure_in_process("SQLite", {})
    postgres = Postgres.start()
    try:
        _measure_in_process("PostgreSQL", {"CONSOLE_DATABASE_URL": postgres.url})
    finally:
        postgres.stop()


def _measure_in_process(name: str, environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        result = subprocess.run(
            [sys.executable, "-m", "bench.acknowledge", name],
            env={
                **os.environ,
                "CONSOLE_DATA_DIR": directory,
                "DJANGO_SETTINGS_MODULE": "console.settings",
                **environment,
            },
            check=False,
        )
    if result.returncode:
        raise RuntimeError(f"{name}: ended with {result.returncode}")


def _measure(name: str) -> None:
    import django

    django.setup()
    from django.core.management import call_command

    from alerts import services
    from alerts.models import NOT_ACKNOWLEDGED, Alert
    from console.kit import clock
    from tests import people

    call_command("migrate", verbosity=0)
    actor = people.make_person("ana")
    keys = _fill()
    rows = Alert.objects.filter(pk__in=range(keys[0], keys[-1] + 1))
    values: dict[str, Any] = {
        "acknowledged_by": actor,
        "acknowledged_by_name": "ana",
        "acknowledged_until": None,
        "note": "",
    }
    bare, real = [], []
    # The first round is not counted: files grow, and statements are prepared.
    for _ in range(RUNS + 1):
        bare.append(
            _seconds(lambda: rows.update(acknowledged_at=clock.now(), **values))
        )
        rows.update(**NOT_ACKNOWLEDGED)
        real.append(
            _seconds(
                lambda: services.acknowledge_alerts(keys, actor=actor, now=clock.now())
            )
        )
        rows.update(**NOT_ACKNOWLEDGED)
    bare, real = bare[1:], real[1:]
    times = ratio(real, bare)
    print(
        f"  {name}: acknowledging {ALERTS:,} alerts, each with event and audit entry, "
        f"{spread(real)} s; one bare UPDATE {spread(bare)} s; ratio {times:.1f}, "
        f"{judged(times, MOST_TIMES, f'{MOST_TIMES}')}",
        flush=True,
    )


def _fill() -> list[int]:
    from datetime import timedelta

    from alerts.models import Alert
    from console.kit import clock

    now = clock.now()

    def alerts(count: int, **fields: Any) -> list[Alert]:
        return Alert.objects.bulk_create(
            [
                Alert(
                    kind="store-point-offline",
                    subject=f"store-point:{number}",
                    severity=1 + number % 3,
                    text=f"Store point is unavailable: Tank-{number}",
                    object_name=f"Tank-{number}",
                    reported_by="stor-1",
                    raised_at=now - timedelta(seconds=number),
                    last_seen_at=now,
                    **fields,
                )
                for number in range(count)
            ],
            batch_size=1000,
        )

    alerts(
        HISTORY,
        cleared_at=now,
        acknowledged_at=now - timedelta(days=1),
        acknowledged_by_name="ben",
    )
    return [alert.pk for alert in alerts(ALERTS)]


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    _measure(sys.argv[1])
