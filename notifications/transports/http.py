"""The one door for outgoing HTTP: what is behind an address is checked, and bounded.

1. The name is looked up once, and every address it has is judged
   (`addresses.why_refused`). One that is refused refuses them all.
2. The connection goes to the address that was judged, never to a second look-up. With
   TLS the certificate must be valid for the name, as urllib3 has it for a pinned host.
3. Connecting, each read and the whole have a time; an answer is read up to a size.
4. A redirect is another request through this door, to what the answer says: never from
   https to http, and with a body only where the method stays (307, 308).

No proxy is used, and nothing of the address but scheme, host and port stands in words:
the rest of it is often a password.
"""

from __future__ import annotations

import base64
import contextlib
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NewConnectionError,
    ReadTimeoutError,
)
from urllib3.exceptions import SSLError as TlsError
from urllib3.util import Url, parse_url

from console import __version__
from notifications.transports.addresses import why_refused
from notifications.transports.deadline import Deadline

#: How long connecting to one address may take, and then each read.
CONNECT_SECONDS = 5
READ_SECONDS = 10

#: How long all of it may take: the name, redirects, the answer. Shorter than a lease
#: (engine.LEASE), so that who sends still holds what is being sent.
DEADLINE_SECONDS = 20

#: How much of an answer is read. What comes after is nobody's business here.
MOST_BYTES = 64 * 1024

#: How much of an answer is shown.
ANSWER_LENGTH = 300

#: How many redirects are followed.
HOPS = 3

#: How many addresses of one name are tried.
TRIED = 3

_KEEP_METHOD = frozenset({307, 308})
_BECOME_GET = frozenset({301, 302, 303})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. ``text`` is the beginning of its body, as one line.

    ``retry_after`` is that header as it came, "" without.
    """

    status: int
    reason: str
    text: str
    retry_after: str
    where: str

    @property
    def words(self) -> str:
        """Return it as a person reads it: "404 Not Found: no such hook"."""
        line = f"{self.status} {self.reason}".strip()
        return f"{line}: {self.text}" if self.text else line


class NoAnswer(Exception):
    """There is no answer: in words, and what to do.

    ``is_certain`` is false when the request may have arrived all the same;
    ``is_refused`` is true when this door has not let it out.
    """

    def __init__(
        self,
        words: str,
        cure: str,
        *,
        is_certain: bool = True,
        is_refused: bool = False,
    ) -> None:
        """Keep what is known about it."""
        super().__init__(words)
        self.words = words
        self.cure = cure
        self.is_certain = is_certain
        self.is_refused = is_refused


def read_url(text: str) -> Url:
    """Return a URL in its parts; raises ValueError that says what was expected."""
    expected = "Expected an address such as https://hooks.example.org/path"
    if any(ord(character) <= 32 or ord(character) == 127 for character in text):
        raise ValueError(f"{expected}, without spaces and control characters.")
    try:
        url = parse_url(text)
    except LocationParseError:
        raise ValueError(f"{expected}.") from None
    if url.scheme not in {"http", "https"}:
        raise ValueError(f"{expected}: it has to begin with https:// or http://.")
    if not url.host:
        raise ValueError(f"{expected}, with the name of a host.")
    return url


def where_of(url: Url) -> str:
    """Return the part of an address that may be shown: scheme, host and port."""
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{url.host}{port}"


def request(
    method: str,
    address: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    allows_private: bool = False,
) -> Answer:
    """Send one request and return the answer; raises NoAnswer.

    Blocks for at most 20 s. ``address`` is a URL that `read_url` accepts.
    """
    try:
        url = read_url(address)
    except ValueError as error:
        raise NoAnswer(
            f"The address is none. {error}", "Type it again.", is_refused=True
        ) from None
    ends_at = time.monotonic() + DEADLINE_SECONDS
    with Deadline(DEADLINE_SECONDS) as deadline:
        door = _Door(deadline, ends_at, allows_private=allows_private)
        for _hop in range(HOPS + 1):
            answer, to = door.pass_through(method, url, body, dict(headers or {}))
            if to is None:
                return answer
            url = _next(url, to, answer)
            if answer.status in _BECOME_GET:
                if body is not None:
                    raise _redirected(answer, url)
                method = "GET" if method != "HEAD" else method
        raise NoAnswer(
            f"{answer.where} redirects again and again.",
            "Type the address that it leads to in the end.",
            is_refused=True,
        )


def _redirected(answer: Answer, to: Url) -> NoAnswer:
    return NoAnswer(
        f"{answer.where} answered {answer.status}, a redirect to {where_of(to)} that a "
        "message cannot follow.",
        "Type the address that it leads to.",
        is_refused=True,
    )


def _next(url: Url, to: str, answer: Answer) -> Url:
    try:
        found = read_url(urljoin(url.url, to))
    except ValueError:
        raise NoAnswer(
            f"{answer.where} redirects to what is no address.",
            "Ask whoever runs it.",
            is_refused=True,
        ) from None
    if url.scheme == "https" and found.scheme == "http":
        raise NoAnswer(
            f"{answer.where} redirects to {where_of(found)}, which is not encrypted.",
            "Type an address that begins with https:// to the end.",
            is_refused=True,
        )
    # Who is redirected elsewhere does not take a password along.
    return found._replace(auth=url.auth if _is_same_place(found, url) else None)


def _is_same_place(one: Url, other: Url) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


class _Door:
    """One request with its redirects: the deadline it has, and what it may reach."""

    def __init__(
        self, deadline: Deadline, ends_at: float, *, allows_private: bool
    ) -> None:
        self._deadline = deadline
        self._ends_at = ends_at
        self._allows_private = allows_private

    def pass_through(
        self, method: str, url: Url, body: bytes | None, headers: dict[str, str]
    ) -> tuple[Answer, str | None]:
        """Send to one place; return its answer, and where it redirects to."""
        where = where_of(url)
        host = (url.host or "").strip("[]")
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = self._judged(host, port, where)
        headers = {
            "User-Agent": f"StorePointConsole/{__version__}",
            # No encoding: a small answer must not become a large one here.
            "Accept-Encoding": "identity",
            **headers,
            "Host": url.netloc or host,
        }
        if url.auth:
            # In UTF-8 (RFC 7617): urllib3 would fail at what Latin-1 does not have.
            basic = base64.b64encode(unquote(url.auth).encode("utf-8", "replace"))
            headers["Authorization"] = f"Basic {basic.decode()}"
        for number, address in enumerate(addresses, 1):
            try:
                with contextlib.closing(self._pool(url, host, address, port)) as pool:
                    return self._ask(pool, method, url, body, headers, where)
            except (ConnectTimeoutError, NewConnectionError) as error:
                if number == len(addresses) or self._is_over():
                    raise self._explain(error, where) from error
            except (HTTPError, OSError, ValueError) as error:
                raise self._explain(error, where) from error
        raise AssertionError("expected a name with addresses")

    def _judged(self, host: str, port: int, where: str) -> list[str]:
        """Return the addresses of a name, each of which may be connected to."""
        found = self._look_up(host, port, where)
        for address in found:
            why = why_refused(address, allows_private=self._allows_private)
            if why:
                # Who typed a name has to know which of its addresses is meant.
                shown = f"{host} ({address})" if address != host else host
                raise NoAnswer(
                    f"{shown} {why}, and is not connected to.",
                    "Allow addresses of this machine and of private networks for it, "
                    "if that is meant."
                    if why_refused(address, allows_private=True) == ""
                    else "Type another address.",
                    is_refused=True,
                )
        return found[:TRIED]

    def _look_up(self, host: str, port: int, where: str) -> list[str]:
        """Ask for a name's addresses, for no longer than there is time.

        The system's resolver cannot be told how long it may take, so it is asked in a
        thread that is left to itself when it takes too long.
        """
        answer: queue.Queue[list[str] | OSError | UnicodeError] = queue.Queue()

        def ask() -> None:
            try:
                rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                answer.put(list(dict.fromkeys(str(row[4][0]) for row in rows)))
            except (OSError, UnicodeError) as error:
                answer.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            found = answer.get(timeout=max(0.1, self._left()))
        except queue.Empty:
            raise self._too_slow(where) from None
        if isinstance(found, list) and found:
            return found
        raise NoAnswer(
            f"There is no address for the host name {host}.",
            "Check the spelling of the host, and this machine's name resolution.",
        ) from (found if isinstance(found, Exception) else None)

    def _pool(self, url: Url, host: str, address: str, port: int) -> Any:
        """Return a pool that connects to this address, and to no other."""
        deadline = self._deadline
        timeout = urllib3.Timeout(
            connect=min(CONNECT_SECONDS, self._left()),
            read=min(READ_SECONDS, self._left()),
        )
        if url.scheme == "http":

            class Plain(_Watched, HTTPConnection):
                watching = deadline

            plain = urllib3.HTTPConnectionPool(
                address, port, timeout=timeout, maxsize=1
            )
            plain.ConnectionCls = Plain
            return plain

        class Tls(_Watched, HTTPSConnection):
            watching = deadline

        secure = urllib3.HTTPSConnectionPool(
            address,
            port,
            timeout=timeout,
            maxsize=1,
            # The system's authorities, or those of SSL_CERT_FILE, as for mail.
            ssl_context=ssl.create_default_context(),
            server_hostname=host,
        )
        secure.ConnectionCls = Tls
        return secure

    def _ask(
        self,
        pool: Any,
        method: str,
        url: Url,
        body: bytes | None,
        headers: dict[str, str],
        where: str,
    ) -> tuple[Answer, str | None]:
        response = pool.urlopen(
            method,
            url.request_uri,
            body=body,
            headers=headers,
            redirect=False,
            retries=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
        if self._is_over():
            # Broken off within its headers, which looks like their end.
            response.close()
            raise self._too_slow(where, is_certain=False)
        to = response.headers.get("Location")
        is_redirect = response.status in _KEEP_METHOD | _BECOME_GET and to
        answer = Answer(
            status=response.status,
            reason=plain(response.reason or "", 80),
            text="" if is_redirect else plain(_beginning_of(response)),
            retry_after=plain(response.headers.get("Retry-After") or "", 80),
            where=where,
        )
        return answer, to if is_redirect else None

    def _left(self) -> float:
        return max(0.1, self._ends_at - time.monotonic())

    def _is_over(self) -> bool:
        return self._deadline.is_over or time.monotonic() >= self._ends_at

    def _too_slow(self, where: str, *, is_certain: bool = True) -> NoAnswer:
        return NoAnswer(
            f"{where} did not answer within {DEADLINE_SECONDS} s.",
            "Nothing: it is tried again by itself. If it goes on, ask whoever runs it.",
            is_certain=is_certain,
        )

    def _explain(self, error: Exception, where: str) -> NoAnswer:
        """Return what a failure means, without the address that urllib3 puts in."""
        if self._is_over():
            return self._too_slow(where, is_certain=False)
        if isinstance(error, NewConnectionError):
            return NoAnswer(
                f"Nothing answers at {where}: the connection was not accepted.",
                "Check host and port, and that it is running.",
            )
        if isinstance(error, ConnectTimeoutError):
            return NoAnswer(
                f"{where} did not answer within {CONNECT_SECONDS} s.",
                "Check host and port, and that no firewall is in between.",
            )
        if isinstance(error, TlsError):
            return _explain_tls(error, where)
        if isinstance(error, ReadTimeoutError):
            return NoAnswer(
                f"{where} did not answer within {READ_SECONDS} s.",
                "Nothing: it is tried again by itself. If it goes on, ask whoever runs "
                "it.",
                is_certain=False,
            )
        return NoAnswer(
            f"The connection to {where} broke ({type(error).__name__}).",
            "Nothing: it is tried again by itself. If it goes on, check the port, and "
            "whether it is https:// or http://.",
            is_certain=False,
        )


class _Watched:
    """A connection that a deadline watches from its first byte."""

    watching: Deadline

    def _new_conn(self) -> socket.socket:
        line: socket.socket = super()._new_conn()  # type: ignore[misc]  # urllib3's own seam, which its SOCKS support uses too
        self.watching.watch(line)
        return line


def _explain_tls(error: TlsError, where: str) -> NoAnswer:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        inner = next((each for each in cause.args if isinstance(each, Exception)), None)
        cause = inner or cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NoAnswer(
            f"The certificate of {where} is not valid: {cause.verify_message}.",
            "Use the host name that stands in the certificate. If it comes from an "
            "authority of your own, name that authority's file in SSL_CERT_FILE.",
        )
    reason = getattr(cause, "reason", None) or type(error).__name__
    return NoAnswer(
        f"TLS with {where} failed: {reason}.",
        "Check the port, and whether it is https:// or http://.",
    )


def _beginning_of(response: Any) -> str:
    """Return the beginning of an answer's body; what breaks after the status is no matter."""
    kept = bytearray()
    with contextlib.suppress(HTTPError, OSError, ValueError):
        while len(kept) < MOST_BYTES:
            piece = response.read(min(8192, MOST_BYTES - len(kept)))
            if not piece:
                break
            kept += piece
    # Not given back to be used again: there may be more of it than anybody wants.
    response.close()
    return kept.decode("utf-8", "replace")


def plain(text: str, most: int = ANSWER_LENGTH) -> str:
    """Return text from outside as one line without control characters."""
    line = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text[: most * 4]).strip()
    return line if len(line) <= most else f"{line[: most - 1]}…"
