"""What lies below a volume: taken from an agent, shown on pages, told by alerts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alerts.catalogue import KINDS, UNKNOWN
from alerts.models import Alert
from console.kit import clock, heartbeat
from storepoints import verdict
from storepoints.models import Filesystem, StorePoint
from storepoints.services import record_report
from storepoints.services.evidence import (
    DEVICE_DEPTH,
    DEVICE_NODES,
    devices_of,
    volumes_of,
)
from storepoints.states import Reason, State
from tests import people
from tests.factories import (
    make_filesystem,
    make_finding,
    make_report,
    make_store_point,
    make_volume,
)


@pytest.fixture
def checks_running(db: None) -> None:
    heartbeat.beat("tick", clock.now())


def node(name: str, kind: str, health: str = "ok", *below: Any, **facts: str) -> Any:
    return {
        "name": name,
        "kind": kind,
        "text": "",
        "health": health,
        "facts": facts,
        "below": list(below),
    }


#: An array that lost a drive.
DEGRADED = {
    "health": "degraded",
    "reason": "volume-degraded",
    "text": "array md0 lacks 1 of 2 devices (faulty: sdb1)",
    "stack": node(
        "/srv/tank",
        "ext4",
        "ok",
        node(
            "md0",
            "array (raid1)",
            "degraded",
            node("sda1", "partition", "ok", node("sda", "drive", "ok", SMART="passed")),
            node("sdb1", "partition", "failing"),
            devices="1 of 2",
        ),
    ),
    "notes": ["sdb: smartctl is not installed, so the drive was not asked"],
}


# --- taken from an agent -------------------------------------------------------------


def test_it_keeps_a_tree_as_it_is() -> None:
    assert devices_of(DEGRADED) == DEGRADED
    assert json.loads(json.dumps(devices_of(DEGRADED))) == DEGRADED


NOTHING: dict[str, Any] = {
    "health": "unknown",
    "reason": "",
    "text": "",
    "stack": None,
    "notes": [],
}


@pytest.mark.parametrize("value", [None, 1, "x", [], [DEGRADED], {}, {"stack": [1]}])
def test_it_takes_anything_else_for_a_volume_of_which_nothing_is_known(
    value: object,
) -> None:
    assert devices_of(value) == NOTHING


@pytest.mark.parametrize(
    "spoilt",
    [
        {"health": "splendid"},
        {"health": ["ok"]},
        {"reason": {"a": 1}},
        {"reason": "full"},
        {"text": 7},
        {"notes": "x"},
        {"notes": [None, 1, {}]},
        {"stack": node("x" * 99_999, "\0", "dead")},
        {"stack": {"facts": [1], "below": "x"}},
        {"stack": {"facts": {"a": 1, "items": "x", "": "y"}, "below": [None, 1]}},
    ],
)
def test_it_makes_any_tree_one_that_can_be_shown(spoilt: dict[str, Any]) -> None:
    devices = devices_of({**DEGRADED, **spoilt})

    assert devices.keys() == NOTHING.keys()
    assert devices["health"] in ("ok", "degraded", "failing", "unknown")
    assert "\0" not in json.dumps(devices)
    assert len(json.dumps(devices)) < 10_000
    stack = devices["stack"]
    assert stack.keys() == DEGRADED["stack"].keys()
    assert "items" not in stack["facts"]


def test_it_cuts_off_what_is_too_deep_or_too_many() -> None:
    deep: Any = node("end", "drive")
    for _ in range(500):
        deep = node("level", "array", "ok", deep)
    wide = node("top", "array", "ok", *(node(str(n), "drive") for n in range(9999)))

    depth, level = 0, devices_of({"stack": deep})["stack"]
    while level is not None:
        depth, level = depth + 1, (level["below"] or [None])[0]

    assert depth == DEVICE_DEPTH
    assert len(devices_of({"stack": wide})["stack"]["below"]) == DEVICE_NODES - 1


def test_it_believes_a_reason_only_with_its_health() -> None:
    lie = {**DEGRADED, "health": "ok"}

    assert devices_of(lie)["reason"] == ""


def test_it_takes_devices_with_the_list_of_volumes() -> None:
    volume = {"mount_point": "/srv/tank", "devices": DEGRADED}

    assert volumes_of([volume])[0]["devices"] == DEGRADED
    assert volumes_of([{"mount_point": "/srv/tank"}])[0]["devices"] == NOTHING


# --- recorded, and told --------------------------------------------------------------


def reported(store_point: StorePoint, devices: dict[str, Any]) -> None:
    """Record what an agent reports once: a finding and the list of volumes."""
    short = {name: devices[name] for name in ("health", "reason", "text")}
    record_report(
        make_report(
            store_point.server,
            make_finding(store_point, device=short, cause="device"),
            volumes=[{**make_volume(store_point), "devices": devices}],
        ),
        now=clock.now(),
    )
    store_point.refresh_from_db()


OK = {**NOTHING, "health": "ok", "stack": node("/srv/tank", "ext4")}
FAILING = {
    **OK,
    "health": "failing",
    "reason": "drive-failing",
    "text": "drive sda fails its SMART check",
}


def ongoing() -> list[tuple[str, str]]:
    alerts = Alert.objects.filter(cleared_at=None).order_by("raised_at")
    return [(alert.kind, alert.text) for alert in alerts]


@pytest.mark.postgres
@pytest.mark.django_db
def test_it_alerts_once_for_what_lies_below_a_volume(checks_running: None) -> None:
    store_point = make_store_point("Tank-07")
    reported(store_point, OK)
    assert ongoing() == []

    reported(store_point, DEGRADED)

    assert (store_point.state, store_point.reason) == ("degraded", "volume-degraded")
    assert ongoing() == [
        (
            "volume-degraded",
            "Volume is degraded: Tank-07 "
            "(array md0 lacks 1 of 2 devices (faulty: sdb1))",
        )
    ]

    reported(store_point, FAILING)

    assert (store_point.state, store_point.reason) == ("degraded", "drive-failing")
    assert ongoing() == [
        ("drive-failing", "Drive is failing: Tank-07 (drive sda fails its SMART check)")
    ]

    reported(store_point, OK)

    assert store_point.state == "online"
    assert ongoing() == []


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["volume-degraded", "drive-failing"])
@pytest.mark.parametrize("health", ["", "unknown"])
def test_it_knows_no_answer_before_the_devices_were_asked(
    kind: str, health: str
) -> None:
    row = make_filesystem(health=health)

    assert KINDS[kind].holds(row, {}) is UNKNOWN


@pytest.mark.django_db
def test_it_keeps_with_the_alert_what_to_type() -> None:
    row = make_filesystem(
        health="degraded",
        health_reason="volume-degraded",
        health_text=DEGRADED["text"],
        devices=DEGRADED,
    )

    kind = KINDS["volume-degraded"]
    assert kind.evidence is not None
    found = kind.evidence(row)

    assert found["found"] == DEGRADED["text"]
    assert found["command"] == "mdadm --detail /dev/md0"
    assert found["cure"].startswith("Array md0 lacks 1 of 2 devices")


@pytest.mark.parametrize(
    ("kind", "name", "command"),
    [
        ("array (raid5)", "md127", "mdadm --detail /dev/md127"),
        ("ZFS pool", "tank", "zpool status -v tank"),
        ("btrfs", "/srv/x", "btrfs device stats /srv/x; btrfs filesystem show /srv/x"),
        ("drive", "sdb", "smartctl -a /dev/sdb"),
        ("NVMe drive", "nvme0n1", "smartctl -a /dev/nvme0n1"),
        ("multipath device", "mpatha", "multipath -ll mpatha"),
        ("LVM volume", "vg-tank", "lvs -a -o +devices,lv_health_status"),
        ("drive", "a;reboot", "smartctl -a /dev/'a;reboot'"),
        ("something", "x", "lsblk -o NAME,TYPE,SIZE,MODEL,SERIAL,STATE,MOUNTPOINTS"),
    ],
)
def test_it_says_what_to_type_about_a_level(kind: str, name: str, command: str) -> None:
    devices = devices_of(
        {**DEGRADED, "stack": node("/", "xfs", "ok", node(name, kind, "degraded"))}
    )

    said = verdict.device_command(devices, mount_point="/srv/x", volume={})

    assert said == command


def test_it_asks_the_drive_that_is_failing_and_not_the_array_above_it() -> None:
    drive = node("sdb", "drive", "failing")
    stack = node("/", "xfs", "ok", node("md0", "array", "degraded", drive))

    said = verdict.device_command(
        {**FAILING, "stack": stack}, mount_point="/", volume={}
    )

    assert said == "smartctl -a /dev/sdb"


@pytest.mark.parametrize("reason", [Reason.VOLUME_DEGRADED, Reason.DRIVE_FAILING])
@pytest.mark.parametrize("devices", [None, {}, NOTHING])
def test_it_has_a_cure_though_nothing_is_known(reason: Reason, devices: Any) -> None:
    cure = verdict.cure(
        state=State.DEGRADED,
        reason=reason,
        path="/srv/tank",
        volume={"fs_type": "btrfs", "mount_point": "/srv/tank"},
        server_name="stor",
        devices=devices,
    )

    assert cure is not None
    assert cure.command.startswith("btrfs device stats /srv/tank")


# --- shown ---------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.django_db
def test_it_shows_the_tree_on_the_store_points_page(checks_running: None) -> None:
    store_point = make_store_point("Tank-07")
    reported(store_point, DEGRADED)

    page = people.client_of("viewer").get(store_point.get_absolute_url())

    text = page.content.decode()
    assert 'data-devices="degraded"' in text
    for words in (
        "Array md0 lacks 1 of 2 devices (faulty: sdb1).",
        "mdadm --detail /dev/md0",
        "sdb: smartctl is not installed, so the drive was not asked",
        "<dt>devices</dt><dd>1 of 2</dd>",
        "device changed",
    ):
        assert words in text
    assert text.count('class="level"') == 5
    # A word for each, and not a colour alone.
    assert text.count('data-health="failing"') == 1


@pytest.mark.django_db
def test_it_shows_a_page_while_nothing_is_known(checks_running: None) -> None:
    store_point = make_store_point("Tank-07")

    page = people.client_of("viewer").get(store_point.get_absolute_url())

    assert b"Nothing is known yet of what lies below the volume" in page.content


@pytest.mark.django_db
def test_it_escapes_what_an_agent_says_of_its_devices(checks_running: None) -> None:
    store_point = make_store_point("Tank-07")
    evil = "<script>alert(1)</script>"
    stack = node(evil, evil, "ok", **{evil: evil})
    reported(store_point, {**DEGRADED, "text": evil, "stack": stack, "notes": [evil]})

    for url in (
        store_point.get_absolute_url(),
        store_point.server.get_absolute_url(),
    ):
        page = people.client_of("viewer").get(url)

        assert page.status_code == 200
        assert b"<script>alert" not in page.content


@pytest.mark.django_db
def test_it_shows_the_health_of_each_volume_of_a_server(checks_running: None) -> None:
    store_point = make_store_point("Tank-07")
    reported(store_point, DEGRADED)
    assert Filesystem.objects.get().devices == DEGRADED

    page = people.client_of("viewer").get(store_point.server.get_absolute_url())

    assert b'data-health="degraded"' in page.content
    assert b"Array md0 lacks 1 of 2 devices" in page.content
