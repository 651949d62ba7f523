"""Reading an export: the whole database becomes what it was, or stays what it is."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core import serializers
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.core.management.color import no_style
from django.core.serializers.base import DeserializationError
from django.db import DatabaseError, connection, transaction
from django.db.models import Model

from console.export.archive import (
    BrokenExport,
    Manifest,
    Table,
    open_export,
    rows_of,
    verify,
)
from console.export.tables import (
    CLEARED,
    exported_models,
    label_of,
    own_migrations,
    table_of,
)
from console.kit import audit

BATCH_ROWS = 500
#: How many migrations are named before "and N more".
_NAMED = 4


class CannotImport(Exception):
    """An export cannot be imported; the text says why, and nothing was changed."""


def check_export(path: Path) -> Manifest:
    """Return the manifest of an export that this version can read.

    Asks no database. Raises CannotImport when the file is broken or of another version.
    """
    try:
        manifest = verify(path)
    except BrokenExport as error:
        raise CannotImport(f"{path}: {error}.") from None
    theirs, ours = set(manifest.migrations), set(own_migrations())
    known = {label_of(model) for model in exported_models()}
    named = {table.model for table in manifest.tables}
    if theirs == ours and named == known:
        return manifest
    differences = []
    if more := sorted((theirs - ours) | (named - known)):
        differences.append(f"has {_some(more)}, which this version lacks")
    if less := sorted((ours - theirs) | (known - named)):
        differences.append(f"lacks {_some(less)}")
    raise CannotImport(
        f"{path} was made by another version of the console, {manifest.console}: it "
        f"{' and '.join(differences)}. Import it with that version, then upgrade."
    )


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def what_is_there() -> list[str]:
    """Return the tables of this database that have rows."""
    return [
        label_of(model)
        for model in exported_models()
        if model._base_manager.exists()  # noqa: SLF001 (documented)
    ]


def import_database(
    path: Path, manifest: Manifest, *, is_replacing: bool, now: datetime
) -> int:
    """Fill the database with what an export holds, and return how many rows that were.

    ``manifest`` is what ``check_export`` returned. One transaction: after an error the
    database is as before. Whoever was signed in is signed out. Raises CannotImport.
    """
    try:
        with open_export(path) as file, transaction.atomic():
            if is_replacing:
                _empty()
            elif there := what_is_there():
                raise CannotImport(
                    f"The database is not empty: it has rows in {_some(there)}. "
                    "Use an empty one, or --replace to throw away what is there."
                )
            for table in manifest.tables:
                _fill(file, table)
            connection.check_constraints()
            _go_on_counting()
            audit.record(
                actor=None,
                verb="console.import",
                subject=None,
                now=now,
                data={"made_at": manifest.made_at, "rows": manifest.rows},
            )
    except (BrokenExport, zipfile.BadZipFile, OSError) as error:
        raise CannotImport(f"{path}: {error}.") from error
    except DatabaseError as error:
        reason = " ".join(str(error).split())
        raise CannotImport(f"The database took it not: {reason}.") from error
    return manifest.rows


def _empty() -> None:
    """Remove every row that an import brings; constraints are checked at the end."""
    models = [*exported_models(), *(apps.get_model(label) for label in CLEARED)]
    with connection.cursor() as cursor:
        for model in models:
            name = connection.ops.quote_name(table_of(model))
            # Not by the ORM: the audit log lets nobody remove its entries there.
            cursor.execute(f"DELETE FROM {name}")  # noqa: S608


def _fill(file: zipfile.ZipFile, table: Table) -> None:
    model = apps.get_model(table.model)
    count = 0
    try:
        for batch in _batches(rows_of(file, table)):
            found: Iterable[Any] = serializers.deserialize("python", batch)
            objects: list[Model] = [each.object for each in found]
            if strange := [each for each in objects if type(each) is not model]:
                raise CannotImport(
                    f"{table.file} has a row of {label_of(type(strange[0]))}."
                )
            model._base_manager.bulk_create(objects, batch_size=BATCH_ROWS)  # noqa: SLF001
            count += len(objects)
    except (DeserializationError, FieldDoesNotExist, ValidationError) as error:
        raise CannotImport(
            f"{table.file}, in rows {count + 1} to {count + BATCH_ROWS}: {error}."
        ) from error
    except DatabaseError as error:
        reason = " ".join(str(error).split())
        raise CannotImport(
            f"{table.file}, in rows {count + 1} to {count + BATCH_ROWS}: {reason}."
        ) from error


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        yield batch


def _go_on_counting() -> None:
    """Let the keys of new rows begin after those that were brought."""
    statements = connection.ops.sequence_reset_sql(no_style(), exported_models())
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
