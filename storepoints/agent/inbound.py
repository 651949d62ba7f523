"""Applying the inbound switch: the state file and the administrator's own hook.

The file is changed only inside a probe that just found the right volume with the right
identity. While the hook has not succeeded, ``inbound.pending`` stands beside it. The
hook runs in a thread of its own, so that it never delays a verdict; it may run again
for the same state (after a failure or a restart) and must not mind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass

from storepoints.agent.disk import INBOUND, PENDING, read_inbound
from storepoints.agent.messages import InboundFinding, Spec

logger = logging.getLogger(__name__)

#: How much of what the hook complained about is reported.
COMPLAINT_CHARACTERS = 200

#: The agent's own is narrower; a hook writes what other programs are to read.
HOOK_UMASK = 0o022


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How the hook ended for a state; the error is empty when it succeeded."""

    state: str
    error: str


class Switch:
    """The inbound switches of this server's store points, and their hook."""

    def __init__(self, finished: Callable[[str, str], None]) -> None:
        """``finished(id, error)`` is called when a hook has ended; no error is empty."""
        self._finished = finished
        self._hook = ""
        self._timeout_seconds = 30.0
        self._lock = threading.Lock()
        self._running: dict[str, subprocess.Popen[bytes] | None] = {}
        self._outcomes: dict[str, _Outcome] = {}
        self._is_stopped = False

    def configure(self, hook: str, timeout_seconds: float) -> None:
        """Say which program to run, by its absolute path; none when it is empty."""
        self._hook = hook
        self._timeout_seconds = timeout_seconds

    def settle(self, meta: int, spec: Spec) -> InboundFinding:
        """Make the state file say what is desired, and say what is applied.

        ``meta`` is the open ``.storepoint`` of a store point that was just found
        online. Does not run the hook; ``run_hook`` does, once the finding is out.
        """
        desired = spec.inbound
        pending = _exists(meta, PENDING)
        applied = read_inbound(meta)
        outcome = self._outcomes.get(spec.id)
        error = ""
        try:
            if desired and applied != desired and spec.id not in self._running:
                self._outcomes.pop(spec.id, None)
                outcome = None
                if self._hook:
                    _write(meta, PENDING, desired)
                    pending = True
                _write(meta, INBOUND, desired)
                applied = read_inbound(meta)
            has_succeeded = (
                outcome is not None and outcome.state == applied and not outcome.error
            )
            if pending and applied == desired and (has_succeeded or not self._hook):
                os.unlink(PENDING, dir_fd=meta)
                pending = False
        except OSError as failed:
            error = f"could not be applied: {failed.strerror}"
        if not error and outcome is not None and pending:
            error = outcome.error
        return {"applied": applied, "pending": pending, "error": error}

    def run_hook(self, spec: Spec, inbound: InboundFinding) -> None:
        """Start the hook of a store point whose finding says that it is pending."""
        if not self._hook or not inbound["pending"] or inbound["applied"] is None:
            return
        state = inbound["applied"]
        with self._lock:
            if spec.id in self._running or self._is_stopped:
                return
            self._running[spec.id] = None
        threading.Thread(
            target=self._attend, args=(spec, state), name="hook", daemon=True
        ).start()

    def forget(self, known: set[str]) -> None:
        """Drop what is remembered of store points that are not known any more."""
        for store_point in [key for key in self._outcomes if key not in known]:
            self._outcomes.pop(store_point, None)

    def stop(self) -> None:
        """End all hooks that run."""
        with self._lock:
            self._is_stopped = True
            running = [process for process in self._running.values() if process]
        for process in running:
            _end(process)

    def _attend(self, spec: Spec, state: str) -> None:
        error = "the hook could not be run"
        try:
            error = self._run(spec, state)
        except OSError as failed:
            error = f"the hook could not be run: {failed.strerror}"
        finally:
            if error:
                logger.warning("inbound hook of %s: %s", spec.name, error)
            self._outcomes[spec.id] = _Outcome(state, error)
            with self._lock:
                self._running.pop(spec.id, None)
            self._finished(spec.id, error)

    def _run(self, spec: Spec, state: str) -> str:
        """Run the hook to its end and return what went wrong."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CONSOLE_", "CELERY_", "PYTHON"))
        }
        environment |= {
            "STORE_POINT_ID": spec.id,
            "STORE_POINT_NAME": spec.name,
            "STORE_POINT_PATH": spec.path,
            "STORE_POINT_INBOUND": state,
        }
        # A file and not a pipe: a daemon that the hook leaves behind may keep it open.
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                [self._hook, spec.name, spec.path, state],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                start_new_session=True,
                umask=HOOK_UMASK,
            )
            with self._lock:
                self._running[spec.id] = process
                is_stopped = self._is_stopped
            if is_stopped:
                _end(process)
            try:
                code = process.wait(self._timeout_seconds)
            except subprocess.TimeoutExpired:
                _end(process)
                return f"hook did not finish within {self._timeout_seconds:g} s"
            if code == 0:
                return ""
            length = complaints.seek(0, os.SEEK_END)
            complaints.seek(max(0, length - 4 * COMPLAINT_CHARACTERS))
            text = complaints.read().decode("utf-8", "replace").strip()
        how = f"exited {code}" if code > 0 else f"was ended by signal {-code}"
        return f"hook {how}: {text[-COMPLAINT_CHARACTERS:]}".rstrip(": ")


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)


def _exists(meta: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=meta, follow_symlinks=False)
    except OSError:
        return False
    return True


def _write(meta: int, name: str, word: str) -> None:
    """Write a one-line file so that a reader finds the old or the new one, whole."""
    temporary = f"{name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=meta)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o644, dir_fd=meta)
    try:
        os.fchmod(descriptor, 0o644)
        os.write(descriptor, f"{word}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, name, src_dir_fd=meta, dst_dir_fd=meta)
    os.fsync(meta)
