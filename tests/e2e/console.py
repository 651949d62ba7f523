"""The real thing: a console in its own process tree, a mail server, volumes to break.

Nothing here uses Django or its database connection: a test sees what a person, a mail
server or a reader of the database file sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import html
import http.client
import http.cookiejar
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil
import pytest
from aiosmtpd.controller import Controller

from console import broker
from tests.processes import clean_environment, free_port

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "tests" / "artifacts"

#: What a slow machine may take for anything that is not timed.
PATIENCE_SECONDS = 30.0

#: How each process of the tree is recognised by its command line.
PROCESSES = {
    "valkey": r"valkey-server",
    "web": r"gunicorn",
    "worker": r"celery.*\bworker\b",
    "beat": r"celery.*\bbeat\b",
    "agent": r"storepoints\.agent(?!\.prober)",
    "watch": r"manage\.py watch",
}

#: What a line said, the frames below it, and what was raised.
_TRACEBACK = re.compile(
    r"^(.*)\nTraceback \(most recent call last\):\n((?:[ ].*\n|\n)+)(\S.*)$",
    re.MULTILINE,
)

T = TypeVar("T")


# --- what a machine may lack ------------------------------------------------------------


def chromium() -> str:
    """Return the path of Debian's Chromium, or "" where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or ""


def what_lacks_for_a_browser() -> str:
    """Return what this machine lacks to drive a browser; "" when nothing."""
    if not chromium():
        return "needs Chromium (on Debian: apt install chromium)"
    return ""


def what_lacks_for_volumes() -> str:
    """Return what this machine lacks to mount filesystems from files; "" if nothing."""
    if os.geteuid() != 0:
        return "needs root to mount filesystems"
    for program in ("losetup", "mkfs.ext4", "mount", "umount"):
        if shutil.which(program) is None:
            return f"needs {program}"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices (/dev/loop-control)"
    done = subprocess.run(
        ["losetup", "-f"], check=False, capture_output=True, text=True
    )
    if done.returncode:
        return f"needs a free loop device: {done.stderr.strip()}"
    return ""


def skip_without(*lacks: Callable[[], str]) -> None:
    """Skip a test, naming all that is missing."""
    if missing := [found for lack in lacks if (found := lack())]:
        pytest.skip("; ".join(missing))


# --- waiting ---------------------------------------------------------------------------


def wait_until(
    what: Callable[[], T],
    seconds: float = PATIENCE_SECONDS,
    explain: Callable[[], object] = lambda: "",
    *,
    pause: float = 0.05,
) -> T:
    """Wait until something is so and return it; say what was found when it never is."""
    until = time.monotonic() + seconds
    while True:
        if found := what():
            return found
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds:g} s: {explain()}")
        time.sleep(pause)


# --- volumes ---------------------------------------------------------------------------


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")


class Volume:
    """An ext4 filesystem in a file, mounted from a loop device; unmounted at the end."""

    def __init__(self, directory: Path, name: str, *, megabytes: int = 64) -> None:
        self.image = directory / f"{name}.img"
        self.path = directory / name
        self.path.mkdir(parents=True)
        with self.image.open("wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)

    @property
    def is_mounted(self) -> bool:
        """Whether it is mounted now."""
        return os.path.ismount(self.path)

    def mount(self) -> None:
        """Mount it."""
        _run("mount", "-o", "loop", self.image, self.path)

    def umount(self) -> None:
        """Unmount it as an administrator does: again when a probe is just in there."""
        for attempt in range(100):
            try:
                _run("umount", self.path)
            except RuntimeError:
                if attempt == 99:
                    raise
                time.sleep(0.02)
            else:
                return

    def clean_up(self) -> None:
        """Take it away, whatever still uses it."""
        while self.is_mounted:
            subprocess.run(
                ["umount", "-l", self.path], check=False, capture_output=True
            )
        with contextlib.suppress(FileNotFoundError):
            self.image.unlink()


@pytest.fixture
def yard() -> Iterator[Path]:
    """A directory for things to be watched, outside of pytest's own long path."""
    directory = Path(tempfile.mkdtemp(prefix="e2e-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def volumes(directory: Path, *names: str) -> Iterator[list[Volume]]:
    """Give mounted volumes below a directory, and take them away afterwards."""
    made: list[Volume] = []
    try:
        for name in names:
            made.append(Volume(directory, name))
            made[-1].mount()
        yield made
    finally:
        for volume in made:
            volume.clean_up()


# --- mail ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mail:
    """A mail as the server took it; ``at`` is `time.monotonic()`."""

    at: float
    recipients: tuple[str, ...]
    message: EmailMessage

    @property
    def subject(self) -> str:
        """The subject, decoded."""
        return str(self.message["Subject"])

    @property
    def id(self) -> str:
        """The Message-ID."""
        return str(self.message["Message-ID"])

    @property
    def text(self) -> str:
        """The plain text part."""
        part = self.message.get_body(("plain",))
        assert part is not None, "a mail without plain text"
        return str(part.get_content())


class MailServer:
    """A real SMTP server that keeps what it is given."""

    def __init__(self) -> None:
        self.port = free_port()
        self.mails: list[Mail] = []
        #: While set, a mail is taken and the answer kept back.
        self.is_held = threading.Event()
        self._lock = threading.Lock()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Take a mail."""
        message = email.message_from_bytes(
            envelope.content, policy=email.policy.default
        )
        assert isinstance(message, EmailMessage)
        with self._lock:
            self.mails.append(Mail(time.monotonic(), tuple(envelope.rcpt_tos), message))
        # Set from another thread, so it is looked at and not awaited.
        while self.is_held.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return "250 taken"

    def __enter__(self) -> Self:
        """Start it."""
        self._controller.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it."""
        self.is_held.clear()
        self._controller.stop()

    def about(self, text: str, *, recipient: str = "") -> list[Mail]:
        """Return the mails whose subject or text contains a text, to a recipient."""
        with self._lock:
            return [
                mail
                for mail in self.mails
                if (text in mail.subject or text in mail.text)
                and (not recipient or recipient in mail.recipients)
            ]

    def subjects(self) -> list[str]:
        """Return all subjects, for a failure's message."""
        return [mail.subject for mail in self.mails]


# --- the console -----------------------------------------------------------------------


class Console:
    """A `manage.py up` in a directory and a process group of its own."""

    def __init__(self) -> None:
        # Not pytest's own directory: the path of a Unix socket is short.
        self.root = Path(tempfile.mkdtemp(prefix="console-e2e-"))
        self.data_dir = self.root / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.root / "log"
        self._process: subprocess.Popen[bytes] | None = None

    # Starting and stopping.

    def start(self) -> float:
        """Start it, wait until it says its address, and return how long that took."""
        began = time.monotonic()
        self._read_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, str(ROOT / "manage.py"), "up"),
                    *("--listen", f"127.0.0.1:{self.port}"),
                ],
                env=clean_environment(self.data_dir),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(
            lambda: self.is_live() and "Ctrl-C stops it" in self.said(),
            explain=self.tail,
            seconds=60,
        )
        return time.monotonic() - began

    def stop(self) -> float:
        """Press Ctrl-C and return how long it took until every process had ended.

        Raises AssertionError when one is left after 15 s, after killing it.
        """
        assert self._process is not None
        family = self.family()
        began = time.monotonic()
        # A terminal signals the group of the foreground process, and only that.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(15)
            _, left = psutil.wait_procs(family, timeout=1)
        finally:
            self.kill()
        assert not left, f"left behind: {left}"
        return time.monotonic() - began

    def kill(self) -> None:
        """End what is left of it, at once."""
        if self._process is None:
            return
        for process in reversed(self.family()):
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._process = None

    def clean_up(self) -> None:
        """End it and remove its directory."""
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def is_started(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None and self._process.poll() is None

    # What it says.

    def said(self) -> str:
        """Return what it printed since it was started last."""
        with self.log.open("rb") as file:
            file.seek(self._read_from)
            return file.read().decode(errors="replace")

    def everything_said(self) -> str:
        """Return what it printed since it was started first."""
        return self.log.read_text(errors="replace")

    def tail(self, lines: int = 30) -> str:
        """Return the end of what it printed, for a failure's message."""
        return "\n".join(self.everything_said().splitlines()[-lines:])

    @property
    def setup_link(self) -> str:
        """The one-time link of its last start."""
        found = re.search(r"http://\S+/setup/\?token=\S+", self.said())
        assert found, f"no setup link was printed: {self.tail()}"
        return found[0]

    def keep_log(self, name: str) -> None:
        """Keep what it printed in tests/artifacts/."""
        ARTIFACTS.mkdir(exist_ok=True)
        shutil.copyfile(self.log, ARTIFACTS / f"{name}.log")

    def assert_no_traceback(self, *, since: int = 0) -> None:
        """Fail when anything was logged that should not have happened.

        ``since`` counts characters of the log. The message names each failure once: the
        line before it, the last line of ours in it, and what was raised.
        """
        found: dict[str, None] = {}
        text = self.everything_said()[since:]
        for match in _TRACEBACK.finditer(text):
            ours = re.findall(rf'File "({ROOT}/[^"]+", line \d+, in \S+)', match[2])
            where = ours[-1] if ours else match[2].strip().splitlines()[-2].strip()
            found[f"{match[1]}\n    {where}\n    {match[3][:300]}"] = None
        assert not found, "tracebacks in the log:\n" + "\n".join(found)

    # Its processes.

    @property
    def supervisor(self) -> psutil.Process:
        """The process that was started."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def family(self) -> list[psutil.Process]:
        """Return the supervisor's descendants."""
        try:
            return self.supervisor.children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def find(self, name: str) -> psutil.Process | None:
        """Return the process of a name of PROCESSES, None while there is none."""
        try:
            children = self.supervisor.children()
        except psutil.NoSuchProcess:
            return None
        for child in children:
            with contextlib.suppress(psutil.Error):
                if child.status() == psutil.STATUS_ZOMBIE:
                    continue
                if re.search(PROCESSES[name], " ".join(child.cmdline())):
                    return child
        return None

    def process(self, name: str) -> psutil.Process:
        """Return the process of a name; waits a moment for one that starts."""
        found = wait_until(
            lambda: self.find(name), explain=lambda: f"no {name}: {self.tail()}"
        )
        assert found is not None
        return found

    def kill_process(self, name: str) -> int:
        """Send `kill -9` to the process of a name and return the id it had."""
        process = self.process(name)
        process.kill()
        return process.pid

    @contextlib.contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        """Hold processes, and all that they have started, with SIGSTOP meanwhile."""
        held: list[psutil.Process] = []
        for name in names:
            process = self.process(name)
            held += [process, *process.children(recursive=True)]
        try:
            for process in held:
                process.suspend()
            yield
        finally:
            for process in held:
                with contextlib.suppress(psutil.Error):
                    process.resume()

    # Its database, as a file.

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT; the database is opened for reading only."""
        uri = f"file:{self.data_dir / 'console.sqlite3'}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=20)) as database:
            return database.execute(query, values).fetchall()

    def value(self, query: str, *values: object) -> Any:
        """Return the first column of the first row, None without one."""
        rows = self.rows(query, *values)
        return rows[0][0] if rows else None

    def state(self, name: str) -> tuple[str, str]:
        """Return the recorded state and reason of a store point."""
        rows = self.rows(
            "SELECT state, reason FROM storepoints_storepoint WHERE name = ?", name
        )
        assert rows, f"no store point {name}"
        return rows[0][0], rows[0][1]

    def shell(self, code: str) -> str:
        """Run Python in `manage.py shell` and return what it printed."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "shell", "-v", "0", "-c", code],
            env=clean_environment(self.data_dir),
            cwd=self.root,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Its broker.

    def valkey(self) -> Any:
        """Return a client of the embedded broker."""
        return broker.connect(self.broker_url)

    @property
    def broker_url(self) -> str:
        """Where the broker is, as the agent is told."""
        text = (self.data_dir / "agent.toml").read_text()
        return str(tomllib.loads(text)["broker_url"])

    def agent_key(self) -> tuple[str, str]:
        """Return the guid and the key of the master's own agent."""
        found = tomllib.loads((self.data_dir / "agent.toml").read_text())
        return found["server"], found["key"]

    # Its web server.

    def is_live(self) -> bool:
        """Say whether /livez answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def readiness(self) -> dict[str, str]:
        """Return what /readyz says of each part."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            text = error.read()
        return dict(json.loads(text)["checks"])

    def set_up(self, *, mail_port: int = 0) -> Person:
        """Create the first administrator and return a session, with mail set up."""
        person = Person(self)
        answer = person.get(self.setup_link)
        assert answer.status == 200, answer
        answer = person.submit(
            "/setup/",
            token=urllib.parse.parse_qs(urllib.parse.urlsplit(self.setup_link).query)[
                "token"
            ][0],
            name=ADMINISTRATOR,
            email=ADDRESS,
            password=PASSWORD,
            password_again=PASSWORD,
        )
        assert answer.status == 200, answer
        assert "Dashboard" in answer.text, answer
        if mail_port:
            person.set_mail_server(mail_port)
        return person


ADMINISTRATOR = "ana"
ADDRESS = "ana@example.org"
PASSWORD = "a long way to Tipperary"


# --- a person without a browser --------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What the console answered."""

    status: int
    text: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the status and the text of the page, without its markup."""
        plain = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]+>", " ", self.text)
        return f"{self.status} {self.url}: {' '.join(plain.split())[:600]}"

    def row(self, name: str) -> dict[str, str]:
        """Return the data attributes of the row of a name; empty without one."""
        return next((row for row in self.rows() if row.get("name") == name), {})

    def rows(self) -> list[dict[str, str]]:
        """Return the data attributes of all rows."""
        found = []
        for tag in re.findall(r"<tr\b([^>]*)>", self.text):
            pairs = re.findall(r'data-([\w-]+)="([^"]*)"', tag)
            if pairs:
                found.append({key: html.unescape(value) for key, value in pairs})
        return found


class Person:
    """A signed-in session that speaks plain HTTP, as a script does."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self._jar)
        )

    def cookies(self) -> str:
        """Return the cookies as a header has them."""
        return "; ".join(f"{each.name}={each.value}" for each in self._jar)

    def csrf(self) -> str:
        """Return the token that goes with the cookie."""
        found = next((c.value for c in self._jar if c.name == "console_csrf"), None)
        if found is None:
            self.get("/sign-in/")
            found = next(c.value for c in self._jar if c.name == "console_csrf")
        assert found is not None
        return found

    def get(self, path: str, /, **headers: str) -> Answer:
        """Get a page, following redirects."""
        return self._open(path, None, headers)

    def submit(self, path: str, /, **fields: object) -> Answer:
        """Post a form with its CSRF token, following redirects."""
        pairs: list[tuple[str, str]] = [("csrfmiddlewaretoken", self.csrf())]
        for name, value in fields.items():
            values = value if isinstance(value, list) else [value]
            pairs += [(name, str(each)) for each in values]
        return self.post(path, urllib.parse.urlencode(pairs).encode())

    def post(self, path: str, body: bytes, /, **headers: str) -> Answer:
        """Post a body as it is."""
        return self._open(path, body, headers)

    def _open(self, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        url = path if path.startswith("http") else self._console.url + path
        request = urllib.request.Request(url, data=body)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with self._opener.open(request, timeout=60) as answer:
                return self._answer(answer)
        except urllib.error.HTTPError as error:
            with error:
                return self._answer(error)

    def _answer(self, answer: Any) -> Answer:
        text = answer.read().decode(errors="replace")
        return Answer(answer.status, text, answer.url, dict(answer.headers))

    # What tests often do.

    def sign_in(self) -> None:
        """Sign in as the administrator."""
        answer = self.submit("/sign-in/", login=ADMINISTRATOR, password=PASSWORD)
        assert "Dashboard" in answer.text, answer

    def set_mail_server(self, port: int, *, group_seconds: int = 30) -> None:
        """Set Settings > Email to a server on this machine."""
        answer = self.submit(
            "/settings/email/save/",
            is_enabled="on",
            host="127.0.0.1",
            port=port,
            security="none",
            sender="Store Points <console@example.org>",
            group_seconds=group_seconds,
            has_links="on",
        )
        assert answer.status == 200, answer

    def add_store_point(self, name: str, path: Path) -> int:
        """Add a directory of this machine and return its key."""
        server = self._console.value("SELECT id FROM storepoints_server")
        answer = self.submit(
            "/destinations/store-points/add/", name=name, server=server, path=path
        )
        found = re.search(r"/store-points/(\d+)/$", answer.url)
        assert answer.status == 200, answer
        assert found, answer
        return int(found[1])

    def set_interval(self, store_point: int, name: str, seconds: int) -> None:
        """Let a store point be checked every so many seconds."""
        answer = self.submit(
            f"/destinations/store-points/{store_point}/edit/",
            name=name,
            check_seconds=seconds,
            write_seconds=15,
            note="",
        )
        assert answer.status == 200, answer

    def set_server_interval(self, seconds: int) -> None:
        """Let this machine's agent be asked every so many seconds."""
        rows = self._console.rows(
            "SELECT id, name, destination_id FROM storepoints_server"
        )
        key, name, destination = rows[0]
        answer = self.submit(
            f"/destinations/servers/{key}/edit/",
            name=name,
            destination=destination,
            check_seconds=seconds,
            note="",
        )
        assert answer.status == 200, answer

    def store_point_row(self, name: str) -> dict[str, str]:
        """Return the row of a store point in the overview."""
        return self.get("/destinations/store-points/").row(name)
