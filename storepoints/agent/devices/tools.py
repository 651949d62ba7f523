"""Running a program that asks a device, so that nobody waits for it longer than said.

A program whose device does not answer cannot even be killed. It is left to its fate
then, and the device is not asked again until it has gone.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from dataclasses import dataclass

DEADLINE_SECONDS = 5.0
#: How long a program that was killed may take to go.
KILL_SECONDS = 0.5
MAXIMUM_OUTPUT_BYTES = 1 << 20
MAXIMUM_ERROR_BYTES = 8192

#: Where administration programs are; an agent's own PATH often lacks sbin.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"

RAN = "ran"
NOT_INSTALLED = "not-installed"
NOT_PERMITTED = "not-permitted"
TOO_LATE = "too-late"
STUCK = "stuck"
BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Result:
    """How a program ended: ``how`` is one of the words above, ``why`` a sentence.

    Of a program that ran there are the exit status and the output.
    """

    how: str
    status: int = 0
    output: str = ""
    error: str = ""
    why: str = ""


class Tools:
    """The programs of this machine, one at a time for each device."""

    def __init__(
        self, path: str = PATH, deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        self._path = path
        self._deadline_seconds = deadline_seconds
        self._lock = threading.Lock()
        self._running: dict[str, subprocess.Popen[bytes] | None] = {}
        self._is_stopped = False
        self._stuck: dict[str, subprocess.Popen[bytes]] = {}

    def find(self, name: str) -> str:
        """Return the absolute path of a program, or the empty text."""
        for directory in self._path.split(":"):
            program = f"{directory}/{name}"
            if os.path.isfile(program):  # noqa: PTH113 - no Path for each of six
                return program
        return ""

    def run(self, device: str, name: str, *arguments: str) -> Result:
        """Run a program about a device and return how it ended; raises nothing.

        At its deadline it is killed with its children.
        """
        program = self.find(name)
        if not program:
            return Result(NOT_INSTALLED, why=f"{name} is not installed")
        with self._lock:
            # Also those of devices that nobody asks about any more.
            self._stuck = {
                each: process
                for each, process in self._stuck.items()
                if process.poll() is None
            }
            if device in self._stuck:
                why = f"{name} was not run: an earlier program does not come back"
                return Result(STUCK, why=why)
            if device in self._running or self._is_stopped:
                return Result(STUCK, why=f"{name} was not run: one already runs")
            self._running[device] = None
        try:
            return self._run(device, program, name, arguments)
        finally:
            with self._lock:
                del self._running[device]

    def stop(self) -> None:
        """Kill what runs, and run nothing more."""
        with self._lock:
            self._is_stopped = True
            for process in self._running.values():
                if process is not None and process.returncode is None:
                    _kill_group(process)

    def _run(
        self, device: str, program: str, name: str, arguments: tuple[str, ...]
    ) -> Result:
        try:
            process = subprocess.Popen(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env={"PATH": self._path, "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
            )
        except PermissionError as error:
            why = f"{name} may not be run: {os.strerror(error.errno or 0)}"
            return Result(NOT_PERMITTED, why=why)
        except (OSError, ValueError) as error:
            return Result(BROKEN, why=f"{name} could not be run: {error}")
        with self._lock:
            self._running[device] = process
            if self._is_stopped:
                _kill_group(process)
        output, error_text, how = self._read(process)
        if how == RAN:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(KILL_SECONDS)
        if how != RAN or process.returncode is None:
            return self._kill(device, name, process, how)
        return Result(
            RAN,
            status=process.returncode,
            output=output.decode("utf-8", "replace"),
            error=error_text.decode("utf-8", "replace").strip(),
        )

    def _read(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes, str]:
        """Return both outputs and whether the program closed them in time."""
        assert process.stdout is not None  # noqa: S101 - both are pipes
        assert process.stderr is not None  # noqa: S101
        until = time.monotonic() + self._deadline_seconds
        output, error = bytearray(), bytearray()
        how = RAN
        with selectors.DefaultSelector() as selector, process.stdout, process.stderr:
            selector.register(process.stdout, selectors.EVENT_READ, output)
            selector.register(process.stderr, selectors.EVENT_READ, error)
            while selector.get_map():
                ready = selector.select(max(0.0, until - time.monotonic()))
                if not ready:
                    how = TOO_LATE
                    break
                for key, _ in ready:
                    part = os.read(key.fd, 65536)
                    if part:
                        key.data.extend(part)
                    else:
                        selector.unregister(key.fileobj)
                del error[MAXIMUM_ERROR_BYTES:]
                if len(output) > MAXIMUM_OUTPUT_BYTES:
                    how = BROKEN
                    break
        return bytes(output), bytes(error), how

    def _kill(
        self, device: str, name: str, process: subprocess.Popen[bytes], how: str
    ) -> Result:
        _kill_group(process)
        try:
            process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            with self._lock:
                self._stuck[device] = process
        if how == BROKEN:
            why = f"{name} said more than {MAXIMUM_OUTPUT_BYTES} bytes"
            return Result(BROKEN, why=why)
        return Result(
            TOO_LATE, why=f"{name} did not answer within {self._deadline_seconds:g} s"
        )


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # It leads a group of its own, which goes on when it has ended itself.
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
