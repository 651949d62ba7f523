"""The processes of a console on one machine, and the program that supervises them.

`manage.py up` prepares everything and then becomes this program (`python -m
console.tree`) by exec, because a supervisor that keeps Django loaded for ever costs as
much memory as another worker. So nothing here may import Django.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import sys
from collections.abc import Callable
from pathlib import Path

from console import broker, env, liveness
from console.supervisor import Program, Supervisor

WEB_THREADS = 8
WORKER_THREADS = 8
QUEUES = "console,reports,notifications"
#: The worker is killed and started again when it has been behind for this long.
WORKER_STALLED_SECONDS = 60.0


def list_programs(
    environment: env.Environment, *, on_ready: Callable[[], None] | None = None
) -> list[Program]:
    """Return the programs to keep running, in the order of their start.

    `on_ready` is called once, when web answers. With CONSOLE_BROKER_URL set there is no
    Valkey among them.
    """
    common = _common_environment()

    def program(name: str, *argv: str, **more: object) -> Program:
        added = {**common, "CONSOLE_PROCESS": name}
        added.update(more.pop("env", {}))  # type: ignore[call-overload]
        return Program(name=name, argv=argv, env=added, **more)  # type: ignore[arg-type]

    # -P: what lies in the directory where `up` was called must not be imported.
    python = (sys.executable, "-P")
    programs = []
    if environment.is_broker_embedded:
        programs.append(_valkey(environment, program))
    needs = tuple(program.name for program in programs)
    programs += [
        program(
            "web",
            *python,
            *_gunicorn(environment),
            is_ready=lambda: _answers(environment.listen),
            on_ready=on_ready,
            needs=needs,
            stop_seconds=6.0,
        ),
        program(
            "worker",
            *python,
            *_celery("worker"),
            *("--queues", QUEUES),
            *("--pool", "threads", "--concurrency", str(WORKER_THREADS)),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            needs=needs,
            stop_seconds=8.0,
            is_alive=lambda: liveness.is_worker_alive(environment.data_dir),
            stalled_seconds=WORKER_STALLED_SECONDS,
        ),
        program(
            "beat",
            *python,
            *_celery("beat"),
            # In memory: the default keeps a file that a kill can corrupt, and a schedule
            # of seconds has nothing to remember.
            *("--scheduler", "celery.beat:Scheduler"),
            needs=needs,
            stop_seconds=4.0,
        ),
        program(
            "agent",
            *python,
            *("-m", "storepoints.agent"),
            env={
                "CONSOLE_DATA_DIR": str(environment.data_dir),
                "CONSOLE_AGENT_FILE": str(environment.agent_file),
                "CONSOLE_BROKER_URL": environment.broker_url,
            },
            needs=needs,
            stop_seconds=8.0,
        ),
        program(
            "watch",
            *python,
            str(env.REPOSITORY / "manage.py"),
            "watch",
            stop_seconds=4.0,
        ),
    ]
    return programs


def _common_environment() -> dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(env.REPOSITORY), path])),
        "PYTHONUNBUFFERED": "1",
        # glibc gives each thread an arena of its own, which doubles the memory of the
        # processes with threads and speeds up nothing under the interpreter's lock.
        "MALLOC_ARENA_MAX": "2",
    }


def _valkey(environment: env.Environment, program: Callable[..., Program]) -> Program:
    directory = broker.prepare_directory(
        environment.data_dir, environment.broker_socket
    )
    return program(
        "valkey",
        *broker.valkey_arguments(
            broker.valkey_program(), directory, environment.broker_socket
        ),
        is_ready=lambda: broker.is_listening(environment.broker_socket),
        stop_seconds=5.0,
        hint=f"see {directory / broker.LOG_FILE}",
    )


def _gunicorn(environment: env.Environment) -> list[str]:
    # One process with threads: pages are short and read one database, and a second
    # process would cost more memory than everything else here does together.
    options = [
        *("-m", "gunicorn", "console.wsgi:application"),
        *("--bind", str(environment.listen)),
        *("--worker-class", "gthread", "--workers", "1"),
        *("--threads", str(WEB_THREADS)),
        *("--timeout", "60", "--graceful-timeout", "4", "--keep-alive", "15"),
        *("--log-level", "warning", "--no-control-socket"),
    ]
    if os.access("/dev/shm", os.W_OK):
        # A slow disk must not make gunicorn take a healthy worker for a dead one.
        options += ["--worker-tmp-dir", "/dev/shm"]
    return options


def _celery(command: str) -> list[str]:
    return ["-m", "celery", "--app", "console", "--quiet", command]


def _answers(listen: env.Listen) -> bool:
    """Say whether web answers /livez, within half a second."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
    connection = http.client.HTTPConnection(host, listen.port, timeout=0.5)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    """Supervise the processes until a signal ends it; `manage.py up` execs this.

    The two file descriptors come from `up`: the locked file, held for as long as this
    process lives, and a pipe with the text to print when web answers (it holds the
    one-time link, which must not be seen in the list of processes).
    """
    parser = argparse.ArgumentParser(prog="python -m console.tree")
    parser.add_argument("--lock-fd", type=int, required=True)
    parser.add_argument("--text-fd", type=int, required=True)
    options = parser.parse_args()
    os.set_inheritable(options.lock_fd, False)
    with open(options.text_fd, encoding="utf-8") as file:
        text = file.read()

    environment = env.read()
    _forget_liveness(environment.data_dir)

    def announce() -> None:
        print(text, flush=True)

    return Supervisor(list_programs(environment, on_ready=announce)).run()


def _forget_liveness(data_dir: Path) -> None:
    """Remove what earlier processes noted: it says nothing about these."""
    for name in ("beat", "worker"):
        with contextlib.suppress(OSError):
            (data_dir / liveness.DIRECTORY / name).unlink()


if __name__ == "__main__":
    sys.exit(main())
