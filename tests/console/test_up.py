"""`manage.py up`, whole: it starts, survives the death of each part, and stops."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from console import env
from tests.processes import clean_environment, free_port

pytestmark = pytest.mark.faults

PROGRAMS = ("valkey", "web", "worker", "beat", "agent", "watch")


class Console:
    """A console started as a user starts it, in a directory and on a port of its own."""

    def __init__(
        self, data_dir: Path, port: int, host: str = "127.0.0.1", **variables: str
    ) -> None:
        self.data_dir = data_dir
        self.url = f"http://{host}:{port}"
        self.output = data_dir.with_name(f"output-{port}")
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--listen", f"{host}:{port}"],
                cwd=env.REPOSITORY,
                env={**clean_environment(data_dir), **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def status(self, path: str) -> int:
        """Return the status of a page, 0 when web does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def pid(self, name: str) -> int:
        """Return the process id of a program, 0 when it has none yet."""
        try:
            return int((self.data_dir / "run" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return 0

    def said(self) -> str:
        """Return what it has printed."""
        return self.output.read_text()

    def family(self) -> list[psutil.Process]:
        """Return the supervisor and every process below it."""
        head = psutil.Process(self.process.pid)
        return [head, *head.children(recursive=True)]


def wait_for(what: Callable[[], Any], console: Console, seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain; it said:\n{console.said()}")
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    console = Console(tmp_path_factory.mktemp("up") / "data", free_port())
    try:
        wait_for(lambda: "The console is at" in console.said(), console, 60)
        yield console
    finally:
        console.process.kill()
        console.process.wait()


def test_it_serves_the_sign_in_page_and_a_setup_link(console: Console) -> None:
    assert console.status("/livez") == 200
    assert console.status("/sign-in/") == 200
    link = re.search(rf"{console.url}/setup/\?token=\S+", console.said())
    assert link is not None
    assert console.status(link[0].removeprefix(console.url)) == 200


def test_it_becomes_ready(console: Console) -> None:
    wait_for(lambda: console.status("/readyz") == 200, console)


def test_it_runs_each_program_once(console: Console) -> None:
    wait_for(lambda: all(console.pid(name) for name in PROGRAMS), console)

    pids = {console.pid(name) for name in PROGRAMS}

    children = {child.pid for child in psutil.Process(console.process.pid).children()}
    assert pids == children


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_recovers_when_a_program_is_killed(console: Console, name: str) -> None:
    wait_for(lambda: console.status("/readyz") == 200, console)
    others = {other: console.pid(other) for other in PROGRAMS if other != name}
    killed = console.pid(name)
    (console.data_dir / "run" / "worker").unlink(missing_ok=True)

    psutil.Process(killed).kill()

    wait_for(lambda: console.pid(name) not in {0, killed}, console)
    wait_for(lambda: console.status("/readyz") == 200, console)
    # The worker has done something since, so messages flow again.
    wait_for((console.data_dir / "run" / "worker").exists, console, 45)
    assert f"{name} stopped (killed by SIGKILL), starting again" in console.said()
    assert {other: console.pid(other) for other in others} == others


def test_a_second_console_on_the_same_data_is_refused(console: Console) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "up", "--listen", f"127.0.0.1:{free_port()}"],
        cwd=env.REPOSITORY,
        env=clean_environment(console.data_dir),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 1
    assert f"already running on {console.data_dir}" in result.stderr
    assert f"process {console.process.pid}" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_taken_port_is_refused(console: Console, tmp_path: Path) -> None:
    address = console.url.removeprefix("http://")

    result = subprocess.run(
        [sys.executable, "manage.py", "up", "--listen", address],
        cwd=env.REPOSITORY,
        env=clean_environment(tmp_path / "data"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 1
    assert f"{address} is already in use" in result.stderr
    assert "--listen" in result.stderr
    assert "Traceback" not in result.stderr


def test_doctor_shows_where_it_listens(console: Console) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=env.REPOSITORY,
        env=clean_environment(console.data_dir),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    address = console.url.removeprefix("http://")
    assert f"listens on {address}, links say {console.url}, process" in result.stdout


def test_its_files_are_its_own(console: Console) -> None:
    for path in console.data_dir.rglob("*"):
        if path.is_file() and ".storepoint" not in path.parts:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_it_says_no_traceback(console: Console) -> None:
    assert "Traceback" not in console.said()


@pytest.mark.parametrize(
    ("host", "variables"),
    [
        ("127.0.0.1", {"CONSOLE_ALLOWED_HOSTS": "console.example.com"}),
        # An address that only the option names.
        ("127.0.0.2", {}),
    ],
)
def test_it_becomes_ready_by_any_name(
    tmp_path: Path, host: str, variables: dict[str, str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    variables |= {"HOME": str(home), "XDG_RUNTIME_DIR": ""}
    console = Console(tmp_path / "data", free_port(), host, **variables)
    try:
        wait_for(lambda: "/setup/?token=" in console.said(), console)
        assert f"The console is at {console.url}/" in console.said()
        # A host that is not listed is still refused everywhere else.
        is_listed = "CONSOLE_ALLOWED_HOSTS" not in variables
        assert console.status("/sign-in/") == (200 if is_listed else 400)
        assert list(home.iterdir()) == []  # no control socket of gunicorn
    finally:
        console.process.send_signal(signal.SIGHUP)
        assert console.process.wait(20) == 0


def test_each_line_begins_with_the_time_also_without_a_broker(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    console = Console(tmp_path / "data", free_port(), CONSOLE_BROKER_URL=url)
    try:
        wait_for(lambda: "worker ERROR" in console.said(), console)
        wait_for(lambda: "beat ERROR" in console.said(), console)
        wait_for(lambda: "agent WARNING" in console.said(), console)
    finally:
        console.process.send_signal(signal.SIGTERM)
        console.process.wait(20)

    lines = [line for line in console.said().splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("  ")]  # the welcome
    assert [line for line in told if not re.match(r"\d\d:\d\d:\d\d ", line)] == []
    assert "Warm shutdown" not in console.said()


# The last one: it ends what the others use.
def test_ctrl_c_stops_all_of_it(console: Console) -> None:
    family = console.family()

    console.process.send_signal(signal.SIGINT)

    assert console.process.wait(15) == 0
    _, alive = psutil.wait_procs(family[1:], timeout=2)
    assert alive == []
    assert "Traceback" not in console.said()


def test_starting_again_goes_on_where_it_was(console: Console) -> None:
    if console.process.poll() is None:
        console.process.send_signal(signal.SIGTERM)
        console.process.wait(15)

    again = Console(console.data_dir, free_port())
    try:
        wait_for(lambda: "The console is at" in again.said(), again)
        said = again.said()
        assert "migrations" not in said
        wait_for(lambda: again.status("/readyz") == 200, again)
        family = again.family()
        again.process.kill()
        again.process.wait()
        # Nothing is left when the supervisor itself is killed.
        _, alive = psutil.wait_procs(family[1:], timeout=5)
        assert alive == []
    finally:
        if again.process.poll() is None:
            again.process.kill()
            again.process.wait()
