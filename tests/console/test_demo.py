"""`manage.py demo`, whole: it plays, and nothing of it is left, however it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from console import demo, env, startup
from console.demo import NoRight, Stage
from console.demo_history import make_up_history
from console.kit import clock
from console.watchman import Watchman
from storepoints.models import Filesystem, StorePoint
from tests import factories
from tests.processes import clean_environment, free_port

MOVED = {False: "moved .* away", True: "unmounted "}
MENDED = {False: "moved .* back", True: "mounted .* again"}


class Demonstration:
    """A demonstration started as a user starts it, with a scratch directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = directory.with_name("output")
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "manage.py", "demo", "--seconds", "2"),
                    *("--listen", f"127.0.0.1:{free_port()}"),
                ],
                cwd=env.REPOSITORY,
                env={
                    **clean_environment(directory / "never"),
                    "TMPDIR": str(directory),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        """Return what it has printed."""
        return self.output.read_text()

    def wait(self, pattern: str, seconds: float = 60.0) -> str:
        """Wait until it has printed this, and return what was found."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.said())):
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"waited for {pattern!r}; it said:\n{self.said()}")
            time.sleep(0.05)
        return found[0]

    def family(self) -> list[psutil.Process]:
        """Return every process below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def left(self) -> list[str]:
        """Return the mounts and files that are in its place now."""
        mounts = [each.mountpoint for each in psutil.disk_partitions(all=True)]
        below = [each for each in mounts if each.startswith(str(self.directory))]
        return below + [str(each) for each in self.directory.iterdir()]


def wait_for(what: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain")
        time.sleep(0.05)


@pytest.fixture
def place() -> Iterator[Path]:
    # Not tmp_path: the path of a socket is short.
    base = Path(tempfile.mkdtemp(prefix="demo-test-"))
    directory = base / "t"
    directory.mkdir()
    yield directory
    for root in directory.glob(f"{demo.PREFIX}*"):
        demo.remove(root)
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def start(place: Path) -> Iterator[Callable[[], Demonstration]]:
    started: list[Demonstration] = []

    def begin() -> Demonstration:
        started.append(Demonstration(place))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.process.terminate()
            each.process.wait(30)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it_plays_and_leaves_nothing(
    start: Callable[[], Demonstration], number: signal.Signals
) -> None:
    running = start()
    running.wait(r"http://127\.0\.0\.1:\d+/sign-in/\S+")
    has_volumes = "plain directories" not in running.said()
    running.wait(MOVED[has_volumes])
    running.wait(r"Tank-07 offline|Tank-07 .*not mounted|ALERT", 30)
    running.wait(MENDED[has_volumes])
    family = running.family()

    running.process.send_signal(number)

    assert running.process.wait(30) == 0
    _, alive = psutil.wait_procs(family, timeout=3)
    assert alive == []
    assert running.left() == []
    assert "Traceback" not in running.said()


@pytest.mark.faults
def test_the_next_one_removes_what_a_killed_one_left(
    start: Callable[[], Demonstration],
) -> None:
    killed = start()
    killed.wait("sign-in/")
    family = killed.family()

    killed.process.kill()
    killed.process.wait()

    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    [root] = killed.directory.iterdir()
    running = start()
    running.wait(f"removed {root}, left by a demonstration that was killed")
    assert not root.exists()


def test_a_volume_that_cannot_be_mounted_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, has_volumes=True)

    def refuse(*argv: str) -> None:
        raise NoRight(f"{argv[0]}: busy")

    monkeypatch.setattr(demo, "_run", refuse)
    with pytest.raises(NoRight):
        stage.turn()
    assert not stage.is_broken
    monkeypatch.setattr(demo, "_run", lambda *_: None)

    assert stage.turn().startswith("unmounted ")
    assert stage.turn().startswith("mounted ")


def test_a_directory_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    with pytest.raises(NoRight, match="cannot be moved: No such file"):
        stage.turn()


def test_it_leaves_what_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = ("running", "killed", "making", "console")
    roots = {name: tmp_path / f"{demo.PREFIX}{name}" for name in names}
    for root in roots.values():
        (root / "var").mkdir(parents=True)
    lock = demo.lock(roots["running"])
    (roots["killed"] / demo.LOCK_FILE).touch()
    (roots["console"] / demo.LOCK_FILE).touch()
    console = startup.lock_data_dir(roots["console"] / "var")

    removed = demo.remove_leftovers()

    assert removed == [roots["killed"]]
    assert {root for root in roots.values() if root.exists()} == {
        roots[name] for name in ("running", "making", "console")
    }
    for descriptor in (lock, console):
        os.close(descriptor)


@pytest.mark.django_db
def test_it_makes_up_a_past_once_and_says_so() -> None:
    now = clock.now()
    server = factories.make_server()
    for number, name in enumerate(demo.NAMES):
        factories.make_store_point(name, server=server)
        assert not make_up_history(demo.NAMES, now=now)
        filesystem = Filesystem.objects.create(
            server=server,
            identity=str(number),
            created_at=now,
            space_at=now,
            total_bytes=1000,
            used_bytes=600,
            free_bytes=400,
        )
        StorePoint.objects.filter(name=name).update(filesystem=filesystem)

    assert make_up_history(demo.NAMES, now=now)

    for row in StorePoint.objects.select_related("filesystem"):
        assert "made up" in row.note
        assert row.filesystem is not None
        assert row.filesystem.full_at is not None
        assert row.filesystem.full_at > now
    said: list[str] = []
    watchman = Watchman(say=said.append, started_at=now)
    watchman.look(now=now)
    make_up_history(demo.NAMES, now=now)
    watchman.look(now=now)
    assert not [line for line in said if "not mounted" in line]
