"""The mount table, as the kernel writes it and as nobody ever would."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from storepoints.agent.mounts import Mounts, parse

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
