"""A broker, a master and an agent for each test that asks for them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.harness import AgentProcess, Broker, Master


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory with a short name: a socket's path has 107 bytes at most."""
    path = Path(tempfile.mkdtemp(prefix="agent-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def broker(scratch: Path) -> Iterator[Broker]:
    broker = Broker(scratch)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def master(broker: Broker) -> Master:
    return Master(broker)


@pytest.fixture
def agent(scratch: Path, master: Master) -> Iterator[AgentProcess]:
    agent = AgentProcess(scratch, master)
    yield agent
    if agent.process.poll() is None:
        agent.stop()
