"""Starting and stopping the agent."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from storepoints import wire
from storepoints.agent import VERSION
from storepoints.agent.config import (
    Configuration,
    ConfigurationError,
    default_path,
    load_configuration,
    readable_by_others,
)
from storepoints.logs import BrokerAwayFilter

logger = logging.getLogger("storepoints.agent")

#: The process ends after this when it is told to stop, whatever hangs.
STOP_SECONDS = 6.0

DESCRIPTION = """\
Probe this server's store points and report what is found to the master server.

The agent fetches orders from its own queue at the broker, looks at the store points
they name (path, volume, identity, mount flags, space, and whether a file can be
written, flushed, read back and removed) and sends what it found, signed with this
server's key. Between orders it watches the mount table, so that an unmount is reported
at once. It keeps no state and needs no database."""

EPILOG = """\
configuration file (TOML, readable by its owner only; the master writes it when a
server is enrolled):
  server                 this server's guid
  name                   this server's name
  key                    the key that orders and reports are signed with
  broker_url             redis://HOST:PORT/DB, rediss://... or redis+socket:///PATH
  hook                   optional: a program that is run when inbound backup of a
                         store point is switched, with its name, its path and
                         "enabled" or "disabled"
  hook_timeout_seconds   optional: how long it may take (30)

environment:
  CONSOLE_AGENT_FILE     the configuration file (default: agent.toml in
                         CONSOLE_DATA_DIR, which is var by default)
  CONSOLE_BROKER_URL     used in place of broker_url (or CONSOLE_BROKER_URL_FILE)

The agent ends with 0 when it is told to stop (SIGTERM, SIGINT), within 10 seconds even
when a probe hangs, and with 2 when the configuration cannot be used."""


def main(arguments: list[str] | None = None) -> int:
    """Run the agent until it is told to stop and return its exit code."""
    # Its own files are its own; what others must read (a store point's `.storepoint`)
    # has its mode set where it is written.
    os.umask(0o077)
    options = _parser().parse_args(arguments)
    path: Path = options.config or default_path(os.environ)
    try:
        configuration = load_configuration(path, os.environ)
        is_readable = readable_by_others(path)
    except ConfigurationError as error:
        print(f"agent: {error}", file=sys.stderr)
        return 2
    is_part_of_up = os.environ.get("CONSOLE_PROCESS") == "agent"
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s agent %(levelname)s: %(message)s",
        # In `up` like every other line on that terminal.
        datefmt="%H:%M:%S" if is_part_of_up else None,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(BrokerAwayFilter())
    if is_readable:
        logger.warning(
            "%s holds this server's key and may be read by others: chmod 600 it", path
        )
    if options.check_config:
        print(f"{path}: the configuration of {configuration.name} can be used.")
        return 0
    return Agent(configuration).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m storepoints.agent",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the configuration file"
    )
    parser.add_argument(
        "--check-config",
        action="store_true",
        help="say whether the configuration can be used, and end",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


class Agent:
    """The Celery worker of this server, its prober and its reporter."""

    def __init__(self, configuration: Configuration) -> None:
        # Celery takes a second to load: a wrong configuration is told before.
        from storepoints.agent.app import make_app, publish
        from storepoints.agent.orders import Inbox
        from storepoints.agent.prober_client import ProberClient
        from storepoints.agent.reporter import BrokerLink, Reporter

        self._configuration = configuration
        self._app = app = make_app(configuration)
        self._inbox = Inbox(configuration)
        link = BrokerLink(app.connection_for_write)

        def send(envelope: wire.Envelope) -> None:
            link.use(lambda connection: publish(app, connection, envelope))

        self._reporter = Reporter(configuration, send)
        self._prober = ProberClient(
            self._reporter,
            server=configuration.server,
            hook=configuration.hook,
            hook_timeout_seconds=configuration.hook_timeout_seconds,
        )
        self._is_stopping = threading.Event()

        @app.task(name=wire.ORDER_TASK, ignore_result=True)
        def carry_out(envelope: object) -> None:
            self.carry_out(envelope)

    def run(self) -> int:
        """Run until SIGTERM or SIGINT and return the exit code."""
        signal.signal(signal.SIGTERM, self._told_to_stop)
        signal.signal(signal.SIGINT, self._told_to_stop)
        self._prober.start()
        self._reporter.start()
        name = self._configuration.name
        print(
            f"{time.strftime('%H:%M:%S')} agent {VERSION} of {name} started"
            f" (pid {os.getpid()})",
            file=sys.stderr,
            flush=True,
        )
        worker = self._app.WorkController(
            pool="solo",
            concurrency=1,
            hostname=f"agent@{self._configuration.server}",
            loglevel=logging.WARNING,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        code = 0
        with contextlib.suppress(SystemExit):
            worker.start()
        if not self._is_stopping.is_set():
            # The worker gave up by itself: whoever supervises starts the agent again.
            code = worker.exitcode or 1
        self._stop()
        return code

    def carry_out(self, envelope: object) -> None:
        """Hand an order on if it is to be believed; returns at once."""
        try:
            order = self._inbox.open(envelope)
        except wire.Refused as refusal:
            logger.warning("order refused: %s", refusal)
            return
        for complaint in order.complaints:
            logger.warning(
                "order %s: a store point is left out: %s", order.id, complaint
            )
        last_report = order.body.get("last_report")
        if isinstance(last_report, int) and 0 < last_report < 2**63 - 2**32:
            self._reporter.go_on_after(last_report)
        if order.kind != "probe":
            self._prober.answer(order.kind, order.id, order.body)
            return
        cause: str = order.body["cause"]
        is_complete = order.body.get("complete") is True
        self._prober.probe(cause, order.store_points, is_complete=is_complete)
        if not order.store_points:
            self._reporter.ping(cause)

    def _told_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        from celery.worker import state

        if not self._is_stopping.is_set():
            self._is_stopping.set()
            state.should_stop = 0  # type: ignore[assignment] # an exit code
            threading.Thread(target=self._stop_hard, daemon=True).start()

    def _stop_hard(self) -> None:
        """Stop the prober now, and the process when it has not ended in time."""
        self._prober.stop()
        timer: Any = threading.Event()
        timer.wait(STOP_SECONDS)
        os._exit(0)

    def _stop(self) -> None:
        self._prober.stop()
        self._reporter.stop()
        with contextlib.suppress(Exception):
            self._app.close()
