"""Calls that hang, and those that must not wait for them."""

from __future__ import annotations

import threading
import time
from typing import Any

from storepoints.agent.pool import LANE_CALLS, Pool


class Job:
    """A task that waits for its gate."""

    def __init__(
        self,
        key: str,
        *,
        lane: str = "a",
        gate: threading.Event | None = None,
        insists: bool = False,
        repeats: bool = True,
        log: list[Any] | None = None,
    ) -> None:
        self.key, self.lane, self.gate = key, lane, gate
        self.insists, self.repeats = insists, repeats
        self.deadline_seconds = 0.1
        self.log: list[Any] = [] if log is None else log

    def run(self) -> object:
        self.log.append(("run", self.key))
        if self.gate is not None:
            self.gate.wait()
        return self.key

    def deliver(self, result: object, /) -> None:
        self.log.append(("delivered", result))

    def late(self, since: float, running: object, waiting_for: str, /) -> None:
        self.log.append(("late", self.key, since, waiting_for))

    def recovered(self) -> None:
        self.log.append(("recovered", self.key))

    def replaces(self, other: object, /) -> bool:
        return isinstance(other, Job) and other.key == self.key and self.repeats

    def covers(self, other: object, /) -> bool:
        return isinstance(other, Job) and not other.insists and other.repeats

    def count(self, what: str) -> int:
        return sum(entry[0] == what for entry in self.log)


def wait_until(what: Any, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def test_it_delivers_a_result() -> None:
    job = Job("x")

    Pool().submit(job)

    wait_until(lambda: job.log == [("run", "x"), ("delivered", "x")])


def test_it_makes_one_call_and_tells_each_time_that_it_is_late() -> None:
    pool, gate = Pool(), threading.Event()
    log: list[Any] = []
    pool.submit(job := Job("x", gate=gate, log=log))
    wait_until(lambda: job.count("late") == 1)

    for _ in range(20):
        pool.submit(Job("x", gate=gate, log=log))

    assert job.count("run") == 1
    assert job.count("late") == 21
    assert len({entry[2] for entry in log if entry[0] == "late"}) == 1
    assert list(pool.stuck()) == ["x"]
    gate.set()
    wait_until(lambda: job.count("delivered") == 1)
    assert job.count("run") == 2, "what came late is dropped and asked again"
    assert not pool.stuck()


def test_it_asks_again_when_nothing_waits_for_a_late_call() -> None:
    pool, gate = Pool(), threading.Event()
    pool.submit(job := Job("x", gate=gate))
    wait_until(lambda: job.count("late") == 1)

    gate.set()

    wait_until(lambda: job.count("recovered") == 1)
    assert job.count("delivered") == 0


def test_it_lets_a_running_call_answer_for_another_unless_it_insists() -> None:
    pool, gate = Pool(), threading.Event()
    log: list[Any] = []
    pool.submit(job := Job("x", gate=gate, log=log))
    wait_until(lambda: job.count("run") == 1)
    pool.submit(Job("x", log=log))
    pool.submit(Job("x", log=log, insists=True))
    pool.submit(Job("x", log=log, insists=True))

    gate.set()

    wait_until(lambda: job.count("delivered") == 2)
    time.sleep(0.05)
    assert job.count("run") == 2


def test_it_answers_what_cannot_wait_and_does_not_do_it_later() -> None:
    pool, gate = Pool(), threading.Event()
    log: list[Any] = []
    pool.submit(job := Job("x", gate=gate, log=log))
    wait_until(lambda: job.count("run") == 1)
    adoption = Job("x", repeats=False)
    pool.submit(adoption)

    wait_until(lambda: adoption.count("late") == 1)
    gate.set()

    wait_until(lambda: job.count("recovered") == 1)
    assert adoption.count("run") == 0


def test_it_serves_other_lanes_while_one_is_wedged() -> None:
    pool, gate = Pool(), threading.Event()
    stuck = [Job(str(number), gate=gate) for number in range(100)]
    for job in stuck:
        pool.submit(job)

    for number in range(10):
        pool.submit(other := Job(f"other {number}", lane="b"))
        wait_until(lambda other=other: other.count("delivered"), 1)

    wait_until(lambda: all(job.count("late") for job in stuck))
    assert sum(job.count("run") for job in stuck) == LANE_CALLS
    assert pool.threads() <= LANE_CALLS + 4
    gate.set()
    wait_until(lambda: all(job.count("run") for job in stuck))


def test_it_holds_a_path_for_another_process_until_it_is_released() -> None:
    pool = Pool()
    log: list[Any] = []
    since = time.time() - 60
    pool.hold(Job("x", log=log), since)
    pool.submit(job := Job("x", log=log))
    assert log == [("late", "x", since, "")]

    pool.release(["x", "unknown"])

    wait_until(lambda: job.count("delivered") == 1)


def test_it_goes_on_after_a_task_that_failed_by_itself() -> None:
    pool = Pool()
    bad = Job("bad")
    bad.run = lambda: 1 / 0  # type: ignore[method-assign]
    pool.submit(bad)

    pool.submit(good := Job("good"))

    wait_until(lambda: good.count("delivered"))
    assert bad.count("delivered") == 0
    wait_until(lambda: not pool._calls)
