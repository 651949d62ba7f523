"""The fence and re-adoption, from a real filesystem to the row and back to the hook.

A real prober looks and writes; what it finds is signed and recorded by the console's own
services, whose orders go to it. Only the broker between the two is left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from console.kit import clock, heartbeat
from console.kit.models import AuditEntry
from storepoints import services
from storepoints.agent.prober_client import ProberClient
from storepoints.models import AgentRequest, StorePoint
from storepoints.readopting import Case
from storepoints.services import readoption
from tests import people
from tests.factories import (
    make_destination,
    make_report,
    make_server,
    make_store_point,
)
from tests.faults.conftest import Sink, adopted
from tests.faults.volumes import Disk, run

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]


class Master(Sink):
    """The console's side: sends orders to a prober and records what comes back."""

    def __init__(self, hook: str) -> None:
        super().__init__()
        self.answers: list[dict[str, Any]] = []
        self.server = make_server(destination=make_destination(is_fencing=True))
        self.client = ProberClient(
            self, server="a server", hook=hook, hook_timeout_seconds=5
        )
        self.client.start()

    def answer(self, order: str, kind: str, answer: dict[str, Any]) -> None:
        self.answers.append({"order": order, "kind": kind, "answer": answer})

    def send(
        self, server: Any, kind: str, payload: dict[str, Any], **options: Any
    ) -> bool:
        payload = json.loads(json.dumps(payload, default=str))
        if kind == "probe":
            self.client.probe(
                payload["cause"], payload["store_points"], is_complete=False
            )
        else:
            self.client.answer(kind, str(options["order"]), payload)
        return True

    def record(self) -> None:
        """Record what came back until now, one report for each finding."""
        while self.findings or self.answers:
            findings = [self.findings.pop(0)] if self.findings else []
            answers = [self.answers.pop(0)] if self.answers else []
            heartbeat.beat("tick", clock.now())
            services.record_report(
                make_report(self.server, *findings, answers=answers), now=clock.now()
            )

    def until(self, what: Callable[[], Any], *, seconds: float = 10.0) -> Any:
        """Record reports until something is so, and return it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.record()
            if found := what():
                return found
            time.sleep(0.02)
        raise AssertionError(
            f"not within {seconds} s: "
            + str(
                list(
                    StorePoint.objects.values(
                        "state", "reason", "fence_reason", "inbound_applied"
                    )
                )
            )
        )

    def await_answer(self, request: AgentRequest) -> dict[str, Any] | None:
        def answer() -> dict[str, Any] | None:
            request.refresh_from_db()
            return request.answer

        found: dict[str, Any] = self.until(answer)
        return found

    def watch(self, place: Path, name: str = "Tank-07") -> StorePoint:
        """Adopt a directory and return its store point once it was found online."""
        spec = adopted(place, name=name)
        tank = make_store_point(
            name,
            server=self.server,
            guid=spec["id"],
            path=spec["path"],
            volume=spec["volume"],
            inbound_applied="",
        )
        self.check(tank)
        self.until(lambda: applied(tank) == "enabled")
        return tank

    def check(self, tank: StorePoint) -> None:
        """Have it probed now, as a due time does."""
        services.ask_store_points([tank.pk], now=clock.now())

    def count(self, tank: StorePoint) -> None:
        """Have it probed, and wait until that was counted."""
        before = now(tank).fence_successes
        self.check(tank)
        self.until(lambda: now(tank).fence_successes != before)


def now(tank: StorePoint) -> StorePoint:
    tank.refresh_from_db()
    return tank


def applied(tank: StorePoint) -> str:
    """Return what the agent says is applied, once nothing is pending."""
    row = now(tank)
    return "" if row.is_inbound_pending else row.inbound_applied


@pytest.fixture
def told(yard: Path) -> Path:
    """Where the hook notes what it was told."""
    return yard / "told"


@pytest.fixture
def master(yard: Path, told: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Master]:
    hook = yard / "hook"
    hook.write_text(f'#!/bin/sh\necho "$1 $3" >>{told}\n')
    hook.chmod(0o755)
    there = Master(str(hook))
    monkeypatch.setattr("storepoints.services.checks.send_order", there.send)
    monkeypatch.setattr(readoption, "send_order", there.send)
    monkeypatch.setattr(readoption, "await_answer", there.await_answer)
    yield there
    there.client.stop()


def state_file(place: Path) -> str:
    return (place / ".storepoint/inbound").read_text().strip()


# --- the fence -------------------------------------------------------------------------


def test_it_fences_what_is_unmounted_and_enables_it_after_three_good_checks(
    master: Master, disk: Disk, told: Path
) -> None:
    tank = master.watch(disk.place)
    assert told.read_text() == "Tank-07 enabled\n"

    disk.umount()
    at = time.monotonic()
    master.until(lambda: now(tank).fenced_at)
    took = time.monotonic() - at

    assert took < 2, "at once, not at the next interval"
    assert tank.fence_reason == "not-mounted"
    master.until(lambda: applied(tank) == "disabled")
    assert told.read_text() == "Tank-07 enabled\nTank-07 disabled\n"
    assert list(disk.place.iterdir()) == [], "nothing was written below the path"

    disk.mount()
    master.until(lambda: now(tank).fence_successes == 1)
    assert now(tank).pace.total_seconds() <= 5
    for _ in range(2):
        assert state_file(disk.place) == "disabled"
        master.count(tank)

    assert now(tank).fenced_at is None
    master.until(lambda: applied(tank) == "enabled")
    assert state_file(disk.place) == "enabled"
    assert told.read_text().splitlines()[-1] == "Tank-07 enabled"
    verbs = AuditEntry.objects.filter(verb__contains="fence").order_by("pk")
    assert [(entry.verb, entry.actor_name) for entry in verbs] == [
        ("storepoint.fence", "console"),
        ("storepoint.lift_fence", "console"),
    ]


def test_it_fences_what_is_read_only_without_writing_there(
    master: Master, disk: Disk, told: Path
) -> None:
    tank = master.watch(disk.place)

    run("mount", "-o", "remount,ro", disk.place)
    master.until(lambda: now(tank).fenced_at)
    master.until(lambda: applied(tank) == "disabled")

    assert tank.fence_reason == "read-only"
    assert told.read_text().splitlines()[-1] == "Tank-07 disabled"
    assert state_file(disk.place) == "enabled", "it cannot be changed"

    run("mount", "-o", "remount,rw", disk.place)
    master.until(lambda: now(tank).fence_successes)
    master.until(lambda: state_file(disk.place) == "disabled")


def test_it_fences_where_another_disk_is_mounted_and_leaves_that_alone(
    master: Master, disk: Disk, yard: Path, told: Path
) -> None:
    tank = master.watch(disk.place)
    seven = Disk(yard, "seven")
    seven.mount()
    spec = adopted(seven.place, name="SP-07")
    (seven.place / ".storepoint/inbound").write_text("enabled\n")
    seven.umount()

    disk.umount()
    master.until(lambda: now(tank).fenced_at)
    seven.mount(disk.place)
    master.until(lambda: now(tank).fence_reason == "different-volume")
    master.until(lambda: applied(tank) == "disabled")
    # One filesystem for both: then the marker alone tells them apart.
    StorePoint.objects.filter(pk=tank.pk).update(volume={})
    master.check(tank)
    master.until(lambda: now(tank).fence_reason == "wrong-store-point")

    assert state_file(disk.place) == "enabled", "it is SP-07's own"
    marker = json.loads((disk.place / ".storepoint/identity.json").read_text())
    assert marker["store_point"] == spec["id"]
    assert told.read_text().splitlines()[-1] == "Tank-07 disabled"
    seven.umount(disk.place)


def test_a_person_enables_it_when_it_is_back_and_not_before(
    master: Master, disk: Disk
) -> None:
    tank = master.watch(disk.place)
    master.server.destination.fence_good_probes = 0
    master.server.destination.save()
    operator = people.operator()

    def enable() -> list[StorePoint]:
        return services.change_inbound(
            [tank.pk], is_enabled=True, actor=operator, now=clock.now()
        )

    disk.umount()
    master.until(lambda: now(tank).fenced_at)
    assert enable() == []
    disk.mount()
    for _ in range(4):
        master.count(tank)
    assert now(tank).fenced_at is not None
    assert enable() == [tank]

    assert now(tank).fenced_at is None
    master.until(lambda: applied(tank) == "enabled")
    assert state_file(disk.place) == "enabled"


# --- re-adoption -----------------------------------------------------------------------


def look(tank: StorePoint, path: Path | str = "") -> services.Look:
    return services.look_again(
        now(tank), str(path or tank.path), actor=people.administrator(), now=clock.now()
    )


def confirm(tank: StorePoint, found: services.Look) -> None:
    services.readopt_store_point(
        now(tank),
        look=found.key,
        typed_name="Tank-07",
        actor=people.administrator(),
        now=clock.now(),
    )


def test_it_follows_the_data_to_a_new_disk(
    master: Master, disk: Disk, yard: Path
) -> None:
    tank = master.watch(disk.place)
    (disk.place / "archive").mkdir()
    new = Disk(yard, "new")
    new.mount()
    run("cp", "-a", f"{disk.place}/.", new.place)
    new.umount()
    disk.umount()
    new.mount(disk.place)
    master.until(lambda: now(tank).reason == "different-volume")
    old_uuid = tank.volume["fs_uuid"]

    found = look(tank)
    assert (found.plan.case, found.found.archives) == (Case.OWN_DISK, 1)
    confirm(tank, found)

    assert now(tank).volume["fs_uuid"] not in ("", old_uuid)
    master.until(lambda: now(tank).is_online)
    marker = json.loads((disk.place / ".storepoint/identity.json").read_text())
    assert marker["store_point"] == str(tank.guid)
    assert marker["filesystem"]["fs_uuid"] == tank.volume["fs_uuid"]
    new.umount(disk.place)


def test_it_follows_the_disk_to_another_place(
    master: Master, disk: Disk, yard: Path
) -> None:
    tank = master.watch(disk.place)
    elsewhere = yard / "elsewhere"
    elsewhere.mkdir()
    disk.umount()
    disk.mount(elsewhere)
    master.until(lambda: now(tank).reason == "not-mounted")

    at_home = look(tank)
    assert at_home.plan.case is Case.NEW_VOLUME
    assert "Nothing is mounted at" in at_home.plan.warnings[0]
    found = look(tank, elsewhere)
    assert found.plan.case is Case.OWN_DISK
    confirm(tank, found)

    master.until(lambda: now(tank).is_online)
    assert now(tank).path == str(elsewhere)
    assert tank.volume["mount_point"] == str(elsewhere)
    assert list(disk.place.iterdir()) == [], "looking and adopting left nothing there"


def test_it_writes_a_marker_that_was_truncated_anew(master: Master, disk: Disk) -> None:
    tank = master.watch(disk.place)
    marker = disk.place / ".storepoint/identity.json"
    marker.write_text(marker.read_text()[:20])
    master.check(tank)
    master.until(lambda: now(tank).reason == "marker-missing")

    found = look(tank)
    assert (found.plan.case, found.found.damage) == (
        Case.NO_MARKER,
        "identity.json is not JSON",
    )
    assert len(marker.read_bytes()) == 20, "looking does not write"
    confirm(tank, found)

    master.until(lambda: now(tank).is_online)
    (old,) = marker.parent.glob("identity.json.*.old")
    assert len(old.read_bytes()) == 20


def test_it_does_not_take_the_disk_of_another_store_point(
    master: Master, disk: Disk, yard: Path
) -> None:
    tank = master.watch(disk.place)
    seven = Disk(yard, "seven")
    seven.mount()
    owner = master.watch(seven.place, "SP-07")
    seven.umount()
    disk.umount()
    seven.mount(disk.place)
    master.until(lambda: now(tank).reason == "different-volume")

    found = look(tank)
    with pytest.raises(services.Refusal, match="belongs to the store point SP-07"):
        confirm(tank, found)
    services.remove_store_points([owner.pk], actor=None, now=clock.now())
    found = look(tank)
    assert found.plan.case is Case.UNKNOWN_STORE_POINT
    confirm(tank, found)

    master.until(lambda: now(tank).is_online)
    marker = json.loads((disk.place / ".storepoint/identity.json").read_text())
    assert marker["store_point"] == str(tank.guid)
    seven.umount(disk.place)


def test_it_adopts_nothing_when_another_disk_was_mounted_after_the_look(
    master: Master, disk: Disk, yard: Path
) -> None:
    tank = master.watch(disk.place)
    new, third = Disk(yard, "new"), Disk(yard, "third")
    disk.umount()
    new.mount(disk.place)
    master.until(lambda: now(tank).reason == "different-volume")
    found = look(tank)
    new.umount(disk.place)
    third.mount(disk.place)

    with pytest.raises(services.Refusal, match="another one than was shown"):
        confirm(tank, found)

    assert not (disk.place / ".storepoint").exists()
    assert not AuditEntry.objects.filter(verb="storepoint.readopt").exists()
    third.umount(disk.place)
