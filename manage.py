#!/usr/bin/env python3
"""The command line of the Store Point Console: `manage.py help` lists the commands."""

import os
import sys


def main() -> int:
    """Run one command; return 2 when the environment is misconfigured."""
    # What the console writes is for its own user: the database holds sessions, the
    # broker's file holds orders. What others must read sets its mode itself.
    os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        print(
            "Django is not installed in this Python. `make run` creates .venv with"
            " everything; then use .venv/bin/python manage.py.",
            file=sys.stderr,
        )
        return 2

    from console.env import Misconfigured, take_listen

    try:
        take_listen(sys.argv)
        execute_from_command_line(sys.argv)
    except Misconfigured as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
