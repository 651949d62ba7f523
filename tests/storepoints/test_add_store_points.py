"""Adding and editing: each refusal in words, and nothing half done in a race."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from django.db import connection

from console.kit import clock
from storepoints import services
from storepoints.forms import AddStorePointForm
from storepoints.models import Destination, StorePoint
from storepoints.services import Refusal, adoption
from tests import people
from tests.factories import make_destination, make_server, make_store_point

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An agent whose answer to an inspection is what the test puts here."""
    answer: dict[str, Any] = {"adoptable": True, "volume": {}, "space": {}}
    monkeypatch.setattr(adoption, "send_order", lambda *args, **kwargs: True)
    monkeypatch.setattr(adoption, "await_answer", lambda request: answer)
    return answer


def add(server: Any, name: str = "Tank-07", path: str = "/srv/t", **more: Any) -> Any:
    return services.add_store_point(
        server=server, name=name, path=path, actor=None, now=clock.now(), **more
    )


@pytest.mark.parametrize(
    ("name", "path", "field", "words"),
    [
        ("New", "srv/t", "path", "not an absolute path"),
        ("New", "/srv/a", "path", "is already the store point Taken"),
        ("New", "/srv/a/below", "path", "overlaps the store point Taken"),
        ("New", "/srv", "path", "overlaps the store point Taken"),
        ("New", "/", "path", "overlaps the store point Taken"),
        ("Taken", "/srv/b", "name", "already a store point named Taken"),
    ],
)
def test_it_refuses_what_is_taken(
    agent: dict[str, Any], name: str, path: str, field: str, words: str
) -> None:
    taken = make_store_point("Taken", path="/srv/a")

    with pytest.raises(Refusal, match=words) as refusal:
        add(taken.server, name, path)

    assert refusal.value.field == field
    assert StorePoint.objects.count() == 1


def test_it_says_what_the_agent_says(agent: dict[str, Any]) -> None:
    agent.update(adoptable=False, problem="read-only", message="It is read-only.")

    with pytest.raises(Refusal, match="It is read-only"):
        add(make_server())


@pytest.mark.parametrize("volume", ["/srv", {"mount_point": 7}, [], None])
def test_it_takes_no_volume_that_is_none(agent: dict[str, Any], volume: object) -> None:
    agent.update(volume=volume)

    assert add(make_server()).volume == {}


def test_it_names_the_store_point_whose_disk_it_is(agent: dict[str, Any]) -> None:
    owner = make_store_point("SP-07")
    marker = {"store_point": str(owner.guid), "name": "old name"}
    agent.update(adoptable=False, problem="has-marker", marker=marker)

    with pytest.raises(Refusal, match="This is the disk of the store point SP-07"):
        add(owner.server)


def test_it_continues_an_unknown_store_point_only_when_told_to(
    agent: dict[str, Any],
) -> None:
    guid = "0b5c2f9e-3b1d-4f0e-9c3e-7d4f6f1f2a3b"
    agent.update(adoptable=False, problem="has-marker", marker={"store_point": guid})
    server = make_server()

    with pytest.raises(Refusal, match="Continue this store point"):
        add(server)
    added = add(server, is_taking_over=True)

    assert str(added.guid) == guid


def test_it_leaves_nothing_when_the_agent_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adoption, "send_order", lambda *args, **kwargs: False)

    with pytest.raises(Refusal, match="did not answer within 5 seconds"):
        add(make_server())

    assert not StorePoint.objects.exists()


@pytest.mark.parametrize("second", ["/srv/t", "/srv/t/below", "/srv/other"])
def test_it_adds_one_when_two_add_at_once(agent: dict[str, Any], second: str) -> None:
    server = make_server()
    ready = threading.Barrier(2)
    outcomes: list[str] = []

    def attempt(path: str) -> None:
        ready.wait()
        try:
            add(server, "Tank-07", path)
            outcomes.append("added")
        except Refusal:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt, args=(p,)) for p in ("/srv/t", second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["added", "refused"]
    assert StorePoint.objects.count() == 1


def test_it_says_that_it_is_gone_when_it_was_removed_meanwhile() -> None:
    tank = make_store_point("Tank-07")
    services.remove_store_points([tank.pk], actor=None, now=clock.now())

    with pytest.raises(Refusal, match="Tank-07 is no longer there"):
        services.edit_store_point(
            tank, name="x", note="", check_seconds=30, actor=None, now=clock.now()
        )


@pytest.mark.parametrize(
    ("make", "url", "extra"),
    [
        (make_store_point, "/destinations/store-points/{}/edit/", {}),
        (make_server, "/destinations/servers/{}/edit/", {"destination": True}),
        (make_destination, "/destinations/{}/edit/", {}),
    ],
)
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("fresh", 302),
        ("taken", 422),
        ("", 422),
        ("x" * 101, 422),
        ("a\tb", 422),
        ("a\u202eb", 422),
    ],
)
def test_it_checks_what_is_edited(
    make: Any, url: str, extra: dict[str, Any], name: str, status: int
) -> None:
    make("taken")
    row = make("before")
    data = {"name": name, "note": "", "check_seconds": "30", "write_seconds": "15"}
    if extra:
        data["destination"] = str(Destination.objects.first().pk)  # type: ignore[union-attr]

    response = people.client_of("administrator").post(url.format(row.pk), data)

    row.refresh_from_db()
    assert response.status_code == status
    assert row.name == ("fresh" if status == 302 else "before")


@pytest.mark.parametrize("seconds", ["4", "3601", "often", ""])
def test_it_refuses_an_interval_that_makes_no_sense(seconds: str) -> None:
    tank = make_store_point()

    response = people.client_of("administrator").post(
        f"/destinations/store-points/{tank.pk}/edit/",
        {"name": tank.name, "note": "", "check_seconds": seconds},
    )

    assert response.status_code == 422


def test_it_refuses_a_path_that_is_no_text(agent: dict[str, Any]) -> None:
    server = make_server()
    path = os.fsdecode(b"/srv/bytes \xff")

    form = AddStorePointForm(
        {"name": "New", "server": server.pk, "path": path}, may_take_over=True
    )

    assert "not UTF-8" in form.errors["path"][0]


@pytest.mark.parametrize(
    ("seconds", "status"), [("0", 302), ("3600", 302), ("86401", 422), ("-1", 422)]
)
def test_it_lets_choose_how_often_is_written(seconds: str, status: int) -> None:
    row = make_store_point("Tank-07")

    answer = people.client_of("administrator").post(
        f"/destinations/store-points/{row.pk}/edit/",
        {
            "name": "Tank-07",
            "note": "",
            "check_seconds": "30",
            "write_seconds": seconds,
        },
    )

    assert answer.status_code == status
    row.refresh_from_db()
    assert row.write_seconds == (int(seconds) if status == 302 else 15)
