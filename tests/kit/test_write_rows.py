"""Writing many rows with values of their own, in one statement."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from console.kit import clock
from console.kit.rows import write_rows
from storepoints.models import StorePoint
from tests.factories import make_filesystem, make_store_point

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


def test_it_writes_every_kind_of_value_and_leaves_the_rest_alone() -> None:
    row = make_store_point("Tank-07", note="as it was")
    filesystem = make_filesystem(server=row.server)
    row.note = "not to be written"
    row.limits = ["low-space", 'ünïcode "quoted" %s']
    row.pace = timedelta(seconds=7, microseconds=5)
    row.well_at = clock.now()
    row.latency_seconds = None
    row.is_believed = True
    row.filesystem = filesystem
    fields = [
        *("limits", "pace", "well_at", "latency_seconds", "is_believed"),
        "filesystem",
    ]

    write_rows([row], fields)

    stored = StorePoint.objects.get()
    assert stored.note == "as it was"
    for name in fields:
        assert getattr(stored, name) == getattr(row, name)


def test_it_makes_one_statement_for_many() -> None:
    rows = [make_store_point() for _ in range(30)]
    for number, row in enumerate(rows):
        row.failures = number

    with CaptureQueriesContext(connection) as queries:
        write_rows(rows, ["failures"])

    assert len(queries) == 1
    assert [StorePoint.objects.get(pk=row.pk).failures for row in rows] == list(
        range(30)
    )


def test_it_does_nothing_for_no_rows() -> None:
    with CaptureQueriesContext(connection) as queries:
        write_rows([], ["failures"])

    assert len(queries) == 0


def test_it_holds_to_the_constraints() -> None:
    row = make_store_point()
    row.check_seconds = 1

    with pytest.raises(IntegrityError), transaction.atomic():
        write_rows([row], ["check_seconds"])
