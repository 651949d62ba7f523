"""The agent as a process, with a real broker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from storepoints import wire
from tests.agent.harness import AgentProcess, Broker, Master, make_spec


@pytest.fixture
def place(scratch: Path) -> Path:
    path = scratch / "store point"
    path.mkdir()
    return path


def test_it_reports_by_itself_when_it_starts(
    master: Master, agent: AgentProcess
) -> None:
    report = master.wait_for(lambda: master.reports, seconds=15)[0]

    assert report["cause"] == "start"
    assert report["agent"]["pid"] == agent.process.pid


def test_it_adopts_a_directory_and_finds_it_online(
    master: Master, agent: AgentProcess, place: Path
) -> None:
    spec = master.adopt(place)

    master.probe(spec, cause="asked")
    finding = master.wait_finding(spec["id"])

    assert (finding["state"], finding["cause"]) == ("online", "asked")
    assert [check["ok"] for check in finding["checks"][:6]] == [True] * 6
    assert (place / ".storepoint/inbound").read_text() == "enabled\n"


def test_it_answers_an_order_with_nothing_to_probe(
    master: Master, agent: AgentProcess
) -> None:
    master.wait_for(lambda: master.volumes, seconds=15)
    master.drain()
    master.reports.clear()

    master.probe()

    report = master.wait_for(lambda: master.reports, seconds=2)[0]
    assert report["findings"] == []


@pytest.mark.parametrize(
    "garbage", [b"garbage", b"null", b"[]", b"{}", b'{"properties": 1}', b"[" * 9000]
)
def test_it_survives_what_is_no_message(
    master: Master, agent: AgentProcess, place: Path, garbage: bytes
) -> None:
    spec = master.adopt(place)
    pid = agent.process.pid

    master.broker.client().lpush(wire.queue_of(master.server), garbage)
    master.probe(spec)

    assert master.wait_finding(spec["id"])["state"] == "online"
    assert agent.process.poll() is None
    assert agent.process.pid == pid
    assert "dropped what is no message" in agent.said()


def test_it_refuses_orders_that_are_not_to_be_believed(
    master: Master, agent: AgentProcess, place: Path
) -> None:
    spec = master.adopt(place)
    now = time.time()
    good = {
        "kind": "probe",
        "order": "o",
        "cause": "due",
        "complete": True,
        "store_points": [spec],
        "sequence": time.time_ns(),
        "sent_at": now,
        "expires_at": now + 60,
    }
    envelope = wire.seal(good, server=master.server, key=master.key)
    master.post(envelope)
    master.wait_finding(spec["id"])
    master.drain()
    newer = {**good, "sequence": time.time_ns()}

    master.post(envelope)
    master.post({**envelope, "signature": "0" * 64})
    master.post(wire.seal(newer, server=master.server, key="another key" * 3))
    master.post(wire.seal(newer, server="another", key=master.key))
    master.post(
        wire.seal(
            {**newer, "expires_at": now - 1}, server=master.server, key=master.key
        )
    )
    master.post({"nonsense": 1})
    master.drain(1.0)

    assert master.findings == []
    said = agent.said()
    assert said.count("order refused") == 6
    for text in ("replay", "signature", "of server", "expired", "'server'"):
        assert text in said
    assert "Traceback" not in said


def test_it_goes_on_when_its_prober_is_killed(
    master: Master, agent: AgentProcess, place: Path
) -> None:
    spec = master.adopt(place)
    master.probe(spec)
    master.wait_finding(spec["id"], state="online")
    master.drain()
    before = agent.prober()

    os.kill(before, signal.SIGKILL)

    master.wait_finding(spec["id"], state="online", seconds=5)
    assert agent.prober() != before


def test_it_goes_on_when_the_broker_is_back(
    master: Master, agent: AgentProcess, broker: Broker, place: Path
) -> None:
    spec = master.adopt(place)
    master.drain()

    for _ in range(3):
        broker.stop()
        time.sleep(1.5)
        broker.start()
        master.probe(spec)
        master.wait_finding(spec["id"], state="online", seconds=8)
        master.findings.clear()

    assert "Traceback" not in agent.said()


def test_it_says_no_traceback_when_the_broker_is_killed_amid_orders(
    master: Master, agent: AgentProcess, broker: Broker, place: Path
) -> None:
    spec = master.adopt(place)

    for _ in range(4):
        for _ in range(300):
            master.probe(spec)
        broker.kill()
        broker.start()
        master.findings.clear()
        master.wait_for(
            lambda: master.probe(spec) and master.findings, seconds=10, reason="online"
        )

    assert "Traceback" not in agent.said()


def test_it_starts_without_a_broker(scratch: Path, place: Path) -> None:
    broker = Broker(scratch)
    master = Master(broker)
    agent = AgentProcess(scratch, master)
    try:
        time.sleep(3)
        broker.start()

        spec = master.adopt(place)

        assert spec
    finally:
        agent.stop()
        broker.stop()
    assert "Traceback" not in agent.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_and_takes_the_prober_with_it(
    master: Master, agent: AgentProcess, number: int
) -> None:
    master.wait_for(lambda: master.volumes, seconds=15)
    prober = agent.prober()

    seconds = agent.stop(number)

    assert seconds < 5
    assert agent.process.returncode == 0
    assert not Path(f"/proc/{prober}").exists()
    assert "Traceback" not in agent.said()


def test_it_takes_its_prober_along_when_it_is_killed(
    master: Master, agent: AgentProcess
) -> None:
    prober = agent.prober()

    agent.process.kill()
    agent.process.wait()

    until = time.monotonic() + 3
    while Path(f"/proc/{prober}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{prober}").exists()


def test_it_forgets_what_a_complete_order_omits(
    master: Master, agent: AgentProcess, scratch: Path, place: Path
) -> None:
    other = make_spec(scratch / "nowhere")
    spec = master.adopt(place)
    master.probe(spec, other)
    master.wait_finding(other["id"], reason="path-missing")
    master.probe(spec)
    master.drain()

    os.kill(agent.prober(), signal.SIGKILL)
    master.wait_finding(spec["id"], state="online")

    assert {finding["id"] for finding in master.findings} == {spec["id"]}
