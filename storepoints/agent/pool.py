"""Threads for calls that may hang for ever: at most one call per path, ever.

A *lane* holds the calls of one filesystem. However many paths lie on it, no more than
``LANE_CALLS`` of them run at once, so that a dead filesystem with a thousand store
points costs eight threads and the other lanes never wait for it. Threads are added
only while calls wait and the processor does not: a fast disk is served by one.

A call that runs past its deadline is *late*: the pool's own thread says so, the
call's thread is left to its fate, and the path is not touched again until it returns.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

logger = logging.getLogger(__name__)

#: Calls of one filesystem that run at once, stuck ones included.
LANE_CALLS = 8
#: Threads that are not stuck.
HEALTHY_THREADS = 64
#: Threads in all: room for this many divided by eight dead filesystems at once.
ALL_THREADS = 1024
#: How often the pool looks at calls that wait, and at those that only run.
WAITING_TICK_SECONDS = 0.01
RUNNING_TICK_SECONDS = 0.05
#: A thread with nothing to do ends after this.
IDLE_SECONDS = 5.0
#: Virtual; what is not used takes no memory. A marker may nest a thousand deep.
STACK_BYTES = 1024 * 1024


class Task(Protocol):
    """Something to do at a path; its methods are called by the pool's threads."""

    key: str
    lane: str
    deadline_seconds: float
    #: Whether it is worth doing once the call before it came back late.
    repeats: bool

    def run(self) -> object:
        """Do it and return the result, never None; may hang."""

    def deliver(self, result: object, /) -> None:
        """Take the result of a call that was in time."""

    def late(self, since: float, running: Task | None, waiting_for: str, /) -> None:
        """Say that the call does not come back; ``since`` in epoch seconds."""

    def recovered(self) -> None:
        """Take note that a late call came back at last; its result is dropped."""

    def replaces(self, other: Task, /) -> bool:
        """Return whether the other task need not be done when this one is."""

    def covers(self, other: Task, /) -> bool:
        """Return whether the result of this running task is good for the other."""


class _Lane:
    __slots__ = ("is_ready", "late", "name", "queue", "running")

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: deque[_Call] = deque()
        self.running = 0
        self.late = 0
        self.is_ready = False


class _Call:
    __slots__ = ("began", "began_at", "is_late", "lane", "next", "started", "task")

    def __init__(self, task: Task, lane: _Lane | None) -> None:
        self.task = task
        #: None when a thread of another, dying process makes the call.
        self.lane = lane
        self.started = self.is_late = lane is None
        self.began = 0.0
        self.began_at = 0.0
        self.next: list[Task] = []

    def follow(self, task: Task) -> None:
        """Put a task behind this call, or in place of one that waits already."""
        if not self.started and task.replaces(self.task):
            self.task = task
            return
        if self.started and not self.is_late and self.task.covers(task):
            return
        for index, other in enumerate(self.next):
            if task.replaces(other):
                self.next[index] = task
                return
        self.next.append(task)


_Late = tuple[Task, float, Task | None, str]


class Pool:
    """A bounded set of threads that outlives calls which never return."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._watch = threading.Condition(self._lock)
        self._calls: dict[str, _Call] = {}
        self._running: dict[str, _Call] = {}
        self._lanes: dict[str, _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._threads = 0
        self._idle = 0
        self._late = 0
        self._waiting = 0
        threading.stack_size(STACK_BYTES)
        threading.Thread(target=self._watch_calls, name="watch", daemon=True).start()

    def submit(self, task: Task) -> None:
        """Have a task done as soon as its path and its filesystem are free."""
        with self._lock:
            call = self._calls.get(task.key)
            if call is None:
                call = self._enqueue(task)
            elif task.repeats or not call.is_late:
                call.follow(task)
            late = self._why_late(call)
        if late is not None:
            task.late(*late)

    def hold(self, task: Task, since: float) -> None:
        """Count a path as stuck although another process is stuck there, not this."""
        with self._lock:
            if task.key not in self._calls:
                call = self._calls[task.key] = _Call(task, None)
                call.began_at = since

    def release(self, keys: Iterable[str]) -> None:
        """Let go of paths that were held."""
        for key in keys:
            with self._lock:
                call = self._calls.get(key)
                if call is None or call.lane is not None:
                    continue
                del self._calls[key]
            self._go_on(call)

    def stuck(self) -> dict[str, float]:
        """Return the paths whose call is late and since when, in epoch seconds."""
        with self._lock:
            return {
                key: call.began_at for key, call in self._calls.items() if call.is_late
            }

    def threads(self) -> int:
        """Return how many threads there are, stuck ones included."""
        return self._threads

    def _why_late(self, call: _Call) -> tuple[float, Task | None, str] | None:
        if call.is_late:
            return call.began_at, call.task, ""
        lane = call.lane
        if not call.started and lane is not None and lane.late >= LANE_CALLS:
            return self._wedged_since(lane), None, _WEDGED
        return None

    def _wedged_since(self, lane: _Lane) -> float:
        return min(
            call.began_at for call in self._running.values() if call.lane is lane
        )

    def _enqueue(self, task: Task) -> _Call:
        lane = self._lanes.get(task.lane)
        if lane is None:
            lane = self._lanes[task.lane] = _Lane(task.lane)
        call = self._calls[task.key] = _Call(task, lane)
        lane.queue.append(call)
        self._waiting += 1
        self._offer(lane)
        if self._idle:
            self._work.notify()
        elif self._threads == self._late:
            self._add_thread()
        self._watch.notify()
        return call

    def _offer(self, lane: _Lane) -> None:
        if lane.queue and not lane.is_ready and lane.running < LANE_CALLS:
            lane.is_ready = True
            self._ready.append(lane)

    def _add_thread(self) -> None:
        healthy = self._threads - self._late
        if healthy >= HEALTHY_THREADS or self._threads >= ALL_THREADS:
            return
        self._threads += 1
        try:
            threading.Thread(target=self._serve, name="call", daemon=True).start()
        except RuntimeError as error:
            self._threads -= 1
            logger.warning("no further thread for probes: %s", error)

    def _serve(self) -> None:
        while (call := self._take()) is not None:
            result: object = None
            try:
                result = call.task.run()
            except Exception:
                # Nothing is claimed about this one; it goes stale, which is seen.
                logger.exception("the probe of %r failed by itself", call.task.key)
            self._finish(call, result)

    def _take(self) -> _Call | None:
        """Return the next call of the next lane; None when this thread is one too many.

        Lanes take turns, so that a long queue of one does not hold up another.
        """
        with self._lock:
            while not self._ready:
                self._idle += 1
                told = self._work.wait(IDLE_SECONDS)
                self._idle -= 1
                if not told and not self._ready and self._threads - self._late > 1:
                    self._threads -= 1
                    return None
            lane = self._ready.popleft()
            lane.is_ready = False
            call = lane.queue.popleft()
            lane.running += 1
            self._waiting -= 1
            self._offer(lane)
            call.started = True
            call.began = time.monotonic()
            call.began_at = time.time()
            self._running[call.task.key] = call
            return call

    def _finish(self, call: _Call, result: object) -> None:
        task, lane = call.task, call.lane
        # Delivered before the path is free, so that its reports stay in order.
        if result is not None and not call.is_late:
            try:
                task.deliver(result)
            except Exception:
                logger.exception("the result for %r was lost", task.key)
        with self._lock:
            assert lane is not None  # noqa: S101 - only held calls have none
            lane.running -= 1
            if call.is_late:
                lane.late -= 1
                self._late -= 1
            del self._calls[task.key]
            del self._running[task.key]
            self._offer(lane)
            if lane.is_ready and self._idle:
                self._work.notify()
            if not lane.queue and not lane.running:
                del self._lanes[lane.name]
        if call.next or call.is_late:
            self._go_on(call)

    def _go_on(self, call: _Call) -> None:
        """Do what waited for a call that came back, or ask again if it was late."""
        for task in call.next:
            self.submit(task)
        if not call.next and call.is_late:
            call.task.recovered()

    def _watch_calls(self) -> None:
        """Notice late calls, and add threads while calls wait and nobody computes."""
        looked = spent = 0.0
        while True:
            with self._lock:
                while not self._ready and len(self._running) <= self._late:
                    self._watch.wait()
                    looked, spent = time.monotonic(), time.process_time()
                is_waiting = bool(self._ready) and not self._idle
                now, cpu = time.monotonic(), time.process_time()
                if is_waiting and (cpu - spent) < 0.5 * (now - looked):
                    self._add_thread()
                looked, spent = now, cpu
                overdue = self._overdue(now)
            for task, since, running, waiting_for in overdue:
                try:
                    task.late(since, running, waiting_for)
                except Exception:
                    logger.exception("could not say that %r is late", task.key)
            time.sleep(WAITING_TICK_SECONDS if is_waiting else RUNNING_TICK_SECONDS)

    def _overdue(self, now: float) -> list[_Late]:
        found: list[_Late] = []
        wedged: list[_Lane] = []
        for call in self._running.values():
            task, lane = call.task, call.lane
            if call.is_late or lane is None or now - call.began < task.deadline_seconds:
                continue
            call.is_late = True
            self._late += 1
            lane.late += 1
            if lane.late == LANE_CALLS:
                wedged.append(lane)
            found.append((task, call.began_at, task, ""))
            # What a person waits for is answered now, and not done later when nobody
            # expects it any more.
            found += [
                (other, call.began_at, task, "")
                for other in call.next
                if not other.repeats
            ]
            call.next = [other for other in call.next if other.repeats]
        for lane in wedged:
            since = self._wedged_since(lane)
            found += [(call.task, since, None, _WEDGED) for call in lane.queue]
        if found and self._ready and self._threads == self._late:
            self._add_thread()
        return found


_WEDGED = f"not asked: {LANE_CALLS} calls on the same volume do not come back"
