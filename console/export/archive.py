"""The file that an export is: a zip with a manifest and one file of rows per table.

``manifest.json`` says which console made it, from which database, with which migrations
applied, and for every table how many rows it has and their SHA-256. ``<app>.<model>.jsonl``
has one JSON object per row: ``{"model": …, "pk": …, "fields": {…}}``, as Django's own
serializers write it, so that it belongs to no database in particular. Any program that
opens zip files opens it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
WHAT = "Store Point Console export"
MANIFEST = "manifest.json"
_CHUNK_BYTES = 1024 * 1024


class BrokenExport(ValueError):
    """A file that is no export, or no longer the one that was written."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table: the model's label, how many rows it has, and their SHA-256."""

    model: str
    rows: int
    sha256: str

    @property
    def file(self) -> str:
        """Return the name of its file in the zip."""
        return f"{self.model}.jsonl"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export says of itself; ``key`` tells one secret key from another."""

    console: str
    made_at: str
    database: str
    key: str
    migrations: list[str]
    tables: list[Table] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Return how many rows there are in all tables."""
        return sum(table.rows for table in self.tables)

    def text(self) -> str:
        """Return it as it stands in the zip."""
        return json.dumps({"what": WHAT, "format": FORMAT, **asdict(self)}, indent=1)


def read_manifest(file: zipfile.ZipFile) -> Manifest:
    """Return what an open export says of itself. Raises BrokenExport."""
    try:
        found: Any = json.loads(file.read(MANIFEST))
    except KeyError:
        raise BrokenExport(f"it has no {MANIFEST}: no export of a console") from None
    except (ValueError, zipfile.BadZipFile, OSError) as error:
        raise BrokenExport(f"{MANIFEST} cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("what") != WHAT:
        raise BrokenExport(f"{MANIFEST} does not say {WHAT!r}")
    if found.get("format") != FORMAT:
        raise BrokenExport(
            f"it is of the format {found.get('format')!r}, and this console reads {FORMAT}"
        )
    try:
        tables = [
            Table(str(each["model"]), int(each["rows"]), str(each["sha256"]))
            for each in found["tables"]
        ]
        return Manifest(
            console=str(found["console"]),
            made_at=str(found["made_at"]),
            database=str(found["database"]),
            key=str(found["key"]),
            migrations=[str(each) for each in found["migrations"]],
            tables=tables,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenExport(f"{MANIFEST} is incomplete: {error!r}") from None


def open_export(path: Path) -> zipfile.ZipFile:
    """Open an export to read it. Raises BrokenExport, which does not name the file."""
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise BrokenExport(
            "it is no zip file, or was cut off: expected what export_console wrote"
        ) from None
    except OSError as error:
        raise BrokenExport(f"it cannot be opened: {error.strerror or error}") from None


def verify(path: Path) -> Manifest:
    """Read a whole export, and return its manifest if every row is as it was written.

    Raises BrokenExport that names the table.
    """
    with open_export(path) as file:
        manifest = read_manifest(file)
        for table in manifest.tables:
            rows, found = 0, hashlib.sha256()
            for chunk in _chunks(file, table):
                found.update(chunk)
                rows += chunk.count(b"\n")
            if found.hexdigest() != table.sha256:
                raise BrokenExport(
                    f"{table.file} is damaged: expected the SHA-256 {table.sha256}, "
                    f"found {found.hexdigest()}"
                )
            if rows != table.rows:
                raise BrokenExport(
                    f"{table.file} has {rows} rows: expected {table.rows}"
                )
    return manifest


def _chunks(file: zipfile.ZipFile, table: Table) -> Iterator[bytes]:
    try:
        with file.open(table.file) as member:
            while chunk := member.read(_CHUNK_BYTES):
                yield chunk
    except KeyError:
        raise BrokenExport(f"{table.file} is missing") from None
    # zlib's errors are bare exceptions of its own; EOFError is a member cut short.
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        raise BrokenExport(f"{table.file} is damaged: {error}") from None


def rows_of(file: zipfile.ZipFile, table: Table) -> Iterator[dict[str, Any]]:
    """Return the rows of a table of an export that was verified."""
    with file.open(table.file) as member:
        for line in member:
            yield json.loads(line)
