"""Celery tasks of the project itself: call one service."""

from __future__ import annotations

import subprocess
import sys

from celery import shared_task
from django.conf import settings

from console import housekeeping, vitals
from console.export import daily
from console.kit import clock
from notifications import selectors, services

#: An export that takes longer than this hangs.
EXPORT_SECONDS = 3600


@shared_task(name="console.housekeeping")
def sweep_out() -> None:
    """Remove what nobody will ask for again."""
    housekeeping.sweep_out(now=clock.now())


@shared_task(name="console.export")
def export(*, is_asked: bool = False) -> None:
    """Export the database when that is due, or when somebody asked for it.

    In a process of its own: it computes for minutes when there is much, and reports
    must not wait for that in this process. It says itself how it went.
    """
    if not is_asked and not daily.is_due(now=clock.now()):
        return
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "export_console"]
    try:
        done = subprocess.run(
            [*command, "--daily"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=EXPORT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        problem = f"it took longer than {EXPORT_SECONDS // 60} min"
        daily.note_failure(problem, now=clock.now())
    else:
        if done.returncode < 0:
            problem = f"its process was ended by signal {-done.returncode}"
            daily.note_failure(problem, now=clock.now())


@shared_task(name="console.call_out")
def call_out() -> None:
    """Call the address of the outbound heartbeat while the console is well."""
    if not selectors.outbound_heartbeat().is_enabled:
        return
    now = clock.now()
    services.call_out(vitals.troubles(now), now=now)
