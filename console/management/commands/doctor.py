"""`manage.py doctor`: what the console stands on, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from rich.console import Console
from rich.table import Table

from console import doctor
from console.doctor import Finding, Verdict
from console.kit import clock

STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "bold red"}


class Command(BaseCommand):
    """Look at everything the console stands on and say what to do."""

    help = (
        "Look at what the console stands on: the data directory, secrets, database,"
        " broker, queues, agent, clock, static files, heartbeats and mail. Makes and"
        " changes nothing. Exits with 1 when there is a problem, with 0 when there are only"
        " warnings."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --json."""
        parser.add_argument(
            "--json",
            action="store_true",
            help="print a JSON list of {check, verdict, found, cure} instead of a table",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the findings."""
        findings = list(doctor.examine(clock.now()))
        if options["json"]:
            self.stdout.write(json.dumps([asdict(each) for each in findings], indent=2))
        else:
            self._print_table(findings)
        if any(finding.verdict == Verdict.PROBLEM for finding in findings):
            sys.exit(1)

    def _print_table(self, findings: list[Finding]) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("check", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        table.add_column("found", overflow="fold")
        table.add_column("what to do", overflow="fold")
        for finding in findings:
            verdict = finding.verdict
            word = "OK" if verdict == Verdict.OK else verdict.value
            table.add_row(
                finding.check,
                f"[{STYLES[verdict]}]{word}[/]",
                finding.found.replace("[", r"\["),
                finding.cure.replace("[", r"\["),
            )
        # Into a file or a pipe: one line per check, however long.
        width = None if self.stdout.isatty() else 200
        Console(file=sys.stdout, highlight=False, width=width).print(table)
