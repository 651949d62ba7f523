"""What programs say of drives, and that no program can do harm: deadlines and bounds."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent.devices import smart
from storepoints.agent.devices.tools import (
    BROKEN,
    NOT_INSTALLED,
    NOT_PERMITTED,
    RAN,
    STUCK,
    TOO_LATE,
    Result,
    Tools,
)

# --- SMART ---------------------------------------------------------------------------


def ata(passed: bool | None = True, status: int = 0, **raw: int) -> dict[str, Any]:
    ids = {"reallocated": 5, "reported": 187, "pending": 197, "uncorrectable": 198}
    said: dict[str, Any] = {
        "smartctl": {"version": [7, 3], "exit_status": status, "messages": []},
        "device": {"name": "/dev/sda", "type": "sat", "protocol": "ATA"},
        "model_name": "ST16000NM001G-2KK103",
        "serial_number": "ZL2ABCDE",
        "temperature": {"current": 41},
        "power_on_time": {"hours": 12345},
        "ata_smart_attributes": {
            "table": [
                {"id": ids[name], "name": name, "raw": {"value": n, "string": str(n)}}
                for name, n in raw.items()
            ]
        },
    }
    if passed is not None:
        said["smart_status"] = {"passed": passed}
    return said


def read(said: Any, status: int = 0) -> smart.Reading:
    output = said if isinstance(said, str) else json.dumps(said)
    return smart.read("sda", Result(RAN, status=status, output=output))


def test_it_takes_the_facts_of_a_drive_that_is_well() -> None:
    reading = read(ata(reallocated=0, pending=0))

    assert reading.health == "ok"
    assert reading.problems == []
    assert reading.facts == {
        "SMART": "passed",
        "model": "ST16000NM001G-2KK103",
        "serial": "ZL2ABCDE",
        "temperature": "41 °C",
        "powered on": "12345 h",
        "reallocated sectors": "0",
        "pending sectors": "0",
    }


@pytest.mark.parametrize(
    ("said", "health", "words"),
    [
        (ata(passed=False), "failing", "fails its SMART check"),
        (ata(status=1 << 3), "failing", "fails its SMART check"),
        (ata(status=1 << 4), "failing", "beyond the limit"),
        (ata(status=1 << 7), "degraded", "failed a self-test"),
        (ata(pending=1), "degraded", "has 1 sector that it cannot read"),
        (ata(uncorrectable=8), "degraded", "has 8 sectors that it cannot read"),
        (ata(pending=100), "failing", "has 100 sectors"),
        (ata(reallocated=10), "degraded", "has replaced 10 bad sectors"),
        (ata(reallocated=9), "ok", ""),
        (ata(status=1 << 5 | 1 << 6), "ok", ""),
        (
            {"smart_status": {"passed": True}, "scsi_grown_defect_list": 12},
            "degraded",
            "has replaced 12 bad sectors",
        ),
        (
            {
                "smart_status": {"passed": True},
                "scsi_error_counter_log": {
                    "read": {"total_uncorrected_errors": 2},
                    "write": {"total_uncorrected_errors": 1},
                },
            },
            "degraded",
            "reports 3 uncorrected errors",
        ),
    ],
)
def test_it_judges_what_a_drive_says(
    said: dict[str, Any], health: str, words: str
) -> None:
    reading = read(said)

    assert reading.health == health
    assert words in " ".join(text for _, text in reading.problems)


@pytest.mark.parametrize(
    ("log", "health", "words"),
    [
        ({}, "ok", ""),
        ({"critical_warning": 1}, "failing", "spare blocks"),
        ({"critical_warning": 2}, "degraded", "temperature"),
        ({"critical_warning": 4}, "failing", "media errors"),
        ({"critical_warning": 8}, "failing", "read-only"),
        ({"percentage_used": 100}, "degraded", "100 % of its rated life"),
        ({"percentage_used": 99}, "ok", ""),
        (
            {"available_spare": 9, "available_spare_threshold": 10},
            "failing",
            "9 % of its spare blocks",
        ),
        ({"media_errors": 1}, "degraded", "1 media error"),
    ],
)
def test_it_judges_what_an_nvme_drive_says(
    log: dict[str, int], health: str, words: str
) -> None:
    reading = read(
        {
            "smart_status": {"passed": True},
            "nvme_smart_health_information_log": {"critical_warning": 0, **log},
        }
    )

    assert reading.health == health
    assert words in " ".join(text for _, text in reading.problems)


def message(text: str) -> dict[str, Any]:
    return {"smartctl": {"messages": [{"string": text, "severity": "error"}]}}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (message("/dev/vda: Unable to detect device type"), "Unable to detect"),
        (
            message("Smartctl open device: /dev/sda [SAT] failed: Permission denied"),
            "permission denied",
        ),
        (
            message("Smartctl open device: /dev/sda failed: Operation not permitted"),
            "permission denied",
        ),
        ({"smart_support": {"available": False}}, "no SMART"),
        ({"smart_support": {"available": True, "enabled": False}}, "switched off"),
        ("smartctl: invalid option -- 'j'", "no JSON"),
        ("[1, 2]", "no JSON"),
        ({}, "says nothing"),
    ],
)
def test_it_says_why_a_drive_could_not_be_asked(said: Any, words: str) -> None:
    reading = read(said)

    assert reading.health is None
    assert reading.problems == []
    assert words in reading.note


def test_it_says_that_a_drive_sleeps() -> None:
    reading = read(message("Device is in STANDBY mode, exit(2)"), status=2)

    assert reading.is_asleep
    assert reading.health is None
    assert reading.note == "sda sleeps and was not woken"


# --- programs ------------------------------------------------------------------------


def program(directory: Path, name: str, text: str, mode: int = 0o755) -> Tools:
    directory.mkdir(exist_ok=True)
    file = directory / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(mode)
    return Tools(f"/nowhere:{directory}:/usr/bin:/bin", deadline_seconds=0.3)


def test_it_runs_a_program_without_the_users_language(tmp_path: Path) -> None:
    tools = program(tmp_path / "bin", "ask", 'echo "$LC_ALL $1"; echo no >&2; exit 3')

    result = tools.run("sda", "ask", "a b")

    assert result == Result(RAN, status=3, output="C a b\n", error="no")


def test_it_says_that_a_program_is_not_installed() -> None:
    result = Tools("/nowhere").run("sda", "smartctl")

    assert (result.how, result.why) == (NOT_INSTALLED, "smartctl is not installed")


def test_it_says_that_a_program_may_not_be_run(tmp_path: Path) -> None:
    tools = program(tmp_path / "bin", "zpool", "exit 0", mode=0o644)

    result = tools.run("tank", "zpool")

    assert (result.how, result.why) == (
        NOT_PERMITTED,
        "zpool may not be run: Permission denied",
    )


def test_it_kills_a_program_that_hangs_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    tools = program(
        tmp_path / "bin", "hang", f"sleep 60 & echo $! $$ >{pids}; wait; sleep 60"
    )
    began = time.monotonic()

    result = tools.run("sda", "hang")

    assert (result.how, result.why) == (TOO_LATE, "hang did not answer within 0.3 s")
    assert time.monotonic() - began < 2
    for pid in pids.read_text().split():
        until = time.monotonic() + 5
        while is_running(int(pid)) and time.monotonic() < until:
            time.sleep(0.01)
        assert not is_running(int(pid))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_running(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def test_it_does_not_wait_for_a_program_that_closed_its_output(tmp_path: Path) -> None:
    tools = program(tmp_path / "bin", "quiet", "exec >&- 2>&-; sleep 60")

    result = tools.run("sda", "quiet")

    assert result.how == TOO_LATE


def test_it_does_not_listen_to_a_program_without_end(tmp_path: Path) -> None:
    tools = program(tmp_path / "bin", "talk", "exec cat /dev/zero")

    result = tools.run("sda", "talk")

    assert result.how == BROKEN
    assert result.output == ""


def test_it_asks_a_device_one_thing_at_a_time(tmp_path: Path) -> None:
    tools = program(tmp_path / "bin", "slow", "sleep 0.2")
    program(tmp_path / "bin", "quick", "exit 0")
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(tools.run("sda", "slow")))
    thread.start()
    while not tools._running:
        time.sleep(0.001)

    second = tools.run("sda", "quick")
    third = tools.run("sdb", "quick")
    thread.join()

    assert (results[0].how, second.how, third.how) == (RAN, STUCK, RAN)


def test_it_ends_what_runs_when_it_stops(tmp_path: Path) -> None:
    program(tmp_path / "bin", "hang", "sleep 60")
    tools = Tools(f"{tmp_path}/bin:/usr/bin:/bin", deadline_seconds=60)
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(tools.run("sda", "hang")))
    thread.start()
    while not tools._running.get("sda"):
        time.sleep(0.001)

    tools.stop()

    thread.join(5)
    assert results[0].status == -9
    assert tools.run("sdb", "hang").how == STUCK


def test_it_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    tools = program(tmp_path / "bin", "hang", "sleep 60")
    tools.run("sda", "hang")
    before = open_files()

    for _ in range(3):
        tools.run("sda", "hang")

    assert open_files() == before
