"""The inbound switch: the state file, and the administrator's hook."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Watch, adopted, wait_until

Start = Callable[..., Watch]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a prober with a hook."""
    started: list[Watch] = []

    def start(hook: str = "", timeout: float = 5.0) -> Watch:
        started.append(Watch(hook, timeout))
        return started[-1]

    yield start
    for watch in started:
        watch.client.stop()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "point; $(touch evil)"
    path.mkdir()
    return path


def make_hook(tmp_path: Path, text: str) -> str:
    hook = tmp_path / "the hook"
    hook.write_text(f"#!/bin/sh\n{text}\n")
    hook.chmod(0o755)
    return str(hook)


def state(place: Path) -> tuple[str, bool]:
    meta = place / ".storepoint"
    return (meta / "inbound").read_text(), (meta / "inbound.pending").exists()


def inbound(finding: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = finding["inbound"]
    return found


def test_it_writes_the_state_file(start: Start, place: Path) -> None:
    watch = start()
    spec = adopted(place)

    first = watch.verdict(spec)
    second = watch.verdict({**spec, "inbound": "disabled"})

    assert inbound(first) == {"applied": "enabled", "pending": False, "error": ""}
    assert inbound(second)["applied"] == "disabled"
    assert state(place) == ("disabled\n", False)


def test_it_applies_nothing_to_a_store_point_that_is_not_the_right_one(
    start: Start, place: Path
) -> None:
    watch = start()
    spec = adopted(place)
    watch.verdict(spec)

    finding = watch.verdict({**spec, "id": "another", "inbound": "disabled"})

    assert finding["reason"] == "wrong-store-point"
    assert inbound(finding)["applied"] is None
    assert state(place) == ("enabled\n", False)


def test_it_runs_the_hook_with_a_list_and_no_shell(
    start: Start, tmp_path: Path, place: Path
) -> None:
    told = tmp_path / "told"
    hook = make_hook(
        tmp_path,
        f'printf "%s|" "$@" "$STORE_POINT_ID" "$STORE_POINT_INBOUND" >>{told}\n'
        f'env | grep -c "^CONSOLE_" >>{told}; true',
    )
    watch = start(hook)
    spec = adopted(place, name="it's; a `name`")

    watch.verdict(spec)
    watch.wait(spec, inbound={"applied": "enabled", "pending": False, "error": ""})
    # The hook may be over before the first finding was looked at.
    first = watch.sink.findings[0]

    assert inbound(first) == {"applied": "enabled", "pending": True, "error": ""}
    assert told.read_text() == (
        f"it's; a `name`|{place}|enabled|{spec['id']}|enabled|0\n"
    )
    assert state(place) == ("enabled\n", False)
    assert not (tmp_path / "evil").exists()


def test_it_does_not_let_a_slow_hook_delay_the_verdict(
    start: Start, tmp_path: Path, place: Path
) -> None:
    watch = start(make_hook(tmp_path, "sleep 1"))
    spec = adopted(place)
    began = time.monotonic()

    finding = watch.verdict(spec)
    again = watch.verdict(spec)

    assert time.monotonic() - began < 0.9
    assert inbound(finding)["pending"]
    assert inbound(again)["pending"]
    watch.wait(spec, inbound={"applied": "enabled", "pending": False, "error": ""})


def test_it_says_why_the_hook_failed_and_tries_again_at_the_next_probe(
    start: Start, tmp_path: Path, place: Path
) -> None:
    count = tmp_path / "count"
    hook = make_hook(
        tmp_path,
        f"echo x >>{count}; test -e {tmp_path}/ok || {{ echo no >&2; exit 3; }}",
    )
    watch = start(hook)
    spec = adopted(place)
    failed = {"applied": "enabled", "pending": True, "error": "hook exited 3: no"}

    watch.verdict(spec)
    watch.wait(spec, inbound=failed)
    time.sleep(0.3)
    assert count.read_text() == "x\n", "not again before the next probe"
    assert state(place) == ("enabled\n", True)
    (tmp_path / "ok").touch()
    watch.verdict(spec)

    watch.wait(spec, inbound={"applied": "enabled", "pending": False, "error": ""})
    assert state(place) == ("enabled\n", False)


def test_it_ends_a_hook_that_takes_too_long_with_its_children(
    start: Start, tmp_path: Path, place: Path
) -> None:
    child = tmp_path / "child"
    watch = start(make_hook(tmp_path, f"sleep 60 & echo $! >{child}; wait"), 1.0)
    spec = adopted(place)

    watch.verdict(spec)

    error = "hook did not finish within 1 s"
    watch.wait(spec, inbound={"applied": "enabled", "pending": True, "error": error})
    pid = int(child.read_text())
    wait_until(lambda: not _runs(pid), 2)


def test_it_ends_its_hooks_when_it_stops(
    start: Start, tmp_path: Path, place: Path
) -> None:
    child = tmp_path / "child"
    watch = start(make_hook(tmp_path, f"echo $$ >{child}; sleep 60"), 60)
    watch.verdict(adopted(place))
    wait_until(lambda: child.exists() and child.read_text())

    watch.client.stop()

    wait_until(lambda: not _runs(int(child.read_text())), 2)


def test_it_runs_the_hook_again_for_a_state_that_changed_meanwhile(
    start: Start, tmp_path: Path, place: Path
) -> None:
    told = tmp_path / "told"
    watch = start(make_hook(tmp_path, f'sleep 0.3; echo "$3" >>{told}'))
    spec = adopted(place)

    watch.verdict(spec)
    watch.verdict({**spec, "inbound": "disabled"})

    done = {"applied": "disabled", "pending": False, "error": ""}
    watch.wait(spec, inbound=done)
    assert told.read_text() == "enabled\ndisabled\n"


def test_it_says_that_the_state_cannot_be_written(start: Start, place: Path) -> None:
    watch = start()
    spec = adopted(place)
    (place / ".storepoint/inbound").mkdir()

    finding = watch.verdict(spec)

    assert finding["state"] == "online"
    assert inbound(finding)["applied"] is None
    assert "could not be applied" in inbound(finding)["error"]


def test_its_marker_says_what_it_is_for(place: Path) -> None:
    spec = adopted(place)
    file = place / ".storepoint/identity.json"

    marker = json.loads(file.read_text())

    assert marker["store_point"] == spec["id"]
    assert marker["filesystem"]["fs_type"] == spec["volume"]["fs_type"]
    assert file.stat().st_mode & 0o777 == 0o644
    assert (place / ".storepoint").stat().st_mode & 0o777 == 0o755
    assert os.listdir(file.parent) == ["identity.json"]  # noqa: PTH208


# --- the fence -------------------------------------------------------------------------


#: A volume that is not there: nothing is mounted at this place.
AWAY = {
    "mount_point": "/nowhere/at all",
    "fs_type": "ext4",
    "fs_uuid": "0",
    "source": "/dev/none",
    "fsid": "",
}
FENCED = {"inbound": "disabled", "is_fenced": True}
DONE = {"applied": "disabled", "pending": False, "error": ""}


def test_it_tells_the_hook_of_a_fence_and_writes_nothing(
    start: Start, tmp_path: Path, place: Path
) -> None:
    told = tmp_path / "told"
    watch = start(make_hook(tmp_path, f'echo "$3" >>{told}'))
    spec = adopted(place)
    fenced = {**spec, **FENCED, "volume": AWAY}
    before = sorted(place.rglob("*"))

    watch.verdict(fenced)
    watch.wait(fenced, inbound=DONE)
    first = watch.sink.findings[0]
    again = watch.verdict(fenced)

    assert first["reason"] == "not-mounted"
    assert inbound(first) == {"applied": None, "pending": True, "error": ""}
    assert inbound(again) == DONE
    assert told.read_text() == "disabled\n", "once for each fence"
    assert sorted(place.rglob("*")) == before


def test_it_says_that_there_is_no_hook_to_tell_of_a_fence(
    start: Start, place: Path
) -> None:
    watch = start()
    spec = adopted(place)

    gone = watch.verdict({**spec, **FENCED, "volume": AWAY})
    wrong = watch.verdict({**spec, **FENCED, "id": "another"})

    assert inbound(gone)["error"] == (
        "no hook is set: programs that read .storepoint/inbound find no file"
    )
    assert wrong["reason"] == "wrong-store-point"
    assert "the other store point's" in inbound(wrong)["error"]
    assert inbound(gone)["applied"] is inbound(wrong)["applied"] is None
    assert not (place / ".storepoint/inbound").exists()


def test_it_says_why_the_hook_failed_for_a_fence_and_tries_again(
    start: Start, tmp_path: Path, place: Path
) -> None:
    count = tmp_path / "count"
    watch = start(
        make_hook(tmp_path, f"echo x >>{count}; test -e {tmp_path}/ok || exit 3")
    )
    fenced = {**adopted(place), **FENCED, "volume": AWAY}

    watch.verdict(fenced)
    watch.wait(
        fenced, inbound={"applied": None, "pending": True, "error": "hook exited 3"}
    )
    time.sleep(0.3)
    assert count.read_text() == "x\n", "not again before the next probe"
    (tmp_path / "ok").touch()
    watch.verdict(fenced)

    watch.wait(fenced, inbound=DONE)
    assert count.read_text() == "x\nx\n"


def test_it_writes_the_file_when_the_volume_is_back_and_enables_it_when_lifted(
    start: Start, tmp_path: Path, place: Path
) -> None:
    told = tmp_path / "told"
    watch = start(make_hook(tmp_path, f'echo "$3" >>{told}'))
    spec = adopted(place)
    watch.verdict(spec)
    enabled = {"applied": "enabled", "pending": False, "error": ""}
    watch.wait(spec, inbound=enabled)
    watch.verdict({**spec, **FENCED, "volume": AWAY})
    watch.wait(spec, inbound=DONE)

    back = watch.verdict({**spec, **FENCED})
    assert (back["state"], inbound(back)) == ("online", DONE)
    assert state(place) == ("disabled\n", False)
    watch.verdict(spec)

    watch.wait(spec, inbound=enabled)
    assert state(place) == ("enabled\n", False)
    assert told.read_text() == "enabled\ndisabled\nenabled\n"


@pytest.mark.parametrize("is_restarted", [False, True])
def test_it_tells_the_hook_when_a_fence_was_lifted_while_the_volume_was_away(
    start: Start, tmp_path: Path, place: Path, is_restarted: bool
) -> None:
    told = tmp_path / "told"
    hook = make_hook(tmp_path, f'echo "$3" >>{told}')
    watch = start(hook)
    spec = adopted(place)
    enabled = {"applied": "enabled", "pending": False, "error": ""}
    watch.verdict(spec)
    watch.wait(spec, inbound=enabled)
    watch.verdict({**spec, **FENCED, "volume": AWAY})
    watch.wait(spec, inbound=DONE)
    if is_restarted:
        watch = start(hook)

    watch.verdict({**spec, "volume": AWAY, "told": "disabled"})
    watch.verdict({**spec, "told": "disabled"}, state="online")
    back = next(f for f in watch.sink.findings if f["state"] == "online")

    assert inbound(back)["pending"], "the file says enabled, and the hook does not"
    watch.wait(spec, inbound=enabled)
    watch.verdict({**spec, "told": "disabled"})
    assert told.read_text() == "enabled\ndisabled\nenabled\n"


def test_it_leaves_a_failure_alone_that_is_none_of_the_fence(
    start: Start, tmp_path: Path, place: Path
) -> None:
    told = tmp_path / "told"
    watch = start(make_hook(tmp_path, f"echo x >>{told}"))
    spec = adopted(place)
    (place / ".storepoint/identity.json").unlink()

    finding = watch.verdict({**spec, **FENCED})

    assert finding["reason"] == "marker-missing"
    assert inbound(finding) == {"applied": None, "pending": False, "error": ""}
    assert not told.exists()


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rsplit(")", 1)[1].split()[0] not in "ZX"
