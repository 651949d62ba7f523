"""What a run says of the tests that it left out, and whether it may pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).resolve().parent.parent


def test_it_knows_what_a_kernel_may_lack() -> None:
    with pytest.raises(pytest.skip.Exception) as left_out:
        needs.leave_out_for_the_kernel("device mapper")

    assert needs.is_for_the_kernel(f"Skipped: {left_out.value}")
    assert not needs.is_for_the_kernel("Skipped: needs sshfs")
    # Without these next to nothing would be proved.
    assert not needs.is_for_the_kernel("Skipped: this kernel has no loop devices")
    with pytest.raises(ValueError, match="'ext4': expected one of"):
        needs.leave_out_for_the_kernel("ext4")


def test_it_names_what_can_be_installed() -> None:
    with pytest.raises(pytest.skip.Exception, match="apt install no-such-package"):
        needs.need_programs(no_such_program="no-such-package")


@pytest.mark.parametrize(
    ("call", "code", "says"),
    [
        ('leave_out_for_the_kernel("XFS")', 0, "this kernel has no XFS"),
        ('need_programs(nothing="nothing")', 1, "1 test was left out, and CONSOLE"),
    ],
)
def test_it_fails_a_run_that_left_out_what_can_be_had(
    tmp_path: Path, call: str, code: int, says: str
) -> None:
    tests = "from tests import needs\n\ndef test_one():\n    needs." + call
    (tmp_path / "test_it.py").write_text(tests)

    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest"),
            *("-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml"),
            *("--rootdir", ROOT, tmp_path / "test_it.py"),
        ],
        cwd=ROOT,
        env={**os.environ, "CONSOLE_TEST_NOTHING_LEFT_OUT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code, done.stdout
    assert says in done.stdout
