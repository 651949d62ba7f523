"""What `manage.py doctor` finds, and what it says to do."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from console import doctor, env, liveness, startup
from console.doctor import Finding, Verdict
from console.kit import clock, heartbeat
from tests.conftest import Valkey
from tests.processes import clean_environment

pytestmark = pytest.mark.django_db


def examine() -> dict[str, Finding]:
    return {finding.check: finding for finding in doctor.examine(clock.now())}


def database_files() -> list[Path]:
    file = Path(str(connection.settings_dict["NAME"]))
    return [path for path in file.parent.glob(f"{file.name}*") if path.is_file()]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    settings.AGENT_FILE = tmp_path / "agent.toml"
    tmp_path.chmod(0o700)
    return tmp_path


def test_it_finds_a_healthy_console(
    directory: Path, settings: Any, valkey: Valkey
) -> None:
    settings.BROKER_URL = valkey.url
    (directory / "agent.toml").write_text('server = "x"\nname = "vm"\nkey = "k"\n')
    (directory / "agent.toml").chmod(0o600)
    for name in ("tick", "report"):
        heartbeat.beat(name, clock.now())
    for file in database_files():
        file.chmod(0o600)

    found = examine()

    bad = {name for name, each in found.items() if each.verdict != Verdict.OK}
    assert bad <= {"mail"}
    assert found["agent"].found == "server vm (x)"
    assert found["queues"].found == "empty"


def test_it_names_a_queue_that_nobody_reads(settings: Any, valkey: Valkey) -> None:
    settings.BROKER_URL = valkey.url
    valkey.connect().rpush("server.abc", *["x"] * 101)

    finding = examine()["queues"]

    assert finding.verdict == Verdict.WARNING
    assert "server.abc 101" in finding.found


@pytest.mark.parametrize("is_embedded", [True, False])
def test_it_says_that_the_broker_is_away(
    directory: Path, settings: Any, *, is_embedded: bool
) -> None:
    settings.BROKER_URL = f"redis+socket://{directory}/none.sock"
    settings.IS_BROKER_EMBEDDED = is_embedded

    finding = examine()["broker"]

    # An embedded one is away whenever the console is not running.
    expected = Verdict.WARNING if is_embedded else Verdict.PROBLEM
    assert finding.verdict == expected
    assert finding.cure


def test_it_finds_secrets_that_others_can_read(directory: Path) -> None:
    (directory / "secret-key").write_text("x")
    (directory / "secret-key").chmod(0o644)

    finding = examine()["secret key"]

    assert finding.verdict == Verdict.PROBLEM
    assert finding.cure == f"chmod 600 {directory / 'secret-key'}"


def test_it_finds_a_data_directory_that_others_can_change(directory: Path) -> None:
    directory.chmod(0o777)

    assert examine()["data directory"].verdict == Verdict.PROBLEM


def test_it_warns_of_a_data_directory_that_others_can_enter(directory: Path) -> None:
    directory.chmod(0o755)

    finding = examine()["data directory"]

    assert finding.verdict == Verdict.WARNING
    assert finding.cure.startswith(f"chmod 700 {directory}")


def test_it_finds_a_database_that_others_can_read() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a server keeps its own files")
    file = Path(str(connection.settings_dict["NAME"]))
    file.chmod(0o644)

    finding = examine()["database file"]

    file.chmod(0o600)
    assert finding.verdict == Verdict.PROBLEM
    assert finding.cure == f"chmod 600 {file}"


@pytest.mark.parametrize("arguments", [["doctor"], ["up", "--help"], ["help"]])
def test_looking_makes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    data = tmp_path / "none"

    result = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=env.REPOSITORY,
        env=clean_environment(data),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert not data.exists()
    assert "Traceback" not in result.stderr
    if arguments == ["doctor"]:
        assert result.stdout.count("manage.py up makes it.") >= 2
        assert result.returncode == 0


def test_it_shows_where_the_running_console_listens(directory: Path) -> None:
    assert examine()["web"].found.startswith("would listen on 127.0.0.1:8000, ")
    lock = startup.lock_data_dir(directory)
    noted = directory / liveness.DIRECTORY / liveness.ADDRESS_FILE
    noted.parent.mkdir()
    noted.write_text("127.0.0.1:8123\nhttp://127.0.0.1:8123\n")

    with contextlib.closing(os.fdopen(lock)):
        found = examine()["web"].found

    assert found.startswith(
        "listens on 127.0.0.1:8123, links say http://127.0.0.1:8123"
    )
    assert f"process {os.getpid()}" in found


@pytest.mark.parametrize(("proxies", "verdict"), [(0, "warning"), (1, "ok")])
def test_it_warns_of_a_proxy_that_is_not_trusted(
    settings: Any, proxies: int, verdict: str
) -> None:
    settings.PUBLIC_URL = "https://console.example.com"
    settings.TRUSTED_PROXIES = proxies

    assert examine()["web"].verdict == verdict


@pytest.mark.parametrize(
    ("content", "text"),
    [("server = ", "is not TOML"), ('server = "x"\n', "lacks key")],
)
def test_it_finds_a_damaged_agent_file(
    directory: Path, content: str, text: str
) -> None:
    (directory / "agent.toml").write_text(content)

    finding = examine()["agent"]

    assert finding.verdict == Verdict.PROBLEM
    assert text in finding.found


def test_it_says_that_checks_have_stopped(frozen: clock.FrozenClock) -> None:
    heartbeat.beat("tick", clock.now())
    frozen.tick(60)

    finding = examine()["heartbeat tick"]

    assert finding.verdict == Verdict.WARNING
    assert finding.found == "60 s ago, expected within 15 s"


@pytest.mark.parametrize(
    ("host", "is_https", "is_debug", "verdict"),
    [
        ("127.0.0.1", False, False, Verdict.OK),
        ("0.0.0.0", True, False, Verdict.OK),
        ("0.0.0.0", False, False, Verdict.WARNING),
        ("127.0.0.1", False, True, Verdict.WARNING),
        ("0.0.0.0", False, True, Verdict.PROBLEM),
    ],
)
def test_it_judges_how_web_can_be_reached(
    settings: Any, host: str, verdict: Verdict, *, is_https: bool, is_debug: bool
) -> None:
    settings.LISTEN = settings.LISTEN._replace(host=host)
    settings.PUBLIC_URL = f"{'https' if is_https else 'http'}://console.example.com"
    settings.TRUSTED_PROXIES = 1
    settings.DEBUG = is_debug

    assert examine()["web"].verdict == verdict


def test_it_prints_json_and_fails_on_problems(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory.chmod(0o777)

    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--json")

    findings = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1
    assert {"check", "verdict", "found", "cure"} == set(findings[0])


def test_the_table_says_what_to_do(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory.chmod(0o777)

    with pytest.raises(SystemExit):
        call_command("doctor")

    assert "chmod go-w" in capsys.readouterr().out
