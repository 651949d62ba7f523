"""The project's own app: settings checks, commands and the Celery app."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Loads what every process of the console needs before it serves."""

    name = "console"
    verbose_name = "Console"

    def ready(self) -> None:
        """Make the console's Celery app the default and register the checks.

        Without the import `shared_task` would publish to Celery's own default app,
        which is an AMQP server that nobody has.
        """
        from console import celery, checks  # noqa: F401
