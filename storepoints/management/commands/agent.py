"""`manage.py agent`: run this machine's agent."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Become `python -m storepoints.agent`, which needs neither Django nor a database."""

    help = (
        "Run the agent of this machine: it probes store points as the master server "
        "asks, watches the mount table and reports. manage.py up starts it on the "
        "master server. The configuration file names the server, its key, the broker "
        "and the hook for inbound backup; docs/agent.md describes it."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the configuration file."""
        parser.add_argument(
            "--config",
            metavar="FILE",
            default=str(settings.AGENT_FILE),
            help=f"the agent's configuration file (default {settings.AGENT_FILE})",
        )
        parser.add_argument(
            "--check-config",
            action="store_true",
            help="only say whether the file is right",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Replace this process, so that signals reach the agent itself."""
        argv = [
            sys.executable,
            "-m",
            "storepoints.agent",
            "--config",
            options["config"],
        ]
        if options["check_config"]:
            argv.append("--check-config")
        os.chdir(settings.BASE_DIR)
        os.execv(sys.executable, argv)  # noqa: S606 - a fixed program, no shell
