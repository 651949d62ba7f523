"""The processes of a console on one machine, supervised by `manage.py up`.

Web, worker, beat and watch are forks of `up`, which has loaded Django, Celery and every
page by then: they share that memory and start at once (docs/decisions/0003). Valkey is a
program of its own, and so is the agent, which runs without Django as it does elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib
import os
import sys
import time
from collections.abc import Callable

from setproctitle import setproctitle

from console import broker, env, liveness
from console.supervisor import Program, Supervisor

WEB_THREADS = 8
WORKER_THREADS = 8
QUEUES = "console,reports,notifications"
MEMORY_DIRECTORY = "/dev/shm"  # noqa: S108 (gunicorn makes a private file in it)
#: What to ask when web listens on every address.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared with)
#: The worker is killed and started again when it has been behind for this long.
WORKER_STALLED_SECONDS = 60.0
#: Beat and watch, when they have taken no turn for that long besides liveness's own time.
TURNS_STALLED_SECONDS = 30.0
#: Web is asked this often, with this time-out, and killed after three misses in a row.
ASK_WEB_SECONDS = 10.0
WEB_ANSWERS_SECONDS = 2.0
WEB_STALLED_SECONDS = 2.5 * ASK_WEB_SECONDS

#: Loaded before the first fork, besides the apps: what the forks would load each.
PRELOADED = (
    "celery.__main__",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.thread",
    "celery.worker",
    "console.celery",
    "console.urls",
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread",
    "kombu.transport.redis",
)


def preload() -> None:
    """Import what the forks need, so that they share it."""
    from django.utils.module_loading import autodiscover_modules

    for name in PRELOADED:
        importlib.import_module(name)
    autodiscover_modules("tasks")


def supervise(
    environment: env.Environment,
    *,
    lock: int,
    on_broker_ready: Callable[[], None],
    on_web_ready: Callable[[], None],
) -> int:
    """Keep the processes running until a signal ends that, and return the exit code.

    `lock` is the descriptor of the data directory's lock, which no process inherits.
    `on_broker_ready` is called once, when the embedded broker answers and nothing else
    has been started; `on_web_ready` once, when web answers. The process id of each
    process is in `run/NAME.pid` of the data directory.
    """
    directory = environment.data_dir / liveness.DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    for note in directory.iterdir():
        # What earlier processes noted says nothing about the ones that start now.
        note.unlink()

    # For `doctor`, which may be started with other variables than this was.
    (directory / liveness.ADDRESS_FILE).write_text(
        f"{environment.listen}\n{environment.public_url}\n"
    )

    def note_pid(name: str, pid: int) -> None:
        with contextlib.suppress(OSError):  # a full disk is told elsewhere
            (directory / f"{name}.pid").write_text(f"{pid}\n")

    # For the programs that are not forks.
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(env.REPOSITORY), path])
    )
    return Supervisor(
        list_programs(
            environment, on_broker_ready=on_broker_ready, on_web_ready=on_web_ready
        ),
        on_start=note_pid,
        private_fds=[lock],
    ).run()


def list_programs(
    environment: env.Environment,
    *,
    on_broker_ready: Callable[[], None],
    on_web_ready: Callable[[], None],
) -> list[Program]:
    """Return the programs to keep running, in the order of their start.

    With CONSOLE_BROKER_URL set there is no Valkey among them.
    """
    programs = []
    if environment.is_broker_embedded:
        programs.append(_valkey(environment, on_broker_ready))
    needs = tuple(program.name for program in programs)
    fork = functools.partial(_fork, needs=needs)
    return [
        *programs,
        fork(
            "web",
            _gunicorn(environment),
            _run_gunicorn,
            is_ready=lambda: answers(environment.listen),
            on_ready=on_web_ready,
            is_alive=now_and_then(
                lambda: answers(environment.listen, seconds=WEB_ANSWERS_SECONDS),
                seconds=ASK_WEB_SECONDS,
            ),
            stalled_seconds=WEB_STALLED_SECONDS,
            stop_seconds=6.0,
        ),
        fork(
            "worker",
            [
                *("celery", "--app", "console", "--quiet", "worker"),
                *("--queues", QUEUES, "--hostname", "worker@%h"),
                *("--pool", "threads", "--concurrency", str(WORKER_THREADS)),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ],
            _run_celery,
            is_alive=lambda: liveness.is_worker_alive(environment.data_dir),
            stalled_seconds=WORKER_STALLED_SECONDS,
            stop_seconds=8.0,
        ),
        fork(
            "beat",
            [
                *("celery", "--app", "console", "--quiet", "beat"),
                "--pidfile=",
            ],
            _run_celery,
            is_alive=lambda: liveness.takes_turns(environment.data_dir, "beat-turn"),
            stalled_seconds=TURNS_STALLED_SECONDS,
            stop_seconds=4.0,
        ),
        _agent(environment, needs),
        fork(
            "watch",
            ["manage.py", "watch"],
            _run_management,
            is_alive=lambda: liveness.takes_turns(environment.data_dir, "watch-turn"),
            stalled_seconds=TURNS_STALLED_SECONDS,
            stop_seconds=4.0,
        ),
    ]


def _fork(
    name: str,
    argv: list[str],
    call: Callable[[], int | None],
    *,
    needs: tuple[str, ...],
    stop_seconds: float,
    is_ready: Callable[[], bool] | None = None,
    on_ready: Callable[[], None] | None = None,
    is_alive: Callable[[], bool] | None = None,
    stalled_seconds: float = 0.0,
) -> Program:
    return Program(
        name=name,
        argv=tuple(argv),
        call=call,
        env={"CONSOLE_PROCESS": name},
        needs=needs,
        stop_seconds=stop_seconds,
        is_ready=is_ready,
        on_ready=on_ready,
        is_alive=is_alive,
        stalled_seconds=stalled_seconds,
    )


def _valkey(environment: env.Environment, on_ready: Callable[[], None]) -> Program:
    directory = broker.prepare_directory(
        environment.data_dir, environment.broker_socket
    )
    arguments = broker.valkey_arguments(
        broker.valkey_program(), directory, environment.broker_socket
    )
    return Program(
        name="valkey",
        argv=tuple(arguments),
        is_ready=lambda: broker.is_listening(environment.broker_socket),
        on_ready=on_ready,
        stop_seconds=5.0,
        hint=f"see {directory / broker.LOG_FILE}",
    )


def _agent(environment: env.Environment, needs: tuple[str, ...]) -> Program:
    return Program(
        name="agent",
        # -P: what lies in the directory where `up` was called must not be imported.
        argv=(sys.executable, "-P", "-m", "storepoints.agent"),
        env={
            "CONSOLE_PROCESS": "agent",
            "CONSOLE_DATA_DIR": str(environment.data_dir),
            "CONSOLE_AGENT_FILE": str(environment.agent_file),
            "CONSOLE_BROKER_URL": environment.broker_url,
            # Celery loads Django wherever this is set.
            "DJANGO_SETTINGS_MODULE": "",
            "PYTHONUNBUFFERED": "1",
            # glibc gives each thread an arena of its own, which costs memory and speeds
            # up nothing under the interpreter's lock.
            "MALLOC_ARENA_MAX": "2",
        },
        needs=needs,
        stop_seconds=8.0,
    )


def _gunicorn(environment: env.Environment) -> list[str]:
    # One process with threads: pages are short and read one database.
    options = [
        *("gunicorn", "console.wsgi:application"),
        *("--bind", str(environment.listen)),
        *("--worker-class", "gthread", "--workers", "1"),
        *("--threads", str(WEB_THREADS)),
        *("--timeout", "60", "--graceful-timeout", "4", "--keep-alive", "15"),
        *("--log-level", "warning", "--no-control-socket"),
        # Who may say that there is TLS is Django's to decide (CONSOLE_TRUSTED_PROXIES).
        "--forwarded-allow-ips=",
    ]
    if os.access(MEMORY_DIRECTORY, os.W_OK):
        # A slow disk must not make gunicorn take a healthy worker for a dead one.
        options += ["--worker-tmp-dir", MEMORY_DIRECTORY]
    return options


def _run_gunicorn() -> None:
    from gunicorn.app.wsgiapp import run

    run()  # type: ignore[no-untyped-call]


def _run_celery() -> None:
    from celery.__main__ import main
    from celery.apps import worker

    # "worker: Warm shutdown" at each stop, past the logging; `up` says "stopping".
    worker.safe_say = lambda *_: None  # type: ignore[attr-defined]
    setproctitle(" ".join(sys.argv))
    main()


def _run_management() -> None:
    from django.core.management import execute_from_command_line

    setproctitle(" ".join(sys.argv))
    execute_from_command_line(sys.argv)


def now_and_then(ask: Callable[[], bool], *, seconds: float) -> Callable[[], bool]:
    """Return a function that asks at most this often and else says what it heard last."""
    asked_at = -seconds
    answer = True

    def ask_or_remember() -> bool:
        nonlocal asked_at, answer
        if time.monotonic() - asked_at >= seconds:
            answer = ask()
            asked_at = time.monotonic()
        return answer

    return ask_or_remember


def answers(listen: env.Listen, *, seconds: float = 0.5) -> bool:
    """Say whether web answers /livez, within these seconds, whatever its hosts are."""
    host = LOOPBACK.get(listen.host, listen.host)
    connection = http.client.HTTPConnection(host, listen.port, timeout=seconds)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
