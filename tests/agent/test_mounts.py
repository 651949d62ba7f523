"""The mount table, as the kernel writes it and as nobody ever would."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storepoints.agent.messages import Spec
from storepoints.agent.mount_ids import MountIds
from storepoints.agent.mounts import Mounts, parse, parse_line
from storepoints.agent.watcher import Watcher
from tests import needs

PLAIN = rb"""27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,errors=remount-ro
30 27 8:1 / /srv/a rw,noatime shared:5 master:1 - ext4 /dev/sda1 rw
31 30 8:2 /sub /srv/a/b\040c ro,relatime - xfs /dev/sdb1 rw
32 27 0:40 / /srv/n rw - nfs4 host:/export rw,addr=::1
33 30 8:3 / /srv/a rw - ext4 /dev/sdc1 ro
34 27 0:41 / /srv/e rw - tmpfs  rw
"""

_parts = st.binary(min_size=1, max_size=12).filter(
    lambda part: b"/" not in part and b"\0" not in part and part not in (b".", b"..")
)


def _escaped(path: bytes) -> bytes:
    return b"".join(
        b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in path
    )


def test_it_reads_the_fields_of_a_line() -> None:
    mount = parse(PLAIN).by_id[31]

    assert mount.mount_point == "/srv/a/b c"
    assert (mount.root, mount.fs_type, mount.source) == ("/sub", "xfs", "/dev/sdb1")
    assert (mount.parent, mount.device) == (30, "8:2")
    assert mount.is_read_only


def test_it_takes_the_superblock_for_read_only_too() -> None:
    table = parse(PLAIN)

    assert table.by_id[33].is_read_only
    assert not table.by_id[27].is_read_only, "errors=remount-ro is not ro"


def test_it_takes_an_emergency_for_read_only() -> None:
    line = (
        b"40 27 8:1 / /srv rw,relatime shared:1 - ext4 /dev/sda1"
        b" rw,errors=remount-ro,emergency_ro"
    )

    assert parse_line(line).is_read_only


def test_it_takes_an_empty_source() -> None:
    assert parse(PLAIN).by_id[34].source == ""


def test_it_finds_the_last_mount_of_several_on_a_directory() -> None:
    covering = parse(PLAIN).covering("/srv/a/x")

    assert covering is not None
    assert covering.id == 33


def test_it_does_not_see_what_a_later_mount_hides() -> None:
    table = parse(PLAIN)

    assert table.at("/srv/a/b c") is None
    assert table.covering("/srv/a/b c/d") is table.by_id[33]


def test_it_does_not_take_a_name_for_a_directory_it_begins_with() -> None:
    covering = parse(PLAIN).covering("/srv/nothing")

    assert covering is not None
    assert covering.id == 27


def test_it_leaves_out_lines_that_it_does_not_understand() -> None:
    table = parse(b"what is this\n\n1 2\n" + PLAIN)

    assert len(table.by_id) == 6


def test_it_does_not_parse_again_what_stayed() -> None:
    before = parse(PLAIN)
    after = parse(PLAIN + b"99 27 8:9 / /new rw - ext4 /dev/sdz rw\n", before)

    assert after.by_id[27] is before.by_id[27]
    assert after.at("/new") is not None


def test_it_survives_a_root_that_is_its_own_parent() -> None:
    table = parse(b"1 1 0:1 / / rw - rootfs rootfs rw\n2 1 8:1 / / rw - ext4 /d rw\n")

    covering = table.covering("/")

    assert covering is not None
    assert covering.id == 2


def test_it_reads_the_table_of_this_machine() -> None:
    mounts = Mounts()

    assert mounts.current().covering("/") is not None
    assert mounts.refreshed() is mounts.current()
    mounts.close()


@given(st.lists(_parts, min_size=1, max_size=6), st.lists(_parts, max_size=3))
def test_it_finds_any_mount_point_and_what_is_below(
    parts: list[bytes], below: list[bytes]
) -> None:
    place = b"/" + b"/".join(parts)
    line = b"40 27 8:1 / %s rw - ext4 %s rw\n" % (_escaped(place), _escaped(place))
    table = parse(PLAIN.split(b"\n")[0] + b"\n" + line)
    path = os.fsdecode(b"/".join([place, *below]))

    covering = table.covering(path)

    assert covering is not None
    assert covering.id == 40
    assert os.fsencode(covering.mount_point) == place
    assert os.fsencode(covering.source) == place


@given(st.binary(max_size=300))
def test_it_never_fails_on_any_bytes(text: bytes) -> None:
    table = parse(text + b"\n" + PLAIN)

    assert table.covering("/srv/n/x") is not None


def test_it_takes_what_was_unmounted_and_is_back_for_another_mount(
    tmp_path: Path,
) -> None:
    needs.need_root("mount filesystems")
    mounts = Mounts()
    place = str(tmp_path)
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", place]
    subprocess.run(command, check=True)
    try:
        before = mounts.current().at(place)
        subprocess.run(["umount", place], check=True)
        subprocess.run(command, check=True)

        after = mounts.refreshed().at(place)
    finally:
        subprocess.run(["umount", place], check=True)
        mounts.close()

    assert before is not None
    assert after is not None
    assert after is not before


def test_it_tells_two_mounts_with_the_same_line_by_their_unique_ids() -> None:
    ids = {27: 1001, 30: 1002, 34: 1003}
    before = parse(PLAIN, ids=ids)

    same = parse(PLAIN, before, ids)
    after = parse(PLAIN, before, {**ids, 30: 1004})

    assert same.unlike(before) == []
    assert after.unlike(before) == [before.by_id[30], after.by_id[30]]
    assert after.by_id[30].unique_id == 1004


def test_it_takes_a_line_whose_mount_just_went_for_another_once_there_is_one() -> None:
    before = parse(PLAIN, ids={27: 1001})

    after = parse(PLAIN, before, {27: 1001, 30: 1004})

    assert after.unlike(before) == [before.by_id[30], after.by_id[30]]


def test_it_tells_what_was_mounted_anew_by_its_place_where_there_are_no_ids() -> None:
    before = parse(PLAIN)
    first, second, *rest = PLAIN.splitlines()

    after = parse(b"\n".join([first, *rest, second]), before)

    assert after.unlike(before) == [before.by_id[30], after.by_id[30]]
    assert after.by_id[30] == before.by_id[30]


def test_it_knows_the_unique_id_of_every_mount_of_this_machine() -> None:
    mounts = Mounts()
    ids = [mount.unique_id for mount in mounts.current().lines.values()]
    mounts.close()

    if not any(ids):
        pytest.skip("needs listmount(2), of Linux 6.8")
    assert all(ids)
    assert ids == sorted(ids), "in the order in which they were made"


class Twins:
    """Filesystems that follow one another at a place with the same line."""

    def __init__(self, place: Path, beside: Path) -> None:
        self.place, self.beside = place, beside
        self._told: list[str] = []
        self.watcher = Watcher(self._told.extend)
        spec = Spec("id", "name", str(place), None, 5.0, write=True, inbound="")
        self.watcher.watch({spec.id: spec})

    def mount(self, place: Path) -> None:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
        subprocess.run(command, check=True)

    def umount(self, place: Path) -> None:
        subprocess.run(["umount", str(place)], check=True)

    def lines(self) -> list[bytes]:
        text = Path("/proc/self/mountinfo").read_bytes()
        return [line for line in text.splitlines() if bytes(self.place) in line]

    def swap(self) -> None:
        """Put another mount in the place of the one that is there, with its line."""
        before = self.lines()
        for _ in range(50):
            self.umount(self.place)
            self.mount(self.place)
            if self.lines() == before:
                return
        pytest.fail("others mount here too: the line never was the same")

    def told(self) -> list[str]:
        """Have the changes of the table read once, and return who is told of them."""
        self._told.clear()
        self.watcher._told_at.clear()
        self.watcher._wait()
        return list(self._told)


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Twins]:
    needs.need_root("mount filesystems")
    place, beside = tmp_path / "place", tmp_path / "beside"
    place.mkdir()
    beside.mkdir()
    twins = Twins(place, beside)
    twins.mount(place)
    twins.mount(beside)
    assert twins.told() == ["id"]
    yield twins
    for each in (beside, place):
        if os.path.ismount(each):
            twins.umount(each)


def test_it_tells_of_another_mount_with_the_same_line(twins: Twins) -> None:
    twins.umount(twins.beside)
    assert twins.told() == []

    twins.swap()

    assert twins.told() == ["id"]


def test_it_tells_of_another_mount_behind_a_change_elsewhere(twins: Twins) -> None:
    if not MountIds().current():
        pytest.skip("needs listmount(2), of Linux 6.8")

    twins.umount(twins.beside)
    twins.swap()

    assert twins.told() == ["id"]


def test_it_tells_nobody_of_a_change_elsewhere(twins: Twins) -> None:
    twins.umount(twins.beside)

    assert twins.told() == []


def test_it_takes_the_last_mount_for_another_where_there_are_no_ids(
    twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins.umount(twins.beside)
    monkeypatch.setattr(MountIds, "current", lambda _self: {})
    twins.told()
    mounts = Mounts()
    before = mounts.current()

    twins.swap()

    assert twins.told() == ["id"]
    # It may be long ago that this one was asked last.
    after = mounts.current()
    assert len(after.unlike(before)) == 2 * len(after.lines)
    mounts.close()
