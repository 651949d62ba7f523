"""The settings under test: the console's own, on a throwaway data directory.

What the developer has set as CONSOLE_* must not reach the tests, so it is removed before
the settings are loaded. CONSOLE_TEST_DATABASE=postgres runs the tests on a PostgreSQL
server that is started for them.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

PREPARED = "CONSOLE_TEST_DATA_DIR"


def _prepare() -> None:
    """Make the data directory, once: the processes of pytest-xdist inherit it."""
    if PREPARED in os.environ:
        return
    for name in list(os.environ):
        if name.startswith("CONSOLE_") and not name.startswith("CONSOLE_TEST_"):
            del os.environ[name]
    directory = Path(tempfile.mkdtemp(prefix="console-test-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.environ[PREPARED] = str(directory)
    os.environ["CONSOLE_DATA_DIR"] = str(directory / "data")
    if os.environ.get("CONSOLE_TEST_DATABASE", "sqlite") == "postgres":
        from tests.postgres import Postgres

        server = Postgres.start()
        atexit.register(server.stop)
        os.environ["CONSOLE_DATABASE_URL"] = server.url


_prepare()

from console.settings import *  # noqa: E402, F403 (the settings of a test are all of them)

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Messages stay in this process. Tests that need a broker ask for the `valkey` fixture.
CELERY_BROKER_URL = "memory://"
CELERY_BROKER_TRANSPORT_OPTIONS = {}

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":  # noqa: F405
    # A file and not memory: only then do two connections lock each other as in service.
    DATABASES["default"]["TEST"] = {  # noqa: F405
        "NAME": str(DATA_DIR / f"test-{os.getpid()}.sqlite3")  # noqa: F405
    }
