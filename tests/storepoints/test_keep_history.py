"""History: gathered in pieces, rolled up by age, kept within its limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from console.kit.clock import FrozenClock
from storepoints import series, services
from storepoints.models import (
    Filesystem,
    HistoryLimit,
    ProbeSample,
    Resolution,
    SpaceSample,
    StorePoint,
)
from storepoints.services import keeping
from storepoints.services.history import gather, gather_space
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

NOON = datetime(2026, 7, 15, 12, 0, tzinfo=UTC)
FIVE, HOUR, DAY = Resolution.FIVE_MINUTES, Resolution.HOUR, Resolution.DAY
GB = 10**9


def make_filesystem(**fields: Any) -> Filesystem:
    """A filesystem of 1 TB that is 40 % full."""
    return factories.make_filesystem(
        **{
            "created_at": NOON,
            "space_at": NOON,
            "total_bytes": 1000 * GB,
            "used_bytes": 400 * GB,
            "free_bytes": 600 * GB,
            **fields,
        }
    )


def probe(
    store_point: StorePoint,
    second: float,
    *,
    worked: bool = True,
    latency: float | None = 0.001,
) -> ProbeSample | None:
    return gather(
        store_point,
        at=NOON + timedelta(seconds=second),
        worked=worked,
        wrote=latency is not None,
        latency_seconds=latency,
    )


def make_probes(
    store_point: StorePoint, at: datetime, resolution: Resolution = FIVE, **fields: Any
) -> ProbeSample:
    return ProbeSample.objects.create(
        **{
            "store_point": store_point,
            "resolution": resolution,
            "at": at,
            "probes": 10,
            "failures": 1,
            "writes": 10,
            "latency_least": 0.001,
            "latency_mean": 0.002,
            "latency_most": 0.004,
            **fields,
        }
    )


def make_space(
    filesystem: Filesystem,
    at: datetime,
    used: int = 400 * GB,
    resolution: Resolution = FIVE,
) -> SpaceSample:
    return SpaceSample.objects.create(
        filesystem=filesystem,
        resolution=resolution,
        at=at,
        total_bytes=1000 * GB,
        used_bytes=used,
        free_bytes=1000 * GB - used,
        used_inodes=7,
    )


def rows(model: Any, resolution: Resolution) -> list[Any]:
    return list(model.objects.filter(resolution=resolution).order_by("at", "pk"))


# --- gathering ---------------------------------------------------------------------------


def test_it_gathers_five_minutes_into_one_piece() -> None:
    store_point = factories.make_store_point()

    returned = [
        probe(store_point, 10, latency=0.001),
        probe(store_point, 40, latency=0.003),
        probe(store_point, 70, latency=None),
        probe(store_point, 299, worked=False, latency=None),
    ]
    sample = probe(store_point, 300)

    assert returned == [None] * 4
    assert sample is not None
    assert not ProbeSample.objects.exists()
    assert sample.at == NOON
    assert (sample.probes, sample.failures, sample.writes) == (4, 1, 2)
    assert sample.latency_least == pytest.approx(0.001)
    assert sample.latency_mean == pytest.approx(0.002)
    assert sample.latency_most == pytest.approx(0.003)


def test_a_piece_survives_being_stored() -> None:
    store_point = factories.make_store_point()
    probe(store_point, 10)
    store_point.save(update_fields=["tally"])
    store_point.refresh_from_db()

    probe(store_point, 20)
    sample = probe(store_point, 310)

    assert sample is not None
    sample.save()
    assert sample.probes == 2


def test_a_piece_without_a_write_has_no_latency() -> None:
    store_point = factories.make_store_point()
    probe(store_point, 10, latency=None)

    sample = probe(store_point, 310)

    assert sample is not None
    assert sample.latency_mean is None


def test_a_late_probe_does_not_go_backwards() -> None:
    store_point = factories.make_store_point()
    probe(store_point, 310)

    late = probe(store_point, 290)
    sample = probe(store_point, 600)

    assert late is None
    assert sample is not None
    assert sample.at == NOON + timedelta(minutes=5)
    assert sample.probes == 2


def test_it_samples_space_at_the_end_of_each_piece() -> None:
    filesystem = make_filesystem(total_inodes=100, free_inodes=60)
    returned = []
    for second, used in ((0, 400), (200, 410), (299, 420)):
        filesystem.used_bytes = used * GB
        returned.append(gather_space(filesystem, at=NOON + timedelta(seconds=second)))
    filesystem.used_bytes = 430 * GB

    sample = gather_space(filesystem, at=NOON + timedelta(seconds=301))

    assert returned == [None] * 3
    assert sample is not None
    assert sample.at == NOON
    assert sample.used_bytes == 420 * GB
    assert sample.used_inodes == 40
    assert gather_space(filesystem, at=NOON) is None


def test_it_keeps_the_trend_of_the_last_day() -> None:
    filesystem = make_filesystem()
    for piece in range(12 * 30):
        filesystem.used_bytes = 400 * GB + piece * 300_000
        gather_space(filesystem, at=NOON + timedelta(minutes=5 * piece))
    filesystem.save()
    filesystem.refresh_from_db()

    trend = filesystem.memory["trend"]

    assert trend["bytes_per_second"] == pytest.approx(1000, rel=0.01)
    assert trend["at"] == pytest.approx(
        (NOON + timedelta(hours=30)).timestamp(), abs=600
    )
    assert len(filesystem.memory["hours"]) <= 26


def test_it_finishes_what_nobody_adds_to() -> None:
    idle = factories.make_store_point(checked_at=NOON)
    busy = factories.make_store_point(checked_at=NOON + timedelta(minutes=14))
    filesystem = make_filesystem()
    for store_point in (idle, busy):
        probe(store_point, 10)
        store_point.save()
    gather_space(filesystem, at=NOON)
    filesystem.save()

    first = keeping.finish_idle_pieces(now=NOON + timedelta(minutes=15))
    second = keeping.finish_idle_pieces(now=NOON + timedelta(minutes=15))

    assert (first, second) == (2, 0)
    assert [row.store_point for row in rows(ProbeSample, FIVE)] == [idle]
    assert [row.filesystem for row in rows(SpaceSample, FIVE)] == [filesystem]


# --- rolling up --------------------------------------------------------------------------


def test_it_rolls_up_an_hour() -> None:
    store_point = factories.make_store_point()
    make_probes(store_point, NOON, latency_least=0.0005)
    make_probes(
        store_point,
        NOON + timedelta(minutes=55),
        writes=30,
        latency_mean=0.006,
        latency_most=0.5,
    )
    make_probes(
        store_point,
        NOON + timedelta(minutes=30),
        writes=0,
        latency_least=None,
        latency_mean=None,
        latency_most=None,
    )
    make_probes(store_point, NOON + timedelta(minutes=60))

    services.keep_history(now=NOON + timedelta(minutes=80))

    [hour] = rows(ProbeSample, HOUR)
    assert hour.at == NOON
    assert (hour.probes, hour.failures, hour.writes) == (30, 3, 40)
    assert hour.latency_least == pytest.approx(0.0005)
    assert hour.latency_mean == pytest.approx((10 * 0.002 + 30 * 0.006) / 40)
    assert hour.latency_most == pytest.approx(0.5)


def test_an_hour_waits_for_its_last_piece() -> None:
    make_probes(factories.make_store_point(), NOON)

    services.keep_history(now=NOON + timedelta(minutes=65))

    assert rows(ProbeSample, HOUR) == []


def test_space_is_that_of_the_last_piece() -> None:
    filesystem = make_filesystem()
    for minutes, used in ((50, 3), (5, 1), (20, 9)):
        make_space(filesystem, NOON + timedelta(minutes=minutes), used)

    services.keep_history(now=NOON + timedelta(minutes=80))

    [hour] = rows(SpaceSample, HOUR)
    assert (hour.at, hour.used_bytes, hour.used_inodes) == (NOON, 3, 7)


def test_doing_it_again_changes_nothing() -> None:
    store_point = factories.make_store_point()
    for minutes in range(0, 60 * 40, 30):
        make_probes(store_point, NOON + timedelta(minutes=minutes))
    now = NOON + timedelta(hours=41)

    services.keep_history(now=now)
    before = list(ProbeSample.objects.order_by("pk").values())
    services.keep_history(now=now)

    assert list(ProbeSample.objects.order_by("pk").values()) == before
    assert len(rows(ProbeSample, HOUR)) == 40
    # From noon to noon lies one whole day, and half a one before it.
    assert [row.probes for row in rows(ProbeSample, DAY)] == [240, 480]


def test_what_comes_late_is_rolled_up_again() -> None:
    store_point = factories.make_store_point()
    make_probes(store_point, NOON)
    services.keep_history(now=NOON + timedelta(minutes=80))

    make_probes(store_point, NOON + timedelta(minutes=10))
    make_probes(store_point, NOON + timedelta(minutes=70))
    services.keep_history(now=NOON + timedelta(minutes=140))

    assert [hour.probes for hour in rows(ProbeSample, HOUR)] == [20, 10]


def test_nothing_is_written_while_no_piece_has_ended() -> None:
    make_probes(factories.make_store_point(), NOON)
    services.keep_history(now=NOON + timedelta(minutes=80))

    with CaptureQueriesContext(connection) as queries:
        services.keep_history(now=NOON + timedelta(minutes=85))

    assert not [
        query["sql"]
        for query in queries
        if query["sql"].startswith(("INSERT", 'UPDATE "storepoints_probesample'))
    ]


def test_a_backlog_is_done_in_bounded_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_PIECES", 10)
    store_point = factories.make_store_point()
    for hour in range(36):
        make_probes(store_point, NOON + timedelta(hours=hour))
    now = NOON + timedelta(hours=50)

    counts = []
    for _ in range(6):
        services.keep_history(now=now)
        counts.append(len(rows(ProbeSample, HOUR)))

    assert counts[0] == 10
    assert counts[-1] == 36
    # No day was made of hours that were still missing.
    assert [row.probes for row in rows(ProbeSample, DAY)] == [120, 240]


def test_a_console_that_was_off_leaves_a_gap() -> None:
    store_point = factories.make_store_point()
    make_probes(store_point, NOON)
    make_probes(store_point, NOON + timedelta(days=40))

    services.keep_history(now=NOON + timedelta(days=40, minutes=80))

    ends = [NOON, NOON + timedelta(days=40)]
    assert [row.at for row in rows(ProbeSample, HOUR)] == ends


def test_the_number_of_queries_does_not_follow_the_store_points() -> None:
    def measured(count: int) -> int:
        ProbeSample.objects.all().delete()
        for _ in range(count):
            make_probes(factories.make_store_point(), NOON)
        with CaptureQueriesContext(connection) as queries:
            services.keep_history(now=NOON + timedelta(minutes=80))
        return len(queries)

    assert measured(2) == measured(40)


# --- limits ------------------------------------------------------------------------------


def set_limit(**fields: int) -> None:
    HistoryLimit.objects.update_or_create(pk=1, defaults={"changed_at": NOON, **fields})


def test_it_keeps_each_resolution_for_its_time() -> None:
    store_point = factories.make_store_point()
    set_limit(five_minutes_days=2, hours_days=10, days_days=100)
    for resolution, days in (
        (FIVE, (1, 3)),
        (HOUR, (1, 9, 11)),
        (DAY, (1, 99, 101)),
    ):
        for age in days:
            at = (NOON - timedelta(days=age)).replace(hour=0)
            make_probes(store_point, at, resolution)

    for _ in range(3):
        services.keep_history(now=NOON)

    def ages(resolution: Resolution) -> list[int]:
        return [(NOON - row.at).days for row in rows(ProbeSample, resolution)]

    assert ages(FIVE) == [1]
    assert 11 not in ages(HOUR)
    assert {1, 9} <= set(ages(HOUR))
    assert 101 not in ages(DAY)
    assert {1, 99} <= set(ages(DAY))


def test_it_removes_nothing_that_was_not_rolled_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeping, "MOST_PIECES", 1)
    set_limit(five_minutes_days=1)
    store_point = factories.make_store_point()
    for hour in range(5):
        make_probes(store_point, NOON - timedelta(days=3, hours=-hour))

    for run in range(1, 6):
        services.keep_history(now=NOON)
        assert len(rows(ProbeSample, HOUR)) == run
    services.keep_history(now=NOON)

    assert rows(ProbeSample, FIVE) == []


def test_without_room_the_oldest_of_the_finest_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(series, "PROBE_BYTES", 100_000)
    # Room for 20 samples.
    set_limit(most_megabytes=2)
    store_point = factories.make_store_point()
    for hour in range(24):
        make_probes(store_point, NOON - timedelta(hours=hour))

    services.keep_history(now=NOON + timedelta(minutes=30))

    left = rows(ProbeSample, FIVE)
    assert series.measure_history().bytes <= 2_000_000 or len(left) <= 6
    # The hour that has begun is not rolled up yet.
    assert len(rows(ProbeSample, HOUR)) == 23
    assert left
    assert left[-1].at == NOON
    assert min(row.at for row in left) > NOON - timedelta(hours=20)


def test_want_of_room_takes_nothing_from_an_hour_that_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Young hours are rolled up again, and must find what they were made of."""
    monkeypatch.setattr(series, "PROBE_BYTES", 100_000)
    set_limit(most_megabytes=1)
    store_point = factories.make_store_point()

    for piece in range(8 * 12):
        at = NOON + timedelta(minutes=5 * piece)
        make_probes(store_point, at)
        services.keep_history(now=at + timedelta(minutes=5))

    assert {row.probes for row in rows(ProbeSample, HOUR)} == {120}


def test_what_is_removed_in_one_run_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeping, "MOST_REMOVED", 4)
    monkeypatch.setattr(keeping, "REMOVED_AT_ONCE", 2)
    store_point = factories.make_store_point()
    for number in range(10):
        make_probes(store_point, NOON - timedelta(days=3000 + number), resolution=DAY)

    counts = []
    for _ in range(3):
        services.keep_history(now=NOON)
        counts.append(ProbeSample.objects.count())

    assert counts == [6, 2, 0]


# --- forecasts ---------------------------------------------------------------------------


def fill(filesystem: Filesystem, now: datetime, *, days: int, per_day: int) -> None:
    """Give a filesystem a past of hours, in which it grew evenly to what it has."""
    used = filesystem.used_bytes or 0
    SpaceSample.objects.bulk_create(
        SpaceSample(
            filesystem=filesystem,
            resolution=HOUR,
            at=now - timedelta(hours=hour),
            total_bytes=filesystem.total_bytes or 0,
            used_bytes=used - per_day * hour // 24,
            free_bytes=(filesystem.free_bytes or 0) + per_day * hour // 24,
        )
        for hour in range(1, days * 24 + 2)
    )


def test_it_writes_the_forecast_hourly(frozen: FrozenClock) -> None:
    filesystem = make_filesystem()
    fill(filesystem, NOON, days=20, per_day=6 * GB)

    first = keeping.forecast_filesystems(now=NOON)
    again = keeping.forecast_filesystems(now=NOON + timedelta(minutes=30))

    assert (first, again) == (1, 0)
    filesystem.refresh_from_db()
    assert filesystem.forecast_at == NOON
    assert filesystem.growth_bytes_per_day == pytest.approx(6 * GB, rel=0.01)
    assert filesystem.full_at is not None
    assert filesystem.full_earliest_at is not None
    assert filesystem.full_latest_at is not None
    assert (filesystem.full_at - NOON).days == pytest.approx(100, abs=2)
    assert filesystem.full_earliest_at < filesystem.full_at < filesystem.full_latest_at


def test_it_makes_no_forecast_of_less_than_a_week() -> None:
    filesystem = make_filesystem()
    fill(filesystem, NOON, days=6, per_day=6 * GB)

    keeping.forecast_filesystems(now=NOON)

    filesystem.refresh_from_db()
    assert filesystem.forecast_at == NOON
    assert filesystem.full_at is None
    assert filesystem.growth_bytes_per_day is None


def test_it_forecasts_only_what_has_new_readings() -> None:
    make_filesystem(forecast_at=NOON - timedelta(hours=2), space_at=NOON)
    make_filesystem(
        forecast_at=NOON - timedelta(hours=2), space_at=NOON - timedelta(hours=3)
    )
    make_filesystem(space_at=None, used_bytes=None, free_bytes=None)

    assert keeping.forecast_filesystems(now=NOON) == 1


def test_a_forecast_leaves_what_a_report_writes() -> None:
    filesystem = make_filesystem(memory={"trend": 1})

    keeping.forecast_filesystems(now=NOON)

    filesystem.refresh_from_db()
    assert filesystem.memory == {"trend": 1}
