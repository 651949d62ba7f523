"""Applying the inbound switch: the state file and the administrator's own hook.

The file is changed only inside a probe that just found the right volume with the right
identity. While the hook has not succeeded, ``inbound.pending`` stands beside it. The
hook runs in a thread of its own, so that it never delays a verdict; it may run again
for the same state (after a failure or a restart) and must not mind.

A fence disables inbound backup of a store point whose volume is not there, is not the
right one or cannot be written: then nothing is written below its path, and the hook
alone is told.
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

from storepoints.agent.disk import INBOUND, PENDING, read_inbound, write_file
from storepoints.agent.messages import Finding, InboundFinding, Spec
from storepoints.states import FENCING, Reason

logger = logging.getLogger(__name__)

#: How much of what the hook complained about is reported.
COMPLAINT_CHARACTERS = 200

#: The agent's own is narrower; a hook writes what other programs are to read.
HOOK_UMASK = 0o022


#: What is said of a fence where no hook can be told of it.
NO_HOOK_WORDS = {
    Reason.NOT_MOUNTED: "no hook is set: programs that read .storepoint/inbound find "
    "no file",
    Reason.DIFFERENT_VOLUME: "no hook is set: what programs read in "
    ".storepoint/inbound there is not this store point's",
    Reason.WRONG_STORE_POINT: "no hook is set: what programs read in "
    ".storepoint/inbound there is the other store point's",
    Reason.READ_ONLY: "no hook is set, and .storepoint/inbound cannot be changed",
}


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
            if spec.id in self._running or not desired:
                pass
            elif applied != desired:
                if outcome is not None and (
                    not spec.is_fenced or outcome != _Outcome(desired, "")
                ):
                    self._outcomes.pop(spec.id, None)
                    outcome = None
                # A fence may have told the hook before the volume came back.
                if self._hook and outcome is None:
                    _write(meta, PENDING, desired)
                    pending = True
                _write(meta, INBOUND, desired)
                applied = read_inbound(meta)
            elif self._hook and not pending and _was_told(outcome, spec) != desired:
                # A fence told it otherwise, and was lifted while the volume was away.
                self._outcomes.pop(spec.id, None)
                outcome = None
                _write(meta, PENDING, desired)
                pending = True
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

    def fence(self, spec: Spec, finding: Finding) -> Finding:
        """Return the finding with what of a fence is applied, where that is the hook's.

        Of a store point that is fenced because of what was just found, nothing is read
        or written: what lies at its path is not its own, or cannot be changed. The hook
        is pending until it has succeeded, once for each fence; after a failure it is
        run again at the next probe.
        """
        if (
            not spec.is_fenced
            or spec.inbound != "disabled"
            or finding["reason"] not in FENCING
        ):
            return finding
        outcome = self._outcomes.get(spec.id)
        if outcome is not None and outcome.state != "disabled":
            outcome = None
        inbound: InboundFinding = {"applied": None, "pending": True, "error": ""}
        if finding["inbound"]["applied"] == "disabled" and not self._hook:
            # Read-only, and the file said so before.
            inbound = {"applied": "disabled", "pending": False, "error": ""}
        elif not self._hook:
            words = NO_HOOK_WORDS[Reason(finding["reason"])]
            inbound = {"applied": None, "pending": False, "error": words}
        elif outcome is not None and outcome.error:
            inbound["error"] = outcome.error
        elif outcome is not None:
            inbound = {"applied": "disabled", "pending": False, "error": ""}
        return {**finding, "inbound": inbound}

    def run_hook(self, spec: Spec, inbound: InboundFinding) -> None:
        """Start the hook of a store point whose finding says that it is pending."""
        state = inbound["applied"]
        if state is None and spec.is_fenced:
            state = "disabled"
        if not self._hook or not inbound["pending"] or state is None:
            return
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


def _was_told(outcome: _Outcome | None, spec: Spec) -> str:
    """Return which state the hook was told last: as remembered, or as the master says.

    The master's word stands in after a restart; it is behind what was just done here.
    """
    if outcome is not None:
        return outcome.state
    return spec.told or spec.inbound


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
    write_file(meta, temporary, f"{word}\n".encode())
    os.replace(temporary, name, src_dir_fd=meta, dst_dir_fd=meta)
    os.fsync(meta)
