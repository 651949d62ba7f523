"""What is chosen takes effect: on states and alerts alike, everywhere or in one place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts import selectors, services
from alerts.engine import Severity
from alerts.models import (
    Alert,
    AlertEvent,
    NotificationOverride,
    NotificationSetting,
    WaitingCondition,
)
from alerts.settings import Choice
from console.kit import clock
from console.kit.models import AuditEntry
from storepoints import services as fleet
from storepoints.models import Destination, Server, StorePoint
from storepoints.services.checks import (
    SPECIFIED,
    ask_store_points,
    specification,
)
from tests import people
from tests.factories import (
    make_alert,
    make_destination,
    make_finding,
    make_report,
    make_server,
    make_store_point,
)

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

OFFLINE, LOW = "store-point-offline", "store-point-low-on-space"
CRITICALLY_LOW, FILLING = (
    "store-point-critically-low-on-space",
    "store-point-filling-up",
)
IO_ERROR: dict[str, Any] = {"state": "offline", "reason": "io-error", "layer": 6}


@pytest.fixture(autouse=True)
def _alone(frozen: clock.FrozenClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand still, and send nothing to agents."""
    monkeypatch.setattr(
        "storepoints.services.checks.send_order", lambda *_a, **_k: True
    )


def choose(
    kind: str,
    destination: Destination | None = None,
    *,
    parameters: dict[str, float] | None = None,
    **values: Any,
) -> list[str]:
    return services.change_notification_settings(
        {kind: Choice(**values, parameters=parameters or {})},
        destination=destination,
        actor=people.administrator(),
        now=clock.now(),
    )


def report(point: StorePoint, free: int = 400, **fields: Any) -> StorePoint:
    space = {
        "total_bytes": 1000,
        "free_bytes": free,
        "used_bytes": 1000 - free,
        "total_inodes": 0,
        "free_inodes": 0,
    }
    finding = make_finding(point, space=space, **fields)
    fleet.record_report(make_report(point.server, finding), now=clock.now())
    return StorePoint.objects.get(pk=point.pk)


def ongoing(**fields: Any) -> list[str]:
    rows = Alert.objects.filter(cleared_at__isnull=True, **fields)
    return sorted(rows.values_list("kind", flat=True))


# --- limits ----------------------------------------------------------------------------


def test_it_raises_and_clears_by_the_changed_limit_with_the_state() -> None:
    point = make_store_point()
    assert report(point, 120).state == "online"

    choose(LOW, parameters={"percent": 20.0})
    raised = report(point, 120)

    assert (raised.state, raised.reason) == ("degraded", "low-space")
    assert ongoing() == [LOW]
    choose(LOW)
    # Between the limit and where it clears nothing changes.
    assert report(point, 120).state == "degraded"
    cleared = report(point, 160)
    assert (cleared.state, ongoing()) == ("online", [])


def test_it_judges_one_destination_by_limits_of_its_own() -> None:
    berlin, hamburg = make_store_point(), make_store_point()
    choose(LOW, berlin.server.destination, parameters={"percent": 20.0})

    states = [report(point, 120).state for point in (berlin, hamburg)]

    assert states == ["degraded", "online"]
    assert ongoing() == [LOW]
    alert = Alert.objects.get()
    assert alert.server == berlin.server
    page = people.client_of("viewer").get(alert.get_absolute_url()).content.decode()
    assert "Less than 20 % of the volume" in page


def test_it_raises_by_the_bytes_that_were_chosen() -> None:
    point = make_store_point()
    choose(LOW, parameters={"bytes": 60.0})

    report(point, 70)
    assert ongoing() == []
    report(point, 55)

    assert ongoing() == [LOW]


def test_it_believes_a_failure_after_as_many_as_were_chosen() -> None:
    point, other = make_store_point(), make_store_point()
    choose(OFFLINE, point.server.destination, parameters={"failures": 1.0})

    report(point, **IO_ERROR)
    report(other, **IO_ERROR)

    assert ongoing() == [OFFLINE]
    assert Alert.objects.get().store_point == point


def test_it_looks_again_as_soon_as_was_chosen() -> None:
    point = make_store_point()
    choose(OFFLINE, parameters={"retry": 25.0})

    assert report(point, **IO_ERROR).pace == timedelta(seconds=25)


def test_it_compares_clocks_by_the_chosen_limit() -> None:
    server = make_server(clock_offset_seconds=20.0)

    def kinds() -> list[str]:
        services.reconcile_alerts(store_points=[], servers=[server.pk], now=clock.now())
        return ongoing()

    assert kinds() == []
    choose("server-clock-differs", parameters={"seconds": 10.0})
    assert kinds() == ["server-clock-differs"]
    choose("server-clock-differs", parameters={"seconds": 25.0})
    assert kinds() == []


def test_it_tells_agents_when_archives_are_stale_where_that_was_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point, other = make_store_point(), make_store_point()
    choose("device-backup-warning", point.server.destination, parameters={"days": 5.0})
    orders: list[dict[str, Any]] = []

    def take(_server: Server, _kind: str, payload: dict[str, Any], **_: Any) -> bool:
        orders.extend(payload["store_points"])
        return True

    monkeypatch.setattr("storepoints.services.checks.send_order", take)
    ask_store_points([point.pk, other.pk], now=clock.now())

    days = {order["id"]: order.get("warning_days") for order in orders}
    assert days == {str(point.guid): 5, str(other.guid): None}
    row = StorePoint.objects.filter(pk=other.pk).values(*SPECIFIED).get()
    assert "critical_days" not in specification(row)


# --- delay -----------------------------------------------------------------------------


def test_it_raises_what_is_put_off_when_its_time_is_over(
    frozen: clock.FrozenClock,
) -> None:
    choose(LOW, delay_seconds=600)
    point = make_store_point()
    assert report(point, 70).state == "degraded"
    assert services.raise_waiting(now=clock.now()) == 0
    assert ongoing() == []

    frozen.tick(600)
    services.raise_waiting(now=clock.now())

    assert ongoing() == [LOW]
    assert not WaitingCondition.objects.exists()


def test_it_forgets_what_ended_before(frozen: clock.FrozenClock) -> None:
    choose(LOW, delay_seconds=600)
    point = make_store_point()
    report(point, 70)
    frozen.tick(60)
    report(point, 400)
    frozen.tick(600)

    services.raise_waiting(now=clock.now())

    assert not Alert.objects.exists()
    assert not WaitingCondition.objects.exists()


def test_it_puts_off_in_one_destination_alone() -> None:
    waiting, other = make_store_point(), make_store_point()
    choose(LOW, waiting.server.destination, delay_seconds=600)

    report(waiting, 70)
    report(other, 70)

    assert [alert.server for alert in Alert.objects.all()] == [other.server]


def test_it_raises_at_the_next_look_what_is_put_off_no_longer() -> None:
    choose(LOW, delay_seconds=600)
    report(make_store_point(), 70)

    choose(LOW)
    services.raise_waiting(now=clock.now())

    assert ongoing() == [LOW]
    assert not WaitingCondition.objects.exists()


def test_it_says_low_while_critically_low_is_put_off(frozen: clock.FrozenClock) -> None:
    choose(CRITICALLY_LOW, delay_seconds=600)
    point = make_store_point()

    report(point, 40)
    assert ongoing() == [LOW]
    frozen.tick(600)
    services.raise_waiting(now=clock.now())

    assert ongoing() == [CRITICALLY_LOW]


def test_it_counts_a_destination_while_its_store_points_are_put_off() -> None:
    choose(OFFLINE, delay_seconds=3600)
    server = make_server()
    points = [make_store_point(server=server) for _ in range(2)]

    for point in points:
        report(point, **{**IO_ERROR, "reason": "not-mounted"})

    assert ongoing() == ["destination-offline"]


def test_it_raises_what_was_said_last_of_the_console(frozen: clock.FrozenClock) -> None:
    kind = "console-database-export-failed"
    choose(kind, delay_seconds=600)
    services.reconcile_console({kind: "the disk is full"}, now=clock.now())
    assert ongoing() == []

    frozen.tick(600)
    services.raise_waiting(now=clock.now())

    assert Alert.objects.get().text.endswith("failed: the disk is full")
    services.reconcile_console({kind: ""}, now=clock.now())
    assert ongoing() == []


def test_it_does_not_look_for_what_waits_while_nothing_is_put_off() -> None:
    point = make_store_point()
    with CaptureQueriesContext(connection) as captured:
        report(point, 70)

    asked = [each["sql"] for each in captured if "waitingcondition" in each["sql"]]
    assert asked == []


def test_it_reads_what_is_chosen_once_for_a_report() -> None:
    point = make_store_point()
    choose(OFFLINE, point.server.destination, delay_seconds=60)

    with CaptureQueriesContext(connection) as captured:
        report(point, 70)

    asked = [each["sql"] for each in captured if "notificationsetting" in each["sql"]]
    assert len(asked) == 1


# --- severity and switches ---------------------------------------------------------------


def reconcile() -> None:
    services.reconcile_everything(now=clock.now())


def test_it_changes_the_severity_of_alerts_that_stand() -> None:
    point = make_store_point()
    report(point, 70)
    alert = Alert.objects.get()
    services.acknowledge_alerts(
        [alert.pk], actor=people.operator(), now=clock.now(), note=""
    )

    choose(LOW, severity=Severity.LOW)
    reconcile()
    alert.refresh_from_db()
    assert (alert.severity, alert.is_acknowledged(clock.now())) == (Severity.LOW, True)

    choose(LOW, severity=Severity.CRITICAL)
    reconcile()
    alert.refresh_from_db()
    assert alert.severity == Severity.CRITICAL
    assert not alert.is_acknowledged(clock.now())
    kinds = list(alert.events.values_list("kind", flat=True))
    assert kinds[-2:] == [AlertEvent.Kind.WORSENED, AlertEvent.Kind.LAPSED]


def test_it_raises_with_the_severity_of_the_destination() -> None:
    berlin, hamburg = make_store_point(), make_store_point()
    choose(LOW, severity=Severity.LOW)
    choose(LOW, berlin.server.destination, severity=Severity.CRITICAL)

    report(berlin, 70)
    report(hamburg, 70)

    severities = dict(Alert.objects.values_list("server", "severity"))
    assert severities == {
        berlin.server.pk: Severity.CRITICAL,
        hamburg.server.pk: Severity.LOW,
    }


def test_it_hides_and_shows_alerts_with_the_switch_of_their_destination() -> None:
    points = [make_store_point() for _ in range(3)]
    berlin, hamburg, bremen = (point.server.destination for point in points)
    for point in points:
        report(point, 70)

    def shown() -> list[int]:
        rows = selectors.active_alerts(clock.now())
        return sorted(row.server.destination_id for row in rows if row.server)

    assert shown() == [berlin.pk, hamburg.pk, bremen.pk]
    choose(LOW, berlin, is_shown=False)
    assert shown() == [hamburg.pk, bremen.pk]
    choose(LOW, hamburg, is_shown=True)
    choose(LOW, is_shown=False)
    assert shown() == [hamburg.pk]
    choose(LOW, hamburg)
    assert shown() == []
    choose(LOW)
    assert shown() == [hamburg.pk, bremen.pk]
    # What is recorded can be shown: it is asked for.
    client = people.client_of("viewer")
    assert len(client.get("/alerts/").context["rows"]) == 2
    asked = client.get("/alerts/?hidden=1")
    assert len(asked.context["rows"]) == 3
    assert asked.content.decode().count(">not shown<") == 1
    assert client.get("/alerts/?hidden=yes").status_code == 400


def test_it_follows_a_server_to_another_destination() -> None:
    point = make_store_point()
    report(point, 70)
    quiet = make_destination()
    choose(LOW, quiet, is_shown=False, severity=Severity.LOW)

    Server.objects.filter(pk=point.server.pk).update(destination=quiet)
    reconcile()

    alert = Alert.objects.get()
    assert (alert.is_shown, alert.severity) == (False, Severity.LOW)


def test_it_says_what_holds_for_each_alert_in_as_many_queries_for_many() -> None:
    berlin = make_server()
    choose(OFFLINE, berlin.destination, is_mailed=False)

    def ask() -> int:
        rows = list(Alert.objects.all())
        with CaptureQueriesContext(connection) as captured:
            found = selectors.settings_of(rows)
        assert len(found) == len(rows)
        return len(captured)

    point = make_store_point(server=berlin)
    quiet = make_alert(store_point=point, server=berlin)
    few = ask()
    for _ in range(40):
        make_alert(server=make_server())
    gone = make_alert(kind="of-yesterday")

    assert ask() == few == 2
    settings = selectors.settings_of(Alert.objects.all())
    assert settings[gone.pk] is None
    mailed = [key for key, each in settings.items() if each and not each.is_mailed]
    assert mailed == [quiet.pk]


# --- choosing ----------------------------------------------------------------------------


def test_it_records_each_change_from_and_to() -> None:
    berlin = make_destination("Berlin")

    choose(LOW, severity=Severity.CRITICAL, delay_seconds=90, parameters={"percent": 9})
    choose(LOW, berlin, is_mailed=False, parameters={"hours": 12.5})
    choose(LOW, berlin)

    removed, own, everywhere = AuditEntry.objects.filter(verb="notification.change")
    assert everywhere.object_name == LOW
    assert everywhere.data == {
        "severity": ["Warning", "Critical"],
        "after": ["at once", "1 min 30 s"],
        "percent": ["10 %", "9 %"],
        "bytes": ["100 GB", "90 GB"],
        "clear": ["15 %", "14 %"],
    }
    assert own.object_name == f"{LOW} in Berlin"
    assert own.data == {
        "is_mailed": ["as everywhere", False],
        "hours": ["as everywhere", "12.5 h"],
    }
    assert removed.data == {
        "is_mailed": [False, "as everywhere"],
        "hours": ["12.5 h", "as everywhere"],
    }
    assert not NotificationOverride.objects.exists()


def test_it_changes_nothing_when_one_of_several_cannot_be() -> None:
    with pytest.raises(ValidationError, match="found 70, expected a number from"):
        services.change_notification_settings(
            {
                OFFLINE: Choice(is_shown=False),
                LOW: Choice(parameters={"percent": 70}),
            },
            actor=people.administrator(),
            now=clock.now(),
        )

    assert not NotificationSetting.objects.filter(is_shown=False).exists()
    assert not AuditEntry.objects.filter(verb="notification.change").exists()


def test_it_refuses_what_would_not_fit_in_a_destination() -> None:
    berlin = make_destination("Berlin")
    choose(CRITICALLY_LOW, berlin, parameters={"percent": 8.0})

    with pytest.raises(ValidationError, match="In Berlin: Store point critically low"):
        choose(LOW, parameters={"percent": 7.0})

    assert selectors.settings().of(LOW).numbers["percent"] == 10


def test_it_refuses_a_kind_of_the_console_for_a_destination() -> None:
    with pytest.raises(ValidationError, match="is about the console itself"):
        choose("health-checks-not-running", make_destination(), is_mailed=False)


def test_it_resets_everything_and_every_destination() -> None:
    berlin = make_destination()
    choose(LOW, berlin, parameters={"percent": 6.0})
    choose(CRITICALLY_LOW, parameters={"percent": 3.0})
    choose(LOW, is_mailed=False)

    changed = services.reset_notification_settings(
        actor=people.administrator(), now=clock.now()
    )

    assert sorted(changed) == sorted([LOW, CRITICALLY_LOW])
    assert not NotificationOverride.objects.exists()
    assert selectors.settings().choices == dict.fromkeys(
        selectors.settings().choices, Choice()
    )


def test_it_resets_also_what_an_earlier_release_let_be_chosen() -> None:
    # What was critical by an earlier default, and is worse than what is low today.
    NotificationSetting.objects.create(
        kind=LOW, parameters={"percent": 3}, changed_at=clock.now()
    )
    place = make_destination()
    choose(OFFLINE, place, delay_seconds=60)

    services.reset_notification_settings(actor=people.administrator(), now=clock.now())

    settings = selectors.settings()
    assert list(settings.contradictions()) == []
    assert not settings.overrides
