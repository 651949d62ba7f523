"""`manage.py up`: the whole console in one process tree."""

from __future__ import annotations

import sys
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from console import env, startup, tree
from console.kit import clock


class Command(BaseCommand):
    """Prepare the data directory and the database, then run every process."""

    help = (
        "Start the whole console on this machine: the embedded broker (unless"
        " CONSOLE_BROKER_URL is set), web, worker, beat, this machine's agent and the"
        " watch that prints what happens. The first start makes the database, enrols this"
        " machine as the master server and prints a one-time link to create the first"
        " administrator. A process that ends is started again. Ctrl-C stops everything;"
        " starting again goes on where it was."
    )
    # `migrate` runs inside; checking before it would only say that it has not run.
    requires_migrations_checks = False

    def create_parser(
        self, prog_name: str, subcommand: str, **more: Any
    ) -> CommandParser:
        """Return the parser, with the environment described below the options."""
        more["epilog"] = "docs/configuration.md lists the environment variables."
        return super().create_parser(prog_name, subcommand, **more)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --listen."""
        parser.add_argument(
            "--listen",
            metavar="HOST:PORT",
            type=env.listen_argument,
            help=f"where web listens, instead of CONSOLE_LISTEN (now {settings.LISTEN})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare, then supervise until a signal ends it."""
        environment = settings.ENVIRONMENT
        if options["listen"] not in {None, environment.listen}:
            # manage.py puts it into the environment before the settings are loaded: a
            # part of them (hosts, cookies) would still be for the other address.
            raise CommandError(
                f"--listen {options['listen']} comes too late: call manage.py itself, or"
                f" set {env.LISTEN.name}."
            )
        try:
            lock = startup.lock_data_dir(environment.data_dir)
            startup.tighten(environment.data_dir, environment.agent_file)
            startup.check_port_is_free(environment.listen)
            startup.migrate(self._say)
        except startup.CannotStart as error:
            raise CommandError(str(error)) from error
        connections.close_all()
        tree.preload()
        link: list[str | None] = [None]

        def prepare() -> None:
            # In a fork: connections must not be open here when the processes are forked.
            link[0] = startup.in_a_fork(
                lambda: startup.prepare_first_start(clock.now())
            )

        def announce() -> None:
            self.stdout.write(_welcome(environment.public_url, link[0]))
            self.stdout.flush()

        try:
            if not environment.is_broker_embedded:
                prepare()
            code = tree.supervise(
                environment, lock=lock, on_broker_ready=prepare, on_web_ready=announce
            )
        except startup.CannotStart as error:
            raise CommandError(str(error)) from error
        sys.exit(code)

    def _say(self, line: str) -> None:
        self.stdout.write(f"{time.strftime('%H:%M:%S')} {line}")
        self.stdout.flush()


def _welcome(public_url: str, link: str | None) -> str:
    lines = ["", f"  The console is at {public_url}/", "  Ctrl-C stops it."]
    if link:
        lines += ["", "  Create the first administrator (the link works once):"]
        lines += [f"  {link}"]
    return "\n".join([*lines, ""])
