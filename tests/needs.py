"""What tests need of the machine, and in which words they say that it is not there.

Two things are told apart. What can be installed (a program, root) is there in CI, and a
test that was left out for want of it fails the run. What this kernel was built without
cannot be had: such a test is left out and named, and the run may pass.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

THIS_KERNEL_HAS_NO = "this kernel has no "

#: What a kernel may be built without. Loop devices, ext4 and FUSE are not among it: a
#: run without them would prove next to nothing, and must not pass.
MAY_LACK = frozenset(
    {
        "Btrfs",
        "Btrfs quotas",
        "XFS",
        "device mapper",
        "network namespaces with veth pairs",
        "software RAID",
        "way to make an ext4 fail on purpose",
    }
)


def leave_out_for_the_kernel(what: str) -> None:
    """Skip a test for want of something that MAY_LACK lists."""
    if what not in MAY_LACK:
        raise ValueError(f"{what!r}: expected one of {sorted(MAY_LACK)}")
    pytest.skip(f"{THIS_KERNEL_HAS_NO}{what}")


def is_for_the_kernel(reason: str) -> bool:
    """Say whether a test was left out for want of something in the kernel."""
    return reason.removeprefix("Skipped: ") in {
        f"{THIS_KERNEL_HAS_NO}{what}" for what in MAY_LACK
    }


def need_root(why: str) -> None:
    """Skip a test where it is not run by root."""
    if os.geteuid() != 0:
        pytest.skip(f"needs root to {why}")


def need_programs(**packages: str) -> None:
    """Skip a test without programs: ``need_programs(sshfs="sshfs")``, by package.

    A dot in a program's name is written as two underscores: ``mkfs__xfs``.
    """
    for name, package in packages.items():
        program = name.replace("__", ".")
        if shutil.which(program, path=search_path()) is None:
            pytest.skip(f"needs {program} (on Debian: apt install {package})")


def search_path() -> str:
    """Return where programs are looked for: an administrator's places too."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def knows_filesystem(name: str) -> bool:
    """Say whether the kernel has a filesystem, after asking for its module."""
    return _is_listed(name) or (
        shutil.which("modprobe", path=search_path()) is not None
        and subprocess.run(
            [shutil.which("modprobe", path=search_path()) or "modprobe", "-q", name],
            capture_output=True,
            check=False,
        ).returncode
        == 0
        and _is_listed(name)
    )


def _is_listed(name: str) -> bool:
    lines = Path("/proc/filesystems").read_text(encoding="ascii").splitlines()
    return name in {line.split()[-1] for line in lines}
