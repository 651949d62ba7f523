"""Knowing filesystems: who lies where, and that a filesystem is judged once."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from alerts.models import Alert
from alerts.selectors import of_store_points
from console.housekeeping import sweep_out
from console.kit import clock, heartbeat
from storepoints import services
from storepoints.engine import IDENTITY_LENGTH, filesystem_identity
from storepoints.models import Filesystem, ProbeSample, Server, StorePoint
from storepoints.services.filesystems import EMPTY_IS_KEPT
from tests.factories import (
    make_alert,
    make_finding,
    make_report,
    make_server,
    make_store_point,
    make_volume,
)
from tests.races import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

TANK = make_volume(mount_point="/srv/tank", fs_uuid="tank")
NOT_MOUNTED: dict[str, Any] = {"state": "offline", "reason": "not-mounted", "layer": 3}
PASSED = [{"name": name, "layer": 3, "ok": True} for name in ("volume", "identity")]


@pytest.fixture(autouse=True)
def _no_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what would be sent to agents: these tests are about what comes from them."""
    monkeypatch.setattr(
        "storepoints.services.checks.send_order", lambda *_a, **_k: True
    )


def record(server: Server, *findings: dict[str, Any], **fields: Any) -> int:
    return services.record_report(
        make_report(server, *findings, **fields), now=clock.now()
    )


def space(free: int, total: int = 1000, *, inodes: int = 0) -> dict[str, int]:
    return {
        "total_bytes": total,
        "free_bytes": free,
        "used_bytes": total - free,
        "total_inodes": inodes and 1000,
        "free_inodes": inodes,
    }


def on_tank(store_point: StorePoint, free: int = 400, **fields: Any) -> dict[str, Any]:
    return make_finding(store_point, volume=TANK, space=space(free), **fields)


def ongoing() -> list[str]:
    return list(
        Alert.objects.filter(cleared_at__isnull=True)
        .order_by("text")
        .values_list("text", flat=True)
    )


# --- identity ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        # Bind mounts, and Btrfs subvolumes with their different filesystem ids.
        ({"mount_point": "/a"}, {"mount_point": "/b"}, True),
        (
            {"fs_type": "btrfs", "fsid": "1", "mount_point": "/a"},
            {"fs_type": "btrfs", "fsid": "2", "mount_point": "/b"},
            True,
        ),
        (
            {"fs_type": "btrfs", "fs_uuid": "", "fsid": "1", "source": "/dev/sda"},
            {"fs_type": "btrfs", "fs_uuid": "", "fsid": "2", "source": "/dev/sda"},
            True,
        ),
        ({"fs_uuid": "1"}, {"fs_uuid": "2"}, False),
        ({"fs_uuid": "", "fsid": "1"}, {"fs_uuid": "", "fsid": "2"}, False),
        (
            {"fs_type": "zfs", "fs_uuid": "", "fsid": "1"},
            {"fs_type": "zfs", "fs_uuid": "", "fsid": "2"},
            False,
        ),
        (
            {"fs_type": "nfs4", "fs_uuid": "", "source": "nas:/a", "mount_point": "/a"},
            {"fs_type": "nfs4", "fs_uuid": "", "source": "nas:/a", "mount_point": "/b"},
            True,
        ),
        (
            {"fs_type": "tmpfs", "fs_uuid": "", "source": "tmpfs", "mount_point": "/a"},
            {"fs_type": "tmpfs", "fs_uuid": "", "source": "tmpfs", "mount_point": "/b"},
            False,
        ),
    ],
)
def test_it_tells_filesystems_apart(
    one: dict[str, str], other: dict[str, str], is_same: bool
) -> None:
    volume = make_volume()

    identities = {filesystem_identity({**volume, **each}) for each in (one, other)}

    assert len(identities) == (1 if is_same else 2)


names = st.text(max_size=400)


@given(names, names, names, names, names)
def test_it_gives_every_volume_an_identity_that_fits(
    mount_point: str, fs_type: str, fs_uuid: str, source: str, fsid: str
) -> None:
    identity = filesystem_identity(
        {
            "mount_point": mount_point,
            "fs_type": fs_type,
            "fs_uuid": fs_uuid,
            "source": source,
            "fsid": fsid,
        }
    )

    assert bool(identity) == bool(mount_point)
    assert len(identity) <= IDENTITY_LENGTH


# --- who lies where ------------------------------------------------------------------------


def test_it_knows_one_filesystem_for_all_that_lie_on_it() -> None:
    one = make_store_point()
    other = make_store_point(server=one.server)
    third = make_store_point(server=one.server)

    record(one.server, on_tank(one), on_tank(other), make_finding(third))

    tank = Filesystem.objects.get(identity="uuid:tank")
    assert Filesystem.objects.count() == 2
    assert set(tank.store_points.all()) == {one, other}
    assert (tank.mount_point, tank.fs_type, tank.free_bytes) == (
        "/srv/tank",
        "ext4",
        400,
    )


def test_it_keeps_the_filesystems_of_two_servers_apart() -> None:
    one, other = make_store_point(), make_store_point()

    record(one.server, on_tank(one))
    record(other.server, on_tank(other))

    assert Filesystem.objects.filter(identity="uuid:tank").count() == 2


@pytest.mark.parametrize(
    ("fields", "is_known"),
    [
        ({}, True),
        (NOT_MOUNTED, False),
        ({"state": "offline", "reason": "full", "checks": PASSED}, True),
        ({"state": "offline", "reason": "full", "checks": PASSED[:1]}, False),
        ({"volume": None}, False),
        ({"volume": {"mount_point": ""}}, False),
        ({"volume": ["/srv/tank"]}, False),
    ],
)
def test_it_believes_only_a_finding_that_proved_its_volume(
    fields: dict[str, Any], is_known: bool
) -> None:
    tank = make_store_point()

    taken = record(tank.server, {**on_tank(tank), **fields})

    assert taken == 1
    assert Filesystem.objects.exists() == is_known


def test_it_remembers_where_a_store_point_lay_while_it_is_away() -> None:
    tank = make_store_point()
    record(tank.server, on_tank(tank))

    record(tank.server, on_tank(tank, 1, **NOT_MOUNTED))

    tank.refresh_from_db()
    assert tank.filesystem is not None
    assert tank.filesystem.free_bytes == 400


def test_it_takes_the_newest_figures_of_a_report_and_none_that_are_older() -> None:
    one = make_store_point()
    other = make_store_point(server=one.server)
    now = clock.now().timestamp()

    record(one.server, on_tank(one, 300, at=now), on_tank(other, 200, at=now - 5))
    record(one.server, on_tank(one, 100, at=now - 60))

    assert Filesystem.objects.get().free_bytes == 300


def test_it_forgets_what_was_usual_on_another_filesystem() -> None:
    tank = make_store_point()
    record(tank.server, on_tank(tank))
    tank.refresh_from_db()
    learnt = tank.baseline

    record(tank.server, make_finding(tank, latency_seconds=3.0))

    tank.refresh_from_db()
    assert learnt["count"] == 1
    assert tank.baseline["count"] == 1
    assert tank.baseline["log_mean"] > 0


def test_it_keeps_one_mount_point_though_others_are_seen() -> None:
    one = make_store_point()
    other = make_store_point(server=one.server)
    elsewhere = {**TANK, "mount_point": "/mnt/other"}
    record(one.server, on_tank(one))

    record(one.server, on_tank(other) | {"volume": elsewhere})
    after_one = Filesystem.objects.get().mount_point
    with clock.freeze(clock.now() + timedelta(days=2)):
        record(one.server, on_tank(other) | {"volume": elsewhere})

    assert after_one == "/srv/tank"
    assert Filesystem.objects.get().mount_point == "/mnt/other"


# --- what is written with a reading --------------------------------------------------------


def test_it_notes_when_it_worked_and_when_it_was_written() -> None:
    tank = make_store_point()
    record(tank.server, on_tank(tank))
    tank.refresh_from_db()
    first = tank.written_at

    skipped = on_tank(tank, wrote=False, latency_seconds=None)
    with clock.freeze(clock.now() + timedelta(seconds=30)):
        record(tank.server, skipped | {"at": clock.now().timestamp()})

    tank.refresh_from_db()
    assert first is not None
    assert tank.written_at == first
    assert tank.well_at is not None
    assert tank.well_at > first
    assert tank.baseline["count"] == 1


def test_it_keeps_what_was_written_below_after_the_outage() -> None:
    tank = make_store_point()
    below = {"bytes": 4096, "files": 2, "newest_at": 1.0e9, "is_complete": True}

    record(tank.server, on_tank(tank, fall_through=below, **NOT_MOUNTED))
    tank.refresh_from_db()
    since = tank.since
    record(tank.server, on_tank(tank))

    tank.refresh_from_db()
    assert since is not None
    assert tank.fall_through == {**below, "since": since.timestamp()}


@pytest.mark.parametrize(
    "nonsense", [{"bytes": -1, "files": 1}, {"bytes": "much"}, [], "all", 7]
)
def test_it_leaves_out_what_is_no_measure_of_what_was_written(nonsense: object) -> None:
    tank = make_store_point()

    taken = record(tank.server, on_tank(tank, fall_through=nonsense, **NOT_MOUNTED))

    tank.refresh_from_db()
    assert (taken, tank.fall_through) == (1, {})


def test_it_keeps_a_piece_of_history_once() -> None:
    tank = make_store_point()
    with clock.freeze(clock.now()) as frozen:
        for _ in range(12):
            record(tank.server, on_tank(tank))
            frozen.tick(60)

    samples = ProbeSample.objects.filter(store_point=tank)
    assert 1 <= samples.count() <= 3
    assert sum(each.probes for each in samples) < 12


# --- limits and alerts ---------------------------------------------------------------------


def test_it_makes_one_alert_for_all_store_points_of_a_filesystem() -> None:
    server = make_server()
    tanks = [make_store_point(f"Tank-{n:02}", server=server) for n in range(10)]

    record(server, *(on_tank(tank, 70) for tank in tanks))

    assert ongoing() == [
        "Store points are low on space: Tank-00, Tank-01 and 8 more on /srv/tank "
        "(93 % used)"
    ]
    alert = Alert.objects.get()
    assert alert.filesystem == Filesystem.objects.get()
    assert alert.server == server
    assert alert.reported_by == server.name
    for tank in tanks:
        tank.refresh_from_db()
        assert (tank.state, tank.reason) == ("degraded", "low-space")
        assert Alert.objects.filter(of_store_points([tank])).get() == alert


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "Store point is low on space: Tank-00 (93 % used)"),
        (
            2,
            "Store points are low on space: Tank-00 and Tank-01 on /srv/tank (93 % used)",
        ),
        (
            3,
            "Store points are low on space: Tank-00, Tank-01 and 1 more on /srv/tank "
            "(93 % used)",
        ),
    ],
)
def test_it_says_whom_it_concerns(count: int, text: str) -> None:
    server = make_server()
    tanks = [make_store_point(f"Tank-{n:02}", server=server) for n in range(count)]

    record(server, *(on_tank(tank, 70) for tank in tanks))

    assert ongoing() == [text]


def test_it_lets_the_others_of_a_filesystem_follow_at_once() -> None:
    one = make_store_point()
    other = make_store_point(server=one.server)
    away = make_store_point(server=one.server)
    record(one.server, on_tank(one), on_tank(other), on_tank(away))
    record(one.server, on_tank(away, **NOT_MOUNTED))

    record(one.server, on_tank(one, 40))

    for row in (one, other, away):
        row.refresh_from_db()
    assert (one.reason, other.reason, away.reason) == (
        "low-space",
        "low-space",
        "not-mounted",
    )
    assert other.limits == ["critically-low-space", "low-space"]
    assert other.status_changes.get(reason="low-space").state == "degraded"


def test_it_changes_severity_in_two_alerts_of_which_one_holds() -> None:
    tank = make_store_point("Tank-07")

    texts = []
    for free in (70, 40, 120, 200):
        record(tank.server, on_tank(tank, free))
        texts.append(ongoing())

    assert texts == [
        ["Store point is low on space: Tank-07 (93 % used)"],
        ["Store point is critically low on space: Tank-07 (96 % used)"],
        ["Store point is low on space: Tank-07 (88 % used)"],
        [],
    ]


def test_it_alerts_when_inodes_run_out() -> None:
    tank = make_store_point("Tank-07")

    record(tank.server, on_tank(tank) | {"space": space(400, inodes=30)})

    tank.refresh_from_db()
    assert ongoing() == ["Store point is low on inodes: Tank-07 (97 % used)"]
    assert tank.reason == "low-inodes"


def test_it_says_that_it_fills_up_before_it_is_low() -> None:
    tank = make_store_point("Tank-07")
    total = 1_000_000_000
    with clock.freeze(clock.now()) as frozen:
        for hour in range(25):
            used = 300_000_000 + 20_000_000 * hour
            figures = space(total - used, total)
            record(tank.server, on_tank(tank) | {"space": figures})
            before = ongoing()
            frozen.tick(3600)

    tank.refresh_from_db()
    assert before == [
        "Store point is filling up: Tank-07 (78 % used, full in 11 h)",
    ]
    assert tank.state == "online"


def test_it_knows_nothing_while_no_store_point_was_read() -> None:
    tank = make_store_point()
    record(tank.server, on_tank(tank, 70))

    record(tank.server, on_tank(tank, 900, **NOT_MOUNTED))

    assert any(text.startswith("Store point is low") for text in ongoing())


def test_it_still_knows_the_space_of_what_is_full() -> None:
    tank = make_store_point("Tank-07")

    record(tank.server, on_tank(tank, 0, state="offline", reason="full", checks=PASSED))

    assert ongoing() == ["Store point is critically low on space: Tank-07 (100 % used)"]


def test_it_shows_what_the_devices_say_at_once() -> None:
    one = make_store_point("Tank-07")
    other = make_store_point("Tank-08", server=one.server)
    degraded = {"health": "degraded", "reason": "volume-degraded", "text": "1 of 2"}
    record(one.server, on_tank(one), on_tank(other))

    record(one.server, on_tank(one, device=degraded))

    other.refresh_from_db()
    assert (other.state, other.reason) == ("degraded", "volume-degraded")
    assert ongoing() == [
        "Volume is degraded: Tank-07 and Tank-08 on /srv/tank (1 of 2)"
    ]


def test_it_takes_devices_from_the_list_of_volumes() -> None:
    tank = make_store_point()
    record(tank.server, on_tank(tank))
    stack = {"name": "sda", "kind": "disk", "health": "failing", "below": []}
    devices = {
        "health": "failing",
        "reason": "drive-failing",
        "text": "sda fails",
        "stack": stack,
        "notes": [],
    }

    record(tank.server, volumes=[{**TANK, "devices": devices}])

    filesystem = Filesystem.objects.get()
    tank.refresh_from_db()
    assert filesystem.devices["stack"]["name"] == "sda"
    assert filesystem.devices_at is not None
    assert (filesystem.health, tank.reason) == ("failing", "drive-failing")


def test_it_takes_no_devices_from_a_report_that_was_overtaken() -> None:
    tank = make_store_point()
    devices = {
        "health": "ok",
        "reason": "",
        "text": "",
        "stack": None,
        "notes": ["old"],
    }
    late = make_report(tank.server, volumes=[{**TANK, "devices": devices}])
    record(tank.server, on_tank(tank))

    services.record_report(late, now=clock.now())

    assert Filesystem.objects.get().devices == {}


def test_it_dates_devices_by_the_report_that_brought_them() -> None:
    tank = make_store_point()
    record(tank.server, on_tank(tank))
    devices = {"health": "ok", "text": "", "stack": None, "notes": ["none"]}
    envelope = make_report(tank.server, volumes=[{**TANK, "devices": devices}])

    with clock.freeze(clock.now()) as frozen:
        services.record_report(envelope, now=clock.now())
        first = Filesystem.objects.get().devices_at
        frozen.tick(600)
        services.record_report(envelope, now=clock.now())

    assert Filesystem.objects.get().devices_at == first


def test_it_reads_on_after_the_clock_was_set_back() -> None:
    tank = make_store_point()
    now = clock.now()
    with clock.freeze(now + timedelta(hours=3)):
        record(tank.server, on_tank(tank, 400))

    with clock.freeze(now):
        record(tank.server, on_tank(tank, 70))

    filesystem = Filesystem.objects.get()
    assert (filesystem.free_bytes, filesystem.space_at) == (70, now)
    assert filesystem.limits == ["low-space"]


def test_it_names_the_server_of_an_alert_as_it_is_called_now() -> None:
    tank = make_store_point()
    record(tank.server, on_tank(tank, 70))

    services.edit_server(tank.server, actor=None, now=clock.now(), name="Newname")

    assert Alert.objects.get().reported_by == "Newname"


def test_it_clears_what_an_older_console_said_of_a_store_points_space() -> None:
    tank = make_store_point()
    for kind in ("store-point-low-on-space", "store-point-critically-low-on-space"):
        make_alert(kind=kind, subject=f"store-point:{tank.pk}", store_point=tank)

    record(tank.server, on_tank(tank, 70))

    (alert,) = Alert.objects.filter(cleared_at=None)
    assert alert.subject == f"filesystem:{Filesystem.objects.get().pk}"


def test_it_calls_the_alert_what_its_store_points_are_called_now() -> None:
    tank = make_store_point("Oldname")
    record(tank.server, on_tank(tank, 70))

    services.edit_store_point(
        tank, name="Newname", note="", check_seconds=30, actor=None, now=clock.now()
    )

    assert ongoing() == ["Store point is low on space: Newname (93 % used)"]


def test_it_clears_when_the_last_store_point_has_gone() -> None:
    one = make_store_point("Tank-07")
    other = make_store_point("Tank-08", server=one.server)
    record(one.server, on_tank(one, 70), on_tank(other, 70))

    services.remove_store_points([one.pk], actor=None, now=clock.now())
    with_one = ongoing()
    services.remove_store_points([other.pk], actor=None, now=clock.now())

    assert with_one == ["Store point is low on space: Tank-08 (93 % used)"]
    assert ongoing() == []


def test_it_clears_when_everything_has_moved_to_another_filesystem() -> None:
    tank = make_store_point()
    record(tank.server, on_tank(tank, 70))

    record(tank.server, make_finding(tank))

    assert ongoing() == []


def test_it_removes_a_filesystem_that_nothing_lies_on_for_long() -> None:
    tank, kept = make_store_point(), make_store_point()
    record(tank.server, on_tank(tank))
    record(kept.server, on_tank(kept))
    services.remove_store_points([tank.pk], actor=None, now=clock.now())

    at_once = sweep_out(now=clock.now())["filesystems"]
    later = clock.now() + EMPTY_IS_KEPT + timedelta(hours=1)
    after_long = sweep_out(now=later)["filesystems"]

    assert (at_once, after_long) == (0, 1)
    assert Filesystem.objects.get().server == kept.server


# --- many at once --------------------------------------------------------------------------


def queries_of(server: Server, rows: list[StorePoint], free: int) -> int:
    envelope = make_report(server, *(on_tank(row, free) for row in rows))
    with CaptureQueriesContext(connection) as queries:
        services.record_report(envelope, now=clock.now())
    return len(queries)


@pytest.mark.parametrize("free", [400, 70])
def test_it_makes_as_many_queries_for_2_findings_as_for_40(free: int) -> None:
    server = make_server()
    rows = [make_store_point(server=server) for _ in range(40)]
    for _ in range(2):
        queries_of(server, rows, free)

    few = queries_of(server, rows[:2], free)
    many = queries_of(server, rows, free)

    assert many == few


@pytest.mark.django_db(transaction=True)
def test_it_makes_one_filesystem_when_reports_race() -> None:
    server = make_server()
    rows = [make_store_point(server=server) for _ in range(6)]
    envelopes = [make_report(server, on_tank(row, 70)) for row in rows]

    failures = at_once(
        *(
            [partial(services.record_report, each, now=clock.now())]
            for each in envelopes
        )
    )

    assert failures == []
    assert Filesystem.objects.get().store_points.count() == 6
    assert Alert.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_it_survives_everything_that_takes_many_rows_at_once() -> None:
    """A report takes rows that nobody named: those that follow a filesystem's limits."""
    heartbeat.beat("tick", clock.now())
    server = make_server(check_seconds=3600)
    rows = [make_store_point(server=server) for _ in range(30)]
    other = [make_store_point(server=server) for _ in range(10)]
    record(server, *(on_tank(row) for row in rows))
    record(server, *(make_finding(row) for row in other))
    keys = [row.pk for row in rows]
    rounds = range(12)

    def report(turn: int) -> None:
        # Those with the highest keys, so that the others follow.
        free = 70 if turn % 2 else 400
        record(server, *(on_tank(row, free) for row in rows[-5:]))

    def move(turn: int) -> None:
        # Off the filesystem and back, which is left in the other order.
        volume = TANK if turn % 2 else make_volume(fs_uuid="another")
        record(server, make_finding(rows[0], volume=volume))

    def switch(turn: int) -> None:
        services.change_inbound(
            keys, is_enabled=bool(turn % 2), actor=None, now=clock.now()
        )

    def tick(_turn: int) -> None:
        StorePoint.objects.filter(pk=keys[-1]).update(due_at=clock.now())
        services.send_due_probes(now=clock.now() + timedelta(seconds=5))

    def keep(turn: int) -> None:
        services.keep_history(now=clock.now() + timedelta(hours=2 * turn))

    def fall_silent(turn: int) -> None:
        later = clock.now() + timedelta(minutes=5 + turn)
        heartbeat.beat("tick", later)
        services.record_stale_readings(now=later)

    def edit(turn: int) -> None:
        services.edit_destination(
            server.destination, actor=None, now=clock.now(), is_fencing=bool(turn % 2)
        )

    failures = at_once(
        *(
            [partial(step, turn) for turn in rounds]
            for step in (report, report, move, switch, tick, keep, fall_silent, edit)
        )
    )

    assert failures == []


@pytest.mark.django_db(transaction=True)
def test_it_survives_reports_and_removals_at_once() -> None:
    """Locks are taken in one order: nobody waits for somebody who waits for him."""
    server = make_server()
    rows = [make_store_point(server=server) for _ in range(12)]
    record(server, *(on_tank(row) for row in rows))

    def report(free: int) -> None:
        record(server, *(on_tank(row, free) for row in rows))

    def remove(row: StorePoint) -> None:
        services.remove_store_points([row.pk], actor=None, now=clock.now())

    def rename(row: StorePoint) -> None:
        services.edit_store_point(
            row,
            name=f"{row.name}-new",
            note="",
            check_seconds=30,
            actor=None,
            now=clock.now(),
        )

    failures = at_once(
        [partial(report, free) for free in (70, 400, 70, 400, 70)],
        [partial(remove, row) for row in rows[:5]],
        [partial(rename, row) for row in rows[5:10]],
    )

    assert failures == []
    assert StorePoint.objects.count() == 7
    assert len(ongoing()) == 1
