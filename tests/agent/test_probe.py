"""The verdict where nothing has to be mounted for it: skips, devices, evidence."""

from __future__ import annotations

import json
import os
import resource
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storepoints.agent.adoption import adopt, inspect
from storepoints.agent.disk import Failure
from storepoints.agent.memory import Memory
from storepoints.agent.messages import DeviceFinding, Finding, Spec, VolumeId
from storepoints.agent.mounts import Mount, Mounts, MountTable, parse
from storepoints.agent.probe import not_responding, probe
from storepoints.agent.progress import Progress
from storepoints.states import Reason

SERVER = "this server"


@pytest.fixture
def table() -> MountTable:
    return Mounts().current()


@pytest.fixture
def spec(tmp_path: Path, table: MountTable) -> Spec:
    """A store point that was adopted, with a write that is good for ten seconds."""
    path = tmp_path / "point"
    path.mkdir()
    volume = inspect(str(path), table)["volume"]
    guid = str(uuid.uuid4())
    answer = adopt(
        str(path),
        store_point=guid,
        name="SP-07",
        server=SERVER,
        volume=volume,
        table=table,
    )
    assert answer["adopted"], answer
    return Spec(
        guid, "SP-07", str(path), volume, 5.0, write=True, inbound="", write_seconds=10
    )


def checks_of(finding: Finding) -> dict[str, Any]:
    return {check["name"]: check for check in finding["checks"]}


def probed(
    spec: Spec, table: MountTable, memory: Memory, *, cause: str = "due"
) -> Finding:
    """Probe as the prober does: the memory learns from each finding."""
    progress = Progress()
    finding = probe(spec, table, progress, cause=cause, memory=memory)
    if finding["state"] == "online":
        memory.went_well(written_on=progress.mount if finding["wrote"] else None)
    else:
        memory.went_wrong()
    return finding


# -- skips --------------------------------------------------------------------------


def test_it_skips_the_write_that_was_done_just_before(
    spec: Spec, table: MountTable
) -> None:
    memory = Memory()

    first, second = probed(spec, table, memory), probed(spec, table, memory)

    assert (first["wrote"], second["wrote"]) == (True, False)
    assert first["latency_seconds"] is not None
    assert second["latency_seconds"] is None
    assert second["state"] == "online"
    check = checks_of(second)["write"]
    assert check["ok"] is None
    assert check["found"] == "skipped: written and read back 0 s ago"


@pytest.mark.parametrize("cause", ["asked", "mount-table"])
def test_it_writes_when_there_is_a_cause(
    spec: Spec, table: MountTable, cause: str
) -> None:
    memory = Memory()
    probed(spec, table, memory)

    assert probed(spec, table, memory, cause=cause)["wrote"] is True


def test_it_writes_when_the_last_write_is_old(spec: Spec, table: MountTable) -> None:
    memory = Memory()
    probed(spec, table, memory)
    memory.written_at -= 11

    assert probed(spec, table, memory)["wrote"] is True


def test_it_does_not_put_off_the_write_by_skipping(
    spec: Spec, table: MountTable
) -> None:
    memory = Memory()
    probed(spec, table, memory)
    written_at = memory.written_at

    probed(spec, table, memory)

    assert memory.written_at == written_at


def test_it_writes_always_when_nothing_is_to_be_skipped(
    spec: Spec, table: MountTable
) -> None:
    memory, spec = Memory(), replace(spec, write_seconds=0.0)
    probed(spec, table, memory)

    assert probed(spec, table, memory)["wrote"] is True


def test_it_writes_when_the_mount_is_another_one(spec: Spec, table: MountTable) -> None:
    memory = Memory()
    probed(spec, table, memory)
    # The same lines, as they stand again after an unmount and a mount.
    again = Mounts().current()

    assert probed(spec, again, memory)["wrote"] is True


def test_it_writes_after_a_failure(spec: Spec, table: MountTable) -> None:
    memory = Memory()
    probed(spec, table, memory)
    marker = Path(spec.path, ".storepoint", "identity.json")
    marker.rename(marker.with_name("away"))
    failed = probed(spec, table, memory)
    marker.with_name("away").rename(marker)

    after = probed(spec, table, memory)

    assert failed["reason"] == "marker-missing"
    assert failed["wrote"] is None
    assert after["wrote"] is True


# -- devices ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("health", "ok"),
    [("ok", True), ("degraded", False), ("failing", False), ("unknown", None)],
)
def test_it_says_what_is_known_of_the_devices(
    spec: Spec, table: MountTable, health: str, ok: bool | None
) -> None:
    device = DeviceFinding(health=health, reason="", text="md0: 1 of 2 drives")
    asked: list[Mount] = []

    def device_of(mount: Mount) -> DeviceFinding:
        asked.append(mount)
        return device

    finding = probe(spec, table, Progress(), cause="due", device_of=device_of)

    check = checks_of(finding)["device"]
    assert (check["layer"], check["ok"]) == (8, ok)
    assert check["found"] == "md0: 1 of 2 drives"
    assert finding["device"] == device
    assert (finding["state"], finding["reason"], finding["layer"]) == ("online", "", 0)
    assert asked == [table.covering(spec.path)]


def test_it_says_that_nothing_is_known_of_the_devices(
    spec: Spec, table: MountTable
) -> None:
    finding = probe(spec, table, Progress(), cause="due", device_of=lambda _mount: None)

    check = checks_of(finding)["device"]
    assert (check["ok"], finding["device"]) == (None, None)
    assert "nothing is known" in check["found"]


def test_it_says_what_is_known_of_the_devices_of_what_failed(
    spec: Spec, table: MountTable
) -> None:
    device = DeviceFinding(health="failing", reason="drive-failing", text="sda: SMART")
    Path(spec.path, ".storepoint", "identity.json").unlink()

    finding = probe(
        spec, table, Progress(), cause="due", device_of=lambda _mount: device
    )

    assert (finding["reason"], finding["layer"]) == ("marker-missing", 4)
    assert finding["device"] == device


# -- what stands at the path of a volume that is not there ----------------------------


@pytest.fixture
def gone(spec: Spec) -> Spec:
    """A store point whose volume should be mounted at its path and is not."""
    volume = VolumeId(
        mount_point=spec.path, fs_type="ext4", fs_uuid="u", source="/dev/x", fsid=""
    )
    return replace(spec, volume=volume)


def test_it_says_that_the_path_exists_on_the_filesystem_below(
    gone: Spec, table: MountTable
) -> None:
    finding = probe(gone, table, Progress(), cause="due", memory=Memory())

    assert (finding["reason"], finding["layer"]) == ("not-mounted", 3)
    checks = checks_of(finding)
    assert checks["path"]["ok"] is True
    assert checks["path"]["found"] == "a directory, on the filesystem below"
    assert checks["volume"]["ok"] is False
    assert checks["volume"]["expected"] == f"ext4 u at {gone.path}"
    assert [checks[name]["ok"] for name in ("identity", "write", "device")] == [
        None
    ] * 3


def test_it_says_that_the_path_went_with_its_volume(
    gone: Spec, table: MountTable
) -> None:
    gone = replace(gone, path=f"{gone.path}/deeper")

    finding = probe(gone, table, Progress(), cause="due")

    assert (finding["reason"], finding["layer"], finding["errno"]) == (
        "not-mounted",
        3,
        "",
    )
    path = checks_of(finding)["path"]
    assert (path["ok"], path["errno"]) == (None, "ENOENT")
    assert path["found"] == "No such file or directory, on the filesystem below"


@pytest.mark.parametrize("fs_type", ["nfs4", "fuse.sshfs", "autofs", "cifs"])
def test_it_does_not_touch_a_path_that_might_hang(gone: Spec, fs_type: str) -> None:
    text = f"20 1 0:20 / / rw - {fs_type} there:/export rw\n"

    finding = probe(gone, parse(text.encode()), Progress(), cause="due")

    assert finding["reason"] == "not-mounted"
    path = checks_of(finding)["path"]
    assert path["ok"] is None
    assert path["found"].startswith("not asked: it lies on there:/export")


def test_it_keeps_to_the_verdict_when_the_path_below_hangs_after_all(
    gone: Spec, table: MountTable
) -> None:
    progress = Progress()
    progress.known = Failure(
        Reason.NOT_MOUNTED, "ext4", found="nothing is mounted there"
    )

    finding = not_responding(gone, progress, cause="due", since=1.0, memory=Memory())

    assert (finding["state"], finding["reason"], finding["layer"]) == (
        "offline",
        "not-mounted",
        3,
    )
    assert finding["since"] == 1.0
    assert "no answer from open" in checks_of(finding)["path"]["found"]


# -- the marker -----------------------------------------------------------------------


def _edit(spec: Spec, **fields: Any) -> None:
    path = Path(spec.path, ".storepoint", "identity.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_it_notes_that_the_marker_was_made_elsewhere(
    spec: Spec, table: MountTable
) -> None:
    assert spec.volume is not None
    made_on = {"fs_type": "ext4", "fs_uuid": "another uuid"}
    _edit(spec, filesystem=made_on, server="another server")

    finding = probe(spec, table, Progress(), cause="due", server=SERVER)

    assert finding["state"] == "online"
    check = checks_of(finding)["identity"]
    assert check["ok"] is True
    assert "made on another server, another server" in check["found"]
    if spec.volume["fs_uuid"]:
        assert "made on another filesystem, another uuid" in check["found"]


def test_it_notes_nothing_of_a_marker_that_was_made_here(
    spec: Spec, table: MountTable
) -> None:
    finding = probe(spec, table, Progress(), cause="due", server=SERVER)

    assert checks_of(finding)["identity"]["found"] == spec.id


def test_it_names_the_store_point_whose_disk_it_is(
    spec: Spec, table: MountTable
) -> None:
    finding = probe(replace(spec, id="another"), table, Progress(), cause="due")

    assert (finding["reason"], finding["layer"]) == ("wrong-store-point", 4)
    assert checks_of(finding)["identity"]["found"] == f"SP-07 ({spec.id})"
    assert finding["marker"] is not None
    assert finding["marker"]["name"] == "SP-07"
    assert finding["marker"]["server"] == SERVER


def test_it_passes_on_no_more_of_a_marker_than_is_shown(
    spec: Spec, table: MountTable
) -> None:
    _edit(spec, name="x" * 50_000, server=["no", "text"], more={"a": 1})

    finding = probe(replace(spec, id="another"), table, Progress(), cause="due")

    assert finding["marker"] == {
        "store_point": spec.id,
        "name": "x" * 200,
        "server": "",
        "created_at": finding["marker"]["created_at"] if finding["marker"] else "",
    }


# -- what is not the store point's fault --------------------------------------------------


@pytest.fixture
def no_more_files() -> Iterator[None]:
    """A process that may open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptor = os.open("/", os.O_RDONLY)
    os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_claims_nothing_when_it_may_open_no_file(
    spec: Spec, table: MountTable, no_more_files: None
) -> None:
    with pytest.raises(Failure, match="io-error"):
        probe(spec, table, Progress(), cause="due")
