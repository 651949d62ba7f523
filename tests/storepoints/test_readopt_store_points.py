"""Re-adopting: what a person is told, and that nothing happens but what was confirmed.

The agent's own code looks and writes here, on directories of this machine.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from console.accounts.models import User
from console.accounts.roles import Role
from console.kit import clock, heartbeat
from console.kit.models import AuditEntry
from storepoints import services
from storepoints.agent import adoption as agent
from storepoints.agent.mounts import Mounts
from storepoints.models import AgentRequest, StorePoint
from storepoints.readopting import Case, Expected, Found, named_volume, plan
from storepoints.services import Refusal, readoption
from tests import people
from tests.factories import make_report, make_server, make_store_point

VOLUME = {
    "mount_point": "/srv",
    "fs_type": "ext4",
    "fs_uuid": "aa",
    "source": "/dev/sdb",
    "fsid": "",
}
OTHER = {**VOLUME, "fs_uuid": "bb"}
ROOT = {**VOLUME, "mount_point": "/", "fs_uuid": "cc"}
EXPECTED = Expected("Tank-07", "g", "/srv/t", VOLUME)


# --- the plan --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "case", "words"),
    [
        (Found("/srv/t", {}, problem="It is gone."), Case.UNUSABLE, "It is gone."),
        (Found("/srv/t", VOLUME, marker="g"), Case.NOTHING_TO_DO, "nothing to adopt"),
        # Copied to a new disk; the disk at another path; both.
        (Found("/srv/t", OTHER, marker="g"), Case.OWN_DISK, "the volume ext4 bb"),
        (Found("/srv/u", VOLUME, marker="g"), Case.OWN_DISK, "Its path becomes /srv/u"),
        (Found("/t", ROOT, marker="g"), Case.OWN_DISK, "until now ext4 aa at /srv"),
        # The marker was lost, or damaged.
        (Found("/srv/t", VOLUME, archives=2), Case.NO_MARKER, "It holds 2 directories"),
        (Found("/srv/t", VOLUME, archives=0), Case.NO_MARKER, "not any more"),
        (Found("/srv/t", VOLUME, damage="is a FIFO"), Case.NO_MARKER, "is a FIFO"),
        # Another disk without a marker, and no disk at all.
        (Found("/srv/t", OTHER), Case.NEW_VOLUME, "nothing proves"),
        (Found("/srv/t", ROOT), Case.NEW_VOLUME, "Nothing is mounted at /srv"),
        # Somebody else's disk.
        (
            Found(
                "/srv/t",
                OTHER,
                marker="h",
                owner="SP-07",
                is_owner_known=True,
                owner_place="/srv/7 on stor-2",
            ),
            Case.OTHER_STORE_POINT,
            "/srv/7 on stor-2",
        ),
        (
            Found("/srv/t", OTHER, marker="h", owner="Old"),
            Case.UNKNOWN_STORE_POINT,
            "another console",
        ),
    ],
)
def test_it_says_what_would_happen(found: Found, case: Case, words: str) -> None:
    planned = plan(EXPECTED, found)

    assert planned.case is case
    assert words in " ".join((*planned.effects, *planned.warnings))
    assert planned.is_possible == bool(planned.effects)


def test_it_binds_a_store_point_whose_volume_was_never_known() -> None:
    found = Found("/srv/t", VOLUME, marker="g")

    planned = plan(Expected("Tank-07", "g", "/srv/t", {}), found)

    assert planned.case is Case.OWN_DISK
    assert "until now a volume that is not known" in planned.effects[0]


# --- with an agent ---------------------------------------------------------------------

database = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]


class Agent:
    """The agent's own code, whose answers come as signed reports."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.before: Callable[[str], None] = lambda kind: None
        self.is_silent = False

    def send(
        self, server: Any, kind: str, payload: dict[str, Any], **options: Any
    ) -> bool:
        self.orders.append(kind)
        self.before(kind)
        if self.is_silent or kind == "probe":
            return not self.is_silent
        table = Mounts().read()
        if kind == "inspect":
            answer: Any = agent.look(payload["path"], table)
        else:
            answer = agent.readopt(
                payload["path"],
                store_point=payload["id"],
                name=payload["name"],
                server=str(server.guid),
                expects=json.loads(json.dumps(payload["expects"])),
                table=table,
            )
        entry = {"order": str(options["order"]), "kind": kind, "answer": answer}
        services.record_report(make_report(server, answers=[entry]), now=clock.now())
        return True


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Agent:
    there = Agent()
    monkeypatch.setattr(readoption, "send_order", there.send)
    monkeypatch.setattr("storepoints.services.checks.send_order", there.send)
    heartbeat.beat("tick", clock.now())
    return there


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "tank"
    path.mkdir()
    return path


def tank_at(place: Path, *, marker: Any = None, **volume: str) -> StorePoint:
    """A store point at a directory, whose adopted volume is the real one, or differs."""
    found = agent.look(str(place), Mounts().read())["volume"]
    assert found is not None
    tank = make_store_point(
        "Tank-07",
        path=str(place),
        volume={**found, **volume},
        state="offline",
        reason="different-volume",
    )
    if marker == "own":
        write_marker(place, {"store_point": str(tank.guid), "name": "Tank-07"})
    elif marker is not None:
        write_marker(place, marker)
    return tank


def write_marker(place: Path, marker: Any) -> None:
    (place / ".storepoint").mkdir(exist_ok=True)
    (place / ".storepoint/identity.json").write_text(json.dumps(marker))


def marker_at(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (place / ".storepoint/identity.json").read_text()
    )
    return found


def url_of(tank: StorePoint) -> str:
    return f"/destinations/store-points/{tank.pk}/adopt/"


def look(tank: StorePoint, path: Path | str = "", who: str = "administrator") -> Any:
    """Look again and return the page, and the key that confirms it."""
    page = people.client_of(who).post(url_of(tank), {"path": str(path or tank.path)})
    text = page.content.decode()
    key = re.search(r'name="look" value="([\w-]+)"', text)
    return text, key[1] if key else "", page.status_code


def confirm(
    tank: StorePoint, key: str, name: str = "Tank-07", who: str = "administrator"
) -> Any:
    return people.client_of(who).post(url_of(tank), {"look": key, "typed_name": name})


class TestReadopting:
    """With a database."""

    pytestmark = database

    def test_it_follows_its_disk_to_another_volume(
        self, master: Agent, place: Path
    ) -> None:
        tank = tank_at(place, marker="own", fs_type="xfs")
        before = dict(tank.volume)
        text, key, _ = look(tank)
        assert "This is the disk of Tank-07" in text
        assert StorePoint.objects.get().volume == before, "looking changes nothing"

        done = confirm(tank, key)

        tank.refresh_from_db()
        assert done.status_code == 302
        assert tank.volume == agent.look(str(place), Mounts().read())["volume"]
        assert marker_at(place)["filesystem"]["fs_type"] == tank.volume["fs_type"]
        entry = AuditEntry.objects.get(verb="storepoint.readopt")
        assert entry.actor_name == "administrator"
        assert entry.data["volume"] == [
            named_volume(before),
            named_volume(tank.volume),
        ]
        assert entry.data["path"] == [tank.path, tank.path]
        assert master.orders[-1] == "probe", "it is checked at once"

    def test_it_follows_its_disk_to_another_path(
        self, master: Agent, place: Path, tmp_path: Path
    ) -> None:
        tank = tank_at(place, marker="own")
        below = {"bytes": 1, "files": 1, "newest_at": None, "is_complete": True}
        StorePoint.objects.update(fall_through=below)
        moved = tmp_path / "moved"
        place.rename(moved)

        text, _, _ = look(tank)
        assert "There is nothing at" in text
        text, key, _ = look(tank, moved)
        assert f"Its path becomes {moved}" in text
        confirm(tank, key)

        tank.refresh_from_db()
        assert tank.path == str(moved)
        assert tank.fall_through == {}, "it was below the path that it had"

    def test_it_writes_a_lost_marker_anew(self, master: Agent, place: Path) -> None:
        tank = tank_at(place)
        (place / "archive").mkdir()

        text, key, _ = look(tank)
        confirm(tank, key)

        assert "There is no marker, on the right volume" in text
        assert "It holds 1 directory" in text
        assert marker_at(place)["store_point"] == str(tank.guid)

    def test_it_takes_over_the_disk_of_an_unknown_store_point(
        self, master: Agent, place: Path
    ) -> None:
        tank = tank_at(place, marker={"store_point": str(uuid.uuid4()), "name": "Old"})

        text, key, _ = look(tank)
        confirm(tank, key)

        assert "This is the disk of “Old”, which is not known here" in text
        assert marker_at(place)["store_point"] == str(tank.guid)
        (old,) = (place / ".storepoint").glob("*.old")
        assert json.loads(old.read_text())["name"] == "Old"

    def test_it_never_takes_the_disk_of_another_store_point(
        self, master: Agent, place: Path
    ) -> None:
        owner = make_store_point("SP-07", path="/srv/seven")
        tank = tank_at(place, marker={"store_point": str(owner.guid), "name": "SP-07"})

        text, key, _ = look(tank)
        request = AgentRequest.objects.get()
        forced = confirm(tank, str(request.guid))

        assert "This is the disk of SP-07" in text
        assert "/srv/seven on" in text
        assert key == ""
        assert forced.status_code == 422
        assert marker_at(place)["store_point"] == str(owner.guid)
        assert master.orders == ["inspect"]

    @pytest.mark.parametrize("name", ["", "tank-07", "Tank-7", "Tank-07x", "x" * 200])
    def test_it_asks_for_the_name_exactly(
        self, master: Agent, place: Path, name: str
    ) -> None:
        tank = tank_at(place, marker="own", fs_type="xfs")
        _, key, _ = look(tank)

        page = confirm(tank, key, name)

        assert page.status_code == 422
        assert 'name="look"' in page.content.decode(), "it can be typed again"
        assert master.orders == ["inspect"]

    def test_it_changes_nothing_when_the_disk_changed_meanwhile(
        self, master: Agent, place: Path
    ) -> None:
        tank = tank_at(place, marker="own", fs_type="xfs")
        before = dict(tank.volume)
        _, key, _ = look(tank)

        def meanwhile(kind: str) -> None:
            write_marker(place, {"store_point": "somebody else's"})

        master.before = meanwhile
        page = confirm(tank, key)

        tank.refresh_from_db()
        assert page.status_code == 422
        assert "is not the one that was shown" in page.content.decode()
        assert tank.volume == before
        assert marker_at(place) == {"store_point": "somebody else's"}
        assert not AuditEntry.objects.filter(verb="storepoint.readopt").exists()

    def test_it_changes_nothing_when_the_agent_does_not_answer(
        self, master: Agent, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(readoption, "await_answer", lambda request: None)
        tank = tank_at(place, marker="own", fs_type="xfs")

        text, key, status = look(tank)

        assert (key, status) == ("", 422)
        assert "did not answer within 5 seconds" in text

    def test_the_row_follows_an_answer_that_comes_late(
        self, master: Agent, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tank = tank_at(place, marker="own", fs_type="xfs")
        _, key, _ = look(tank)
        monkeypatch.setattr(readoption, "await_answer", lambda request: None)

        page = confirm(tank, key)

        tank.refresh_from_db()
        assert page.status_code == 422
        assert "look again before anything else" in page.content.decode()
        assert tank.volume["fs_type"] != "xfs"

    def test_it_does_not_give_a_path_away_twice(
        self, master: Agent, place: Path, tmp_path: Path
    ) -> None:
        tank = tank_at(place, marker="own")
        moved = tmp_path / "moved"
        place.rename(moved)
        _, key, _ = look(tank, moved)

        def meanwhile(kind: str) -> None:
            if kind == "readopt":
                make_store_point("Thief", server=tank.server, path=str(moved))

        master.before = meanwhile
        page = confirm(tank, key)

        tank.refresh_from_db()
        assert page.status_code == 422
        assert "already the store point Thief" in page.content.decode()
        assert tank.path == str(place)

    def test_it_refuses_a_form_that_is_not_its_own(
        self, master: Agent, place: Path
    ) -> None:
        tank = tank_at(place, marker="own", fs_type="xfs")
        other = make_store_point("Tank-08", server=tank.server)
        elsewhere = make_store_point("Tank-09", server=make_server())
        _, key, _ = look(tank)
        people.make_person("second", Role.ADMINISTRATOR)

        answers = [
            confirm(other, key, "Tank-08"),
            confirm(elsewhere, key, "Tank-09"),
            confirm(tank, "nonsense"),
            confirm(tank, str(uuid.uuid4())),
        ]
        by_another = _as("second").post(
            url_of(tank), {"look": key, "typed_name": "Tank-07"}
        )

        assert [each.status_code for each in (*answers, by_another)] == [422] * 5
        assert master.orders == ["inspect"]

    def test_it_refuses_what_was_shown_too_long_ago_or_before_a_change(
        self, master: Agent, place: Path
    ) -> None:
        tank = tank_at(place, marker="own", fs_type="xfs")
        person = people.administrator()
        found = services.look_again(tank, tank.path, actor=person, now=clock.now())

        with pytest.raises(Refusal, match="out of date"):
            services.read_look(
                tank,
                found.key,
                actor=person,
                now=clock.now() + timedelta(minutes=10, seconds=1),
            )
        confirm(tank, str(found.key))
        tank.refresh_from_db()
        with pytest.raises(Refusal, match="out of date"):
            services.read_look(tank, found.key, actor=person, now=clock.now())

    @pytest.mark.parametrize("who", ["viewer", "operator"])
    def test_only_administrators_may(
        self, master: Agent, place: Path, who: str
    ) -> None:
        tank = tank_at(place, marker="own", fs_type="xfs")
        _, key, _ = look(tank)

        assert look(tank, who=who)[2] == 403
        assert confirm(tank, key, who=who).status_code == 403
        page = people.client_of(who).get(tank.get_absolute_url()).content.decode()
        assert "Re-adopt" not in page
        assert master.orders == ["inspect"]

    @pytest.mark.parametrize("path", ["", "relative", "/a\0b", "/" + "x" * 2000])
    def test_it_refuses_what_is_no_path(
        self, master: Agent, place: Path, path: str
    ) -> None:
        tank = tank_at(place)

        page = people.client_of("administrator").post(url_of(tank), {"path": path})

        assert page.status_code == 422
        assert master.orders == []

    def test_it_refuses_a_path_inside_another_store_point(
        self, master: Agent, place: Path
    ) -> None:
        tank = tank_at(place)
        make_store_point("Taken", server=tank.server, path="/srv/a")

        text, _, status = look(tank, "/srv/a/below")

        assert status == 422
        assert "overlaps the store point Taken" in text

    def test_it_says_where_the_disk_is_mounted_now(
        self, master: Agent, place: Path
    ) -> None:
        tank = tank_at(place)
        tank.server.volumes = [{**OTHER, "mount_point": "/media/new"}]
        tank.server.save()
        StorePoint.objects.update(path="/srv/x/t", volume={**OTHER})

        page = people.client_of("administrator").get(url_of(tank)).content.decode()

        assert "?path=/media/new/x/t" in page

    def test_it_is_offered_where_the_disk_is_not_found(self, place: Path) -> None:
        tank = tank_at(place)

        page = people.client_of("administrator").get(tank.get_absolute_url())
        assert url_of(tank) in page.content.decode()
        StorePoint.objects.update(reason="full")
        page = people.client_of("administrator").get(tank.get_absolute_url())

        assert url_of(tank) not in page.content.decode()

    def test_it_shows_no_space_that_is_none(
        self, master: Agent, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tank = tank_at(place, marker="own", fs_uuid="another")
        found = agent.look(str(place), Mounts().read())
        space = {"total_bytes": "much", "free_bytes": []}
        monkeypatch.setattr(agent, "look", lambda *_: {**found, "space": space})

        text, _, status = look(tank)

        assert (status, "much" in text) == (200, False)

    def test_it_says_what_an_agent_that_is_too_old_cannot(
        self, master: Agent, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tank = tank_at(place)
        monkeypatch.setattr(agent, "look", agent.inspect)

        text, key, _ = look(tank)

        assert "too old to re-adopt" in text
        assert key == ""


def _as(name: str) -> Any:
    client = Client()
    client.force_login(
        User.objects.get(username=name),
        backend="allauth.account.auth_backends.AuthenticationBackend",
    )
    return client
