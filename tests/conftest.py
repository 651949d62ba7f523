"""Fixtures for every test, and the end of a run that says what was left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from console import broker
from console.kit import clock
from tests import needs

NOTHING_LEFT_OUT = "CONSOLE_TEST_NOTHING_LEFT_OUT"

#: What the `frozen` clock shows first: a Wednesday, away from every DST change.
A_WEDNESDAY = datetime(2026, 7, 15, 12, 0, tzinfo=UTC)

# A machine that is busy with something else is no failure of what is tested.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


# --- the clock -------------------------------------------------------------------------


@pytest.fixture
def frozen() -> Iterator[clock.FrozenClock]:
    """The clock, standing still on a Wednesday noon; `frozen.tick(seconds)` moves it."""
    with clock.freeze(A_WEDNESDAY) as standing:
        yield standing


# --- a real broker ---------------------------------------------------------------------


class Valkey:
    """A real Valkey server on a Unix socket in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "v.sock"
        self.url = f"redis+socket://{self.socket}?virtual_host=0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with what its file holds, and wait until it answers."""
        arguments = broker.valkey_arguments(
            broker.valkey_program(), self.directory, self.socket
        )
        self._process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not broker.is_listening(self.socket):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.directory / broker.LOG_FILE).read_text())
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def connect(self) -> Any:
        """Return a client of it."""
        return broker.connect(self.url)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    """One Valkey for the whole session; tests ask for `valkey`, which is empty."""
    # Not tmp_path: the path of a socket is short.
    directory = Path(tempfile.mkdtemp(prefix="vk-"))
    server = Valkey(directory)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def valkey(valkey_server: Valkey) -> Iterator[Valkey]:
    """A real, empty Valkey that Celery publishes to; running again after the test."""
    from console.celery import app

    if not broker.is_listening(valkey_server.socket):
        valkey_server.start()
    valkey_server.connect().flushall()
    before = app.conf.broker_url
    _publish_to(valkey_server.url)
    yield valkey_server
    _publish_to(before)


def _publish_to(url: str) -> None:
    """Make the Celery app forget its connections and publish to another broker."""
    from kombu import pools

    from console import celery

    app: Any = celery.app
    if app._pool is not None:
        app._pool.force_close_all()
        app._pool = None
    pools.reset()
    app.__dict__.pop("amqp", None)
    app.conf.update(broker_url=url, broker_read_url=url, broker_write_url=url)


# --- which tests run where -------------------------------------------------------------


def is_on_postgres() -> bool:
    """Say whether this run is the one on PostgreSQL."""
    return os.environ.get("CONSOLE_TEST_DATABASE") == "postgres"


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Run the marked tests on PostgreSQL, and all but those only for it on SQLite."""
    chosen: list[pytest.Item] = []
    other: list[pytest.Item] = []
    for item in items:
        mark = item.get_closest_marker("postgres")
        if is_on_postgres():
            wanted = mark is not None
        else:
            wanted = mark is None or not mark.kwargs.get("only", False)
        (chosen if wanted else other).append(item)
    if other:
        config.hook.pytest_deselected(items=other)
        items[:] = chosen


_left_out: list[str] = []
#: Those that no machine with this kernel could run: named, but no failure.
_left_out_for_the_kernel: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note each test that was skipped."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note each module that was skipped."""
    if report.skipped:
        _note(report)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if needs.is_for_the_kernel(reason):
        _left_out_for_the_kernel.append(f"{report.nodeid}: {reason}")
    else:
        _left_out.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that must leave nothing out when it did."""
    if _left_out and os.environ.get(NOTHING_LEFT_OUT) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were left out; the reasons are in the summary above."""
    for line in sorted(set(_left_out_for_the_kernel)):
        terminalreporter.write_line(f"left out: {line}", yellow=True)
    if not _left_out:
        return
    count = len(set(_left_out))
    line = f"{count} {'test was' if count == 1 else 'tests were'} left out"
    if os.environ.get(NOTHING_LEFT_OUT):
        terminalreporter.write_line(f"{line}, and {NOTHING_LEFT_OUT} is set:", red=True)
        for name in sorted(set(_left_out)):
            terminalreporter.write_line(f"  {name}", red=True)
    else:
        terminalreporter.write_line(f"{line}; the reasons are above.", yellow=True)
