"""A drill in a real console: it fails for real, is mailed for real, and leaves nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.console import (
    ADDRESS,
    ADMINISTRATOR,
    ROOT,
    Console,
    MailServer,
    Person,
    wait_until,
)
from tests.processes import clean_environment

pytestmark = pytest.mark.e2e

#: Longer than every step takes together, and a lease of a killed worker besides.
PATIENCE = 240.0


@pytest.fixture
def person(console: Console) -> Person:
    """The administrator of a console that checks."""
    wait_until(lambda: console.readiness()["checks"] == "ok", explain=console.readiness)
    if console.value("SELECT count(*) FROM accounts_user") == 0:
        return console.set_up()
    person = Person(console)
    person.sign_in()
    return person


def start(person: Person) -> int:
    answer = person.submit("/settings/drills/start/")
    found = re.search(r"/settings/drills/(\d+)/$", answer.url)
    assert found, answer
    return int(found[1])


def drill(console: Console, key: int) -> dict[str, Any]:
    (row,) = console.rows(
        "SELECT state, failure, steps, directory, name FROM notifications_drill"
        " WHERE id = ?",
        key,
    )
    steps = json.loads(row[2])
    return {
        "state": row[0],
        "failure": row[1],
        "steps": {step["slug"]: step for step in steps},
        "directory": row[3],
        "name": row[4],
    }


def reached(console: Console, key: int, slug: str) -> Callable[[], bool]:
    return lambda: drill(console, key)["steps"][slug]["outcome"] != "waiting"


def wait_for_the_end(console: Console, key: int) -> dict[str, Any]:
    return (
        wait_until(
            lambda: (
                found if (found := drill(console, key))["state"] != "running" else None
            ),
            PATIENCE,
            explain=lambda: drill(console, key),
            pause=0.3,
        )
        or {}
    )


def assert_nothing_is_left(console: Console, name: str) -> None:
    assert not console.value(
        "SELECT count(*) FROM storepoints_storepoint WHERE name = ?", name
    )
    assert list((console.data_dir / "drills").iterdir()) == []
    alerts = console.rows(
        "SELECT cleared_at, acknowledged_at FROM alerts_alert WHERE object_name = ?",
        name,
    )
    assert all(cleared and seen for cleared, seen in alerts), alerts


def test_it_says_that_no_mail_server_is_set_up_and_prints_json(
    console: Console, person: Person
) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "drill", "--json"],
        env=clean_environment(console.data_dir),
        cwd=console.root,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    steps = {step["slug"]: step for step in told["steps"]}
    assert told["state"] == "passed"
    assert told["started_by"] == ADMINISTRATOR
    assert steps["mailed"]["outcome"] == "skipped"
    assert "no mail server is set up" in steps["mailed"]["text"]
    assert steps["acknowledged"]["text"] == f"by {ADMINISTRATOR}"
    assert_nothing_is_left(console, told["name"])


def test_it_plays_a_drill_to_the_end_although_the_worker_is_killed(
    console: Console, person: Person, mail_server: MailServer
) -> None:
    person.set_mail_server(mail_server.port, group_seconds=2)
    assert "Start a drill" in person.get("/settings/drills/").text

    key = start(person)
    wait_until(reached(console, key, "broken"), 60, explain=lambda: drill(console, key))
    console.kill_process("worker")
    second = person.submit("/settings/drills/start/")
    done = wait_for_the_end(console, key)

    assert "running already" in second.text
    assert done["state"] == "passed", done
    outcomes = {slug: step["outcome"] for slug, step in done["steps"].items()}
    assert set(outcomes.values()) == {"done"}, outcomes
    instants = [step["at"] for step in done["steps"].values()]
    assert instants == sorted(instants)
    assert all(step["seconds"] >= 0 for step in done["steps"].values())
    wait_until(
        lambda: len(mail_server.about(done["name"])) >= 2, explain=mail_server.subjects
    )
    opened, closed = mail_server.about(done["name"])
    assert opened.recipients == closed.recipients == (ADDRESS,)
    assert "Drill" in opened.subject
    page = person.get(f"/settings/drills/{key}/")
    assert 'data-outcome="done"' in page.text
    assert "Passed" in page.text
    # No destination was at risk: nothing that holds backups had failed.
    assert set(console.rows("SELECT DISTINCT kind FROM alerts_alert")) == {
        ("store-point-offline",)
    }
    assert_nothing_is_left(console, done["name"])
    keep_times(done)


@pytest.mark.parametrize("after", ["online", "broken", "alerted"])
def test_it_leaves_nothing_when_it_is_cancelled(
    console: Console, person: Person, after: str
) -> None:
    key = start(person)
    wait_until(reached(console, key, after), 90, explain=lambda: drill(console, key))

    answer = person.submit(f"/settings/drills/{key}/cancel/")
    done = wait_for_the_end(console, key)

    assert "Cancelled." in answer.text
    assert done["state"] == "cancelled"
    assert_nothing_is_left(console, done["name"])


def test_it_cleans_up_after_everything_was_killed(
    console: Console, person: Person
) -> None:
    key = start(person)
    wait_until(reached(console, key, "broken"), 60, explain=lambda: drill(console, key))
    console.kill()
    assert drill(console, key)["state"] == "running"

    console.start()
    person = Person(console)
    person.sign_in()
    person.submit(f"/settings/drills/{key}/cancel/")
    done = wait_for_the_end(console, key)

    assert done["state"] == "cancelled"
    assert_nothing_is_left(console, done["name"])


def test_it_says_what_to_do_when_the_console_does_not_run(
    console: Console, person: Person
) -> None:
    before = console.value("SELECT count(*) FROM notifications_drill")
    console.stop()
    time.sleep(16)  # until the last sign of life is too old

    ran = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "drill"],
        env=clean_environment(console.data_dir),
        cwd=console.root,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ran.returncode == 1
    assert "manage.py up" in ran.stderr
    assert console.value("SELECT count(*) FROM notifications_drill") == before


def keep_times(done: dict[str, Any]) -> None:
    """Print what was measured beside its target, for whoever reads the log."""
    for slug, step in done["steps"].items():
        print(f"{slug:16} {step['seconds']:7.2f} s (target {step['target_seconds']:g})")
