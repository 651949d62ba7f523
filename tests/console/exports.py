"""A console's real rows, and other consoles that read what was exported of them."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings

from alerts.models import Alert, NotificationOverride, WaitingCondition
from console.accounts.services import issue_setup_link
from console.export.archive import read_manifest, rows_of
from console.kit import audit, clock
from storepoints.models import ProbeSample, SpaceSample, StatusChange
from tests.factories import make_alert, make_filesystem, make_server, make_store_point
from tests.people import make_person

ROOT = Path(__file__).resolve().parents[2]


def fill() -> None:
    """A bit of everything, with what databases keep differently."""
    now = clock.now().replace(microsecond=123_457)
    person = make_person("administrator")
    make_person("viewer")
    server = make_server("stör-1", note="Zeile 1\nline 2 “quoted” \u2028 \U0001f4be")
    filesystem = make_filesystem(server=server, total_bytes=2**62)
    point = make_store_point(
        "Tank-07",
        server=server,
        filesystem=filesystem,
        since=now,
        pace=timedelta(days=1, seconds=3, microseconds=7),
        latency_seconds=0.1 + 0.2,
        evidence={"b": [1, 2.5, None, True], "a": {"é": "ü"}},
    )
    StatusChange.objects.create(
        store_point=point, at=now, recorded_at=now, state_before="online", state="full"
    )
    for number in range(1200):
        ProbeSample.objects.create(
            store_point=point,
            resolution=0,
            at=now - timedelta(minutes=5 * number),
            probes=10,
            failures=0,
            writes=3,
            latency_mean=number / 7,
        )
    NotificationOverride.objects.create(
        kind="store-point-low-on-space",
        destination=server.destination,
        is_mailed=False,
        severity=1,
        delay_seconds=0,
        parameters={"percent": 7.5},
        changed_at=now,
    )
    WaitingCondition.objects.create(
        kind="store-point-slow",
        subject=f"store-point:{point.pk}",
        since=now,
        due_at=now + timedelta(minutes=5),
        data={"now": "1 s", "usual": "20 ms"},
    )
    SpaceSample.objects.create(
        filesystem=filesystem,
        resolution=1,
        at=now,
        total_bytes=2**62,
        free_bytes=1,
        used_bytes=2,
    )
    parent = make_alert(object_name="the later parent")
    child = make_alert(severity="warning", raised_at=now)
    Alert.objects.filter(pk=child.pk).update(parent=parent)
    # A child that comes before its parent in the file.
    Alert.objects.filter(pk=parent.pk).update(parent=make_alert())
    issue_setup_link(clock.now())
    audit.record(
        actor=person, verb="test", subject=point, now=now, data={"at": now, "n": 1}
    )


def rows(path: Path) -> dict[str, list[Any]]:
    """Every row of an export, by table."""
    with zipfile.ZipFile(path) as file:
        manifest = read_manifest(file)
        return {
            table.model: list(rows_of(file, table))
            for table in manifest.tables
            if table.rows
        }


@dataclass
class OtherConsole:
    """A console with a data directory of its own, and perhaps a PostgreSQL."""

    directory: Path
    database_url: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    def manage(self, *arguments: str | Path, answer: str = "") -> tuple[int, str]:
        """Run a command; return its exit status and all that it said."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CONSOLE_", "DJANGO_"))
        }
        kept |= {
            "CONSOLE_DATA_DIR": str(self.directory),
            "CONSOLE_SECRET_KEY": settings.SECRET_KEY,
            **(
                {"CONSOLE_DATABASE_URL": self.database_url} if self.database_url else {}
            ),
            **self.variables,
        }
        done = subprocess.run(
            [sys.executable, ROOT / "manage.py", *arguments],
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            env=kept,
        )
        return done.returncode, done.stdout + done.stderr
