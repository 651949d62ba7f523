"""Speaks to one service by Apprise, in a process of its own. No Django, no secrets.

Reads one order as JSON from stdin and writes one answer as JSON to stdout (`_Answer`).
Apprise's plugins are many and each speaks for itself, so what they do is bounded here
and not asked of them:

- an audit hook judges each address that a socket is about to be connected to, after the
  name was looked up and also behind a redirect;
- nothing is executed, no file is written, and none is read but Python's own: some
  addresses name one, and what stands in it would be sent;
- an answer of HTTP is read up to a size.

It is ended from outside when it takes too long, and ends by itself a little later, for
who should have ended it may have been killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import mimetypes
import os
import resource
import signal
import sys
import sysconfig
import zoneinfo
from dataclasses import asdict, dataclass, field
from typing import Any

from notifications.transports.addresses import why_refused

#: Services that are no service: they would speak to the machine of the console itself,
#: or into the air without an answer, so that nobody could know whether it arrived.
HERE = frozenset(
    {
        "blink1",
        "dbus",
        "gio",
        "glib",
        "gnome",
        "growl",
        "kde",
        "macosx",
        "qt",
        "rsyslog",
        "syslog",
        "windows",
    }
)

#: How much of an answer a plugin may read, and how many log lines are kept.
MOST_BYTES = 1024 * 1024
MOST_LINES = 20

#: When it ends by itself: after who started it would have ended it
#: (apprise.DEADLINE_SECONDS).
LONGEST_SECONDS = 25

#: The longest distance between two requests of one message: Apprise's own would be
#: longer than a message may take, where it goes to several places.
RATE_SECONDS = 0.5

_EXECUTES = (
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.spawn",
    "subprocess.Popen",
)

#: Files that are read besides Python's own: what a name's ending means.
_PUBLIC = frozenset({os.devnull, *map(os.path.realpath, mimetypes.knownfiles)})

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class _Answer:
    """What came of an order.

    ``problem`` says what is wrong with the address; ``refused`` what was not connected
    to. ``statuses`` are those of HTTP in order; ``is_broken`` is true when the last
    request had none, ``is_certain`` false when one may have arrived though no answer
    came.
    """

    is_sent: bool = False
    service: str = ""
    problem: str = ""
    refused: str = ""
    statuses: list[int] = field(default_factory=list)
    retry_after: str = ""
    is_broken: bool = False
    is_certain: bool = True
    lines: list[str] = field(default_factory=list)


class _Guard:
    """Refuses what the process must not do; cannot be taken off again."""

    def __init__(self, answer: _Answer, *, allows_private: bool) -> None:
        self._answer = answer
        self._allows_private = allows_private
        self._readable = _own_files()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
            self._judge(arguments[1])
        elif event.startswith(_EXECUTES):
            raise PermissionError(f"{event} is refused here")
        elif event == "open":
            mode, flags = arguments[1] or "", arguments[2] or 0
            if flags & _WRITES or set(mode) & set("wax+"):
                raise PermissionError("no file is written here")
            self._check_read(arguments[0])

    def _check_read(self, path: Any) -> None:
        """Let Python read its own files only; a number is a file that is open already."""
        if isinstance(path, int):
            return
        real = os.path.realpath(os.fsdecode(path))
        if real not in _PUBLIC and not real.startswith(self._readable):
            raise PermissionError("no file is read here")

    def _judge(self, address: Any) -> None:
        if address is None:
            return
        if not isinstance(address, tuple):
            self._refuse("A socket of this machine is not connected to.")
        host = str(address[0])
        if why := why_refused(host, allows_private=self._allows_private):
            self._refuse(f"{host} {why}, and is not connected to.")

    def _refuse(self, words: str) -> None:
        self._answer.refused = words
        raise PermissionError(words)


def _own_files() -> tuple[str, ...]:
    """Return where Python, its packages and time zones are, each ending with a slash.

    Not all of ``sys.path``: where the console lies, its data may lie as well.
    """
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    places = {
        path
        for variables in (None, base)
        for name, path in sysconfig.get_paths(vars=variables).items()
        if name in {"stdlib", "platstdlib", "purelib", "platlib"}
    }
    places |= {path for path in sys.path if path.endswith("-packages")}
    places |= set(zoneinfo.TZPATH)
    return tuple(f"{os.path.realpath(place)}{os.sep}" for place in places)


class _Lines(logging.Handler):
    """Keeps what Apprise says of it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) < MOST_LINES:
            self._lines.append(record.getMessage()[:1000])


def _bound() -> None:
    """Let the process have no more of the machine than one message needs."""
    signal.alarm(LONGEST_SECONDS)
    for what, most in (
        (resource.RLIMIT_AS, 1 << 30),
        (resource.RLIMIT_CPU, 30),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, hard = resource.getrlimit(what)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (bound, bound))


def _watch_http(answer: _Answer) -> None:
    """Note the status of each answer of HTTP, and read no more of it than a bound."""
    import requests
    from requests.adapters import HTTPAdapter

    original = HTTPAdapter.send

    def send(self: HTTPAdapter, *arguments: Any, **options: Any) -> requests.Response:
        try:
            response = original(self, *arguments, **options)
        except requests.ConnectTimeout:
            answer.is_broken = True
            raise
        except requests.ConnectionError as error:
            answer.is_broken = True
            answer.is_certain &= "NewConnectionError" in repr(error)
            raise
        except requests.RequestException:
            answer.is_broken = True
            answer.is_certain = False
            raise
        answer.is_broken = False
        answer.statuses.append(response.status_code)
        if response.headers.get("Retry-After"):
            answer.retry_after = response.headers["Retry-After"][:80]
        kept: Any = response
        try:
            kept._content = response.raw.read(MOST_BYTES, decode_content=True)  # noqa: SLF001 - what requests itself would set, by a read without a bound
        except Exception:  # noqa: BLE001 - what breaks after the status is no matter
            kept._content = b""  # noqa: SLF001
        kept._content_consumed = True  # noqa: SLF001
        if response.status_code >= 400 and len(answer.lines) < MOST_LINES:
            said = kept._content[:200].decode("utf-8", "replace")  # noqa: SLF001
            answer.lines.append(f"It answered {response.status_code} {said}".strip())
        response.raw.close()
        return response

    HTTPAdapter.send = send  # type: ignore[method-assign]


def _obey(order: dict[str, Any], answer: _Answer) -> None:
    import apprise

    _bound()
    sys.addaudithook(_Guard(answer, allows_private=bool(order["allows_private"])))
    _watch_http(answer)
    log = logging.getLogger("apprise")
    log.handlers = [_Lines(answer.lines)]
    log.setLevel(logging.INFO)
    log.propagate = False

    url = str(order["url"])
    schema, separator, _ = url.partition("://")
    manager: Any = apprise.NotificationManager
    if not separator or schema.lower() not in manager().schemas():
        answer.problem = (
            "Expected an address of Apprise, such as slack://… or json://host/path: "
            "no service of Apprise begins so."
        )
        return
    if schema.lower() in HERE:
        answer.problem = (
            f"Expected a service that answers over the network: {schema.lower()}:// "
            "speaks to this machine, or to nobody in particular."
        )
        return
    asset = apprise.AppriseAsset(
        app_id="StorePointConsole",
        app_desc="Store Point Console",
        app_url=str(order.get("console", "")),
        async_mode=False,
        interpret_escapes=False,
        interpret_emojis=False,
        secure_logging=True,
        default_service_retry=0,
    )
    plugin: Any = apprise.Apprise.instantiate(
        url, asset=asset, suppress_exceptions=True
    )
    if not plugin:
        answer.problem = (
            f"Expected an address of Apprise: this is none that {schema.lower()}:// "
            "understands, or it needs a library that is not installed."
        )
        return
    answer.service = str(plugin.service_name)[:100]
    if not plugin.verify_certificate:
        answer.problem = (
            "Expected an address without verify=no: certificates are verified. If it "
            "comes from an authority of your own, name that authority's file in "
            "SSL_CERT_FILE."
        )
        return
    if order["do"] == "check":
        return
    plugin.request_rate_per_sec = min(plugin.request_rate_per_sec, RATE_SECONDS)
    if "overflow" not in url:
        plugin.overflow_mode = apprise.OverflowMode.TRUNCATE
    services = apprise.Apprise(asset=asset)
    services.add(plugin)
    answer.is_sent = bool(
        services.notify(
            title=order["title"],
            body=order["body"],
            notify_type=apprise.NotifyType(order["type"]),
            # Where a service takes HTML, Apprise escapes what is none.
            body_format=apprise.NotifyFormat.TEXT,
        )
    )


def main() -> None:
    """Obey one order."""
    answer = _Answer()
    # Whatever a plugin prints must not stand in the answer.
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        _obey(json.load(sys.stdin), answer)
    except Exception as error:  # noqa: BLE001 - a plugin's mistake is an answer too
        answer.is_certain = False
        answer.lines.append(f"{type(error).__name__}: {error}"[:1000])
    json.dump(asdict(answer), out)
    out.flush()


if __name__ == "__main__":
    main()
