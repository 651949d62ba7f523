"""A small process supervisor: it starts programs, restarts them and stops them.

Why it is our own, and not honcho, supervisord or circus: docs/decisions/0003. It uses
the standard library only, has one thread and keeps no state on disk. What it promises:

- A program is a command, or a function that runs in a fork of the supervisor. Forks share
  what the supervisor has imported, so they start at once and cost little memory.
- A program that ends, for whatever reason, is started again: after 0.2 s, then 0.4 s, and
  so on up to 10 s, back at 0.2 s once it has run for 30 s. It never gives up.
- Each program leads a process group of its own. So Ctrl-C in a terminal reaches only the
  supervisor, and what a killed program leaves behind is killed before the next start.
- SIGTERM, SIGINT or SIGHUP (its terminal is gone) stops everything: a program gets SIGTERM when all that need it have
  ended, and SIGKILL when it has not ended `stop_seconds` later. A second one of these
  signals kills everything at once.
- When the supervisor itself is killed, the kernel kills the programs (Linux only).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn, Protocol

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
#: A program that has run this long is taken for healthy: its back-off starts anew.
SETTLED_SECONDS = 30.0
#: A program whose needs are not ready after this long is started all the same.
READY_SECONDS = 10.0
#: How often readiness and liveness are looked at, and the longest sleep of the loop.
LOOK_SECONDS = 0.1
IDLE_SECONDS = 1.0

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Program:
    """One program to keep running.

    `argv` is the command, or what `sys.argv` is for `call`, a function that is run in a
    fork and whose result is the exit code (None is 0). `env` is added to the supervisor's own environment. `needs` names programs that are
    started and ready before it and stopped after it. `is_ready` and `is_alive` are asked
    often and must answer at once; without them a started program counts as ready and
    alive. One whose `is_alive` has said False for `stalled_seconds` without a break
    (counted from when it had run that long) is killed and so started again. `on_ready`
    is called once, when the program is ready for the first time. `hint` is added to the
    line that says that it stopped.
    """

    name: str
    argv: tuple[str, ...]
    call: Callable[[], int | None] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    stop_seconds: float = 10.0
    is_ready: Callable[[], bool] | None = None
    on_ready: Callable[[], None] | None = None
    is_alive: Callable[[], bool] | None = None
    stalled_seconds: float = 30.0
    hint: str = ""


class _Process(Protocol):
    """What the supervisor asks of a process: subprocess.Popen and _Fork have it."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...


@dataclass(slots=True)
class _Fork:
    """A forked process; like subprocess.Popen, as far as it is needed here."""

    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


@dataclass(slots=True)
class _Child:
    """A program and what became of it; instants are `time.monotonic()`."""

    program: Program
    process: _Process | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    delay: float = FIRST_DELAY_SECONDS
    is_ready: bool = False
    was_ready: bool = False
    stalled_since: float | None = None
    term_sent_at: float | None = None
    is_killed: bool = False


class Supervisor:
    """Keeps programs running until it is told to stop."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        say: Callable[[str], None] | None = None,
        on_start: Callable[[str, int], None] | None = None,
        private_fds: Sequence[int] = (),
    ) -> None:
        """Take the programs in the order of their start.

        `say` prints one line, `on_start` is told the name and process id of each program
        that is started, and `private_fds` are closed in forks (a lock must end with its
        holder, not with the last of its children). Raises ValueError for a name used twice or a need that is not listed earlier.
        """
        seen: set[str] = set()
        for program in programs:
            if program.name in seen:
                raise ValueError(f"two programs are called {program.name!r}")
            if missing := set(program.needs) - seen:
                raise ValueError(
                    f"{program.name} needs {', '.join(sorted(missing))}, expected to be"
                    " listed before it"
                )
            seen.add(program.name)
        self._children = {program.name: _Child(program) for program in programs}
        self._say = say or _print_line
        self._on_start = on_start
        self._private_fds = list(private_fds)
        self._signals = 0
        self._stopping = False

    def run(self) -> int:
        """Start everything, keep it running, and return 0 when it has been stopped."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._private_fds += [reader, writer]
        old_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        old_handlers = {
            number: signal.signal(number, self._note_signal)
            for number in _STOP_SIGNALS
            # What `nohup` has switched off stays so.
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _ignore)
        # What is loaded now is never collected: the collector would write to every object
        # and so unshare the memory of the forks.
        gc.collect()
        gc.freeze()
        try:
            while self._step():
                with contextlib.suppress(InterruptedError):
                    select.select([reader], [], [], self._pause())
                with contextlib.suppress(BlockingIOError):
                    os.read(reader, 4096)
        finally:
            # Also on an error of our own: nothing we started outlives us.
            for child in self._children.values():
                self._kill(child)
            for number, handler in old_handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_fd)
            os.close(reader)
            os.close(writer)
        return 0

    def pids(self) -> dict[str, int]:
        """Return the process id of each program that runs now."""
        return {
            name: child.process.pid
            for name, child in self._children.items()
            if child.process is not None
        }

    # One turn of the loop: reap, then start or stop.

    def _step(self) -> bool:
        now = time.monotonic()
        for child in self._children.values():
            self._reap(child, now)
        if self._signals and not self._stopping:
            self._stopping = True
            self._say("stopping")
        if self._stopping:
            return self._stop_some(now)
        for child in self._children.values():
            if child.process is None:
                if now >= child.start_at and self._has_its_needs(child, now):
                    self._start(child, now)
            else:
                self._look_at(child, now)
        return True

    def _pause(self) -> float:
        """Return how long the loop may sleep if no signal wakes it, in seconds."""
        now = time.monotonic()
        pause = IDLE_SECONDS
        for child in self._children.values():
            if self._stopping:
                if child.process is not None:
                    pause = min(pause, LOOK_SECONDS)
            elif child.process is None:
                pause = min(pause, max(child.start_at - now, LOOK_SECONDS / 5))
            elif not child.is_ready:
                pause = min(pause, LOOK_SECONDS)
        return pause

    def _has_its_needs(self, child: _Child, now: float) -> bool:
        for name in child.program.needs:
            need = self._children[name]
            if need.is_ready:
                continue
            # A need that does not come up is no reason to wait for ever: the programs
            # connect again by themselves, and some of their work needs nothing.
            if child.start_at and now - child.start_at > READY_SECONDS:
                continue
            if not child.start_at:
                child.start_at = now
            return False
        return True

    def _start(self, child: _Child, now: float) -> None:
        program = child.program
        try:
            if program.call is not None:
                child.process = self._fork(program, program.call)
            else:
                child.process = _spawn(program)
        except OSError as error:
            self._say(f"{program.name} does not start: {error}; trying again")
            self._back_off(child, now)
            return
        child.started_at = now
        child.is_ready = program.is_ready is None
        child.stalled_since = None
        child.term_sent_at = None
        child.is_killed = False
        if self._on_start is not None:
            self._on_start(program.name, child.process.pid)
        if child.is_ready:
            self._announce(child)

    def _fork(self, program: Program, call: Callable[[], int | None]) -> _Fork:
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that comes before the child has its own handlers must wait for them:
        # ours would count it in the wrong process and wake the parent's loop.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._become(program, call, parent)
            with contextlib.suppress(OSError):  # whoever of the two comes first
                os.setpgid(pid, pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        return _Fork(pid)

    def _become(
        self, program: Program, call: Callable[[], int | None], parent: int
    ) -> NoReturn:
        """Run a program's function in this fork and end with its result."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.setpgid(0, 0)
            if (die := die_with_parent(parent)) is not None:
                die()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
            for descriptor in self._private_fds:
                os.close(descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.environ.update(program.env)
            sys.argv = list(program.argv)
            code = call() or 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except KeyboardInterrupt:
            code = 130
        except BaseException:  # noqa: BLE001 (the last frame of a process)
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            # Not sys.exit: that would run the supervisor's own frames below this one.
            os._exit(code)

    def _look_at(self, child: _Child, now: float) -> None:
        program = child.program
        if not child.is_ready and program.is_ready is not None:
            child.is_ready = program.is_ready()
            if child.is_ready:
                self._announce(child)
        if program.is_alive is None or now - child.started_at < program.stalled_seconds:
            return
        if program.is_alive():
            child.stalled_since = None
        elif child.stalled_since is None:
            child.stalled_since = now
        elif now - child.stalled_since >= program.stalled_seconds:
            if not child.is_killed:
                self._say(
                    f"{program.name} does nothing for"
                    f" {now - child.stalled_since:.0f} s, killing it"
                )
            self._kill(child)

    def _announce(self, child: _Child) -> None:
        if not child.was_ready and child.program.on_ready is not None:
            child.program.on_ready()
        child.was_ready = True

    def _reap(self, child: _Child, now: float) -> None:
        if child.process is None or not _has_ended(child.process):
            return
        # What it leaves behind would hold its port or its files. Before the program is
        # reaped, because its process id, and so the group's, can be anybody's after.
        _signal_group(child.process.pid, signal.SIGKILL)
        code = child.process.wait()
        child.process = None
        child.is_ready = False
        if self._stopping:
            return
        hint = f" ({child.program.hint})" if child.program.hint else ""
        self._say(
            f"{child.program.name} stopped ({_reason(code)}), starting again{hint}"
        )
        if now - child.started_at >= SETTLED_SECONDS:
            child.delay = FIRST_DELAY_SECONDS
        self._back_off(child, now)

    def _back_off(self, child: _Child, now: float) -> None:
        child.start_at = now + child.delay
        child.delay = min(child.delay * 2, LONGEST_DELAY_SECONDS)

    def _stop_some(self, now: float) -> bool:
        """Send what signals are due; return whether anything still runs."""
        running = [c for c in self._children.values() if c.process is not None]
        needed = {name for child in running for name in child.program.needs}
        for child in reversed(running):
            if self._signals > 1:
                self._kill(child)
            elif child.term_sent_at is None:
                if child.program.name not in needed and child.process is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child.process.pid, signal.SIGTERM)
                    child.term_sent_at = now
            elif now - child.term_sent_at >= child.program.stop_seconds:
                if not child.is_killed:
                    self._say(
                        f"{child.program.name} has not stopped in"
                        f" {child.program.stop_seconds:g} s, killing it"
                    )
                self._kill(child)
        return bool(running)

    def _kill(self, child: _Child) -> None:
        if child.process is not None:
            child.is_killed = True
            _signal_group(child.process.pid, signal.SIGKILL)

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        program.argv,
        env={**os.environ, **program.env},
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 (one thread)
    )


def die_with_parent(
    parent: int, number: signal.Signals = signal.SIGKILL
) -> Callable[[], None] | None:
    """Return what a child runs before exec so that it ends with its parent.

    `number` is the signal that the kernel sends it when the parent, or the thread of it
    that started the child, has ended. prctl(PR_SET_PDEATHSIG) is Linux's; elsewhere None is returned and a killed
    supervisor leaves its programs running.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return prepare


def _has_ended(process: _Process) -> bool:
    """Say whether a child has ended, without reaping it where the system can do that."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _ignore(number: int, frame: FrameType | None) -> None:
    """Take a signal only to wake the loop."""


def _print_line(line: str) -> None:
    # The terminal may be gone, and the programs are to be stopped all the same.
    with contextlib.suppress(OSError):
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
