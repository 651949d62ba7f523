"""The supervisor, with real child processes."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from console.supervisor import Program, Supervisor

REPOSITORY = Path(__file__).resolve().parents[2]

RUNNER = """
import json, os, sys
from pathlib import Path
from console import supervisor

plan = json.loads(sys.argv[1])
supervisor.LONGEST_DELAY_SECONDS = plan.get("longest", 10.0)
programs = []
for spec in plan["programs"]:
    for hook in ("is_ready", "is_alive"):
        if path := spec.pop(hook, None):
            spec[hook] = Path(path).exists
    if code := spec.pop("call", None):
        spec["call"] = lambda code=code: exec(code, {})
    programs.append(supervisor.Program(**{**spec, "argv": tuple(spec["argv"])}))
sys.exit(supervisor.Supervisor(programs).run())
"""

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


class Running:
    """A supervisor in a process of its own, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str], said: Path) -> None:
        self.process = process
        self._said = said

    @property
    def said(self) -> str:
        return self._said.read_text()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def is_another(self, word: str, pid: int) -> bool:
        child = self.child(word)
        return child is not None and child.pid != pid

    def child(self, word: str) -> psutil.Process | None:
        for child in self.children():
            try:
                if word in child.cmdline():
                    return child
            except psutil.Error:
                continue
        return None


def wait_for(what: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain")
        time.sleep(0.02)
    return found


@pytest.fixture
def supervise(tmp_path: Path) -> Any:
    @contextmanager
    def start(programs: list[dict[str, Any]], **plan: Any) -> Iterator[Running]:
        said = tmp_path / "said"
        with said.open("a") as output:  # each line whole, whoever writes it
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    RUNNER,
                    json.dumps({"programs": programs, **plan}),
                ],
                cwd=REPOSITORY,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        try:
            yield Running(process, said)
        finally:
            process.kill()
            process.wait()

    return start


def sleeper(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "argv": [*SLEEPER, name], **more}


def test_it_starts_a_killed_program_again_and_says_why(supervise: Any) -> None:
    with supervise([sleeper("web"), sleeper("worker")]) as running:
        for name in ("web", "worker"):
            killed = wait_for(functools.partial(running.child, name))

            killed.send_signal(signal.SIGKILL)

            wait_for(functools.partial(running.is_another, name, killed.pid))
            line = f"{name} stopped (killed by SIGKILL), starting again"
            assert line in running.said


def test_it_leaves_the_other_programs_alone(supervise: Any) -> None:
    with supervise([sleeper("web"), sleeper("worker")]) as running:
        other = wait_for(lambda: running.child("worker"))
        killed = wait_for(lambda: running.child("web"))

        killed.kill()

        wait_for(lambda: (c := running.child("web")) and c.pid != killed.pid)
        assert other.is_running()


def test_it_never_gives_up_and_backs_off(supervise: Any) -> None:
    fails = {"name": "web", "argv": [sys.executable, "-Sc", "raise SystemExit(3)"]}

    with supervise([fails], longest=0.4) as running:
        wait_for(lambda: running.said.count("exit code 3") >= 6)
        duration = time.time() - psutil.Process(running.process.pid).create_time()

    assert duration > 0.2 + 0.4 * 4


def test_it_says_when_a_program_cannot_be_started(supervise: Any) -> None:
    with supervise([{"name": "web", "argv": ["/no/such/program"]}]) as running:
        wait_for(lambda: "web does not start: " in running.said)

        running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(5) == 0


def test_it_starts_a_program_when_what_it_needs_is_ready(
    supervise: Any, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    programs = [
        sleeper("valkey", is_ready=str(ready)),
        sleeper("web", needs=["valkey"]),
    ]

    with supervise(programs) as running:
        wait_for(lambda: running.child("valkey"))
        time.sleep(0.3)
        assert running.child("web") is None
        ready.touch()

        assert wait_for(lambda: running.child("web"))


LOGS_ITS_END = """
import signal, sys, time
def end(*_):
    time.sleep(0.2)
    print(f"{sys.argv[1]} ended\\n", end="", flush=True)  # in one write
    raise SystemExit
signal.signal(signal.SIGTERM, end)
print(sys.argv[1], "up", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_in_reverse_order(supervise: Any, number: signal.Signals) -> None:
    programs = [
        {
            "name": name,
            "argv": [sys.executable, "-Sc", LOGS_ITS_END, name],
            "needs": needs,
        }
        for name, needs in [
            ("valkey", []),
            ("web", ["valkey"]),
            ("worker", ["valkey"]),
            ("watch", ["worker"]),
        ]
    ]
    with supervise(programs) as running:
        wait_for(lambda: running.said.count(" up") == 4)

        running.process.send_signal(number)

        assert running.process.wait(10) == 0
        ended = [
            line.split()[0] for line in running.said.splitlines() if "ended" in line
        ]
        assert ended.index("watch") < ended.index("worker")
        assert ended[-1] == "valkey"
        assert "starting again" not in running.said


STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""


def stubborn(stop_seconds: float) -> dict[str, Any]:
    argv = [sys.executable, "-Sc", STUBBORN]
    return {"name": "worker", "argv": argv, "stop_seconds": stop_seconds}


def test_it_kills_what_does_not_stop_in_time(supervise: Any) -> None:
    with supervise([stubborn(0.5)]) as running:
        wait_for(lambda: "up" in running.said)

        running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(5) == 0
        assert "worker has not stopped in 0.5 s, killing it" in running.said


def test_a_second_signal_kills_at_once(supervise: Any) -> None:
    with supervise([stubborn(60)]) as running:
        wait_for(lambda: "up" in running.said)
        running.process.send_signal(signal.SIGINT)
        wait_for(lambda: "stopping" in running.said)

        running.process.send_signal(signal.SIGINT)

        assert running.process.wait(5) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG of Linux")
def test_its_programs_end_when_it_is_killed(supervise: Any) -> None:
    with supervise([sleeper("web"), stubborn(60)]) as running:
        wait_for(lambda: "up" in running.said)
        children = wait_for(lambda: len(running.children()) == 2 and running.children())

        running.process.kill()

        gone, alive = psutil.wait_procs(children, timeout=5)
        assert len(gone) == 2
        assert not alive


def test_ctrl_c_in_a_terminal_reaches_only_the_supervisor(supervise: Any) -> None:
    with supervise([sleeper("web")]) as running:
        child = wait_for(lambda: running.child("web"))

        assert os.getpgid(child.pid) == child.pid
        assert os.getpgid(running.process.pid) != child.pid


def test_it_kills_what_a_killed_program_leaves_behind(supervise: Any) -> None:
    forks = (
        "import subprocess, sys, time;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', 'left']);"
        "time.sleep(600)"
    )
    with supervise([{"name": "web", "argv": [sys.executable, "-c", forks]}]) as running:
        leader = wait_for(running.children)[0]
        left = wait_for(leader.children)[0]

        leader.kill()

        psutil.wait_procs([left], timeout=5)
        assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


def test_it_restarts_a_program_that_is_stalled(supervise: Any, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    alive.touch()
    program = sleeper("worker", is_alive=str(alive), stalled_seconds=0.4)

    with supervise([program]) as running:
        first = wait_for(lambda: running.child("worker"))
        time.sleep(1.5)
        assert first.is_running()
        alive.unlink()

        wait_for(lambda: (c := running.child("worker")) and c.pid != first.pid)
        assert "worker does nothing for" in running.said


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        (
            [Program("web", ("a",)), Program("web", ("b",))],
            "two programs are called 'web'",
        ),
        (
            [Program("web", ("a",), needs=("valkey",)), Program("valkey", ("b",))],
            "web needs valkey, expected to be listed before it",
        ),
    ],
)
def test_it_refuses_a_wrong_list(programs: list[Program], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Supervisor(programs)


def fork(code: str, name: str = "web", **more: Any) -> dict[str, Any]:
    return {"name": name, "argv": [name, "--option"], "call": code, **more}


def test_a_fork_has_its_own_arguments_environment_and_group(supervise: Any) -> None:
    tell = (
        "import os, sys;"
        "print('told', sys.argv, os.environ['COLOUR'], os.getpgid(0) == os.getpid())"
    )

    with supervise([fork(tell, env={"COLOUR": "green"})]) as running:
        wait_for(lambda: "told ['web', '--option'] green True" in running.said)
        wait_for(lambda: "web stopped (exit code 0), starting again" in running.said)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("raise SystemExit('no')", "exit code 1"),
        ("raise ValueError('broken')", "exit code 1"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "killed by SIGKILL",
        ),
    ],
)
def test_it_says_how_a_fork_ended(supervise: Any, code: str, reason: str) -> None:
    with supervise([fork(code)]) as running:
        wait_for(lambda: f"web stopped ({reason})" in running.said)


def test_a_fork_takes_no_signal_for_the_supervisor(supervise: Any) -> None:
    sleep = "import time; time.sleep(600)"

    with supervise([fork(sleep), fork(sleep, "worker")]) as running:
        first, second = wait_for(
            lambda: len(running.children()) == 2 and running.children()
        )

        first.terminate()

        wait_for(lambda: "killed by SIGTERM" in running.said)
        assert second.is_running()
        assert "stopping" not in running.said


def test_forks_end_with_the_supervisor(supervise: Any) -> None:
    ignores = (
        "import signal, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    )
    with supervise([fork(ignores, stop_seconds=0.5)]) as running:
        children = wait_for(running.children)
        time.sleep(0.3)

        running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(5) == 0
        assert "has not stopped in 0.5 s, killing it" in running.said
        assert not any(child.is_running() for child in children)
