"""Helpers for tests that start the console's own processes."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def clean_environment(data_dir: Path) -> dict[str, str]:
    """Return an environment as a user's shell has it, for a console in a directory.

    Without what the test run itself has set: its settings, database and data directory.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CONSOLE_", "DJANGO_", "PYTEST_"))
    }
    return {**kept, "CONSOLE_DATA_DIR": str(data_dir)}


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
