"""The Celery app: `celery -A console worker` and `celery -A console beat`.

The options are in `console.settings` as CELERY_*, like every other setting. JSON only:
a broker that somebody else can write to must not be able to run code here.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

# Said at every lost connection, about a default that a next release will have. What it is
# about is decided here: running tasks are finished, and doing one twice changes nothing.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)

app = Celery("console")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# "Current" is kept per thread; the default is what web's threads fall back to.
app.set_default()


@signals.setup_logging.connect
def keep_our_logging(**kwargs: Any) -> None:
    """Leave logging to the settings: with a receiver here, Celery sets up none."""


def note_liveness(**kwargs: Any) -> None:
    """Tell the supervisor that this process has just done something."""
    from django.conf import settings

    from console import liveness

    liveness.touch(settings.DATA_DIR, os.environ["CONSOLE_PROCESS"])


# `up` names the processes it starts. Anywhere else nobody looks at the files.
match os.environ.get("CONSOLE_PROCESS"):
    case "beat":
        signals.after_task_publish.connect(note_liveness)
    case "worker":
        signals.task_postrun.connect(note_liveness)
        signals.task_revoked.connect(note_liveness)  # an expired one counts as well
