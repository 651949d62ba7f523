"""The environment variables of the console, each declared once.

`read()` parses them all and either returns an `Environment` or raises `Misconfigured`
with one line per mistake: the name, the value (never a secret) and what was expected.
Any variable can also be given as NAME_FILE, the path of a file that holds the value.
`docs/configuration.md` is generated from the declarations in `VARIABLES`.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
import re
import secrets
import socket
import stat
import tempfile
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

from environs import FileAwareEnv

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parent.parent
PREFIX = "CONSOLE_"

#: sockaddr_un.sun_path holds 108 bytes with its final NUL on Linux (unix(7)) and 104
#: on macOS and the BSDs; Valkey appends nothing, so this leaves a little room on both.
MAXIMUM_SOCKET_PATH_BYTES = 100

#: Django's own insecure default has 50 characters; fewer than 32 can be guessed offline
#: and `check --deploy` (security.W009) wants at least 50.
MINIMUM_SECRET_KEY_CHARACTERS = 50

#: More would be a mistake, and each one is a header's entry that is believed.
MOST_PROXIES = 9

#: Commands that make no data directory and no secret key: they only look or explain.
LOOKING_COMMANDS = {"doctor", "help", "version", "write_configuration_docs"}
#: Set for the second half of `manage.py demo`, which runs in a directory of its own; the
#: first half only looks.
STAGE_VARIABLE = "DEMO_OF_THE_CONSOLE"

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql")
BROKER_SCHEMES = {
    "redis": "redis",
    "valkey": "redis",
    "rediss": "rediss",
    "valkeys": "rediss",
    "unix": "redis+socket",
    "redis+socket": "redis+socket",
}

#: Read elsewhere, so not declared here, but not misspelt either.
READ_ELSEWHERE = {
    "CONSOLE_ADMIN_PASSWORD": "the password for `manage.py create_administrator`",
    "CONSOLE_PROCESS": "the name in log lines; `manage.py up` sets it",
}
#: Switches of the test suite.
TEST_PREFIX = "CONSOLE_TEST_"


class Misconfigured(Exception):
    """The environment is wrong; the text says what and what was expected."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Take one line for each mistake."""
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"The configuration is wrong:\n{lines}")


class Unparsable(ValueError):
    """A parser's refusal; the text finishes the sentence "expected …"."""


class Listen(NamedTuple):
    """The address that web listens on: a host name or IP address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return HOST:PORT, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Variable(Generic[T]):
    """One environment variable: how it is read and what the documentation says."""

    name: str
    parse: Callable[[str], T]
    default: str
    help: str
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class Environment:
    """What the environment says, parsed, with every default filled in."""

    data_dir: Path
    database_url: str
    broker_url: str
    is_broker_embedded: bool
    broker_socket: Path
    listen: Listen
    secret_key: str
    allowed_hosts: tuple[str, ...]
    public_url: str
    agent_file: Path
    is_debug: bool
    time_zone: str
    log_level: str
    trusted_proxies: int


# --- parsers ---------------------------------------------------------------------------


def parse_path(value: str) -> Path:
    """Return an absolute path; `~` is expanded, a relative one starts at the cwd."""
    if "\0" in value:
        raise Unparsable("a path without NUL bytes")
    path = Path(value).expanduser()
    return path if path.is_absolute() else Path.cwd() / path


def parse_data_dir(value: str) -> Path:
    """Return the path of a directory that is there or can be made."""
    path = parse_path(value)
    if path.exists() and not path.is_dir():
        raise Unparsable("the path of a directory, and this is not one")
    return path


def parse_boolean(value: str) -> bool:
    """Return True for true, yes, on, 1; False for false, no, off, 0."""
    word = value.lower()
    if word in {"true", "yes", "on", "1"}:
        return True
    if word in {"false", "no", "off", "0"}:
        return False
    raise Unparsable("on or off (true, yes, 1, false, no, 0 are understood too)")


def parse_listen(value: str) -> Listen:
    """Return the host and port of HOST:PORT, HOST or PORT; `[::1]:8000` for IPv6."""
    expected = "HOST:PORT such as 127.0.0.1:8000 or [::1]:8000, the port 1 to 65535"
    if re.fullmatch(r"\d+", value):
        host, digits = "127.0.0.1", value
    else:
        found = re.fullmatch(
            r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<name>[\w.*-]+)):(?P<port>\d+)",
            value,
        )
        if found is None:
            raise Unparsable(expected)
        host, digits = found["six"] or found["name"], found["port"]
    host = "0.0.0.0" if host == "*" else host  # noqa: S104 (asked for by name)
    if not 1 <= int(digits) <= 65535:
        raise Unparsable(expected)
    return Listen(host, int(digits))


def listen_argument(value: str) -> Listen:
    """Return the address of a `--listen` option; the `type` of argparse."""
    try:
        return parse_listen(value)
    except Unparsable as error:
        raise argparse.ArgumentTypeError(f"{value!r}: expected {error}") from None


def parse_proxies(value: str) -> int:
    """Return how many proxies stand in front of web."""
    if not re.fullmatch(r"\d{1,2}", value) or int(value) > MOST_PROXIES:
        raise Unparsable(f"how many proxies stand in front, 0 to {MOST_PROXIES}")
    return int(value)


def parse_secret_key(value: str) -> str:
    """Return a key that is long enough to sign sessions with."""
    if len(value) < MINIMUM_SECRET_KEY_CHARACTERS or len(set(value)) < 5:
        raise Unparsable(
            f"at least {MINIMUM_SECRET_KEY_CHARACTERS} random characters (leave it"
            " unset and the console makes one itself)"
        )
    return value


def parse_hosts(value: str) -> tuple[str, ...]:
    """Return host names from a list separated by commas."""
    hosts = tuple(host.strip() for host in value.split(",") if host.strip())
    for host in hosts:
        if not re.fullmatch(r"\*|\.?[\w-]+(\.[\w-]+)*|\[[0-9A-Fa-f:.]+\]", host):
            raise Unparsable(
                "host names separated by commas, without scheme or port, such as"
                f" console.example.com,[::1] ({host!r} is not one)"
            )
    return hosts


def parse_public_url(value: str) -> str:
    """Return the address people use, without a slash at the end."""
    expected = "an address such as https://console.example.com, without a path"
    parts = _split(value, expected)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unparsable(expected)
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise Unparsable(expected)
    return f"{parts.scheme}://{parts.netloc}"


def parse_time_zone(value: str) -> str:
    """Return the name of a time zone that this machine knows."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise Unparsable(
            "a time zone of the IANA database such as Europe/Berlin or UTC"
        ) from None
    return value


def parse_log_level(value: str) -> str:
    """Return a level that Python's logging knows, in capitals."""
    if value.upper() not in LOG_LEVELS:
        raise Unparsable(f"one of {', '.join(LOG_LEVELS)}")
    return value.upper()


def parse_database_url(value: str) -> str:
    """Return the URL of an SQLite file or a PostgreSQL database."""
    expected = (
        "sqlite:////absolute/path.sqlite3 or postgres://USER:PASSWORD@HOST:PORT/NAME"
    )
    parts = _split(value, expected)
    if parts.scheme not in DATABASE_SCHEMES:
        raise Unparsable(f"{expected} (unknown scheme {parts.scheme or 'none'!r})")
    if parts.scheme == "sqlite":
        if parts.netloc or len(parts.path) < 2:
            raise Unparsable(f"{expected} (a file on disk: several processes share it)")
        return value
    if not parts.path.strip("/"):
        raise Unparsable(f"{expected} (the name of the database is missing)")
    return value


def parse_broker_url(value: str) -> str:
    """Return the URL of a Redis or Valkey server in the form that Celery takes."""
    expected = (
        "redis://USER:PASSWORD@HOST:PORT/0, rediss:// for TLS, or unix:///path/to.sock"
    )
    parts = _split(value, expected)
    scheme = BROKER_SCHEMES.get(parts.scheme)
    if scheme is None:
        raise Unparsable(f"{expected} (unknown scheme {parts.scheme or 'none'!r})")
    if scheme == "redis+socket":
        if parts.netloc or not parts.path.startswith("/"):
            raise Unparsable(f"{expected} (the socket's path must be absolute)")
        # Not urlunsplit: it drops the empty host, and Kombu wants three slashes.
        query = f"?{parts.query}" if parts.query else ""
        return f"{scheme}://{parts.path}{query}"
    if not parts.hostname:
        raise Unparsable(f"{expected} (the host is missing)")
    if not re.fullmatch(r"/?\d*", parts.path):
        raise Unparsable(f"{expected} (the database after the slash is a number)")
    query = parts.query
    if scheme == "rediss" and "ssl_cert_reqs=" not in query:
        # Kombu takes no rediss:// without saying what the certificate is worth.
        extra = urlencode({"ssl_cert_reqs": "required"})
        query = f"{query}&{extra}" if query else extra
    return urlunsplit((scheme, parts.netloc, parts.path, query, ""))


def _split(value: str, expected: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        _ = parts.port  # parsed only when asked for
    except ValueError as error:
        # Not the error's own text: with an unescaped / in it, it quotes the password.
        reason = "it cannot be read"
        if "ort" in str(error):
            reason = (
                "the port is no number up to 65535, or a password is not written with"
                " %2F for / and %3A for a colon"
            )
        raise Unparsable(f"{expected} ({reason})") from None
    if re.search(r"\s", value):
        raise Unparsable(f"{expected} (there is a space in it)")
    return parts


# --- declarations ----------------------------------------------------------------------

DATA_DIR = Variable(
    "CONSOLE_DATA_DIR",
    parse_data_dir,
    "`var/` in the repository",
    "The directory for everything the console keeps on this machine: the SQLite"
    " database, the embedded broker's file and socket, the secret key and the agent's"
    " file. It is made, readable by its owner only, when it is missing.",
)
DATABASE_URL = Variable(
    "CONSOLE_DATABASE_URL",
    parse_database_url,
    "`console.sqlite3` in the data directory",
    "The database: `sqlite:////absolute/path.sqlite3` on one machine, or"
    " `postgres://USER:PASSWORD@HOST:PORT/NAME` when several web or worker processes"
    " on several machines share it. Options of libpq follow a question mark, such as"
    " `?sslmode=verify-full`.",
    is_secret=True,
)
BROKER_URL = Variable(
    "CONSOLE_BROKER_URL",
    parse_broker_url,
    "an embedded Valkey on a Unix socket in the data directory",
    "The Redis or Valkey server between the console and the agents:"
    " `redis://USER:PASSWORD@HOST:PORT/0`, `rediss://…` for TLS, or"
    " `unix:///path/to.sock`. When it is set, `manage.py up` starts no Valkey.",
    is_secret=True,
)
LISTEN = Variable(
    "CONSOLE_LISTEN",
    parse_listen,
    "`127.0.0.1:8000`",
    "Where web listens: `HOST:PORT`, `[::1]:PORT` for IPv6, or only a port for"
    " 127.0.0.1. `manage.py up --listen` goes before it.",
)
SECRET_KEY = Variable(
    "CONSOLE_SECRET_KEY",
    parse_secret_key,
    "made once and kept in `secret-key` in the data directory",
    "The key that signs sessions and one-time links, at least 50 characters. Several"
    " web processes on several machines need the same one.",
    is_secret=True,
)
ALLOWED_HOSTS = Variable(
    "CONSOLE_ALLOWED_HOSTS",
    parse_hosts,
    "`localhost`, `127.0.0.1`, `[::1]`, this machine's name, and the hosts of"
    " `CONSOLE_LISTEN` and `CONSOLE_PUBLIC_URL`",
    "The host names under which the console answers, separated by commas; a request"
    " for another one is refused.",
)
PUBLIC_URL = Variable(
    "CONSOLE_PUBLIC_URL",
    parse_public_url,
    "`http://` and the address of `CONSOLE_LISTEN`",
    "The address that people type, for the links in mails. With `https://` the cookies"
    " are sent over TLS only.",
)
TRUSTED_PROXIES = Variable(
    "CONSOLE_TRUSTED_PROXIES",
    parse_proxies,
    "`0`",
    "How many proxies stand in front of web, each adding the address it was asked from"
    " to `X-Forwarded-For`. The address of a person, for the audit log and the limits of"
    " the sign-in, is the one that the outermost of them noted; with `0` the header is"
    " not believed, and everybody behind a proxy has its address. With `https://` in"
    " `CONSOLE_PUBLIC_URL` their `X-Forwarded-Proto` is believed too.",
)
AGENT_FILE = Variable(
    "CONSOLE_AGENT_FILE",
    parse_path,
    "`agent.toml` in the data directory",
    "The configuration file of this machine's agent: its server, its key and its hook.",
)
DEBUG = Variable(
    "CONSOLE_DEBUG",
    parse_boolean,
    "`off`",
    "Django's debug pages, for working on the console itself. Never on a machine that"
    " others can reach: they show settings and source.",
)
TIME_ZONE = Variable(
    "CONSOLE_TIME_ZONE",
    parse_time_zone,
    "`UTC`",
    "The time zone of mails and of pages for people who have not chosen their own.",
)
LOG_LEVEL = Variable(
    "CONSOLE_LOG_LEVEL",
    parse_log_level,
    "`WARNING`",
    "What the processes write to standard error: `DEBUG`, `INFO`, `WARNING`, `ERROR`"
    " or `CRITICAL`.",
)

#: Every variable, in the order in which the documentation lists them.
VARIABLES: tuple[Variable[Any], ...] = (
    DATA_DIR,
    DATABASE_URL,
    BROKER_URL,
    LISTEN,
    PUBLIC_URL,
    ALLOWED_HOSTS,
    TRUSTED_PROXIES,
    SECRET_KEY,
    AGENT_FILE,
    TIME_ZONE,
    LOG_LEVEL,
    DEBUG,
)


# --- reading ---------------------------------------------------------------------------


class _Reader:
    """Reads declared variables and collects what is wrong with them."""

    def __init__(self) -> None:
        self._env = FileAwareEnv(strip_whitespace=True)
        self.problems: list[str] = []

    def get(self, variable: Variable[T]) -> T | None:
        """Return the parsed value, or None when it is unset, empty or wrong."""
        name = variable.name
        if os.environ.get(name) and os.environ.get(f"{name}_FILE"):
            self.problems.append(
                f"{name} and {name}_FILE are both set; expected only one of them."
            )
            return None
        try:
            value: str = self._env.str(name, "").strip()
        except (ValueError, OSError):
            path = os.environ.get(f"{name}_FILE", "")
            self.problems.append(
                f"{name}_FILE is {path!r}; expected the path of a readable text file."
            )
            return None
        if not value:
            return None
        try:
            return variable.parse(value)
        except Unparsable as error:
            shown = redact(value) if variable.is_secret else repr(value)
            self.problems.append(f"{name} is {shown}; expected {error}.")
            return None


def take_listen(arguments: Sequence[str]) -> None:
    """Put the --listen of `manage.py up` into the environment, before it is read.

    So that everything that follows from the address (allowed hosts, links, cookies) is
    the same here and in every process below. A wrong one is left for the command, which
    says what was expected.
    """
    if arguments[1:2] != ["up"]:
        return
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--listen", type=listen_argument)
    try:
        found = parser.parse_known_args(arguments[2:])[0].listen
    except argparse.ArgumentError:
        return
    if found is not None:
        os.environ[LISTEN.name] = str(found)
        os.environ.pop(f"{LISTEN.name}_FILE", None)


def only_looks(arguments: Sequence[str]) -> bool:
    """Say whether a command line is one that must not make anything.

    `arguments` is `sys.argv`; anything but `manage.py` may make what is missing.
    """
    if not arguments or Path(arguments[0]).name != "manage.py":
        return False
    command = arguments[1] if len(arguments) > 1 else "help"
    if command == "demo" and STAGE_VARIABLE not in os.environ:
        return True
    return command in LOOKING_COMMANDS or bool({"-h", "--help"} & {*arguments})


def read(*, is_looking: bool = False) -> Environment:
    """Return the parsed environment, or raise Misconfigured with every mistake.

    Makes the data directory, and the secret key in it, when they are missing; with
    `is_looking` nothing is made, and the key of a missing file is one that nobody keeps.
    """
    reader = _Reader()
    reader.problems.extend(unknown_names(os.environ))
    data_dir = reader.get(DATA_DIR) or REPOSITORY / "var"
    database_url = reader.get(DATABASE_URL) or f"sqlite:///{data_dir}/console.sqlite3"
    broker_url = reader.get(BROKER_URL)
    listen = reader.get(LISTEN) or Listen("127.0.0.1", 8000)
    public_url = reader.get(PUBLIC_URL) or _default_public_url(listen)
    hosts = reader.get(ALLOWED_HOSTS) or _default_hosts(listen, public_url)
    agent_file = reader.get(AGENT_FILE) or data_dir / "agent.toml"
    time_zone = reader.get(TIME_ZONE) or "UTC"
    log_level = reader.get(LOG_LEVEL) or "WARNING"
    is_debug = reader.get(DEBUG) or False
    trusted_proxies = reader.get(TRUSTED_PROXIES) or 0
    secret_key = reader.get(SECRET_KEY)
    if reader.problems:
        raise Misconfigured(reader.problems)

    if not is_looking:
        _make_private_directory(data_dir)
    broker_socket = _socket_path(data_dir, is_looking=is_looking)
    key_file = data_dir / "secret-key"
    if secret_key is None and is_looking and not _is_there(key_file):
        secret_key = secrets.token_urlsafe(50)
    return Environment(
        data_dir=data_dir,
        database_url=database_url,
        broker_url=broker_url or f"redis+socket://{broker_socket}?virtual_host=0",
        is_broker_embedded=broker_url is None,
        broker_socket=broker_socket,
        listen=listen,
        secret_key=secret_key or _kept_secret_key(key_file),
        allowed_hosts=hosts,
        public_url=public_url,
        agent_file=agent_file,
        is_debug=is_debug,
        time_zone=time_zone,
        log_level=log_level,
        trusted_proxies=trusted_proxies,
    )


def unknown_names(names: Iterable[str]) -> list[str]:
    """Return a line for each CONSOLE_ name that nothing reads, with what is near it."""
    known = {variable.name for variable in VARIABLES} | set(READ_ELSEWHERE)
    known |= {f"{name}_FILE" for name in known}
    problems = []
    for name in sorted(names):
        if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX) or name in known:
            continue
        # Without the prefix, which would make any two names look alike.
        rest = {each.removeprefix(PREFIX): each for each in sorted(known)}
        near = difflib.get_close_matches(name.removeprefix(PREFIX), rest, n=1)
        hint = (
            f"did you mean {rest[near[0]]}?"
            if near
            else "the names are in docs/configuration.md."
        )
        problems.append(f"{name} is not a setting of the console; {hint}")
    return problems


def redact(url: str) -> str:
    """Return a URL without its password, or a placeholder for what is no URL."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "(not shown, as it may hold a password)"
    if not parts.scheme or "://" not in url or "@" in parts.path + parts.query:
        return "(not shown, as it may hold a password)"
    user = f"{parts.username}:…@" if parts.password else ""
    if not user and parts.username:
        user = f"{parts.username}@"
    port = parts.netloc.rpartition("@")[2][len(host) :]
    return repr(f"{parts.scheme}://{user}{host}{port}{parts.path}")


def _default_public_url(listen: Listen) -> str:
    host = listen.host
    if host in {"0.0.0.0", "::"}:  # noqa: S104 (compared with, not bound to)
        host = socket.gethostname()
    port = "" if listen.port == 80 else f":{listen.port}"
    return f"http://[{host}]{port}" if ":" in host else f"http://{host}{port}"


def _default_hosts(listen: Listen, public_url: str) -> tuple[str, ...]:
    name = socket.gethostname()
    listen_host = f"[{listen.host}]" if ":" in listen.host else listen.host
    public_host = urlsplit(public_url).hostname or ""
    if ":" in public_host:
        public_host = f"[{public_host}]"
    hosts = ["localhost", "127.0.0.1", "[::1]", name, listen_host, public_host]
    return tuple(dict.fromkeys(host.lower() for host in hosts if host))


def _make_private_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            [
                f"{DATA_DIR.name} is {str(path)!r}; expected a directory that is there"
                f" or can be made ({error.strerror})."
            ]
        ) from None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a directory that this user may not enter
        return False


def _socket_path(data_dir: Path, *, is_looking: bool) -> Path:
    """Return where the embedded broker's socket is.

    In the data directory, unless the path is too long for the kernel: then in a private
    directory under the temporary one, the same for every process with this data
    directory. Somebody else's directory of that name is refused.
    """
    path = data_dir / "valkey" / "valkey.sock"
    if len(os.fsencode(path)) <= MAXIMUM_SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"console-{os.getuid()}-{digest}"
    if is_looking:
        return short / "valkey.sock"
    try:
        short.mkdir(mode=0o700, exist_ok=True)
        found = short.lstat()
    except OSError as error:
        found, reason = None, error.strerror
    else:
        reason = "it belongs to somebody else, or others may enter it"
    if (
        found is None
        or not stat.S_ISDIR(found.st_mode)
        or found.st_uid != os.getuid()
        or found.st_mode & 0o077
    ):
        raise Misconfigured(
            [
                f"{DATA_DIR.name} is {str(data_dir)!r}, too long for the broker's socket"
                f" (at most {MAXIMUM_SOCKET_PATH_BYTES} bytes), and {str(short)!r} cannot"
                f" be used instead ({reason}); expected a shorter path."
            ]
        )
    return short / "valkey.sock"


def _kept_secret_key(path: Path) -> str:
    """Return the key kept in a file, made there when it is missing.

    1. A new key is written in full to a private file of its own name (O_EXCL, 0600).
    2. It is linked to its final name, which fails when another process was first.
    3. Whoever was first, the file is read: all processes get the same, whole key.
    """
    try:
        if not path.exists():
            new = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(new, flags, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(50))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(new, path)
            except FileExistsError:
                pass
            finally:
                new.unlink()
        return parse_secret_key(path.read_text().strip())
    except OSError as error:
        raise Misconfigured(
            [
                f"{SECRET_KEY.name} is unset and {path} cannot be used ({error.strerror})."
            ]
        ) from None
    except (Unparsable, UnicodeDecodeError):
        raise Misconfigured(
            [
                f"{path} does not hold a secret key of at least"
                f" {MINIMUM_SECRET_KEY_CHARACTERS} characters; remove it and a new one"
                " is made (everybody is signed out)."
            ]
        ) from None
