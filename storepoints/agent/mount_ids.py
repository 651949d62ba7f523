"""The ids that the kernel gives to each mount once, and never to another one.

The id in the mount table is given away again as soon as a mount is gone, so that one disk
may follow another with the very same line. Linux 6.8 and later also have ids that are
unique until the next boot: ``listmount(2)`` and ``statmount(2)``, which touch no
filesystem. Structures: ``include/uapi/linux/mount.h``.
"""

from __future__ import annotations

import ctypes
import errno as errnos
import os
from collections.abc import Mapping

#: The same on every architecture that Linux 6.8 and Python run on, but for Alpha and
#: MIPS, which know no call by these numbers.
_STATMOUNT, _LISTMOUNT = 457, 458

#: Everything below the root directory of this process.
_LSMT_ROOT = 0xFFFF_FFFF_FFFF_FFFF
_STATMOUNT_MNT_BASIC = 0x02
#: Ids that are asked for in one call.
_PAGE = 1024


class _Request(ctypes.Structure):
    """``struct mnt_id_req`` in its first form."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("spare", ctypes.c_uint32),
        ("mount", ctypes.c_uint64),
        ("param", ctypes.c_uint64),
    )


class _Statmount(ctypes.Structure):
    """What is of interest here in ``struct statmount``."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("before", ctypes.c_uint8 * 52),
        ("old_id", ctypes.c_uint32),
        ("after", ctypes.c_uint8 * 452),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(
    number: int,
    mount: int,
    param: int,
    into: ctypes.Array[ctypes.c_uint64] | _Statmount,
    size: int,
) -> int:
    request = _Request(ctypes.sizeof(_Request), 0, mount, param)
    result = _libc.syscall(
        ctypes.c_long(number),
        ctypes.byref(request),
        ctypes.byref(into),
        ctypes.c_size_t(size),
        ctypes.c_uint(0),
    )
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(result)


class MountIds:
    """The unique ids of the mounts by the ids that the mount table has."""

    def __init__(self) -> None:
        self._old_ids: dict[int, int] = {}
        self._is_known = True

    def current(self) -> Mapping[int, int]:
        """Return the unique id of each mount by its id in the table.

        Empty where the kernel does not know them or does not tell them to this process.
        """
        if not self._is_known:
            return {}
        try:
            unique = _list()
            # An id is asked about once: neither of the two ever changes.
            known = self._old_ids
            self._old_ids = {each: known.get(each) or _old_id(each) for each in unique}
        except OSError:
            # An older kernel, or a container that forbids what it has not heard of.
            self._is_known = False
            return {}
        # The last of two by one old id is there; the other went while they were listed.
        return {old: each for each, old in self._old_ids.items() if old}


def _list() -> list[int]:
    """Return the unique ids of all mounts, the oldest first. Raises OSError."""
    found: list[int] = []
    page = (ctypes.c_uint64 * _PAGE)()
    while True:
        last = found[-1] if found else 0
        count = _call(_LISTMOUNT, _LSMT_ROOT, last, page, _PAGE)
        found += page[:count]
        if count < _PAGE:
            return found


def _old_id(unique: int) -> int:
    """Return a mount's id in the table, 0 when the mount has gone. Raises OSError."""
    answer = _Statmount()
    try:
        _call(_STATMOUNT, unique, _STATMOUNT_MNT_BASIC, answer, ctypes.sizeof(answer))
    except OSError as error:
        if error.errno == errnos.ENOENT:
            return 0
        raise
    return int(answer.old_id)
