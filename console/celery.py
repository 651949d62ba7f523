"""The Celery app: `celery -A console worker` and `celery -A console beat`.

The options are in `console.settings` as CELERY_*, like every other setting. JSON only:
a broker that somebody else can write to must not be able to run code here.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning

from storepoints import transport

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

# Said at every lost connection, about a default that a next release will have. What it is
# about is decided here: running tasks are finished, and doing one twice changes nothing.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
# Said at every start by root. Pickle is what would make that dangerous, and it is off.
warnings.filterwarnings("ignore", category=SecurityWarning)

transport.use()
app = Celery("console")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# "Current" is kept per thread; the default is what web's threads fall back to.
app.set_default()


@signals.setup_logging.connect
def keep_our_logging(**kwargs: Any) -> None:
    """Leave logging to the settings: with a receiver here, Celery sets up none."""


def note_liveness(name: str, *, what: str = "") -> None:
    """Tell the supervisor that the process of this name has just done something.

    `what` is the name of the sign, the process's own by default. `up` names the
    processes it starts; anywhere else nobody looks, and nothing happens.
    """
    if os.environ.get("CONSOLE_PROCESS") == name:
        from django.conf import settings

        from console import liveness

        liveness.touch(settings.DATA_DIR, what or name)


@signals.after_task_publish.connect
def note_that_beat_lives(**kwargs: Any) -> None:
    """Note that beat has sent a task."""
    note_liveness("beat")


@signals.task_postrun.connect
@signals.task_revoked.connect
def note_that_the_worker_lives(**kwargs: Any) -> None:
    """Note that the worker is through with a task, or has dropped an expired one."""
    note_liveness("worker")
