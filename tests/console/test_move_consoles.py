"""Moving a console with export_console and import_console, as an administrator does it.

With processes and databases of their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from console.export.dump import export_database
from console.export.load import check_export
from console.kit import clock
from tests.console.exports import OtherConsole, fill, rows
from tests.postgres import Postgres

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """An export of a console with a bit of everything."""
    fill()
    path = tmp_path / "full.zip"
    export_database(path, now=clock.now())
    return path


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    server = Postgres.start()
    yield server
    server.stop()


def test_it_moves_from_sqlite_to_sqlite(full: Path, tmp_path: Path) -> None:
    other = OtherConsole(tmp_path / "other")

    code, said = other.manage("import_console", full)

    assert code == 0, said
    assert f"imported {check_export(full).rows:,} rows" in said
    assert "another secret key" not in said
    has_all(full, other, tmp_path)


def test_it_moves_from_sqlite_to_postgresql_and_back(
    full: Path, tmp_path: Path, postgres: Postgres
) -> None:
    other = OtherConsole(tmp_path / "other", postgres.url)
    code, said = other.manage("import_console", full)
    assert code == 0, said
    moved = has_all(full, other, tmp_path)

    third = OtherConsole(tmp_path / "third")
    code, said = third.manage("import_console", moved)

    assert code == 0, said
    with sqlite3.connect(tmp_path / "third" / "console.sqlite3") as database:
        (name,) = database.execute("SELECT name FROM storepoints_server").fetchone()
    assert name == "stör-1"


def has_all(full: Path, other: OtherConsole, tmp_path: Path) -> Path:
    path = tmp_path / "other.zip"
    code, said = other.manage("export_console", path)
    assert code == 0, said
    found, expected = rows(path), rows(full)
    verbs = [row["fields"]["verb"] for row in found["kit.auditentry"]]
    assert verbs.count("console.import") == 1
    del found["kit.auditentry"][verbs.index("console.import")]
    assert found == expected
    return path


def test_it_asks_before_it_replaces(full: Path, tmp_path: Path) -> None:
    other = OtherConsole(tmp_path / "other")
    other.manage("import_console", full)

    code, said = other.manage("import_console", full)
    assert code == 1
    assert "The database is not empty: it has rows in" in said
    code, said = other.manage("import_console", full, "--replace", answer="no\n")
    assert code == 1
    assert "Nothing was changed." in said
    code, said = other.manage("import_console", full, "--replace", answer="")
    assert code == 1
    code, said = other.manage("import_console", full, "--replace", answer="replace\n")
    assert code == 0, said
    code, said = other.manage("import_console", full, "--replace", "--no-input")
    assert code == 0, said


def test_it_says_that_the_secret_key_is_another(full: Path, tmp_path: Path) -> None:
    other = OtherConsole(
        tmp_path / "other", variables={"CONSOLE_SECRET_KEY": "another" * 10}
    )

    code, said = other.manage("import_console", full)

    assert code == 0, said
    assert "made with another secret key" in said
    assert settings.SECRET_KEY.encode() not in full.read_bytes()


def test_a_database_that_was_never_prepared_is_not_exported(tmp_path: Path) -> None:
    code, said = OtherConsole(tmp_path / "new").manage(
        "export_console", tmp_path / "new.zip"
    )

    assert code == 1
    assert "not of this version of the console" in said
    assert not (tmp_path / "new.zip").exists()


def test_it_exports_daily_as_the_worker_has_it_done(full: Path, tmp_path: Path) -> None:
    other = OtherConsole(tmp_path / "other")
    other.manage("import_console", full)

    code, said = other.manage("export_console", "--daily")

    assert code == 0, said
    (path,) = (tmp_path / "other" / "exports").iterdir()
    assert str(path) in said
    assert rows(path)["storepoints.server"] == rows(full)["storepoints.server"]
