"""The daily export: one file a day in the data directory, and an alert when it fails."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings

from alerts.catalogue import console_database_export_failed as kind
from alerts.services import reconcile_console
from console.export.dump import UNFINISHED, CannotExport, export_database
from console.kit import heartbeat
from console.kit.models import Heartbeat

logger = logging.getLogger(__name__)

#: What is known of exports, as signs of life: of the newest that went well, and of the
#: last that failed while none has gone well since.
DONE, FAILED = "export", "export-failed"

DUE_AFTER = timedelta(hours=kind.EXPORT_HOURS)
RETRY_AFTER = timedelta(hours=kind.RETRY_HOURS)
#: How many of the newest files are kept.
KEPT = 7

_NAME = re.compile(r"console-\d{8}-\d{6}\.zip")


class AlreadyExporting(Exception):
    """Another process is writing an export just now."""


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of exports: the newest, and why the last one failed if it did."""

    made_at: datetime | None = None
    path: str = ""
    host: str = ""
    bytes: int = 0
    rows: int = 0
    seconds: float = 0.0
    failed_at: datetime | None = None
    problem: str = ""

    @property
    def is_missing(self) -> bool:
        """Return whether the newest file was written by this machine and is gone."""
        is_ours = bool(self.path) and self.host == socket.gethostname()
        return is_ours and not Path(self.path).exists()


def directory() -> Path:
    """Return where the daily exports are."""
    return Path(settings.DATA_DIR) / "exports"


def read_status() -> Status:
    """Return what is known of exports; one query."""
    rows = {row.name: row for row in Heartbeat.objects.filter(name__in=(DONE, FAILED))}
    done, failed = rows.get(DONE), rows.get(FAILED)
    data = done.data if done else {}
    return Status(
        made_at=done.beaten_at if done else None,
        path=data.get("path", ""),
        host=data.get("host", ""),
        bytes=data.get("bytes", 0),
        rows=data.get("rows", 0),
        seconds=data.get("seconds", 0.0),
        failed_at=failed.beaten_at if failed else None,
        problem=failed.data.get("problem", "") if failed else "",
    )


def is_due(*, now: datetime) -> bool:
    """Return whether the newest export is too old, and a failed one may be tried again.

    A clock that was set back must not put the next one off: differences count.
    """
    status = read_status()
    if status.failed_at is not None:
        return abs(now - status.failed_at) >= RETRY_AFTER
    if status.made_at is None or status.is_missing:
        return True
    return abs(now - status.made_at) >= DUE_AFTER


def export_to_data_directory(*, now: datetime) -> Path:
    """Write an export to the data directory, keep the newest, and say how it went.

    Raises CannotExport after that was noted and its alert was raised, and
    AlreadyExporting when another process is at it.
    """
    began = time.perf_counter()
    path = directory() / f"console-{now:%Y%m%d-%H%M%S}.zip"
    try:
        with _alone():
            _remove_unfinished()
            manifest = export_database(path, now=now)
            _remove_old()
            size = path.stat().st_size
    except CannotExport as error:
        note_failure(str(error), now=now)
        raise
    except OSError as error:
        problem = f"{directory()} cannot be written to: {error.strerror or error}"
        note_failure(problem, now=now)
        raise CannotExport(problem) from error
    heartbeat.beat(
        DONE,
        now,
        {
            "path": str(path),
            "host": socket.gethostname(),
            "bytes": size,
            "rows": manifest.rows,
            "seconds": round(time.perf_counter() - began, 1),
        },
    )
    Heartbeat.objects.filter(name=FAILED).delete()
    reconcile_console({kind.KIND.slug: ""}, now=now)
    logger.info("exported %d rows to %s", manifest.rows, path)
    return path


def note_failure(problem: str, *, now: datetime) -> None:
    """Note why an export failed, and raise the alert about it."""
    logger.error("the export failed: %s", problem)
    heartbeat.beat(FAILED, now, {"problem": problem})
    reconcile_console({kind.KIND.slug: problem}, now=now)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Make the directory and hold its lock, which ends with the process."""
    directory().mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyExporting("an export is being written just now") from None
        yield
    finally:
        os.close(descriptor)


def _remove_unfinished() -> None:
    for path in directory().glob(f".console-*{UNFINISHED}"):
        path.unlink()


def _remove_old() -> None:
    """Remove all but the newest; what has another name is somebody's own."""
    paths = sorted(path for path in directory().iterdir() if _NAME.fullmatch(path.name))
    for path in paths[:-KEPT]:
        path.unlink()
