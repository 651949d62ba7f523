"""What `manage.py doctor` looks at: each check is a function that returns findings."""

from __future__ import annotations

import contextlib
import enum
import os
import shutil
import socket
import stat
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from redis.exceptions import RedisError

from console import broker, env, liveness, startup
from console.kit import heartbeat

#: The database and the broker's file grow; below this there is a warning, then a problem.
LOW_SPACE_BYTES = 1024**3
FULL_BYTES = 100 * 1024**2
#: A page shows these findings: it must not wait long for a broker that hangs.
BROKER_SECONDS = 1.0
#: Queues are empty within seconds when somebody reads them.
LONG_QUEUE_MESSAGES = 100
#: `tick` beats every 2 s, reports come at least every check interval (30 s by default).
SILENT_SECONDS = {"tick": 15.0, "report": 120.0}
#: Clocks of database and console may differ by this before ages on pages look wrong.
CLOCK_SECONDS = 2.0

LIBRARIES = ("Django", "celery", "kombu", "redis", "psutil", "psycopg", "gunicorn")
STATIC_FILES = ("css/bootstrap.min.css", "django_htmx/htmx-2.min.js")


class Verdict(enum.StrEnum):
    """How bad a finding is; only a problem makes `doctor` exit with 1."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: its name, the verdict, the fact and what to do about it."""

    check: str
    verdict: Verdict
    found: str
    cure: str = ""


def examine(now: datetime) -> Iterator[Finding]:
    """Yield the findings of every check; one that cannot be made is a problem itself."""
    yield from _examine(CHECKS, now)


def examine_checks(now: datetime) -> Iterator[Finding]:
    """Yield the findings about what health checks need: heartbeats and the broker."""
    yield from _examine((_heartbeats, _broker), now)


def _examine(
    checks: Iterable[Callable[[datetime], Iterator[Finding]]], now: datetime
) -> Iterator[Finding]:
    for check in checks:
        try:
            yield from check(now)
        except (OSError, DatabaseError, RedisError, ValueError) as error:
            name = check.__name__.strip("_").replace("_", " ")
            text = " ".join(str(error).split()) or type(error).__name__
            yield Finding(name, Verdict.PROBLEM, text, "See the other lines.")


def _python(now: datetime) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", Verdict.OK, f"{version} ({sys.executable})")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    yield Finding("libraries", Verdict.OK, f"console {settings.VERSION}, {versions}")


def _data_directory(now: datetime) -> Iterator[Finding]:
    path: Path = settings.DATA_DIR
    if not path.exists():
        cure = "manage.py up makes it."
        yield Finding("data directory", Verdict.WARNING, f"{path} is missing", cure)
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if not os.access(path, os.W_OK | os.X_OK):
        cure = f"Give it to the user that runs the console: chown -R USER {path}"
        yield Finding("data directory", Verdict.PROBLEM, f"{path} not writable", cure)
    elif mode & 0o022:
        cure = f"chmod go-w {path}"
        text = f"{path} is writable for others (mode {mode:o})"
        yield Finding("data directory", Verdict.PROBLEM, text, cure)
    elif mode & 0o077:
        cure = f"chmod 700 {path}, unless another program reads a store point in it."
        text = f"{path} can be entered by others (mode {mode:o})"
        yield Finding("data directory", Verdict.WARNING, text, cure)
    else:
        yield Finding("data directory", Verdict.OK, f"{path} (mode {mode:o})")
    free = shutil.disk_usage(path).free
    verdict, cure = Verdict.OK, ""
    if free < LOW_SPACE_BYTES:
        verdict = Verdict.PROBLEM if free < FULL_BYTES else Verdict.WARNING
        cure = "Make room, or move the directory and set CONSOLE_DATA_DIR."
    yield Finding("free space", verdict, f"{free / 1024**3:.1f} GiB", cure)


def _secrets(now: datetime) -> Iterator[Finding]:
    for name, path in (
        ("secret key", settings.DATA_DIR / "secret-key"),
        ("agent file", settings.AGENT_FILE),
        *_database_files(),
    ):
        if not path.exists():
            continue
        found = path.stat()
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            text = f"{path} can be read by others (mode {mode:o})"
            yield Finding(name, Verdict.PROBLEM, text, f"chmod 600 {path}")
        elif found.st_uid != os.geteuid():
            text = f"{path} belongs to user {found.st_uid}"
            cure = "Run every command as the user that runs the console."
            yield Finding(name, Verdict.WARNING, text, cure)
        elif not path.name.endswith(startup.SIDES):
            yield Finding(name, Verdict.OK, f"{path} (mode {mode:o})")


def _database_files() -> Iterator[tuple[str, Path]]:
    if connection.vendor == "sqlite":
        file = Path(str(connection.settings_dict["NAME"]))
        yield "database file", file
        for end in startup.SIDES:
            if (side := file.with_name(f"{file.name}{end}")).exists():
                yield f"database file {end}", side


def _network(now: datetime) -> Iterator[Finding]:
    public, listen = settings.PUBLIC_URL, settings.LISTEN
    holder = startup.holder_of_data_dir(settings.DATA_DIR)
    verb = "would listen"
    if holder is not None:
        # The one that runs may have been started with --listen, or other variables.
        verb = "listens"
        with contextlib.suppress(OSError, ValueError):
            noted = settings.DATA_DIR / liveness.DIRECTORY / liveness.ADDRESS_FILE
            first, public = noted.read_text().splitlines()
            listen = env.parse_listen(first)
    is_https = public.startswith("https://")
    text = f"{verb} on {listen}, links say {public}"
    text += f", process {holder}" if holder else ", not running"
    is_local = listen.host in {"127.0.0.1", "::1", "localhost"}
    if settings.DEBUG:
        cure = "Unset CONSOLE_DEBUG: debug pages show settings and source."
        verdict = Verdict.WARNING if is_local else Verdict.PROBLEM
        yield Finding("web", verdict, f"{text}, debug on", cure)
    elif not is_local and not is_https:
        cure = "Put a proxy with TLS in front and set CONSOLE_PUBLIC_URL=https://…"
        yield Finding("web", Verdict.WARNING, f"{text}, without TLS", cure)
    elif is_https and not settings.TRUSTED_PROXIES:
        cure = "Set CONSOLE_TRUSTED_PROXIES to the number of proxies in front, often 1."
        text += ", but no proxy is trusted: everybody has the proxy's address"
        yield Finding("web", Verdict.WARNING, text, cure)
    else:
        yield Finding("web", Verdict.OK, text)


def _database(now: datetime) -> Iterator[Finding]:
    name = f"{connection.vendor} {connection.settings_dict['NAME']}"
    file = next(_database_files(), None)
    if file is not None and not file[1].exists():
        # Connecting would make it.
        cure = "manage.py up makes it."
        yield Finding("database", Verdict.WARNING, f"{name} is missing", cure)
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError as error:
        text = " ".join(str(error).split())
        cure = "Is the server up, and CONSOLE_DATABASE_URL right?"
        yield Finding("database", Verdict.PROBLEM, text, cure)
        return
    yield Finding("database", Verdict.OK, name)
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if unknown := startup.unknown_migrations(executor):
        text = f"unknown to this version: {', '.join(unknown)}"
        cure = "Install the version of the console that made the database."
        yield Finding("migrations", Verdict.PROBLEM, text, cure)
    elif plan:
        cure = "manage.py up applies them (or: manage.py migrate)."
        text = f"{len(plan)} not applied"
        yield Finding("migrations", Verdict.PROBLEM, text, cure)
    else:
        yield Finding("migrations", Verdict.OK, "all applied")
        yield from _heartbeats(now)
        yield from _mail(now)
        yield from _channels(now)
    yield from _database_clock(now)


def _database_clock(now: datetime) -> Iterator[Finding]:
    if connection.vendor != "postgresql":
        text = f"{now:%Y-%m-%d %H:%M:%S} UTC, shown in {settings.TIME_ZONE}"
        yield Finding("clock", Verdict.OK, text)
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (theirs,) = cursor.fetchone()
    difference = abs((theirs - now).total_seconds())
    verdict = Verdict.OK if difference <= CLOCK_SECONDS else Verdict.WARNING
    cure = "" if verdict == Verdict.OK else "Run a time service (NTP) on both machines."
    text = f"differs from the database's by {difference:.1f} s"
    yield Finding("clock", verdict, text, cure)


def _heartbeats(now: datetime) -> Iterator[Finding]:
    for name, limit in SILENT_SECONDS.items():
        age = heartbeat.age(name, now)
        label = f"heartbeat {name}"
        cure = "Is the console running? Start it: make run"
        if age is None:
            yield Finding(label, Verdict.WARNING, "never yet", cure)
        elif age > limit:
            text = f"{age:.0f} s ago, expected within {limit:.0f} s"
            yield Finding(label, Verdict.WARNING, text, cure)
        else:
            yield Finding(label, Verdict.OK, f"{age:.0f} s ago")


def _mail(now: datetime) -> Iterator[Finding]:
    from notifications.models import EmailSettings

    mail = EmailSettings.objects.first()
    cure = "Set the mail server at Settings > Email and send a test."
    if mail is None or not mail.host:
        yield Finding("mail", Verdict.WARNING, "no mail server is set", cure)
    elif not mail.is_enabled:
        yield Finding("mail", Verdict.WARNING, f"{mail.host}, switched off", cure)
    elif mail.failing_since is not None:
        text = f"{mail.host} failing since {mail.failing_since:%Y-%m-%d %H:%M} UTC"
        yield Finding("mail", Verdict.WARNING, text, mail.last_cure or cure)
    else:
        yield Finding("mail", Verdict.OK, f"{mail.host}:{mail.port}")


def _channels(now: datetime) -> Iterator[Finding]:
    from notifications.selectors import channel_problems

    for problem in channel_problems(now):
        yield Finding("channels", Verdict.PROBLEM, problem.title, problem.cure)


def _broker(now: datetime) -> Iterator[Finding]:
    where = (
        f"embedded, {settings.BROKER_SOCKET}"
        if settings.IS_BROKER_EMBEDDED
        else env.redact(settings.BROKER_URL).strip("'")
    )
    client = broker.connect(settings.BROKER_URL, timeout_seconds=BROKER_SECONDS)
    try:
        client.ping()
        queues = [*settings.CONSUMED_QUEUES]
        queues += sorted(
            key.decode()
            for key in client.scan_iter("server.*", count=500, _type="list")
        )
        lengths = {queue: int(client.llen(queue)) for queue in queues}
    except (RedisError, OSError) as error:
        text = f"{where}: {' '.join(str(error).split())}"
        if settings.IS_BROKER_EMBEDDED:
            # It stops with the console, which need not run while somebody looks.
            verdict, cure = (
                Verdict.WARNING,
                "Is the console running? Start it: make run",
            )
        else:
            verdict = Verdict.PROBLEM
            cure = "Is the server up, and CONSOLE_BROKER_URL right?"
        yield Finding("broker", verdict, text, cure)
        return
    finally:
        client.close()
    yield Finding("broker", Verdict.OK, where)
    longest = max(lengths.values(), default=0)
    text = ", ".join(f"{name} {length}" for name, length in lengths.items() if length)
    if longest > LONG_QUEUE_MESSAGES:
        cure = "Does its reader run? A server's queue is read by the agent on it."
        yield Finding("queues", Verdict.WARNING, text, cure)
    else:
        yield Finding("queues", Verdict.OK, text or "empty")


def _agent(now: datetime) -> Iterator[Finding]:
    path: Path = settings.AGENT_FILE
    cure = "manage.py up writes it when it enrols this machine."
    if not path.exists():
        text = f"{path} is missing"
        yield Finding("agent", Verdict.WARNING, text, cure)
        return
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        text = f"{path} is not TOML: {error}"
        yield Finding("agent", Verdict.PROBLEM, text, f"Mend or remove it; {cure}")
        return
    missing = [name for name in ("server", "key") if not content.get(name)]
    if missing:
        text = f"{path} lacks {' and '.join(missing)}"
        yield Finding("agent", Verdict.PROBLEM, text, f"Remove it; {cure}")
    else:
        name = content.get("name") or socket.gethostname()
        yield Finding("agent", Verdict.OK, f"server {name} ({content['server']})")


def _static_files(now: datetime) -> Iterator[Finding]:
    missing = [name for name in STATIC_FILES if finders.find(name) is None]
    if missing:
        cure = "The installation is incomplete: make clean, then make run."
        text = f"missing: {', '.join(missing)}"
        yield Finding("static files", Verdict.PROBLEM, text, cure)
    else:
        yield Finding("static files", Verdict.OK, f"version {settings.STATIC_VERSION}")


CHECKS: tuple[Callable[[datetime], Iterator[Finding]], ...] = (
    _python,
    _data_directory,
    _secrets,
    _network,
    _database,
    _broker,
    _agent,
    _static_files,
)
