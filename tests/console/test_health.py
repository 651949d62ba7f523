"""What the supervisor, and whoever else, asks web."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.conf import settings
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from kombu.exceptions import OperationalError

from console import env, health, liveness, tree
from console.beat import Scheduler
from console.kit import clock, heartbeat
from console.logs import NotReadyFilter
from tests.conftest import Valkey
from tests.people import make_person

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "10.1.2.3", "elsewhere.example"])
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_it_answers_whatever_the_host_is(
    client: Client, settings: Any, host: str, path: str
) -> None:
    settings.ALLOWED_HOSTS = ["console.example.com"]

    answer = client.get(path, headers={"host": host})

    assert answer.status_code == (200 if path == "/livez" else 503)
    assert client.get("/", headers={"host": host}).status_code == 400


def test_livez_asks_for_nobody(client: Client, django_assert_num_queries: Any) -> None:
    client.force_login(make_person("viewer"))

    with django_assert_num_queries(0):
        assert client.get("/livez").status_code == 200


def test_readyz_builds_the_graph_of_migrations_once(
    client: Client, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.BROKER_URL = valkey.url
    heartbeat.beat("tick", clock.now())
    built: list[object] = []

    class Counted(MigrationExecutor):
        def __init__(self, *args: Any, **options: Any) -> None:
            built.append(self)
            super().__init__(*args, **options)

    monkeypatch.setattr(health, "MigrationExecutor", Counted)
    monkeypatch.setattr(health, "_migrated", set())

    answers = [client.get("/readyz").status_code for _ in range(3)]

    assert answers == [200, 200, 200]
    assert len(built) == 1


def test_readyz_leaves_no_connection(
    client: Client, valkey: Valkey, settings: Any
) -> None:
    settings.BROKER_URL = valkey.url
    watcher = valkey.connect()
    before = len(watcher.client_list())

    for _ in range(5):
        client.get("/readyz")

    deadline = time.monotonic() + 2
    while len(watcher.client_list()) > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(watcher.client_list()) == before


def test_an_unready_answer_is_not_logged(
    client: Client, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.BROKER_URL = "redis+socket:///nowhere.sock"
    logger = logging.getLogger("django.request")
    assert any(isinstance(each, NotReadyFilter) for each in logger.filters)

    with caplog.at_level("ERROR"):
        assert client.get("/readyz").status_code == 503

    assert "readyz" not in caplog.text


@pytest.fixture
def deaf() -> Iterator[env.Listen]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield env.Listen(*server.getsockname())


def test_a_web_that_hangs_does_not_answer(deaf: env.Listen) -> None:
    started = time.monotonic()

    assert not tree.answers(deaf, seconds=0.2)

    assert time.monotonic() - started < 1


def test_it_asks_only_now_and_then() -> None:
    asked: list[int] = []

    def refuse() -> bool:
        asked.append(1)
        return False

    ask = tree.now_and_then(refuse, seconds=0.2)

    assert not ask()
    assert not ask()
    assert len(asked) == 1
    time.sleep(0.25)
    assert not ask()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("age", "expected"), [(None, False), (1.0, True), (60.0, False)]
)
def test_who_takes_no_turn_is_not_alive(
    tmp_path: Path, age: float | None, *, expected: bool
) -> None:
    if age is not None:
        liveness.touch(tmp_path, f"turn-{age}")
        moment = time.time() - age
        os.utime(tmp_path / liveness.DIRECTORY / f"turn-{age}", (moment, moment))

    assert liveness.takes_turns(tmp_path, f"turn-{age}") is expected


def test_each_of_our_processes_can_be_found_to_hang() -> None:
    programs = tree.list_programs(
        settings.ENVIRONMENT, on_broker_ready=lambda: None, on_web_ready=lambda: None
    )

    watched = {program.name for program in programs if program.is_alive is not None}

    # The agent watches over its own prober; what it does not report is an alert.
    assert watched == {"web", "worker", "beat", "watch"}


def test_beat_takes_its_turns_while_the_broker_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    monkeypatch.setattr(
        "console.beat.note_liveness", lambda _name, *, what: taken.append(what)
    )
    celery = Celery(broker=f"redis+socket://{tmp_path}/none.sock", set_as_current=False)
    celery.conf.broker_connection_max_retries = 1
    scheduler = Scheduler(celery, lazy=True)

    with pytest.raises(OperationalError):
        scheduler._ensure_connected()

    assert set(taken) == {"beat-turn"}
