"""What `manage.py up` does before the processes start, each step on its own."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from console.env import Listen

LOCK_FILE = "lock"
#: What the console keeps to itself, in its data directory.
PRIVATE_FILES = ("secret-key", "agent.toml", "console.sqlite3", LOCK_FILE)
#: SQLite's files beside a database.
SIDES = ("-wal", "-shm", "-journal")
#: Any constant: what matters is that every console asks PostgreSQL for the same one.
MIGRATION_LOCK = 0x53504F49


class CannotStart(Exception):
    """The console cannot start; the text says why and what to do."""


def lock_data_dir(data_dir: Path) -> int:
    """Lock the data directory for this process and return the descriptor that holds it.

    The lock ends with the last copy of the descriptor, so never before the process.
    Raises CannotStart, with the holder's process id, when another console has it.
    """
    path = data_dir / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"{path} cannot be opened: {error.strerror}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise CannotStart(
            f"A console is already running on {data_dir} (process {holder or '?'})."
            " Stop it, or set CONSOLE_DATA_DIR to another directory."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def holder_of_data_dir(data_dir: Path) -> str | None:
    """Return the process id of the console that runs on a data directory, or None.

    Only looks: neither makes the lock's file nor takes the lock from anybody.
    """
    try:
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "?"
    else:
        return None
    finally:
        os.close(descriptor)


def tighten(data_dir: Path, *more: Path) -> None:
    """Take the rights of others off the files that the console keeps to itself.

    What it makes is its owner's alone; this is for files that were made otherwise. The
    directory is left as it is: it may be one that the administrator has opened, and
    `doctor` says so.
    """
    files = {data_dir / name for name in PRIVATE_FILES} | {*more}
    for path in [*files, *(Path(f"{file}{end}") for file in files for end in SIDES)]:
        with contextlib.suppress(OSError):
            found = path.lstat()
            is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if is_ours and found.st_mode & 0o077:
                path.chmod(found.st_mode & 0o700)


def check_port_is_free(listen: Listen) -> None:
    """Raise CannotStart when web could not listen at this address."""
    try:
        found = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror:
        raise CannotStart(
            f"{listen.host!r} is not a name or address of this machine; expected"
            " HOST:PORT such as 127.0.0.1:8000."
        ) from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise CannotStart(_why_not(listen, error)) from None


def _why_not(listen: Listen, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = _holder_of(listen.port)
        other = Listen(listen.host, listen.port % 65535 + 1)
        return (
            f"{listen} is already in use{holder}. Stop what listens there, or choose"
            f" another port: manage.py up --listen {other}"
        )
    if error.errno == errno.EACCES:
        return (
            f"{listen} needs more rights than this user has; choose a port above 1023:"
            f" manage.py up --listen {Listen(listen.host, 8000)}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{listen.host} is not an address of this machine."
    return f"web cannot listen on {listen}: {error.strerror}."


def _holder_of(port: int) -> str:
    """Return " by process N (name)" when this user may know it."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for found in psutil.net_connections("tcp"):
            if (
                found.status == psutil.CONN_LISTEN
                and found.pid
                and found.laddr
                and found.laddr.port == port
            ):
                name = psutil.Process(found.pid).name()
                return f" by process {found.pid} ({name})"
    return ""


def migrate(say: Callable[[str], None]) -> int:
    """Bring the database up to date and return how many migrations that took.

    One process migrates, the others wait for it: on PostgreSQL by an advisory lock, on
    SQLite by the lock on the data directory. Raises CannotStart when the database cannot
    be reached or was made by a newer version.
    """
    try:
        with _migration_lock():
            executor = MigrationExecutor(connection)
            _refuse_newer(executor)
            plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
            if plan:
                started = time.monotonic()
                call_command("migrate", interactive=False, verbosity=0)
                seconds = time.monotonic() - started
                say(f"database prepared: {len(plan)} migrations in {seconds:.1f} s")
            call_command("createcachetable", verbosity=0)
            return len(plan)
    except OperationalError as error:
        name = connection.settings_dict["NAME"]
        reason = " ".join(str(error).split())
        raise CannotStart(
            f"The database {name} cannot be used: {reason}."
            " CONSOLE_DATABASE_URL says where it is."
        ) from error


def unknown_migrations(executor: MigrationExecutor) -> list[str]:
    """Return what was applied to the database and is not in this version."""
    ours = {app for app, _ in executor.loader.disk_migrations}
    return sorted(
        f"{app}.{name}"
        for app, name in executor.loader.applied_migrations
        if app in ours
        and (app, name) not in executor.loader.disk_migrations
        and (app, name) not in executor.loader.replacements
    )


def _refuse_newer(executor: MigrationExecutor) -> None:
    if unknown := unknown_migrations(executor):
        raise CannotStart(
            "The database was made by a newer version of the console: it has"
            f" {', '.join(unknown)}. Install that version, or use another database."
        )


@contextlib.contextmanager
def _migration_lock() -> Iterator[None]:
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])


def prepare_first_start(now: datetime) -> str | None:
    """Enrol this machine, and return the link to make the first administrator with.

    The link is None when there is an administrator. Enrolling does nothing a second time.
    """
    # Here and not at the top: the shell is above the apps, its start-up code is not.
    from console.accounts.services import issue_setup_link
    from storepoints.services import ensure_master_server

    ensure_master_server(now=now)
    return issue_setup_link(now)


def in_a_fork(function: Callable[[], str | None]) -> str | None:
    """Return what a function returns, without what it does to this process.

    It opens connections to database and broker, and those must not be there when the
    supervisor forks. Raises CannotStart when the function fails; it says why itself.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            os.write(writer, (function() or "").encode())
            code = 0
        except BaseException:  # noqa: BLE001 (the last frame of a process)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise CannotStart("The first start failed; the reason is above.")
    return text or None
