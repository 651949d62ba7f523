"""Reports to the master: findings gathered for a moment, signed, and sent.

Nobody waits for the broker: while it is away only the newest finding of each store
point is kept, and everything that is kept goes out when it is back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from storepoints import wire
from storepoints.agent import VERSION
from storepoints.agent.config import Configuration

logger = logging.getLogger("storepoints.agent")

#: A report goes out when nothing came for the first, or this after its first finding.
QUIET_SECONDS = 0.05
LONGEST_SECONDS = 0.2
#: Findings in one report.
MAXIMUM_FINDINGS = 2000
DRAIN_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 3.0

#: Which cause names a report that has findings of several.
_ORDER_OF_CAUSES = ("start", "mount-table", "device", "asked", "due", "answer")

Send = Callable[[wire.Envelope], None]


class Reporter(threading.Thread):
    """Gathers what is to be reported, and sends it when the broker takes it."""

    def __init__(self, configuration: Configuration, send: Send) -> None:
        """``send`` hands an envelope to the broker, or raises."""
        super().__init__(name="reporter", daemon=True)
        self._configuration = configuration
        self._send = send
        self._condition = threading.Condition()
        self._findings: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any]] = []
        self._volumes: list[dict[str, Any]] | None = None
        self._causes: set[str] = {"start"}
        self._first_at: float | None = time.monotonic()
        self._last_at = 0.0
        self._is_stopping = False
        self._is_away = False
        self._sequence = 0
        self._agent = {
            "version": VERSION,
            "hostname": socket.gethostname(),
            "started_at": time.time(),
            "pid": os.getpid(),
        }

    def finding(self, finding: dict[str, Any]) -> None:
        """Report a finding soon."""
        with self._condition:
            self._findings.append(finding)
            if self._is_away and len(self._findings) > MAXIMUM_FINDINGS:
                self._keep_newest()
            self._note(finding["cause"])

    def answer(self, order: str, kind: str, answer: dict[str, Any]) -> None:
        """Report the answer to an order soon."""
        with self._condition:
            self._answers.append({"order": order, "kind": kind, "answer": answer})
            self._note("answer")

    def volumes(self, volumes: list[dict[str, Any]]) -> None:
        """Report the list of volumes with the next report, or by itself soon."""
        with self._condition:
            self._volumes = volumes
            self._note("due")

    def ping(self, cause: str) -> None:
        """Report soon, even if there is nothing to say."""
        with self._condition:
            self._note(cause)

    def stop(self) -> None:
        """Send what is kept, for two seconds at most, and end."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify()
        if self.is_alive():
            self.join(DRAIN_SECONDS)

    def _note(self, cause: str) -> None:
        now = time.monotonic()
        self._causes.add(cause)
        self._last_at = now
        if self._first_at is None:
            self._first_at = now
            self._condition.notify()
        elif len(self._findings) >= MAXIMUM_FINDINGS:
            self._condition.notify()

    def _keep_newest(self) -> None:
        newest: dict[str, dict[str, Any]] = {}
        for finding in self._findings:
            newest.pop(finding["id"], None)
            newest[finding["id"]] = finding
        self._findings = list(newest.values())

    def run(self) -> None:
        """Send reports until told to stop."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            message = self._next()
            if message is None:
                return
            try:
                self._send(self._sealed(message))
            except Exception as error:  # noqa: BLE001 - whatever it is, try again
                self._put_back(message)
                if not self._is_away:
                    self._is_away = True
                    logger.warning("the broker takes no reports: %s", error)
                with self._condition:
                    if self._is_stopping:
                        return
                    self._condition.wait(pause * random.uniform(0.7, 1.3))  # noqa: S311
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                if self._is_away:
                    logger.warning("the broker takes reports again")
                self._is_away = False
                pause = FIRST_PAUSE_SECONDS

    def _next(self) -> dict[str, Any] | None:
        """Wait until a report is due and return it; None at the end."""
        with self._condition:
            while True:
                first = self._first_at
                if first is None:
                    if self._is_stopping:
                        return None
                    self._condition.wait()
                    continue
                due = min(self._last_at + QUIET_SECONDS, first + LONGEST_SECONDS)
                wait = due - time.monotonic()
                if (
                    wait <= 0
                    or self._is_stopping
                    or len(self._findings) >= MAXIMUM_FINDINGS
                ):
                    return self._take()
                self._condition.wait(wait)

    def _take(self) -> dict[str, Any]:
        findings = self._findings[:MAXIMUM_FINDINGS]
        self._findings = self._findings[MAXIMUM_FINDINGS:]
        message = {
            "cause": next(c for c in _ORDER_OF_CAUSES if c in self._causes),
            "findings": findings,
            "volumes": self._volumes,
            "answers": self._answers,
        }
        self._volumes, self._answers = None, []
        if self._findings:
            self._causes = {finding["cause"] for finding in self._findings}
        else:
            self._causes, self._first_at = set(), None
        return message

    def _put_back(self, message: dict[str, Any]) -> None:
        with self._condition:
            self._findings = message["findings"] + self._findings
            self._keep_newest()
            self._answers = message["answers"] + self._answers
            if self._volumes is None:
                self._volumes = message["volumes"]
            self._causes.add(message["cause"])
            self._first_at = self._first_at or time.monotonic()

    def go_on_after(self, sequence: int) -> None:
        """Take higher numbers than the master has recorded, though the clock went back."""
        with self._condition:
            self._sequence = max(self._sequence, sequence)

    def _sealed(self, message: dict[str, Any]) -> wire.Envelope:
        self._sequence = max(self._sequence + 1, time.time_ns())
        return wire.seal(
            {
                "kind": "report",
                "sequence": self._sequence,
                "sent_at": time.time(),
                "agent": self._agent,
                **message,
            },
            server=self._configuration.server,
            key=self._configuration.key,
        )


class BrokerLink:
    """The reporter's own connection; opened again after every error."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._connection: Any = None

    def use(self, work: Callable[[Any], None]) -> None:
        """Do something with the connection, and close it when that fails."""
        if self._connection is None:
            self._connection = self._connect()
        try:
            work(self._connection)
        except Exception:
            connection, self._connection = self._connection, None
            with contextlib.suppress(Exception):
                connection.release()
            raise
