"""Writing an export: a copy of the whole database as of one instant."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from datetime import datetime, time
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.core.serializers.python import Serializer
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from console.export.archive import (
    MANIFEST,
    BrokenExport,
    Manifest,
    Table,
    verify,
)
from console.export.tables import (
    applied_migrations,
    exported_models,
    fields_of,
    key_print,
    label_of,
    own_migrations,
)

#: The name of the connection that an export reads with.
SNAPSHOT = "export"
#: Rows that are in memory at once.
CHUNK_ROWS = 1000
#: Ends the name of a file that is not finished.
UNFINISHED = ".part"


class CannotExport(Exception):
    """The database cannot be exported; the text says why."""


def export_database(path: Path, *, now: datetime) -> Manifest:
    """Write the whole database to a file that did not exist, and return its manifest.

    1. Read everything in one read-only transaction, as of one instant: nobody waits for
       it, and it waits for nobody.
    2. Write to a temporary name beside the file, readable by its owner alone, to disk.
    3. Read it back and compare: an export that cannot be read is none.
    4. Give it its name. Until then the file is not there; afterwards it is complete.

    Raises CannotExport, with nothing left behind.
    """
    if path.exists():
        raise CannotExport(f"{path} is there already: expected a new name")
    part = path.with_name(f".{path.name}{UNFINISHED}")
    try:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        try:
            manifest = _write(part, now)
            verify(part)
            part.rename(path)
            _sync_directory(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        why = error.strerror or str(error)
        raise CannotExport(f"{path} cannot be written: {why}") from error
    except BrokenExport as error:
        raise CannotExport(
            f"{path} was not written as it should be: {error}"
        ) from error
    except DatabaseError as error:
        reason = " ".join(str(error).split())
        raise CannotExport(f"the database cannot be read: {reason}") from error
    return manifest


def _write(part: Path, now: datetime) -> Manifest:
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with (
            snapshot() as connection,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            manifest = _write_tables(connection, archive, now)
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _write_tables(
    connection: BaseDatabaseWrapper, archive: zipfile.ZipFile, now: datetime
) -> Manifest:
    applied = applied_migrations(connection)
    if applied != own_migrations():
        raise CannotExport(
            "the database is not of this version of the console: start it once "
            "(manage.py up), or export with the version that made it"
        )
    manifest = Manifest(
        console=settings.VERSION,
        made_at=now.isoformat(),
        database=connection.vendor,
        key=key_print(),
        migrations=applied,
        tables=[_write_table(model, archive) for model in exported_models()],
    )
    archive.writestr(MANIFEST, manifest.text())
    return manifest


def _write_table(model: type[Model], archive: zipfile.ZipFile) -> Table:
    label = label_of(model)
    with archive.open(f"{label}.jsonl", "w", force_zip64=True) as member:
        lines: Any = _Lines(member)
        rows = model._base_manager.using(SNAPSHOT).order_by("pk")  # noqa: SLF001
        _RowSerializer().serialize(
            rows.iterator(chunk_size=CHUNK_ROWS), stream=lines, fields=fields_of(model)
        )
    return Table(label, lines.count, lines.digest.hexdigest())


class _Lines:
    """Counts and digests the lines on their way into the zip."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member
        self.digest = hashlib.sha256()
        self.count = 0

    def write(self, line: str) -> None:
        data = line.encode()
        self.digest.update(data)
        self._member.write(data)
        self.count += 1


class _ExactEncoder(DjangoJSONEncoder):
    """As Django's, which cuts times off after milliseconds."""

    def default(self, o: Any) -> Any:
        return o.isoformat() if isinstance(o, datetime | time) else super().default(o)


class _RowSerializer(Serializer):
    """As Django's JSON lines, a line in one piece: that is many times as fast."""

    internal_use_only = True

    def end_object(self, obj: Any) -> None:
        """Write a row as a line."""
        text = json.dumps(
            self.get_dump_object(obj), cls=_ExactEncoder, separators=(",", ":")
        )
        self.stream.write(f"{text}\n")
        self._current = None


@contextlib.contextmanager
def snapshot() -> Iterator[BaseDatabaseWrapper]:
    """Open a connection of its own that sees the database as of now, and only reads.

    The console's own begins every transaction as one that writes, on SQLite: for as
    long as an export takes, nobody else could. It is known as SNAPSHOT meanwhile.
    """
    connection = connections[DEFAULT_DB_ALIAS].copy(SNAPSHOT)
    if connection.vendor == "sqlite":
        connection.settings_dict["OPTIONS"] |= {
            "transaction_mode": "DEFERRED",
            "init_command": "PRAGMA query_only=ON;",
        }
    connections[SNAPSHOT] = connection
    try:
        with transaction.atomic(using=SNAPSHOT):
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute(
                        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
                    )
            yield connection
    finally:
        connection.close()
        del connections[SNAPSHOT]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
