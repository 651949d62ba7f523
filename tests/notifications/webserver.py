"""A real HTTP server that can be told to misbehave, in this process."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: What a handler may return instead of an answer: break the connection.
DROP = 0
#: ... or say nothing for longer than anybody waits.
HANG = -1


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What to answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    #: Sent again and again until nobody listens any more.
    is_endless: bool = False


class WebServer:
    """Answers on a free port of 127.0.0.1 (or ::1) and keeps what it was asked.

    ``on_request`` is given each request and returns the answer: a Reply, a status,
    DROP or HANG. What it drops or hangs on is kept as well.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.on_request: Callable[[Request], Reply | int] = lambda request: 200
        self.hang_seconds = 3.0
        self._stopping = threading.Event()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(
                    self.command,
                    self.path,
                    dict(self.headers.items()),
                    self.rfile.read(length),
                )
                owner.requests.append(request)
                reply = owner.on_request(request)
                if isinstance(reply, int):
                    if reply in {DROP, HANG}:
                        if reply == HANG:
                            owner._stopping.wait(owner.hang_seconds)
                        self.close_connection = True
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                    reply = Reply(reply)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if not reply.is_endless:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                while True:
                    self.wfile.write(reply.body)
                    if not reply.is_endless or owner._stopping.is_set():
                        return

            do_GET = do_POST = do_HEAD = answer  # noqa: N815 (http.server's names)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: Any) -> None:
                """Say nothing: whoever asked has gone."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait_for(self, count: int, seconds: float = 10) -> None:
        """Wait until it was asked so many times."""
        end = time.monotonic() + seconds
        while len(self.requests) < count:
            assert time.monotonic() < end, f"{len(self.requests)} of {count} requests"
            time.sleep(0.01)
