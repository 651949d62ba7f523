"""`manage.py demo`: a throwaway console with something to look at."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from console import demo, env
from console.demo import NAMES, NoRight, Stage
from console.supervisor import die_with_parent

HALF_PERIOD_SECONDS = 30.0
START_SECONDS = 60.0


class Command(BaseCommand):
    """Make a scratch directory, run a console in it, and break a store point in turn."""

    help = (
        "Start a throwaway console beside a real one, in a scratch directory that is "
        "removed at the end. It has a few store points (on real volumes, loop-mounted, "
        "when run as root with mkfs.ext4 at hand), one of which is broken for half of "
        "every minute, and prints a link that signs a visitor in. Ctrl-C ends it."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the address."""
        parser.add_argument(
            "--listen",
            metavar="HOST:PORT",
            type=env.listen_argument,
            default=env.Listen("127.0.0.1", 8001),
            help="where the demonstration listens (default 127.0.0.1:8001)",
        )
        parser.add_argument(
            "--seconds",
            type=_seconds,
            default=HALF_PERIOD_SECONDS,
            help="how long the store point stays broken, and then well, from 1 (default"
            f" {HALF_PERIOD_SECONDS:g})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Begin again with the settings of the throwaway console, then play."""
        if env.STAGE_VARIABLE not in os.environ:
            _begin_again(options["listen"])
        root = Path(os.environ.pop(env.STAGE_VARIABLE))
        demo.lock(root)
        stage = Stage(root)
        stop = threading.Event()
        # SIGHUP: the terminal was closed.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup does
                signal.signal(number, lambda *_: stop.set())
        console: subprocess.Popen[bytes] | None = None
        try:
            for left in demo.remove_leftovers():
                self._say(f"removed {left}, left by a demonstration that was killed")
            self._say("building the stage")
            stage.build()
            if not stage.has_volumes:
                self._say(f"plain directories instead of volumes: {stage.why_not}")
            # The very program that `make run` starts; it prints what happens.
            console = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--listen", str(options["listen"])],
                cwd=settings.BASE_DIR,
                start_new_session=True,
                # A demonstration that is killed must not leave its console running.
                preexec_fn=die_with_parent(os.getpid(), signal.SIGTERM),  # noqa: PLW1509 (one thread)
            )
            self._await_console(console, stop)
            if not stop.is_set():
                self._welcome(stage, options["seconds"])
                self._play(stage, console, stop, options["seconds"])
        finally:
            if console is not None:
                console.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    console.wait(20)
                console.kill()
                console.wait()
            demo.remove(root)

    def _await_console(
        self, console: subprocess.Popen[bytes], stop: threading.Event
    ) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and not stop.is_set():
            if console.poll() is not None:
                raise CommandError("the console did not start; the reason stands above")
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                # The console's own address, http, on this machine.
                urllib.request.urlopen(  # noqa: S310
                    f"{settings.PUBLIC_URL.rstrip('/')}/livez", timeout=2
                ),
            ):
                return
            stop.wait(0.2)
        if not stop.is_set():
            raise CommandError(
                f"the console did not answer within {START_SECONDS:g} s: is this "
                "machine very busy? Try again, or look at what stands above"
            )

    def _welcome(self, stage: Stage, seconds: float) -> None:
        # Models can be imported only here: the first half runs without a database.
        from console.accounts import services as accounts
        from console.kit import clock
        from storepoints import services
        from storepoints.models import Server

        server = Server.objects.get(is_master=True)
        for name in NAMES:
            self._add(services, server, name, stage.path(name))
        visitor = accounts.create_administrator(
            name="visitor",
            email="visitor@example.org",
            password=secrets.token_urlsafe(24),
            actor=None,
            now=clock.now(),
        )
        link = accounts.sign_in_link(visitor, clock.now())
        self.stdout.write(
            f"\n  Sign in as a visitor (the link works once):\n  {link}\n\n"
            f"  {NAMES[0]} breaks and mends every "
            f"{2 * seconds:g} seconds. What the charts show of the time before now "
            "is made up.\n  Ctrl-C ends the demonstration and removes it.\n"
        )
        self.stdout.flush()

    def _add(self, services: Any, server: Any, name: str, path: Path) -> None:
        from console.kit import clock

        for attempt in range(5):
            try:
                services.add_store_point(
                    server=server,
                    name=name,
                    path=str(path),
                    actor=None,
                    now=clock.now(),
                )
            except services.Refusal as refusal:
                # The agent may still be starting.
                if refusal.code != "no-answer" or attempt == 4:
                    raise CommandError(str(refusal)) from refusal
            else:
                return

    def _play(
        self,
        stage: Stage,
        console: subprocess.Popen[bytes],
        stop: threading.Event,
        seconds: float,
    ) -> None:
        from console.demo_history import make_up_history
        from console.kit import clock

        has_past = False
        until = time.monotonic() + seconds
        while not stop.wait(min(1.0, max(0.0, until - time.monotonic()))):
            if console.poll() is not None:
                raise CommandError("the console ended; the reason stands above")
            # Their volumes are known when the first report was recorded.
            has_past = has_past or make_up_history(NAMES, now=clock.now())
            if time.monotonic() < until:
                continue
            try:
                self._say(stage.turn())
            except NoRight as error:
                self._say(f"trying again in {seconds:g} s: {error}")
            until = time.monotonic() + seconds

    def _say(self, line: str) -> None:
        # The terminal may be gone, and the stage is to be struck all the same.
        with contextlib.suppress(OSError):
            self.stdout.write(f"{time.strftime('%H:%M:%S')} demo: {line}")
            self.stdout.flush()


def _begin_again(listen: env.Listen) -> None:
    """Run this command once more, in a data directory of its own."""
    root = tempfile.mkdtemp(prefix=demo.PREFIX)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CONSOLE_")
    }
    environment |= {
        env.STAGE_VARIABLE: root,
        "CONSOLE_DATA_DIR": f"{root}/var",
        "CONSOLE_LISTEN": str(listen),
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{value!r}: expected 1 to 86400")
    return seconds
