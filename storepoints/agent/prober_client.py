"""The agent's side of the prober: starts it, feeds it, replaces it when it dies.

The prober may die (or be killed) at any moment, and when one of its threads is stuck in
the kernel it does not even go away. The next one is told which paths the one before
is stuck on, so that no second call is made there, and is let at them when it is gone.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import storepoints
from storepoints.agent.messages import tidy_path
from storepoints.agent.tasks import INSPECT_DEADLINE_SECONDS, not_responding_answer

logger = logging.getLogger("storepoints.agent")

LOOK_SECONDS = 0.5
#: A prober that says nothing for so long is replaced.
SILENCE_SECONDS = 10.0
#: Orders that a person waits for are answered after this, whatever happens.
ANSWER_SECONDS = INSPECT_DEADLINE_SECONDS + 1.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
#: A prober that lived as long as this is started again without a pause.
LONG_LIFE_SECONDS = 10.0
STOP_SECONDS = 1.0
#: What the prober may say ahead of being heard; the most that the kernel gives anybody.
PIPE_BYTES = 1024 * 1024


class Sink(Protocol):
    """Where what the prober found goes to."""

    def finding(self, finding: dict[str, Any]) -> None:
        """Take the finding on a store point."""

    def answer(self, order: str, kind: str, answer: dict[str, Any]) -> None:
        """Take the answer to an order."""

    def volumes(self, volumes: list[dict[str, Any]]) -> None:
        """Take the list of this machine's volumes."""


class ProberClient:
    """One prober at a time, and what it has to know when it is replaced."""

    def __init__(
        self, sink: Sink, *, server: str, hook: str, hook_timeout_seconds: float
    ) -> None:
        self._sink = sink
        self._server = server
        self._settings = {
            "do": "settings",
            "server": server,
            "hook": hook,
            "hook_timeout_seconds": hook_timeout_seconds,
        }
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_stopping = threading.Event()
        self._child: _Child | None = None
        self._store_points: dict[str, dict[str, Any]] = {}
        self._stuck: dict[str, float] = {}
        self._unanswered: dict[str, tuple[float, dict[str, Any]]] = {}
        self._leaving: list[tuple[_Child, list[str]]] = []
        # The kernel ties the prober's life to the thread that started it, so all are
        # started by this one, which lives as long as the agent.
        self._thread = threading.Thread(
            target=self._look_after, name="prober", daemon=True
        )

    def start(self) -> None:
        """Start the prober, and a thread that keeps one running."""
        self._thread.start()

    def stop(self) -> None:
        """End the prober; waits a second for it and never for its threads."""
        self._is_stopping.set()
        self._wake.set()
        # Its own thread ends it: the kernel kills the prober when that thread is gone.
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(2 * STOP_SECONDS)

    @property
    def pid(self) -> int | None:
        """Return the process id of the prober that runs now."""
        child = self._child
        return child.process.pid if child is not None else None

    def probe(
        self, cause: str, store_points: list[dict[str, Any]], *, is_complete: bool
    ) -> None:
        """Have store points probed; a complete list makes the others forgotten."""
        entries = {entry["id"]: entry for entry in store_points}
        with self._lock:
            known = self._store_points
            # The prober knows the others: ten thousand would be megabytes each time.
            changed = [
                entry for name, entry in entries.items() if known.get(name) != entry
            ]
            self._store_points = entries if is_complete else {**known, **entries}
            if is_complete:
                paths = {tidy_path(entry["path"]) for entry in entries.values()}
                self._stuck = {
                    path: since for path, since in self._stuck.items() if path in paths
                }
            self._tell(
                _probe_order(cause, list(entries), changed, is_complete=is_complete)
            )

    def answer(self, kind: str, order: str, body: dict[str, Any]) -> None:
        """Have a directory inspected, adopted or re-adopted; the answer goes to the sink."""
        message = {
            "do": kind,
            "order": order,
            "path": body["path"],
            "id": body.get("id", ""),
            "name": body.get("name", ""),
            "volume": body.get("volume"),
            "looks": body.get("looks") is True,
            "expects": body.get("expects") or {},
            "server": self._server,
        }
        with self._lock:
            self._unanswered[order] = (time.monotonic() + ANSWER_SECONDS, message)
            self._tell(message)
        self._wake.set()

    def _tell(self, message: dict[str, Any]) -> None:
        if self._child is not None:
            self._child.tell(message)

    # -- what the prober says -----------------------------------------------------

    def _heard(self, child: _Child, message: dict[str, Any]) -> None:
        if child is not self._child:
            return
        match message["is"]:
            case "finding":
                finding = message["finding"]
                entry = self._store_points.get(finding["id"])
                if entry is None:
                    # Forgotten while it was probed.
                    return
                with self._lock:
                    # Also of one whose verdict was known before the call began.
                    path = tidy_path(entry["path"])
                    if finding["since"] is not None:
                        self._stuck[path] = finding["since"]
                    else:
                        self._stuck.pop(path, None)
                self._sink.finding(finding)
            case "answer":
                with self._lock:
                    asked = self._unanswered.pop(message["order"], None)
                if asked is not None:
                    self._sink.answer(
                        message["order"], message["kind"], message["answer"]
                    )
            case "volumes":
                self._sink.volumes(message["volumes"])

    # -- the prober's life --------------------------------------------------------

    def _look_after(self) -> None:
        pause = 0.0
        while not self._is_stopping.is_set():
            try:
                started = time.monotonic()
                child = _Child(self._heard, self._wake)
                self._introduce(child)
                while not self._is_stopping.is_set() and child.is_well():
                    self._wake.wait(LOOK_SECONDS)
                    self._wake.clear()
                    self._see_off()
                    self._answer_overdue()
                if self._is_stopping.is_set():
                    child.end()
                    return
                self._part(child)
            except Exception:
                logger.exception("the prober could not be started")
            lived = time.monotonic() - started
            if lived > LONG_LIFE_SECONDS:
                pause = 0.0
            elif self._wait(pause):
                return
            pause = min(max(2 * pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)

    def _wait(self, seconds: float) -> bool:
        """Wait and return whether the agent is to stop."""
        until = time.monotonic() + seconds
        while not self._is_stopping.is_set() and (left := until - time.monotonic()) > 0:
            self._wake.wait(min(left, LOOK_SECONDS))
            self._wake.clear()
            self._answer_overdue()
        return self._is_stopping.is_set()

    def _introduce(self, child: _Child) -> None:
        """Tell a new prober all that the one before it knew."""
        with self._lock:
            child.tell(self._settings)
            by_path = {
                tidy_path(entry["path"]): entry for entry in self._store_points.values()
            }
            held = [
                {"store_point": by_path[path], "since": self._stuck[path]}
                for _, paths in self._leaving
                for path in paths
                if path in by_path and path in self._stuck
            ]
            if held:
                child.tell({"do": "hold", "paths": held})
            if self._store_points:
                everything = list(self._store_points.values())
                ids = list(self._store_points)
                child.tell(_probe_order("due", ids, everything, is_complete=True))
            for _, message in self._unanswered.values():
                child.tell(message)
            self._child = child

    def _part(self, child: _Child) -> None:
        with self._lock:
            self._child = None
            paths = list(self._stuck)
        logger.warning("the prober %s: starting another one", child.how_it_ended())
        child.kill()
        if not child.is_gone():
            self._leaving.append((child, paths))

    def _see_off(self) -> None:
        """Let the prober at the paths of those before it that are gone at last."""
        for leaving in list(self._leaving):
            child, paths = leaving
            if child.is_gone():
                self._leaving.remove(leaving)
                still = {path for _, others in self._leaving for path in others}
                with self._lock:
                    self._tell({"do": "release", "paths": sorted(set(paths) - still)})

    def _answer_overdue(self) -> None:
        now = time.monotonic()
        with self._lock:
            overdue = {
                order: message
                for order, (until, message) in self._unanswered.items()
                if until < now
            }
            for order in overdue:
                del self._unanswered[order]
        for order, message in overdue.items():
            answer = not_responding_answer(message["do"], message)
            self._sink.answer(order, message["do"], answer)


def _probe_order(
    cause: str, ids: list[str], changed: list[dict[str, Any]], *, is_complete: bool
) -> dict[str, Any]:
    return {
        "do": "probe",
        "cause": cause,
        "complete": is_complete,
        "ids": ids,
        "store_points": changed,
    }


class _Child:
    """One prober process with the two threads that talk to it."""

    def __init__(
        self, heard: Callable[[_Child, dict[str, Any]], None], wake: threading.Event
    ) -> None:
        self._heard = heard
        self._wake = wake
        self._outbox: collections.deque[bytes] = collections.deque()
        self._has_mail = threading.Event()
        self._is_over = False
        self._heard_at = time.monotonic()
        root = str(Path(storepoints.__file__).resolve().parent.parent)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                part for part in (root, os.environ.get("PYTHONPATH")) if part
            ),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "storepoints.agent.prober", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=PIPE_BYTES,
            env=environment,
            # A working directory on a volume would keep it from being unmounted.
            cwd="/",
        )
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        os.set_blocking(self.process.stdin.fileno(), False)
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        for target in (self._listen, self._talk):
            threading.Thread(target=target, name="prober pipe", daemon=True).start()

    def tell(self, message: dict[str, Any]) -> None:
        """Put a message on its way; never waits."""
        self._outbox.append(json.dumps(message).encode("ascii") + b"\n")
        self._has_mail.set()

    def is_well(self) -> bool:
        """Return whether it runs and talks."""
        if self._is_over or self._is_dead():
            return False
        return time.monotonic() - self._heard_at < SILENCE_SECONDS

    def is_gone(self) -> bool:
        """Return whether the process has left, with all its threads."""
        return self.process.poll() is not None

    def how_it_ended(self) -> str:
        """Return what became of it, in words."""
        if self._is_dead():
            code = self.process.poll()
            if code is None:
                return "was killed while a call hangs"
            return f"was ended by signal {-code}" if code < 0 else f"exited {code}"
        return f"said nothing for {SILENCE_SECONDS:g} s"

    def kill(self) -> None:
        """Kill it without waiting for threads that hang."""
        self._is_over = True
        self._has_mail.set()
        with contextlib.suppress(OSError):
            self.process.send_signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.2)

    def end(self) -> None:
        """Close its input, so that it ends its hooks and itself, then kill it."""
        self._is_over = True
        self._has_mail.set()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self.kill()

    def _is_dead(self) -> bool:
        """Return whether it has ended, even if a thread of it still hangs.

        Such a process is a zombie that cannot be waited for yet.
        """
        if self.process.poll() is not None:
            return True
        try:
            status = Path(f"/proc/{self.process.pid}/stat").read_bytes()
        except OSError:
            return True
        return status[status.rindex(b")") + 2 :][:1] in (b"Z", b"X")

    def _listen(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        with self.process.stdout as lines:
            for line in lines:
                self._heard_at = time.monotonic()
                try:
                    self._heard(self, json.loads(line))
                except Exception:
                    logger.exception("the prober was not understood")
        self._is_over = True
        self._has_mail.set()
        self._wake.set()

    def _talk(self) -> None:
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        pipe = self.process.stdin.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLOUT)
        with self.process.stdin, contextlib.suppress(BrokenPipeError):
            while not self._is_over:
                self._has_mail.wait()
                self._has_mail.clear()
                while self._outbox and not self._is_over:
                    rest = memoryview(self._outbox.popleft())
                    while rest and not self._is_over:
                        # A prober that does not read must not hold up this thread
                        # for ever: it is replaced, and its pipe may stay full.
                        if poll.poll(1000):
                            rest = rest[os.write(pipe, rest[:65536]) :]
