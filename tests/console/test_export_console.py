"""The database as one file: written while others write, read back elsewhere, or not."""

from __future__ import annotations

import json
import stat
import threading
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection, connections, transaction

from alerts.engine import Severity
from alerts.models import Alert
from console.export import daily
from console.export.archive import MANIFEST, BrokenExport, Manifest, verify
from console.export.dump import CannotExport, export_database, snapshot
from console.export.load import (
    CannotImport,
    check_export,
    import_database,
    what_is_there,
)
from console.export.tables import exported_models
from console.kit import clock
from console.kit.models import AuditEntry
from storepoints.models import ProbeSample, Server, StorePoint
from tests import people
from tests.console.exports import fill, rows
from tests.factories import make_store_point
from tests.people import make_person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

KIND = "console-database-export-failed"


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """An export of a console with a bit of everything."""
    fill()
    path = tmp_path / "full.zip"
    export_database(path, now=clock.now())
    return path


@pytest.fixture
def exports(tmp_path: Path, settings: Any) -> Path:
    """Where the daily exports are, in a data directory of this test."""
    settings.DATA_DIR = tmp_path
    return tmp_path / "exports"


def test_it_exports_every_row_but_no_session(tmp_path: Path) -> None:
    fill()
    person = people.client_of("operator")
    assert Session.objects.exists()
    path = tmp_path / "a.zip"

    manifest = export_database(path, now=clock.now())

    found = rows(path)
    for model in exported_models():
        label = model._meta.label_lower
        assert len(found.get(label, [])) == model._base_manager.count(), label
    assert "sessions.session" not in found
    assert str(person.session.session_key) not in path.read_bytes().decode("latin-1")
    assert manifest.rows == sum(map(len, found.values()))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


def test_it_exports_times_to_the_microsecond(full: Path) -> None:
    (point,) = rows(full)["storepoints.storepoint"]

    since = datetime.fromisoformat(point["fields"]["since"])
    assert since == StorePoint.objects.get().since
    assert since.microsecond % 1000


def test_it_is_of_one_instant_and_keeps_no_writer_waiting(tmp_path: Path) -> None:
    make_store_point("before")
    said: list[Any] = []

    def write() -> None:
        try:
            with transaction.atomic():
                make_store_point("meanwhile")
            said.append("written")
        finally:
            connections.close_all()

    with snapshot():
        before = StorePoint.objects.using("export").count()
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(5)

        assert said == ["written"]
        assert StorePoint.objects.using("export").count() == before == 1
    assert StorePoint.objects.count() == 2


def test_it_never_writes_over_a_file(full: Path) -> None:
    before = full.read_bytes()

    with pytest.raises(CannotExport, match="is there already"):
        export_database(full, now=clock.now())

    assert full.read_bytes() == before


def test_it_leaves_nothing_when_the_directory_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CannotExport, match="No such file or directory"):
        export_database(tmp_path / "missing" / "a.zip", now=clock.now())


def test_it_imports_what_was_exported(full: Path, tmp_path: Path) -> None:
    before = rows(full)
    people.client_of("operator")
    make_store_point("since then")
    manifest = check_export(full)

    count = import_database(full, manifest, is_replacing=True, now=clock.now())

    assert count == manifest.rows
    assert not Session.objects.exists()
    entry = AuditEntry.objects.get(verb="console.import")
    AuditEntry.objects.filter(pk=entry.pk)._raw_delete("default")
    again = tmp_path / "again.zip"
    export_database(again, now=clock.now())
    assert rows(again) == before
    # New rows get keys of their own.
    assert make_store_point("new").pk > before["storepoints.storepoint"][-1]["pk"]


def test_it_imports_into_an_empty_database_only(full: Path) -> None:
    manifest = check_export(full)

    with pytest.raises(CannotImport, match=r"not empty.*accounts\.user"):
        import_database(full, manifest, is_replacing=False, now=clock.now())

    assert StorePoint.objects.count() == 1


def rewritten(path: Path, change: Any) -> Path:
    """A copy of an export with one member changed: ``change(name, data) -> data``."""
    copy = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return copy


SERVERS = "storepoints.server.jsonl"


def test_it_refuses_files_that_are_broken_and_names_what(
    full: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.zip"
    cut.write_bytes(full.read_bytes()[:-200])
    text = tmp_path / "text.zip"
    text.write_text("nonsense")
    stranger = tmp_path / "stranger.zip"
    with zipfile.ZipFile(stranger, "w") as file:
        file.writestr("hello", "world")
    flipped = tmp_path / "flipped.zip"
    data = bytearray(full.read_bytes())
    data[len(data) // 2] ^= 0xFF
    flipped.write_bytes(data)
    for path, expected in (
        (tmp_path / "none.zip", "cannot be opened: No such file"),
        (cut, "no zip file, or was cut off"),
        (text, "no zip file, or was cut off"),
        (stranger, f"it has no {MANIFEST}"),
        (flipped, "is damaged"),
    ):
        with pytest.raises(CannotImport, match=expected) as caught:
            check_export(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda name, data: (
                data.replace(b"st", b"ts", 1) if name == SERVERS else data
            ),
            f"{SERVERS} is damaged: expected the SHA-256",
        ),
        (
            lambda name, data: None if name == SERVERS else data,
            f"{SERVERS} is missing",
        ),
        (
            lambda name, data: (
                data.replace(b'"format": 1', b'"format": 99')
                if name == MANIFEST
                else data
            ),
            "of the format 99, and this console reads 1",
        ),
        (
            lambda name, data: (
                data.replace(b'"rows"', b'"row"') if name == MANIFEST else data
            ),
            "incomplete",
        ),
    ],
    ids=["changed row", "missing table", "newer format", "incomplete manifest"],
)
def test_it_refuses_what_was_changed(full: Path, change: Any, expected: str) -> None:
    path = rewritten(full, change)

    with pytest.raises(BrokenExport, match=expected):
        verify(path)


def with_manifest(path: Path, **changes: Any) -> Path:
    def change(name: str, data: bytes) -> bytes:
        if name != MANIFEST:
            return data
        return json.dumps(json.loads(data) | changes).encode()

    return rewritten(path, change)


def test_it_refuses_another_versions_export(full: Path) -> None:
    migrations = check_export(full).migrations
    newer = with_manifest(
        full, console="99.1", migrations=[*migrations, "alerts.0099_next"]
    )
    with pytest.raises(CannotImport) as caught:
        check_export(newer)
    assert "another version of the console, 99.1" in str(caught.value)
    assert "has alerts.0099_next, which this version lacks" in str(caught.value)

    older = with_manifest(full, migrations=migrations[:-1])
    with pytest.raises(CannotImport, match=f"lacks {migrations[-1]}"):
        check_export(older)


def test_it_imports_everything_or_nothing(full: Path) -> None:
    """The last table has a row that points nowhere."""
    manifest = check_export(full)
    make_store_point("still there")

    def change(name: str, data: bytes) -> bytes:
        if name != "storepoints.storepoint.jsonl":
            return data
        row = json.loads(data)
        row["fields"]["server"] = 999_999
        return json.dumps(row).encode() + b"\n"

    broken = rewritten(full, change)

    with pytest.raises(CannotImport, match=r"server"):
        import_database(broken, manifest, is_replacing=True, now=clock.now())

    assert set(StorePoint.objects.values_list("name", flat=True)) == {
        "Tank-07",
        "still there",
    }
    assert ProbeSample.objects.count() == 1200


def test_it_names_the_table_of_a_row_that_the_database_refuses(full: Path) -> None:
    manifest = check_export(full)

    def change(name: str, data: bytes) -> bytes:
        return data.replace(b'"name":', b'"nom":') if name == SERVERS else data

    broken = rewritten(full, change)

    with pytest.raises(CannotImport, match=r"storepoints\.server\.jsonl, in rows 1 to"):
        import_database(broken, manifest, is_replacing=True, now=clock.now())

    assert Server.objects.get().name == "stör-1"


def test_a_database_after_migrating_is_empty(transactional_db: None) -> None:
    assert what_is_there() == []


# --- once a day --------------------------------------------------------------------------


def export(now: Any = None) -> Path:
    return daily.export_to_data_directory(now=now or clock.now())


def test_it_is_due_once_a_day(exports: Path, frozen: clock.FrozenClock) -> None:
    assert daily.is_due(now=clock.now())

    path = export()

    assert not daily.is_due(now=clock.now() + timedelta(hours=23, minutes=59))
    assert daily.is_due(now=clock.now() + timedelta(hours=24))
    # The clock was set back by weeks.
    assert daily.is_due(now=clock.now() - timedelta(days=30))
    path.unlink()
    assert daily.is_due(now=clock.now())


def test_it_notes_the_newest(exports: Path, frozen: clock.FrozenClock) -> None:
    make_person("viewer")

    path = export()

    status = daily.read_status()
    assert status.made_at == clock.now()
    assert status.path == str(path)
    assert path.parent == exports
    assert stat.S_IMODE(exports.stat().st_mode) == 0o700
    assert status.bytes == path.stat().st_size > 0
    assert status.rows == verify(path).rows > 0
    assert not status.problem


def test_it_keeps_the_newest_seven_and_what_is_not_its_own(
    exports: Path, frozen: clock.FrozenClock
) -> None:
    exports.mkdir()
    (exports / ".console-20200101-000000.zip.part").write_text("cut off by a kill")
    (exports / "before-the-upgrade.zip").write_text("mine")
    paths = []
    for _ in range(9):
        paths.append(export())
        frozen.tick(86400)

    left = {path.name for path in exports.iterdir()}

    assert left == {path.name for path in paths[-7:]} | {"before-the-upgrade.zip"}


def test_two_do_not_export_at_once(exports: Path) -> None:
    with daily._alone(), pytest.raises(daily.AlreadyExporting):
        export()

    assert not Alert.objects.exists()


def test_it_raises_and_clears_an_alert(
    exports: Path, frozen: clock.FrozenClock
) -> None:
    exports.write_text("in the way")

    with pytest.raises(CannotExport):
        export()

    alert = Alert.objects.get(kind=KIND)
    assert alert.severity == Severity.CRITICAL
    assert alert.text == (
        "The export of the console's database failed: "
        f"{exports} cannot be written to: File exists"
    )
    assert "File exists" in daily.read_status().problem
    assert not daily.is_due(now=clock.now() + timedelta(minutes=59))
    assert daily.is_due(now=clock.now() + timedelta(minutes=60))

    exports.unlink()
    frozen.tick(3600)
    export()

    alert.refresh_from_db()
    assert alert.cleared_at == clock.now()
    assert not daily.read_status().problem


def test_the_alert_says_it_when_the_process_was_killed(exports: Path) -> None:
    daily.note_failure("its process was ended by signal 9", now=clock.now())

    assert "signal 9" in Alert.objects.get(kind=KIND).text


def test_a_manifest_counts_its_rows(full: Path) -> None:
    manifest: Manifest = verify(full)

    assert manifest.database == connection.vendor
    assert manifest.rows > 1200
