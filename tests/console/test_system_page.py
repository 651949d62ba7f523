"""Settings > System: how much history is kept, by whom, and what the console is."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from alerts.models import Alert, AlertEvent, AlertHistoryLimit
from console import figures
from console.export import daily
from console.kit import clock, heartbeat
from console.kit.clock import FrozenClock
from console.kit.models import AuditEntry
from notifications.models import Delivery, Drill
from storepoints import series
from storepoints.models import Filesystem, HistoryLimit
from tests import factories, people

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

PAGE, SAVE = "/settings/system/", "/settings/system/save/"
SAVE_ALERTS = "/settings/system/alerts/"
DEFAULTS = {
    "five_minutes_days": 7,
    "hours_days": 90,
    "days_days": 1825,
    "most_megabytes": 1024,
}


@pytest.fixture
def administrator(frozen: FrozenClock) -> Client:
    return people.client_of("administrator")


def save(client: Client, **changed: Any) -> Any:
    return client.post(SAVE, {**DEFAULTS, **changed}, follow=True)


def test_it_shows_defaults_until_something_was_set(administrator: Client) -> None:
    content = administrator.get(PAGE).content.decode()

    for value in DEFAULTS.values():
        assert f'value="{value}"' in content
    assert "With 0 store points on 0 volumes" in content
    assert not HistoryLimit.objects.exists()


def test_it_shows_versions_the_database_and_its_health(
    administrator: Client,
) -> None:
    content = administrator.get(PAGE).content.decode()

    for words in ("<dt>Django</dt>", "<dt>Python</dt>", "<dt>Console</dt>"):
        assert words in content
    assert "<dd>SQLite 3" in content or "<dd>PostgreSQL 1" in content
    assert 'data-verdict="ok"' in content
    assert "migrations" in content


def test_it_saves_and_audits_what_changed(administrator: Client) -> None:
    content = save(administrator, hours_days=120).content.decode()

    limit = HistoryLimit.objects.get()
    assert (limit.hours_days, limit.changed_by) == (120, "administrator")
    entry = AuditEntry.objects.get(verb="history_limit.edit")
    assert entry.data == {"hours_days": [90, 120]}
    assert entry.actor_name == "administrator"
    assert "Saved." in content
    assert 'value="120"' in content
    assert "Changed by administrator" in content


def test_saving_the_same_changes_nothing(administrator: Client) -> None:
    save(administrator, hours_days=120)

    content = save(administrator, hours_days=120).content.decode()

    assert "Nothing was changed." in content
    assert AuditEntry.objects.filter(verb="history_limit.edit").count() == 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("five_minutes_days", 0, "greater than or equal to 1"),
        ("five_minutes_days", 91, "less than or equal to 90"),
        ("hours_days", 34, "greater than or equal to 35"),
        ("days_days", 7301, "less than or equal to 7300"),
        ("days_days", 89, "Expected at least 90: what is finer cannot be kept longer"),
        ("most_megabytes", 15, "greater than or equal to 16"),
        ("most_megabytes", 10**12, "less than or equal to 1000000"),
        ("hours_days", "many", "Enter a whole number"),
        ("hours_days", "", "required"),
    ],
)
def test_it_refuses_what_is_out_of_bounds(
    administrator: Client, name: str, value: object, expected: str
) -> None:
    answer = administrator.post(SAVE, {**DEFAULTS, name: value})

    assert answer.status_code == 422
    assert expected in answer.content.decode()
    assert not HistoryLimit.objects.exists()


def test_a_preview_says_what_it_comes_to_and_saves_nothing(
    administrator: Client,
) -> None:
    server = factories.make_server()
    for number in range(4):
        filesystem = Filesystem.objects.create(
            server=server, identity=str(number), created_at=server.created_at
        )
        factories.make_store_point(server=server, filesystem=filesystem)
    factories.make_store_point(server=server, filesystem=filesystem)

    content = save(administrator, preview="1", most_megabytes=16, days_days=7300)
    text = content.content.decode()

    limit = HistoryLimit(five_minutes_days=7, hours_days=90, days_days=7300)
    sizes = series.bytes_when_full(limit, store_points=5, filesystems=4)
    assert sizes["end"] > 16_000_000
    assert "With 5 store points on 4 volumes" in text
    assert "Not saved yet" in text
    assert "cut off at <strong>16 MB</strong>" in text
    assert not HistoryLimit.objects.exists()


def test_reset_offers_the_defaults_and_saves_nothing(administrator: Client) -> None:
    save(administrator, hours_days=120)

    content = save(administrator, reset="1", hours_days=300).content.decode()

    assert 'value="90"' in content
    assert "Not saved yet" in content
    assert HistoryLimit.objects.get().hours_days == 120


def test_a_year_of_a_store_point_is_reckoned_from_the_limits() -> None:
    limit = HistoryLimit(five_minutes_days=7, hours_days=90, days_days=1825)

    sizes = series.bytes_when_full(limit, store_points=10, filesystems=1)

    rows = 7 * 288 + 90 * 24 + 365
    both = series.PROBE_BYTES + series.SPACE_BYTES
    assert sizes["one_year"] == rows * both
    assert sizes["year"] == rows * (10 * series.PROBE_BYTES + series.SPACE_BYTES)
    assert sizes["end"] > sizes["year"]


def test_only_administrators_find_it_in_the_navigation(frozen: FrozenClock) -> None:
    for who, is_shown in (("operator", False), ("administrator", True)):
        content = people.client_of(who).get("/").content.decode()

        assert ('href="/settings/system/"' in content) == is_shown


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 alerts"), (1, "1 alert"), (2, "2 alerts")]
)
def test_it_previews_how_many_alerts_would_go(
    administrator: Client, frozen: FrozenClock, count: int, words: str
) -> None:
    for _ in range(count):
        factories.make_alert(acknowledged_at=clock.now(), cleared_at=clock.now())
    frozen.tick(11 * 86400)

    answer = administrator.post(SAVE_ALERTS, {"keep_days": 10, "preview": "1"})

    content = answer.content.decode()
    assert f"<strong>{count}</strong> of {words} would be removed" in content
    assert "Not saved yet" in content
    assert not AlertHistoryLimit.objects.exists()


def test_it_saves_and_audits_how_long_alerts_are_kept(administrator: Client) -> None:
    for words in ("Saved.", "Nothing was changed."):
        answer = administrator.post(SAVE_ALERTS, {"keep_days": 10}, follow=True)

        assert words in answer.content.decode()
    assert AlertHistoryLimit.objects.get().keep_days == 10
    entry = AuditEntry.objects.get(verb="alert_history_limit.edit")
    assert entry.data == {"keep_days": [730, 10]}
    assert entry.actor_name == "administrator"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "greater than or equal to 1"),
        (36_501, "less than or equal to 36500"),
        ("many", "Enter a whole number"),
        ("", "required"),
    ],
)
def test_it_refuses_to_keep_alerts_out_of_bounds(
    administrator: Client, value: object, expected: str
) -> None:
    answer = administrator.post(SAVE_ALERTS, {"keep_days": value})

    assert answer.status_code == 422
    assert expected in answer.content.decode()
    assert not AlertHistoryLimit.objects.exists()


# --- the console's own figures ---------------------------------------------------------


def told(seconds: float, *, mailed: float | None = None, **fields: Any) -> Alert:
    """An alert that was raised so long after the first failed probe, and mailed."""
    raised_at = clock.now() - timedelta(days=1)
    failed_at = raised_at - timedelta(seconds=seconds)
    alert = factories.make_alert(
        raised_at=raised_at,
        failed_at=failed_at,
        **fields,
    )
    if mailed is not None:
        event = AlertEvent.objects.create(alert=alert, at=raised_at, kind="raised")
        for late in (0, 100):
            Delivery.objects.create(
                event=event,
                recipient=f"{late}@example.org",
                state="sent",
                sent_at=failed_at + timedelta(seconds=mailed + late),
                created_at=raised_at,
                due_at=raised_at,
                give_up_at=raised_at,
            )
    return alert


def test_it_says_that_there_are_not_enough_alerts(administrator: Client) -> None:
    assert figures.detection(clock.now()) == (figures.Latency(0), figures.Latency(0))
    assert "not enough alerts yet" in administrator.get(PAGE).content.decode()


@pytest.mark.parametrize("count", [1, 2, 3, 20, 40, 99])
def test_percentiles_are_exact_in_two_queries(
    frozen: FrozenClock, django_assert_num_queries: Any, count: int
) -> None:
    for number in range(count):
        told(float(number + 1), mailed=float(number + 10))

    with django_assert_num_queries(2):
        raised, mailed = figures.detection(clock.now())

    half, most = -(-count * 50 // 100), -(-count * 95 // 100)
    assert raised == figures.Latency(count, half, most)
    assert mailed == figures.Latency(count, half + 9, most + 9)


def test_it_measures_neither_drills_nor_what_no_probe_has_found(
    frozen: FrozenClock,
) -> None:
    told(5)
    told(50, is_presumed=True)
    told(50, kind="store-point-low-on-space")
    drilled = told(50)
    Drill.objects.create(
        name="Drill",
        directory="/nowhere",
        started_at=clock.now(),
        started_by_name="ana",
        entered_at=clock.now(),
        alert=drilled,
    )
    old = told(50)
    Alert.objects.filter(pk=old.pk).update(raised_at=clock.now() - timedelta(days=31))

    raised, mailed = figures.detection(clock.now())

    assert raised == figures.Latency(1, 5, 5)
    assert mailed.count == 0


def test_it_shows_what_waits_and_for_how_long(
    administrator: Client, valkey: Any, settings: Any
) -> None:
    from notifications.tasks import advance_soon

    settings.BROKER_URL = valkey.url
    server = factories.make_server("stor-7")
    factories.make_server("stor-8")
    advance_soon()
    client = valkey.connect()
    client.lpush(f"server.{server.guid}", b"no message", b"[1]")

    found = figures.queues(datetime.now(UTC))  # noqa: TID251 - a message's real age

    rows = {row.name: row for row in found.rows}
    assert (rows["console"].length, rows["reports"].length) == (1, 0)
    assert rows["console"].seconds is not None
    assert rows["console"].seconds < 10
    assert rows["agent of stor-7"] == figures.Queue("agent of stor-7", 2, None)
    assert "agent of stor-8" not in rows
    assert found.empty_servers == 1
    content = administrator.get(PAGE).content.decode()
    assert "agent of stor-7" in content
    assert "not known" in content


def test_a_broker_that_is_away_is_said_soon(
    administrator: Client, settings: Any
) -> None:
    settings.BROKER_URL = "redis+socket:///nowhere/v.sock?virtual_host=0"
    began = time.monotonic()

    answer = administrator.get(PAGE)

    assert answer.status_code == 200
    assert "The broker does not answer" in answer.content.decode()
    assert time.monotonic() - began < 5


def test_a_broker_that_hangs_is_said_soon(administrator: Client, settings: Any) -> None:
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen(8)  # and nobody ever answers
        settings.BROKER_URL = f"redis://127.0.0.1:{hanging.getsockname()[1]}/0"
        began = time.monotonic()

        answer = administrator.get(PAGE)

    assert "The broker does not answer" in answer.content.decode()
    assert time.monotonic() - began < 5


def test_it_says_how_old_the_oldest_unsent_news_is(
    administrator: Client, frozen: FrozenClock
) -> None:
    assert "not sent yet: none" in administrator.get(PAGE).content.decode()
    alert = factories.make_alert()
    AlertEvent.objects.create(alert=alert, at=clock.now(), kind="raised")
    frozen.tick(300)

    assert "the oldest is 5 min old" in administrator.get(PAGE).content.decode()


# --- the daily export --------------------------------------------------------------------


def test_it_shows_the_newest_export_and_why_the_last_failed(
    administrator: Client,
) -> None:
    assert "none yet" in administrator.get(PAGE).content.decode()

    data = {"path": "/gone/a.zip", "host": "stor-1", "bytes": 5_200_000, "rows": 1}
    heartbeat.beat(daily.DONE, clock.now(), data)
    heartbeat.beat(daily.FAILED, clock.now(), {"problem": "No <space> left"})
    content = administrator.get(PAGE).content.decode()

    assert "5.2 MB, 1 row" in content
    assert "/gone/a.zip</code> on stor-1" in content
    assert "No &lt;space&gt; left" in content


def test_it_has_a_worker_export_now(administrator: Client, valkey: Any) -> None:
    content = administrator.post(PAGE + "export/", follow=True).content.decode()

    assert "The export has begun" in content
    (message,) = valkey.connect().lrange("console", 0, -1)
    assert json.loads(message)["headers"]["task"] == "console.export"
    assert AuditEntry.objects.get(verb="console.export").actor_name == "administrator"
