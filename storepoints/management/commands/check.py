"""`manage.py check`: probe now and print a table; with --deploy, Django's own checks."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.check import Command as SystemCheck
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from console.kit import clock, humane
from storepoints import selectors, services
from storepoints.models import StorePoint
from storepoints.services.checks import DEADLINE_SECONDS
from storepoints.states import WORKING
from storepoints.verdict import describe

#: An answer that has not come by then will not come: deadline, queue and recording.
PATIENCE_SECONDS = DEADLINE_SECONDS + 3


class Command(SystemCheck):
    """Ask every agent for a probe at once, wait, and print what was found."""

    help = (
        "Probe store points now and print a table of their states. Names limit it to "
        "these store points. Needs the console to be running (manage.py up). The exit "
        "status is 1 when a store point is not online. With --deploy, --tag, "
        "--fail-level, --list-tags or --database it runs Django's system checks "
        "instead, as it does in any Django project."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Keep Django's options; its positional names are store points here."""
        super().add_arguments(parser)
        # argparse has no public way to say an inherited argument's help anew.
        for action in parser._actions:  # noqa: SLF001
            if action.dest == "args":
                action.metavar = "NAME"
                action.help = "Store points to check; all of them when none is named."
            if action.dest == "fail_level":
                action.default = None

    def handle(self, *names: Any, **options: Any) -> None:
        """Run the system checks when asked for; otherwise probe."""
        wants_system_check = any(
            options.get(option)
            for option in ("deploy", "tags", "list_tags", "databases", "fail_level")
        )
        if wants_system_check:
            options["fail_level"] = options["fail_level"] or "ERROR"
            super().handle(*names, **options)
            return
        self.probe(list(names))

    def probe(self, names: list[str]) -> None:
        """Ask, wait for the answers with a progress bar, print the table."""
        rows = StorePoint.objects.order_by("name")
        if names:
            rows = rows.filter(name__in=names)
            known = set(rows.values_list("name", flat=True))
            missing = [name for name in names if name not in known]
            if missing:
                raise CommandError(
                    f"There is no store point named {', '.join(missing)}. "
                    "Names are case-sensitive; Destinations > Store Points lists them."
                )
        before = dict(rows.values_list("pk", "sequence"))
        if not before:
            self.stdout.write("There is no store point yet: manage.py add_store_point.")
            return
        screen = Console(file=self.stdout)  # type: ignore[arg-type]
        if not services.ask_store_points(before, now=clock.now()):
            raise CommandError(
                "No agent could be asked: the message broker is away, or no store "
                "point is adopted yet. Is the console running (manage.py up)?"
            )
        self._wait(before, screen)
        self._print(list(before), before, screen)

    def _wait(self, before: dict[int, int], screen: Console) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        with Progress(console=screen, transient=True) as progress:
            task = progress.add_task("Checking", total=len(before))
            while time.monotonic() < until:
                after = StorePoint.objects.filter(pk__in=list(before))
                answered = sum(
                    sequence > before[key]
                    for key, sequence in after.values_list("pk", "sequence")
                )
                progress.update(task, completed=answered)
                if answered == len(before):
                    return
                time.sleep(0.1)

    def _print(self, keys: list[int], before: dict[int, int], screen: Console) -> None:
        now = clock.now()
        rows = selectors.store_points(now=now, pulse=selectors.read_pulse(now)).filter(
            pk__in=keys
        )
        table = Table("Store point", "Server", "State", "Free", "Took")
        table.add_column("Path", overflow="fold")
        failed = 0
        for row in rows.order_by("name"):
            shown: Any = row
            is_answered = row.sequence > before[row.pk]
            is_working = is_answered and shown.shown_state in WORKING
            failed += not is_working
            words = describe(shown.shown_state, shown.shown_reason)
            if not is_answered:
                words = f"No answer from the agent ({words.lower()} before)"
            table.add_row(
                row.name,
                row.server.name,
                f"{'●' if is_working else '○'} {words}",
                humane.size(row.free_bytes if is_working else None),
                humane.duration(row.duration_seconds if is_answered else None),
                row.path,
            )
        screen.print(table)
        if failed:
            raise CommandError(
                f"{humane.counted(failed, 'store point is', 'store points are')} "
                "not online.",
                returncode=1,
            )
