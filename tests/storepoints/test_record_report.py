"""Recording reports: believed only when signed, new and about the server's own."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import pytest

from alerts.models import Alert, AlertEvent
from console.kit import clock, secrets
from storepoints import engine, services, wire
from storepoints.models import AgentRequest, Server, StatusChange, StorePoint
from storepoints.services import findings
from tests.factories import (
    make_finding,
    make_report,
    make_server,
    make_store_point,
    make_volume,
    some_guid,
)
from tests.races import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

OFFLINE = {"state": "offline", "reason": "not-mounted", "layer": 3}


@pytest.fixture(autouse=True)
def no_orders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep what would be sent to agents: these tests are about what comes from them."""
    sent: list[str] = []

    def keep(server: Server, kind: str, *args: Any, **kwargs: Any) -> bool:
        sent.append(kind)
        return True

    monkeypatch.setattr("storepoints.services.checks.send_order", keep)
    return sent


def record(server: Server, *findings: dict[str, Any], **fields: Any) -> int:
    return services.record_report(
        make_report(server, *findings, **fields), now=clock.now()
    )


def test_it_writes_reading_change_alert_and_event_together() -> None:
    tank = make_store_point("Tank-07")

    taken = record(tank.server, make_finding(tank, **OFFLINE))

    tank.refresh_from_db()
    assert taken == 1
    assert (tank.state, tank.reason, tank.is_online) == (
        "offline",
        "not-mounted",
        False,
    )
    assert tank.status_changes.get().state_before == "online"
    alert = Alert.objects.get()
    assert alert.text == "Store point is unavailable: Tank-07"
    assert alert.get_severity_display() == "Critical"
    assert alert.events.get().kind == AlertEvent.Kind.RAISED


def test_it_changes_nothing_when_a_report_comes_twice() -> None:
    tank = make_store_point()
    envelope = make_report(tank.server, make_finding(tank, **OFFLINE))

    first = services.record_report(envelope, now=clock.now())
    second = services.record_report(envelope, now=clock.now())

    assert (first, second) == (1, 0)
    assert StatusChange.objects.count() == 1
    assert AlertEvent.objects.count() == 1


def test_it_keeps_what_noticed_a_change_when_a_later_probe_found_the_same() -> None:
    store_point = make_store_point()
    away = {"state": "offline", "reason": "not-mounted"}

    record(
        store_point.server,
        make_finding(store_point, cause="mount-table", **away),
        make_finding(store_point, cause="due", duration_seconds=0.5, **away),
    )

    change = StatusChange.objects.get()
    assert change.cause == "mount-table"
    assert change.duration_seconds == 0.5


def test_it_says_what_noticed_the_newest_state_of_a_report() -> None:
    store_point = make_store_point()

    record(
        store_point.server,
        make_finding(
            store_point, cause="mount-table", state="offline", reason="not-mounted"
        ),
        make_finding(store_point, cause="due", state="offline", reason="read-only"),
    )

    change = StatusChange.objects.get()
    assert (change.reason, change.cause) == ("read-only", "due")


def test_it_drops_a_report_that_was_overtaken() -> None:
    tank = make_store_point()
    early = make_report(tank.server, make_finding(tank))
    late = make_report(tank.server, make_finding(tank, **OFFLINE))

    services.record_report(late, now=clock.now())
    taken = services.record_report(early, now=clock.now())

    tank.refresh_from_db()
    assert taken == 0
    assert tank.state == "offline"


def test_it_alerts_after_three_failures_and_clears_after_two_successes() -> None:
    tank = make_store_point()
    failure = {"state": "offline", "reason": "io-error", "layer": 6}

    counts = []
    for finding in [failure] * 3 + [{}] * 2:
        record(tank.server, make_finding(tank, **finding))
        counts.append(Alert.objects.filter(cleared_at__isnull=True).count())

    assert counts == [0, 0, 1, 1, 0]
    assert Alert.objects.count() == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda envelope: envelope | {"signature": "0" * 64}, "signature"),
        (lambda envelope: envelope | {"body": envelope["body"] + " "}, "signature"),
        (lambda envelope: envelope | {"server": some_guid()}, "no server"),
        (lambda envelope: envelope | {"server": "x" * 5000}, "no server"),
        (lambda envelope: {"server": envelope["server"]}, "body"),
        (lambda envelope: "garbage", "envelope"),
        (lambda envelope: None, "envelope"),
    ],
)
def test_it_refuses_what_is_not_signed_by_the_server(spoil: Any, words: str) -> None:
    tank = make_store_point()
    envelope = make_report(tank.server, make_finding(tank, **OFFLINE))

    with pytest.raises(wire.Refused, match=words):
        services.record_report(spoil(envelope), now=clock.now())

    tank.refresh_from_db()
    assert tank.state == "online"


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "order"},
        {"sequence": "first"},
        {"sequence": -1},
        {"sequence": 2**70},
        {"sent_at": "now"},
        {"sent_at": float("nan")},
        {"findings": {}},
        {"answers": None},
        {"volumes": "none"},
        {"agent": []},
    ],
)
def test_it_refuses_a_report_of_the_wrong_shape(fields: dict[str, Any]) -> None:
    server = make_server()

    with pytest.raises(wire.Refused, match="expected"):
        record(server, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "splendid"},
        {"state": "server-offline"},
        {"reason": "because"},
        {"at": "yesterday"},
        {"at": float("inf")},
        {"id": "no guid"},
        {"id": 7},
    ],
)
def test_it_refuses_one_bad_finding_and_takes_the_others(
    fields: dict[str, Any],
) -> None:
    bad = make_store_point()
    good = make_store_point(server=bad.server)

    taken = record(
        bad.server,
        make_finding(bad, **fields),
        "nonsense",  # type: ignore[arg-type]
        make_finding(good, **OFFLINE),
    )

    good.refresh_from_db()
    bad.refresh_from_db()
    assert taken == 1
    assert (good.state, bad.state) == ("offline", "online")


@pytest.mark.parametrize(
    "space",
    [
        {"total_bytes": 10, "free_bytes": 20, "used_bytes": 0},
        {"total_bytes": -1, "free_bytes": 0, "used_bytes": 0},
        {"total_bytes": "much", "free_bytes": 0, "used_bytes": 0},
        [],
    ],
)
def test_it_takes_the_verdict_though_the_sizes_are_impossible(space: object) -> None:
    tank = make_store_point()

    taken = record(tank.server, make_finding(tank, **OFFLINE, space=space))

    tank.refresh_from_db()
    assert taken == 1
    assert (tank.state, tank.free_bytes) == ("offline", 400)


def test_it_refuses_findings_about_the_store_points_of_another_server() -> None:
    tank = make_store_point()
    stranger = make_server()

    taken = record(stranger, make_finding(tank, **OFFLINE))

    tank.refresh_from_db()
    assert taken == 0
    assert tank.state == "online"


def test_it_dates_a_late_report_by_when_the_probe_was_made() -> None:
    tank = make_store_point()
    tank.server.clock_offset_seconds = 0.0
    tank.server.save()
    with clock.freeze(clock.now()) as frozen:
        envelope = make_report(tank.server, make_finding(tank))
        made_at = clock.now()
        frozen.tick(600)

        services.record_report(envelope, now=clock.now())

    tank.refresh_from_db()
    assert tank.checked_at is not None
    assert abs((tank.checked_at - made_at).total_seconds()) < 60


def test_it_says_what_the_agent_applied() -> None:
    tank = make_store_point(inbound_applied="enabled")
    inbound = {"applied": "disabled", "pending": True, "error": "hook exited 3"}

    record(tank.server, make_finding(tank, inbound=inbound))

    tank.refresh_from_db()
    assert tank.inbound_applied == "disabled"
    assert tank.is_inbound_pending
    assert tank.inbound_error == "hook exited 3"


@pytest.mark.parametrize("applied", [[[]], {}, True, "on", None])
def test_it_leaves_out_what_no_agent_applies(applied: object) -> None:
    tank = make_store_point()

    taken = record(tank.server, make_finding(tank, inbound={"applied": applied}))

    tank.refresh_from_db()
    assert (taken, tank.inbound_applied) == (1, "enabled")


def test_it_sends_a_server_everything_after_a_start(
    no_orders: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    tank = make_store_point()

    with django_capture_on_commit_callbacks(execute=True):
        record(tank.server, cause="start")

    assert no_orders == ["probe"]


def test_it_records_an_adoption_and_its_volume() -> None:
    tank = make_store_point(adopted_at=None, volume={})
    request = AgentRequest.objects.create(
        server=tank.server,
        kind="adopt",
        payload={"id": str(tank.guid)},
        asked_at=clock.now(),
    )
    volume = make_volume(mount_point="/srv")
    answer = {"id": str(tank.guid), "adopted": True, "volume": {**volume, "x": [1]}}

    record(
        tank.server,
        answers=[{"order": str(request.guid), "kind": "adopt", "answer": answer}],
    )

    tank.refresh_from_db()
    assert tank.adopted_at is not None
    assert tank.volume == volume


@pytest.mark.parametrize("volume", ["/srv", {"mount_point": 7}, [], None])
def test_it_adopts_without_a_volume_that_is_none(volume: object) -> None:
    tank = make_store_point(adopted_at=None, volume={})
    request = AgentRequest.objects.create(
        server=tank.server,
        kind="adopt",
        payload={"id": str(tank.guid)},
        asked_at=clock.now(),
    )
    answer = {"id": str(tank.guid), "adopted": True, "volume": volume}

    record(tank.server, answers=[{"order": str(request.guid), "answer": answer}])

    tank.refresh_from_db()
    assert tank.adopted_at is not None
    assert tank.volume == {}


@pytest.mark.parametrize(
    "evil",
    [
        float("nan"),
        float("inf"),
        "null\0character",
        "half a pair \ud800",
        {"\0": ["\udcff"]},
        10**400,
    ],
)
def test_it_records_what_no_database_can_hold(evil: object) -> None:
    """Anybody who may write to a store point's disk can put this into its marker."""
    tank = make_store_point()
    other = make_store_point(server=tank.server)

    taken = record(
        tank.server,
        make_finding(tank, **OFFLINE, marker={"name": evil}, errno="E\0IO"),
        make_finding(other, **OFFLINE),
        volumes=[{"mount_point": evil}],
        agent={"version": "\0", "hostname": "\ud800", "started_at": 1e18},
    )

    tank.refresh_from_db()
    assert taken == 2
    offline = Alert.objects.filter(kind="store-point-offline")
    assert (tank.state, offline.count()) == ("offline", 2)


def test_it_keeps_the_others_when_the_database_refuses_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = make_store_point()
    good = make_store_point(server=bad.server)

    splendid: Any = "splendid"

    def decide(before: Any, reading: Any, rule: Any) -> Any:
        decision = engine.decide(before, reading, rule)
        if reading.reason == "io-error":
            # As an oversight elsewhere would: a state that the constraint refuses.
            status = dataclasses.replace(decision.status, state=splendid)
            return dataclasses.replace(decision, status=status)
        return decision

    monkeypatch.setattr(findings, "decide", decide)
    taken = record(
        bad.server,
        make_finding(bad, state="offline", reason="io-error"),
        make_finding(good, **OFFLINE),
    )

    good.refresh_from_db()
    bad.refresh_from_db()
    assert (taken, good.state, bad.state) == (1, "offline", "online")


def test_it_does_not_take_a_replay_for_a_sign_of_life() -> None:
    tank = make_store_point()
    envelope = make_report(tank.server, make_finding(tank))
    services.record_report(envelope, now=clock.now())
    Server.objects.update(
        awaiting_since=clock.now(), silent_at=clock.now(), offline_since=clock.now()
    )

    services.record_report(envelope, now=clock.now())

    assert Server.objects.get().offline_since is not None


def test_it_remembers_a_failing_hook_while_the_volume_is_away() -> None:
    tank = make_store_point()
    failing = {"applied": "disabled", "pending": True, "error": "hook exited 1"}
    unread = {"applied": None, "pending": False, "error": ""}
    record(tank.server, make_finding(tank, inbound=failing))

    record(tank.server, make_finding(tank, **OFFLINE, inbound=unread))

    tank.refresh_from_db()
    assert tank.is_inbound_pending
    assert tank.inbound_error == "hook exited 1"


def test_it_alerts_when_an_adoption_is_refused_and_clears_when_it_succeeds() -> None:
    tank = make_store_point(adopted_at=None, checked_at=None, volume={})
    request = AgentRequest.objects.create(
        server=tank.server,
        kind="adopt",
        payload={"id": str(tank.guid)},
        asked_at=clock.now(),
    )

    def answer(**fields: Any) -> None:
        AgentRequest.objects.update(answer=None, answered_at=None)
        entry = {"order": str(request.guid), "kind": "adopt", "answer": fields}
        record(tank.server, answers=[entry])

    answer(adopted=False, message="The volume is read-only.")
    assert Alert.objects.filter(cleared_at__isnull=True).count() == 1
    answer(adopted=True, volume={})

    assert Alert.objects.filter(cleared_at__isnull=True).count() == 0


def test_it_calls_an_alert_what_its_store_point_is_called_now() -> None:
    tank = make_store_point("Oldname")
    record(tank.server, make_finding(tank, **OFFLINE))

    services.edit_store_point(
        tank, name="Newname", note="", check_seconds=30, actor=None, now=clock.now()
    )

    assert Alert.objects.get().text == "Store point is unavailable: Newname"
    assert AlertEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_it_leaves_one_truth_when_reports_race() -> None:
    tank = make_store_point()
    envelopes = [
        make_report(tank.server, make_finding(tank, **OFFLINE)) for _ in range(6)
    ]

    failures = at_once(
        *(
            [partial(services.record_report, each, now=clock.now())]
            for each in envelopes
        )
    )

    assert failures == []
    assert Alert.objects.count() == 1
    assert StatusChange.objects.count() == 1
    assert AlertEvent.objects.count() == 1
    assert StorePoint.objects.get().state == "offline"


def test_it_keeps_the_key_of_a_server_encrypted() -> None:
    server = make_server()

    assert secrets.decrypt(server.sealed_key) not in server.sealed_key
