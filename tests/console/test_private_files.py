"""What the console writes is its owner's alone; what a store point says is for all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from console import env, startup
from storepoints.agent.main import main
from tests.faults.conftest import Watch, adopted, wait_until
from tests.processes import clean_environment


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_files_of_a_directory_that_was_there_are_private(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    data.chmod(0o755)

    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=env.REPOSITORY,
        env=clean_environment(data),
        umask=0o022,
        timeout=120,
        check=True,
    )

    files = [path for path in data.rglob("*") if path.is_file()]
    assert data / "console.sqlite3" in files
    assert [path for path in files if mode(path) & 0o077] == []


def test_it_tightens_the_files_of_an_earlier_version(tmp_path: Path) -> None:
    theirs = tmp_path / "notes.txt"
    database, side = tmp_path / "console.sqlite3", tmp_path / "console.sqlite3-wal"
    agent_file = tmp_path / "elsewhere.toml"
    for path in (database, side, agent_file, theirs):
        path.touch()
        path.chmod(0o644)
    (tmp_path / "secret-key").symlink_to(theirs)

    startup.tighten(tmp_path, agent_file)

    assert [mode(path) for path in (database, side, agent_file)] == [0o600] * 3
    assert mode(theirs) == 0o644


@pytest.fixture
def narrow() -> Iterator[None]:
    """The umask of the agent."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("narrow")
def test_what_a_store_point_says_is_for_everybody(tmp_path: Path) -> None:
    place = tmp_path / "point"
    place.mkdir()
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\necho done >{tmp_path}/written\n")
    hook.chmod(0o700)
    spec = adopted(place, inbound="disabled")
    watch = Watch(str(hook))

    try:
        watch.verdict(spec)
        wait_until((tmp_path / "written").exists)
    finally:
        watch.client.stop()

    meta = place / ".storepoint"
    assert mode(meta) == 0o755
    assert mode(meta / "identity.json") == 0o644
    assert mode(meta / "inbound") == 0o644
    # A hook writes for other programs: it has the usual umask, not the agent's.
    assert mode(tmp_path / "written") == 0o644


def test_the_agent_keeps_its_files_to_itself() -> None:
    before = os.umask(0o022)
    try:
        with pytest.raises(SystemExit):
            main(["--version"])
        found = os.umask(0o022)
    finally:
        os.umask(before)

    assert found == 0o077
