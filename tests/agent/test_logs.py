"""What the libraries say of a broker that is away: one line each, and not often."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
import redis
from django.conf import settings
from kombu.exceptions import OperationalError
from kombu.message import Message

from storepoints.logs import BrokerAwayFilter

LOST = redis.ConnectionError("Error while reading from valkey.sock: (104, 'reset')")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What all loggers say, through the filter."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    handler.addFilter(BrokerAwayFilter())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    return output


def say(name: str, error: BaseException, message: str, *arguments: Any) -> None:
    """Log an error as a library does that has just caught it."""
    logging.getLogger(name).error(message, *arguments, exc_info=error)


class Channel:
    """A channel whose broker is gone."""

    no_ack_consumers = None

    def basic_ack(self, tag: str, *, multiple: bool) -> None:
        raise LOST

    def basic_reject(self, tag: str, *, requeue: bool) -> None:
        raise LOST


@pytest.mark.parametrize("what", ["ack", "reject"])
def test_it_says_in_a_line_that_a_message_was_not_acknowledged(
    said: io.StringIO, what: str
) -> None:
    message = Message(channel=Channel(), delivery_tag="tag")
    logger = logging.getLogger("celery.worker.request")

    getattr(message, f"{what}_log_error")(logger, (redis.ConnectionError,))

    (line,) = said.getvalue().splitlines()
    assert line.startswith(f"celery.worker.request: Couldn't {what} 'tag', reason:")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("celery.worker.consumer.consumer", LOST),
        ("celery.beat", OperationalError("Connection refused")),
        ("celery.worker.loops", ConnectionResetError(104, "reset")),
        ("kombu.asynchronous.hub", BrokenPipeError(32, "Broken pipe")),
        ("kombu.transport.redis", redis.TimeoutError("Timeout reading from socket")),
        ("redis.connection", LOST),
    ],
)
def test_it_says_a_lost_connection_in_one_line(
    said: io.StringIO, name: str, error: Exception
) -> None:
    say(name, error, "it failed:\n%s\n", error)

    assert said.getvalue() == f"{name}: it failed: {error}\n"


def test_it_finds_a_lost_connection_behind_another_error(said: io.StringIO) -> None:
    error = RuntimeError("could not clean up")
    error.__context__ = LOST

    say("celery.worker.loops", error, "cleaning up: %r", error)

    assert len(said.getvalue().splitlines()) == 1


def test_it_leaves_out_the_frames_that_beat_adds(said: io.StringIO) -> None:
    say("celery.beat", LOST, "Message Error: %s\n%s", LOST, ['File "beat.py", line 1'])

    assert said.getvalue() == f"celery.beat: Message Error: {LOST}\n"


def test_it_says_in_a_line_that_the_broker_drops_connections(
    said: io.StringIO,
) -> None:
    error = RuntimeError("5 in 1 s")

    say("celery.worker", error, "Frequent restarts detected: %r", error)

    assert len(said.getvalue().splitlines()) == 1


def test_it_says_it_once_in_a_while(said: io.StringIO) -> None:
    for number in range(3):
        say("kombu.connection", LOST, "attempt %d", number)

    assert said.getvalue() == "kombu.connection: attempt 0\n"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        # A fault of ours, and what is no broker's: a disk, a mail server.
        ("celery.app.trace", ValueError("wrong")),
        ("storepoints.agent.pool", OSError(5, "Input/output error")),
        ("notifications.services.sending", ConnectionRefusedError(111, "refused")),
    ],
)
def test_it_leaves_everything_else_alone(
    said: io.StringIO, name: str, error: Exception
) -> None:
    for _ in range(2):
        try:
            raise error
        except Exception:
            logging.getLogger(name).exception("it failed")

    assert said.getvalue().count("Traceback (most recent call last)") == 2


def test_the_console_says_all_through_it() -> None:
    handlers: Any = settings.LOGGING["handlers"]
    (handler,) = handlers.values()

    assert "broker_away" in handler["filters"]
