"""`manage.py import_console`: the database from a file that export_console wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from console import startup
from console.export.archive import Manifest
from console.export.load import (
    CannotImport,
    check_export,
    import_database,
    what_is_there,
)
from console.export.tables import key_print
from console.kit import clock, humane


class Command(BaseCommand):
    """Check the file, ask if something would be lost, and fill the database with it."""

    help = (
        "Fill the console's database with what export_console wrote to FILE. The console "
        "must not run. The database is prepared first, and must be empty unless --replace "
        "is given. Either everything is imported or nothing."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the file, --replace and --no-input."""
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument(
            "--replace",
            action="store_true",
            help="throw away what the database holds; asks first",
        )
        parser.add_argument(
            "--no-input",
            action="store_false",
            dest="interactive",
            help="ask nothing: what --replace throws away is gone",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Import it and say what has to be done besides."""
        holder = startup.holder_of_data_dir(settings.DATA_DIR)
        if holder is not None:
            raise CommandError(
                f"A console is running on {settings.DATA_DIR} (process {holder}). "
                "Stop it first."
            )
        try:
            manifest = check_export(options["file"])
            startup.migrate(self.stdout.write)
            is_replacing = options["replace"] and bool(what_is_there())
            if is_replacing and options["interactive"]:
                self._ask(manifest)
            rows = import_database(
                options["file"], manifest, is_replacing=is_replacing, now=clock.now()
            )
        except (CannotImport, startup.CannotStart) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"imported {humane.counted(rows, 'row')} as of {manifest.made_at}"
        )
        if manifest.key != key_print():
            self.stdout.write(
                "The export was made with another secret key. Copy the file secret-key "
                "of that console here, or set CONSOLE_SECRET_KEY to its key: without it "
                "the keys of the servers and the SMTP password cannot be read."
            )

    def _ask(self, manifest: Manifest) -> None:
        name = connection.settings_dict["NAME"]
        self.stdout.write(
            f"Everything in the database {name} is thrown away, and replaced by "
            f"{humane.counted(manifest.rows, 'row')} as of {manifest.made_at}."
        )
        try:
            answer = input('Type "replace" to go on: ')
        except EOFError:
            answer = ""
        if answer.strip() != "replace":
            raise CommandError("Nothing was changed.")
