"""`manage.py export_console`: the database as one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.export import daily
from console.export.dump import CannotExport, export_database
from console.kit import clock, humane


class Command(BaseCommand):
    """Write the whole database to a file, while the console runs or not."""

    help = (
        "Write the console's whole database to FILE, as of one instant; the console may "
        "run meanwhile. The file is made for its owner only, and import_console reads it "
        "on this machine or another, on SQLite or PostgreSQL. The secret key and "
        "agent.toml are not in it: copy them too (docs/export.md)."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the file and --daily."""
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("file", nargs="?", type=Path, metavar="FILE")
        where.add_argument(
            "--daily",
            action="store_true",
            help="write to exports in the data directory, keep the newest "
            f"{daily.KEPT}, and raise an alert when it fails: what the console does daily",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it and say how much that was."""
        now = clock.now()
        try:
            if options["daily"]:
                # Nobody waits for it, and checks must not.
                os.nice(10)
                path = daily.export_to_data_directory(now=now)
                self.stdout.write(f"exported to {path}")
                return
            path = options["file"]
            manifest = export_database(path, now=now)
        except daily.AlreadyExporting as error:
            self.stdout.write(f"{error}")
            return
        except CannotExport as error:
            raise CommandError(f"Not exported: {error}.") from error
        size = humane.size(path.stat().st_size)
        rows = humane.counted(manifest.rows, "row")
        self.stdout.write(f"exported {rows} to {path} ({size})")
