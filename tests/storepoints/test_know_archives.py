"""What an agent says of archives: kept, refused, shown, and turned into alerts."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts.catalogue import KINDS, UNKNOWN
from alerts.models import Alert
from console.kit import clock
from storepoints.models import StorePoint
from storepoints.services import record_report
from tests import people
from tests.factories import make_finding, make_report, make_store_point

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

WARNING, CRITICAL = "device-backup-warning", "device-backup-critical"


@pytest.fixture(autouse=True)
def _clock(frozen: clock.FrozenClock) -> None:
    """Stand still."""


def found(count: int = 3, warning: int = 0, critical: int = 0, **fields: Any) -> Any:
    now = clock.now().timestamp()
    return {
        "at": now,
        "count": count,
        "newest_at": now - 120 if count else None,
        "warning": warning,
        "critical": critical,
        "oldest": [
            {"name": f"device-{number}", "changed_at": now - (10 + number) * 86_400}
            for number in range(warning)
        ],
        "is_complete": True,
        **fields,
    }


def report(point: StorePoint, archives: Any, **fields: Any) -> StorePoint:
    finding = make_finding(point, archives=archives, **fields)
    record_report(make_report(point.server, finding), now=clock.now())
    return StorePoint.objects.get(pk=point.pk)


def ongoing() -> list[tuple[str, str]]:
    alerts = Alert.objects.filter(cleared_at__isnull=True, kind__startswith="device-")
    return list(alerts.values_list("kind", "text"))


def test_it_keeps_what_was_found() -> None:
    point = report(make_store_point(), found(212, 3, 1))

    assert point.archives_at == clock.now()
    assert point.archive_count == 212
    assert point.newest_archive_at == clock.now() - timedelta(minutes=2)
    assert point.stale_archives["warning"] == 3
    assert point.stale_archives["oldest"][0]["name"] == "device-0"


def test_a_finding_without_archives_changes_nothing() -> None:
    point = report(make_store_point(), found(212, 3, 1))

    again = report(point, None)

    assert again.archive_count == 212
    assert again.archives_at == point.archives_at


@pytest.mark.parametrize(
    ("garbage", "expected"),
    [
        ("many", "expected archives or null, found str"),
        ({"count": -1}, "expected a number of archives in 'count'"),
        ({"count": True}, "expected a number of archives in 'count'"),
        ({"count": 10**40}, "expected a number of archives in 'count'"),
        ({"critical": 9}, "no more stale archives than archives"),
        ({"oldest": None}, "expected a list of archives in 'oldest'"),
        ({"oldest": [{"name": 7}]}, "expected an archive with a name"),
        ({"oldest": [{"name": "a", "changed_at": "x"}]}, "expected seconds since 1970"),
        ({"warning_days": 0}, "expected a number of days in 'warning_days'"),
        ({"critical_days": "7"}, "expected a number of days in 'critical_days'"),
        ({"at": -5}, "expected seconds since 1970 in 'at'"),
        ({"newest_at": []}, "expected seconds since 1970 in 'newest_at'"),
    ],
)
def test_it_refuses_garbage_and_keeps_the_verdict(
    garbage: Any, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    point = make_store_point(state="offline", reason="io-error")
    archives = {**found(), **garbage} if isinstance(garbage, dict) else garbage

    with caplog.at_level(logging.WARNING):
        after = report(point, archives)

    assert expected in caplog.text
    assert after.archives_at is None
    assert after.checked_at == clock.now()


def test_it_says_by_how_many_days_the_agent_counted() -> None:
    point = make_store_point("Tank-07")

    report(point, found(9, 2, 0, warning_days=5))

    assert ongoing() == [
        (
            WARNING,
            "Devices have not backed up: Tank-07 (2 archives for more than 5 days)",
        )
    ]


def test_a_store_point_without_archives_has_no_alert() -> None:
    report(make_store_point(), found(0))

    assert ongoing() == []


def test_one_that_was_never_looked_at_is_unknown() -> None:
    point = report(make_store_point(), None)

    assert KINDS[WARNING].holds(point, {}) is UNKNOWN
    assert KINDS[CRITICAL].holds(point, {}) is UNKNOWN
    assert ongoing() == []


def test_one_alert_at_a_time_gets_worse_and_clears() -> None:
    point = make_store_point("Tank-07")

    report(point, found(5, 1))
    assert ongoing() == [
        (
            WARNING,
            "Devices have not backed up: Tank-07 (1 archive for more than 3 days)",
        )
    ]
    report(point, found(5, 3, 2))
    assert ongoing() == [
        (
            CRITICAL,
            "Devices have not backed up for a critically long time: Tank-07 "
            "(2 archives for more than 7 days)",
        )
    ]
    report(point, found(5))
    assert ongoing() == []


def test_nothing_is_claimed_while_the_store_point_is_offline() -> None:
    point = make_store_point("Tank-07")
    report(point, found(5, 1))

    for _ in range(4):
        point = report(point, None, state="offline", reason="not-mounted")

    assert KINDS[WARNING].holds(point, {}) is UNKNOWN
    assert [kind for kind, _ in ongoing()] == [WARNING]


def test_its_page_shows_them() -> None:
    point = make_store_point()
    client = people.client_of("viewer")
    assert "not looked at yet" in client.get(point.get_absolute_url()).content.decode()

    at = datetime(2026, 7, 15, 11, 58, tzinfo=UTC)
    report(point, found(212, 3, 1, newest_at=at.timestamp()))
    text = " ".join(client.get(point.get_absolute_url()).content.decode().split())

    assert 'data-archives="212"' in text
    assert "212 · newest" in text
    assert "· 3 stale" in text
    assert "<li>device-0," in text


def test_its_page_escapes_names() -> None:
    point = make_store_point()
    oldest = [{"name": "<b>\0x", "changed_at": 1_000_000.0}]
    report(point, found(1, 1, 1, oldest=oldest))

    content = people.client_of("viewer").get(point.get_absolute_url()).content.decode()

    assert "&lt;b&gt;" in content
