"""A store point on another machine: the link goes, the server goes, both come back.

The other machine is a network namespace of this test's own, joined by a veth pair to
the one that sshfs runs in.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storepoints.agent.mounts import Mounts
from tests import needs
from tests.faults.breaking import Scene, need_fuse
from tests.faults.conftest import Watch, adopted, wait_until
from tests.faults.volumes import Disk, Volume, run, umount

pytestmark = pytest.mark.faults

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")

#: Of a range that is kept for documentation; nothing outside the test can reach it.
HERE, THERE = "192.0.2.1", "192.0.2.2"
PORT = 2222


class Far(Volume):
    """A directory on another machine, mounted with sshfs."""

    def __init__(self, yard: Path, name: str) -> None:
        super().__init__(yard, name)
        self.data = yard / f"{name}.data"
        self.data.mkdir()
        self._near, self._far = (f"faults-{os.getpid()}-{side}" for side in "ab")
        self._server: subprocess.Popen[bytes] | None = None
        self._client: subprocess.Popen[bytes] | None = None
        try:
            self._lay_cable()
        except RuntimeError as error:
            self.clean_up()
            if any(
                words in str(error) for words in ("not supported", "Unknown device")
            ):
                needs.leave_out_for_the_kernel("network namespaces with veth pairs")
            raise

    def _lay_cable(self) -> None:
        for name in (self._near, self._far):
            run("ip", "netns", "add", name)
        run(
            *("ip", "link", "add", "near", "netns", self._near, "type", "veth"),
            *("peer", "name", "far", "netns", self._far),
        )
        for name, link, address in (
            (self._near, "near", HERE),
            (self._far, "far", THERE),
        ):
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", link)
            run("ip", "-n", name, "link", "set", link, "up")

    def _start(self, name: str, *command: str | Path) -> subprocess.Popen[bytes]:
        # Not `ip netns exec`: it would mount in a namespace of its own.
        return subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{name}", *command],
            stdin=subprocess.DEVNULL,
            stderr=(self.yard / "sshfs.log").open("ab"),
            cwd="/",
            start_new_session=True,
        )

    def serve(self) -> None:
        """Start the server on the other machine."""
        self._server = self._start(
            self._far,
            *("socat", f"TCP-LISTEN:{PORT},reuseaddr,fork", f"EXEC:{SFTP_SERVER}"),
        )

        def listens() -> bool:
            listening = run("ip", "netns", "exec", self._far, "ss", "-Hltn")
            return f":{PORT}" in listening

        wait_until(listens)

    def stop_serving(self) -> None:
        """Kill the server, with those it started for each connection."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def mount(self, place: Path | None = None, options: str = "") -> Path:
        where = place or self.place
        self._client = self._start(
            self._near,
            *("sshfs", "-f", "-o", f"directport={PORT},{options or 'reconnect'}"),
            *(f"{THERE}:{self.data}", where),
        )
        wait_until(lambda: Mounts().read().at(str(where)) is not None)
        return where

    def unplug(self) -> None:
        run("ip", "-n", self._far, "link", "set", "far", "down")

    def plug_in(self) -> None:
        run("ip", "-n", self._far, "link", "set", "far", "up")

    def kill_client(self) -> None:
        """Kill sshfs itself: its mount stays and is dead."""
        if self._client is not None:
            self._client.kill()
            self._client.wait()
            self._client = None

    def clean_up(self) -> None:
        self.stop_serving()
        self.kill_client()
        for name in (self._near, self._far):
            if Path(f"/run/netns/{name}").exists():
                run("ip", "netns", "delete", name)


@pytest.fixture
def far(yard: Path) -> Iterator[Far]:
    """A directory on another machine, which is served."""
    need_fuse()
    needs.need_programs(
        sshfs="sshfs", socat="socat", ip="iproute2", ss="iproute2", nsenter="util-linux"
    )
    if not SFTP_SERVER.exists():
        pytest.skip(f"needs {SFTP_SERVER} (on Debian: apt install openssh-sftp-server)")
    far = Far(yard, "far")
    try:
        far.serve()
        yield far
    finally:
        far.clean_up()


def test_it_tells_a_link_that_is_down_and_recovers(
    yard: Path, far: Far, watch: Watch
) -> None:
    disk = Disk(yard, "near")
    disk.mount()
    near = adopted(disk.place)
    scene = Scene(yard, far)
    scene.spec["deadline_seconds"] = 1.0
    with watch.asking(scene.spec, near):
        watch.wait(scene.spec, state="online")

        far.unplug()
        finding = watch.wait(scene.spec, state="not-responding")
        watch.sink.findings.clear()
        time.sleep(1)
        beside = {f["state"] for f in watch.sink.findings if f["id"] == near["id"]}
        far.plug_in()
        watch.sink.findings.clear()
        # It is the kernel that sends again what was lost, ever more rarely.
        well = watch.wait(scene.spec, state="online", seconds=30)

    assert finding["reason"] == ""
    assert finding["duration_seconds"] >= 1
    assert finding["volume"] is None or finding["volume"]["fs_type"] == "fuse.sshfs"
    (check,) = [check for check in finding["checks"] if check["ok"] is False]
    assert "no answer from" in check["found"]
    assert beside == {"online"}
    assert well["volume"]["source"] == f"{THERE}:{far.data}"


def test_it_tells_a_server_that_is_dead_and_recovers(
    yard: Path, far: Far, watch: Watch
) -> None:
    scene = Scene(yard, far)
    with watch.asking(scene.spec):
        watch.wait(scene.spec, state="online")

        far.stop_serving()
        finding = watch.wait(scene.spec, state="offline")
        far.serve()
        watch.sink.findings.clear()
        watch.wait(scene.spec, state="online", seconds=30)

    assert (finding["reason"], finding["errno"]) == ("io-error", "EIO")
    (check,) = [check for check in finding["checks"] if check["ok"] is False]
    assert "Input/output error" in check["found"]


def test_it_tells_a_client_that_gave_up_and_recovers(far: Far, watch: Watch) -> None:
    far.mount(options="dcache_timeout=1")
    spec = adopted(far.place)
    with watch.asking(spec):
        watch.wait(spec, state="online")

        # One that is not to connect again unmounts what it served, and leaves.
        far.stop_serving()
        finding = watch.wait(spec, reason="not-mounted")
        far.serve()
        far.mount()
        watch.sink.findings.clear()
        watch.wait(spec, state="online")

    assert (finding["state"], finding["layer"]) == ("offline", 3)


def test_it_tells_a_client_that_was_killed_and_recovers(far: Far, watch: Watch) -> None:
    far.mount()
    spec = adopted(far.place)
    with watch.asking(spec):
        watch.wait(spec, state="online")

        far.kill_client()
        first = watch.wait(spec, state="offline")
        # What was under way when it died is aborted, what comes later has nobody.
        settled = watch.wait(spec, errno="ENOTCONN", layer=2)
        watch.sink.findings.clear()
        later = watch.wait(spec)
        umount(far.place)
        watch.wait(spec, reason="not-mounted")
        far.mount()
        watch.sink.findings.clear()
        watch.wait(spec, state="online")

    assert first["reason"] == "io-error"
    assert first["errno"] in ("ECONNABORTED", "ENOTCONN")
    for finding in (settled, later):
        verdict = (finding["reason"], finding["layer"], finding["errno"])
        assert verdict == ("io-error", 2, "ENOTCONN")
