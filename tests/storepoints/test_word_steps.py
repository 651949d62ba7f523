"""What the page says of each layer: the words of "Why"."""

from __future__ import annotations

from typing import Any

import pytest

from storepoints import verdict
from storepoints.states import State


def steps(
    *checks: dict[str, Any],
    limits: list[str] | None = None,
    state: State = State.ONLINE,
) -> dict[str, verdict.Step]:
    found = verdict.steps(
        state=state,
        evidence={"checks": list(checks)},
        server_says="3 s ago",
        server_ok=True,
        limits=limits,
    )
    return {step.label: step for step in found}


def check(name: str, *, ok: bool | None, found: str, **fields: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "seconds": 0.001, "found": found, **fields}


def test_it_names_every_layer_in_the_order_of_the_design() -> None:
    assert list(steps()) == [
        "Server reports",
        "Path exists",
        "Right volume",
        "Right identity",
        "Mounted read-write",
        "Volume answers",
        "Can be written and read",
        "Within its limits",
        "Drive, array, volume",
    ]


@pytest.mark.parametrize(
    ("name", "label", "mark"),
    [
        ("write", "Can be written and read", "skipped"),
        ("device", "Drive, array, volume", "unknown"),
        ("path", "Path exists", "noted"),
        ("identity", "Right identity", "not-asked"),
    ],
)
def test_it_says_why_there_is_no_answer(name: str, label: str, mark: str) -> None:
    step = steps(check(name, ok=None, found="for a reason"))[label]

    assert (step.mark, step.detail) == (mark, "for a reason")


@pytest.mark.parametrize("name", ["write", "device", "path"])
def test_it_says_that_it_was_not_asked(name: str) -> None:
    step = steps(check(name, ok=None, found=""))[verdict.CHECK_WORDS[name]]

    assert (step.mark, step.detail) == ("not-asked", "")


def test_it_says_what_devices_say() -> None:
    label = "Drive, array, volume"
    bad = check("device", ok=False, found="md0: 1 of 2", expected="healthy")
    good = check("device", ok=True, found="md0: 2 of 2", expected="healthy")

    assert steps(bad)[label].mark == "failed"
    assert steps(bad)[label].detail == "expected healthy, found md0: 1 of 2"
    assert steps(good)[label].mark == "passed"
    assert steps(good)[label].detail == "md0: 2 of 2"


@pytest.mark.parametrize(
    ("limits", "mark", "detail"),
    [
        (None, "not-asked", ""),
        ([], "passed", "space, inodes and latency"),
        (["low-space"], "failed", "low on space"),
        (["slow", "low-inodes"], "failed", "low on inodes, writing is slow"),
        # Said in the step of the devices.
        (["volume-degraded"], "passed", "space, inodes and latency"),
    ],
)
def test_it_says_which_limits_are_passed(
    limits: list[str] | None, mark: str, detail: str
) -> None:
    step = steps(limits=limits)["Within its limits"]

    assert (step.mark, step.detail) == (mark, detail)


def test_it_claims_nothing_behind_a_server_that_is_offline() -> None:
    found = steps(
        check("path", ok=True, found="a directory"),
        limits=[],
        state=State.SERVER_OFFLINE,
    )

    assert {step.mark for step in list(found.values())[1:]} == {"not-asked"}
