"""What the console runs on: versions, and the database with its size."""

from __future__ import annotations

import platform
import sqlite3
from dataclasses import dataclass
from importlib import metadata

from django.conf import settings
from django.db import connection


@dataclass(frozen=True, slots=True)
class Database:
    """The database: its engine with the version, its name, and its size in bytes."""

    engine: str
    name: str
    bytes: int


def read_database() -> Database:
    """Ask the database for its version and size."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT page_count * page_size "
                "FROM pragma_page_count(), pragma_page_size()"
            )
            (size,) = cursor.fetchone()
            engine = f"SQLite {sqlite3.sqlite_version}"
        else:
            cursor.execute(
                "SELECT current_setting('server_version'), "
                "pg_database_size(current_database())"
            )
            version, size = cursor.fetchone()
            engine = f"PostgreSQL {version}"
    return Database(engine, str(connection.settings_dict["NAME"]), int(size))


def versions() -> list[tuple[str, str]]:
    """Return what the console is made of, with versions."""
    return [
        ("Console", settings.VERSION),
        ("Python", platform.python_version()),
        ("Django", metadata.version("Django")),
        ("Celery", metadata.version("celery")),
        ("System", f"{platform.system()} {platform.release()}"),
    ]
