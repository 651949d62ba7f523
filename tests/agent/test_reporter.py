"""Gathering, keeping and sending of reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from storepoints import wire
from storepoints.agent.config import Configuration
from storepoints.agent.reporter import Reporter
from tests.agent.harness import KEY

CONFIGURATION = Configuration("me", "me", KEY, "redis://h/0")


class Post:
    """A broker that can be away."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.is_away = False
        self.arrived = threading.Condition()

    def __call__(self, envelope: wire.Envelope) -> None:
        if self.is_away:
            raise ConnectionError("away")
        with self.arrived:
            self.reports.append(wire.unseal(envelope, server="me", key=KEY))
            self.arrived.notify()

    def wait(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.reports) >= count, 5)


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def reporter(post: Post) -> Iterator[Reporter]:
    reporter = Reporter(CONFIGURATION, post)
    yield reporter
    post.is_away = True
    reporter.stop()


def finding(store_point: str, **fields: Any) -> dict[str, Any]:
    return {"id": store_point, "cause": "due", **fields}


def test_it_says_at_once_that_it_started(reporter: Reporter, post: Post) -> None:
    reporter.start()

    post.wait(1)
    assert post.reports[0]["cause"] == "start"
    assert post.reports[0]["findings"] == []


def test_it_gathers_findings_of_a_moment(reporter: Reporter, post: Post) -> None:
    reporter.start()
    post.wait(1)

    for number in range(50):
        reporter.finding(finding(str(number)))

    post.wait(2)
    assert len(post.reports[1]["findings"]) == 50


def test_it_names_a_report_after_its_most_urgent_cause(
    reporter: Reporter, post: Post
) -> None:
    reporter.start()
    post.wait(1)

    reporter.finding(finding("a"))
    reporter.finding(finding("b", cause="mount-table"))
    reporter.answer("o", "inspect", {})

    post.wait(2)
    assert post.reports[1]["cause"] == "mount-table"
    assert post.reports[1]["answers"][0]["order"] == "o"


def test_it_splits_what_is_too_much_for_one_report(
    reporter: Reporter, post: Post
) -> None:
    for number in range(4500):
        reporter.finding(finding(str(number)))
    reporter.start()

    post.wait(3)
    assert [len(report["findings"]) for report in post.reports] == [2000, 2000, 500]


def test_it_keeps_the_newest_finding_while_the_broker_is_away(
    reporter: Reporter, post: Post
) -> None:
    post.is_away = True
    reporter.start()
    for number in range(5000):
        reporter.finding(finding("a", number=number))
        reporter.finding(finding("b", number=number))
    reporter.answer("o", "adopt", {})
    time.sleep(0.5)
    post.is_away = False

    post.wait(1)
    newest = {f["id"]: f["number"] for r in post.reports for f in r["findings"]}
    assert newest == {"a": 4999, "b": 4999}
    assert sum(len(report["answers"]) for report in post.reports) == 1
    assert len(reporter._findings) == 0


def test_its_sequences_only_grow(reporter: Reporter, post: Post) -> None:
    reporter.start()
    for number in range(5):
        reporter.ping("due")
        post.wait(number + 1)

    sequences = [report["sequence"] for report in post.reports]
    assert sequences == sorted(set(sequences))


def test_it_sends_what_is_left_when_it_is_told_to_stop(
    reporter: Reporter, post: Post
) -> None:
    reporter.start()
    post.wait(1)
    reporter.finding(finding("a"))

    reporter.stop()

    assert post.reports[-1]["findings"][0]["id"] == "a"
    assert not reporter.is_alive()


def test_it_does_not_wait_long_for_a_broker_that_is_away(
    reporter: Reporter, post: Post
) -> None:
    post.is_away = True
    reporter.start()
    reporter.finding(finding("a"))
    began = time.monotonic()

    reporter.stop()

    assert time.monotonic() - began < 2.5
