"""Commands that write a page of docs/ from declarations in code, or check that they did."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser


class WriteDocument(BaseCommand):
    """Write a page, or with --check compare it; ``page`` is its path in the repository."""

    requires_system_checks = ()
    page: ClassVar[str]

    def render(self) -> str:
        """Return the text that the page is to have."""
        raise NotImplementedError

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --check."""
        parser.add_argument(
            "--check",
            action="store_true",
            help="write nothing; exit with 1 when the file is not up to date",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write or compare."""
        path = Path(settings.BASE_DIR) / self.page
        text = self.render()
        if not options["check"]:
            path.write_text(text)
            self.stdout.write(f"{self.page} written")
        elif not path.exists() or path.read_text() != text:
            name = type(self).__module__.rpartition(".")[2]
            raise CommandError(f"{self.page} is not up to date; run manage.py {name}")
