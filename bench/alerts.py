"""The Alerts Overview beside Django's own admin, and an action on ten thousand alerts.

100,000 alerts, 10,000 of them active, in the same database: both list the very same
rows, 100 on a page, for the same signed-in browser, in turns.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from bench.figures import judged, ratio, spread
from console import env

ALERTS = 100_000
ACTIVE = 10_000
#: Of the active ones: acknowledged once, and that has expired.
EXPIRED = 1_000
STORE_POINTS = 1_000
ROUNDS = 15
MOST = 0.5


def main() -> None:
    """Measure on a scratch database of each kind, each in a process of its own."""
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
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith("CONSOLE")
    }
    environment |= {
        "DJANGO_SETTINGS_MODULE": "bench.admin_settings",
        "CONSOLE_ALLOWED_HOSTS": "testserver,localhost",
    }
    for argv in (["manage.py", "migrate", "-v", "0"], ["-m", "bench.alerts"]):
        subprocess.run(
            [sys.executable, *argv],
            check=True,
            cwd=env.REPOSITORY,
            env={**clean, **environment},
        )


def _measure() -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from bench.admin_urls import SIZE
    from console import system
    from console.kit import clock, heartbeat
    from notifications.models import EmailSettings
    from tests import people

    call_command("createcachetable", verbosity=0)
    heartbeat.beat("tick", clock.now())
    # As a console in use has it: every page then looks whether mail is delivered.
    EmailSettings.objects.create(
        pk=EmailSettings.ONLY, host="mail.example.org", sender="console@example.org"
    )
    client = people.client_of("administrator")
    overview = f"/alerts/?size={SIZE}"
    _fill(2)
    few = _queries(client, overview)
    _fill(ALERTS - 2)
    with connection.cursor() as cursor:
        # As autovacuum, and the console's own housekeeping, do sooner or later.
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "VACUUM ANALYZE")
    heartbeat.beat("tick", clock.now())
    many = _queries(client, overview)
    print(f"  {system.read_database().engine}")
    print(
        f"    queries for a page with 2 rows {few}, with {SIZE} {many}: "
        f"{'the same' if few == many else 'not the same'}"
    )
    _compare(client, overview, "/bench-admin/alerts/alert/")
    _act(client)


def _compare(client: Any, overview: str, admin: str) -> None:
    """Time both pages and the part that refreshes itself in turns."""
    pages: dict[str, Callable[[], None]] = {
        "overview": partial(_ok, client, overview),
        "its refresh": partial(_ok, client, overview, HTTP_HX_REQUEST="true"),
        "admin changelist": partial(_ok, client, admin),
    }
    taken: dict[str, list[float]] = {name: [] for name in pages}
    for page in pages.values():
        page()
    for _ in range(ROUNDS):
        for name, page in pages.items():
            taken[name].append(_milliseconds(page))
    for name, values in taken.items():
        words = ""
        if name != "admin changelist":
            share = ratio(values, taken["admin changelist"])
            words = f"; / changelist {share:.2f}"
            if name == "overview":
                words += f"; {judged(share, MOST, 'half')}"
        print(f"    {name:<17} {spread(values)} ms{words}")


def _act(client: Any) -> None:
    """Time acknowledging all that is active as a browser does, and undoing it."""
    url = "/alerts/actions/"
    chosen = {"action": "alert.acknowledge", "all_matching": "1", "query": ""}
    begin = time.perf_counter()
    asked = client.post(url, chosen)
    ask = time.perf_counter() - begin
    found = re.search(r'name="ids" value="([\d,]+)"', asked.content.decode())
    if found is None:
        raise RuntimeError("the confirmation page names no alerts")
    ids = found[1]
    begin = time.perf_counter()
    client.post(url, {"action": "alert.acknowledge", "confirm": "1", "ids": ids})
    do = time.perf_counter() - begin
    print(
        f"    acknowledging {ids.count(',') + 1:,}: asked in {ask:.2f} s, "
        f"done in {do:.2f} s"
    )


def _fill(count: int) -> None:
    """Add alerts: a tenth of them active, the others acknowledged within a year."""
    from alerts.catalogue import KINDS
    from alerts.models import Alert
    from console.accounts.models import User
    from console.kit import clock
    from tests import factories

    now = clock.now()
    person = User.objects.get(username="administrator")
    if count < STORE_POINTS:
        server = factories.make_server()
        store_points = [factories.make_store_point(server=server)]
    else:
        servers = [factories.make_server() for _ in range(10)]
        store_points = [
            factories.make_store_point(server=servers[number % 10])
            for number in range(STORE_POINTS)
        ]
    kinds = [kind.slug for kind in KINDS.values() if kind.slug.startswith("store")]
    every = ALERTS // ACTIVE

    def alert(number: int) -> Alert:
        store_point = store_points[number % len(store_points)]
        is_active = count < STORE_POINTS or number % every == 0
        is_expired = is_active and number % (every * (ACTIVE // EXPIRED)) == 0
        raised_at = now - timedelta(seconds=300 * (number + 1))
        cleared_at = (
            None
            if is_active and number % 20
            else raised_at + timedelta(seconds=60 + number % 200)
        )
        row = Alert(
            kind=kinds[number % len(kinds)],
            subject=f"bench:{count}:{number}",
            severity=1 + number % 3,
            text=f"Store point is unavailable: {store_point.name} ({number})",
            data={"name": store_point.name, "evidence": {"layer": 3, "path": "/srv"}},
            object_name=store_point.name,
            reported_by=store_point.server.name,
            store_point=store_point,
            server=store_point.server,
            failed_at=raised_at,
            raised_at=raised_at,
            last_seen_at=cleared_at or now,
            cleared_at=cleared_at,
        )
        if not is_active or is_expired:
            row.acknowledged_at = raised_at + timedelta(seconds=30)
            row.acknowledged_by = person
            row.acknowledged_by_name = person.username
            row.note = "the disk is on its way"
        if is_expired:
            row.acknowledged_until = raised_at + timedelta(seconds=40)
        return row

    for start in range(0, count, 5_000):
        numbers = range(start, min(start + 5_000, count))
        rows = Alert.objects.bulk_create(map(alert, numbers), batch_size=500)
        _write_events(rows, now)


def _write_events(rows: Any, now: Any) -> None:
    """Write for each alert that it was raised, and to whom that was mailed."""
    from alerts.models import AlertEvent
    from notifications.models import Delivery

    events = AlertEvent.objects.bulk_create(
        (
            AlertEvent(
                alert=row,
                at=row.raised_at,
                kind=AlertEvent.Kind.RAISED,
                routed_at=row.raised_at,
                routing="to ana",
            )
            for row in rows
        ),
        batch_size=500,
    )
    Delivery.objects.bulk_create(
        (
            Delivery(
                event=event,
                recipient="ana@example.org",
                state="sent",
                created_at=event.at,
                due_at=event.at,
                give_up_at=event.at,
                sent_at=event.at,
            )
            for event in events
        ),
        batch_size=500,
    )


def _queries(client: Any, url: str) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    _ok(client, url)
    with CaptureQueriesContext(connection) as captured:
        _ok(client, url)
    return len(captured)


def _ok(client: Any, url: str, **headers: str) -> None:
    response = client.get(url, **headers)
    if response.status_code != 200:
        raise RuntimeError(f"{url} answered {response.status_code}")
    # A page is whole when its last byte is there.
    _ = response.content


def _milliseconds(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begin)


if __name__ == "__main__":
    _measure()
