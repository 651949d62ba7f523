"""The project's own app: settings checks, commands and the Celery app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Loads what every process of the console needs before it serves."""

    name = "console"
    verbose_name = "Console"

    def ready(self) -> None:
        """Make the console's Celery app the default, register checks and the doctor.

        Without the import `shared_task` would publish to Celery's own default app,
        which is an AMQP server that nobody has.
        """
        from alerts.catalogue import Live
        from alerts.witnesses import call_witness
        from console import celery, checks  # noqa: F401

        call_witness(Live.DOCTOR, _what_is_wrong)


def _what_is_wrong(scene: Any) -> Any:
    """Return the doctor's words about what lets checks run, problems alone."""
    from alerts.guide import Fact
    from console import doctor

    # The words name files and addresses, as Settings > System does.
    if not scene.may("storepoints.change_historylimit"):
        return [Fact("An administrator sees here what the doctor says.")]
    findings = [
        each for each in doctor.examine_checks(scene.now) if each.verdict != "ok"
    ]
    return [
        Fact(f"{each.check}: {each.found.rstrip('.')}. {each.cure}".strip())
        for each in findings
    ] or [Fact("The broker answers, and the heartbeats are fresh.")]
