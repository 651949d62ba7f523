"""The daily export when there is no room for it, on a real volume that is too small."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.models import Alert
from console.export import daily
from console.export.archive import verify
from console.export.dump import CannotExport
from console.kit import clock
from tests.console.exports import fill
from tests.faults.volumes import Disk, Tmpfs

pytestmark = pytest.mark.django_db(transaction=True)

KIND = "console-database-export-failed"


@pytest.mark.faults
@pytest.mark.parametrize("make", [Tmpfs, Disk], ids=["memory", "ext4"])
def test_it_says_that_the_disk_is_full_and_recovers(
    make: Any, yard: Path, settings: Any
) -> None:
    settings.DATA_DIR = yard
    make(yard, "exports").mount()
    fill()
    good = daily.export_to_data_directory(now=clock.now())
    ballast = yard / "exports" / "ballast"
    fill_up(ballast)

    with pytest.raises(CannotExport, match="No space left on device"):
        daily.export_to_data_directory(now=clock.now() + timedelta(days=1))

    alert = Alert.objects.get(kind=KIND)
    assert "No space left on device" in alert.text
    names = {path.name for path in (yard / "exports").iterdir()} - {"lost+found"}
    assert names == {good.name, "ballast"}
    verify(good)

    ballast.unlink()
    daily.export_to_data_directory(now=clock.now() + timedelta(days=1, hours=1))

    alert.refresh_from_db()
    assert alert.cleared_at is not None


def fill_up(ballast: Path) -> None:
    with (
        ballast.open("wb") as file,
        contextlib.suppress(OSError),
    ):
        while True:
            os.write(file.fileno(), os.urandom(4096))
