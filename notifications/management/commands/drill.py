"""`manage.py drill`: make a scratch store point fail for real, and time what follows."""

from __future__ import annotations

import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.accounts.models import User
from console.accounts.selectors import active_administrators
from console.kit import clock, humane
from notifications import services
from notifications.drill_steps import Outcome
from notifications.models import Drill
from notifications.tasks import advance_soon
from storepoints.selectors import read_pulse

#: How often the drill's row is looked at.
LOOK_SECONDS = 0.5

#: For how long checks may not run before nobody waits for the drill any more.
AWAY_SECONDS = 60.0

MARKS = {
    Outcome.DONE: "done",
    Outcome.SKIPPED: "left out",
    Outcome.FAILED: "FAILED",
}


class Command(BaseCommand):
    """Start a drill, print each step when it is done, and exit 0 when it passed."""

    help = (
        "Make a scratch store point on the master server fail for real and follow it "
        "through detection, alert, mail, acknowledgement and resolution; prints each "
        "step with its time. Needs the console to be running (manage.py up). The exit "
        "status is 0 when every step was taken, 1 otherwise. Ctrl-C cancels the drill; "
        "what it made is removed in any case."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take who acknowledges, and the form of the output."""
        parser.add_argument(
            "--as",
            dest="person",
            metavar="NAME",
            help="the administrator who acknowledges; the first one when left out",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="print one JSON object at the end and nothing else",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Start, follow, report."""
        person = self._person(options["person"])
        if not read_pulse(clock.now()).is_running:
            raise CommandError(
                "The console is not running, so nothing would be noticed. Start it "
                "(manage.py up, or make run) and try again; manage.py doctor says "
                "what is missing."
            )
        try:
            drill = services.start_drill(actor=person, now=clock.now())
        except services.DrillRefused as refused:
            raise CommandError(str(refused)) from refused
        advance_soon()
        is_plain = not options["as_json"]
        if is_plain:
            self.stdout.write(f"{drill}, as {person.get_username()}")
        try:
            self._follow(drill, is_plain=is_plain)
        except KeyboardInterrupt:
            services.cancel_drill(drill.pk, actor=person, now=clock.now())
            advance_soon()
            raise CommandError(
                f"{drill} is cancelled; the console removes what it made."
            ) from None
        drill.refresh_from_db()
        if options["as_json"]:
            self.stdout.write(json.dumps(_report(drill), indent=2))
        else:
            self._sum_up(drill)
        if drill.state != Drill.State.PASSED:
            raise CommandError(
                drill.failure or f"{drill} was {drill.get_state_display().lower()}."
            )

    def _person(self, name: str | None) -> User:
        administrators = active_administrators().order_by("pk")
        found = administrators.filter(username=name) if name else administrators
        person = found.first()
        if person is not None:
            return person
        names = ", ".join(administrators.values_list("username", flat=True))
        if not names:
            raise CommandError(
                "There is no administrator yet: manage.py create_administrator."
            )
        raise CommandError(
            f"There is no administrator named {name!r}. Administrators: {names}."
        )

    def _follow(self, drill: Drill, *, is_plain: bool) -> None:
        """Wait for the end; print each step once it is behind us."""
        printed = 0
        seen_at = time.monotonic()
        while True:
            drill.refresh_from_db()
            while printed < len(drill.steps):
                step = drill.steps[printed]
                if step["outcome"] == Outcome.WAITING:
                    break
                if is_plain:
                    self._print(step)
                printed += 1
            if not drill.is_running:
                return
            if read_pulse(clock.now()).is_running:
                seen_at = time.monotonic()
            elif time.monotonic() - seen_at > AWAY_SECONDS:
                raise CommandError(
                    f"The console has stopped, and {drill} waits for it: start it "
                    "(manage.py up), and the drill goes on or is cleaned up."
                )
            time.sleep(LOOK_SECONDS)

    def _print(self, step: dict[str, Any]) -> None:
        took = humane.duration(step["seconds"])
        target = humane.duration(step["target_seconds"])
        text = f"  {step['text']}" if step["text"] else ""
        self.stdout.write(
            f"  {MARKS[Outcome(step['outcome'])]:8}  {took:>8}  (target {target:>7})  "
            f"{step['label']}{text}"
        )

    def _sum_up(self, drill: Drill) -> None:
        if drill.state == Drill.State.PASSED and drill.finished_at is not None:
            took = humane.duration(
                (drill.finished_at - drill.started_at).total_seconds()
            )
            self.stdout.write(f"{drill} passed in {took}.")


def _report(drill: Drill) -> dict[str, Any]:
    return {
        "name": drill.name,
        "state": drill.state,
        "failure": drill.failure,
        "started_at": drill.started_at.isoformat(),
        "finished_at": drill.finished_at.isoformat() if drill.finished_at else None,
        "started_by": drill.started_by_name,
        "steps": drill.steps,
    }
