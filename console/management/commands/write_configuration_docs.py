"""`manage.py write_configuration_docs`: docs/configuration.md from the declarations."""

from __future__ import annotations

import textwrap

from console import env
from console.kit.documents import WriteDocument

HEAD = """\
# Configuration

<!-- Written by `manage.py write_configuration_docs` from console/env.py. Edit there. -->

The console is configured by environment variables, and none of them has to be set. Any of
them can also be given as NAME_FILE, the path of a file that holds the value, as containers
and systemd credentials do it: `CONSOLE_SECRET_KEY_FILE=/run/secrets/key`. An empty one
counts as unset.

A wrong value, and a `CONSOLE_` name that does not exist, stop every command with exit code
2 and a line that names the variable, its value (never a secret) and what was expected.
`manage.py doctor` shows what is in force.
"""

TAIL = """\
## Behind a proxy

gunicorn speaks plain HTTP. For TLS put a proxy in front, let it keep `Host`, set
`X-Forwarded-Proto` and add to `X-Forwarded-For`, and set

    CONSOLE_PUBLIC_URL=https://console.example.com
    CONSOLE_TRUSTED_PROXIES=1

Cookies are then sent over TLS only, browsers are told to use nothing else (HSTS, one year), and
the audit log and the limits of the sign-in have people's own addresses. The proxy should redirect
HTTP to HTTPS, and be the only one that reaches the address of `CONSOLE_LISTEN`: whoever else does
could write these headers. With `CONSOLE_TRUSTED_PROXIES=0` none of them is believed.

`/livez` and `/readyz` answer under any host name, so that a supervisor may ask by address.

## One machine or many

With nothing set, the console keeps everything on one machine: SQLite, and an embedded
Valkey that only this user's processes can reach. For a fleet set `CONSOLE_DATABASE_URL` to a
PostgreSQL database and `CONSOLE_BROKER_URL` to a Redis or Valkey server that the agents
reach too; it is the same code. Each console needs a database number of its own on that server
(the `/0` at the end): docs/operations.md says why.
"""


class Command(WriteDocument):
    """Write docs/configuration.md, or check that it is up to date."""

    help = "Write docs/configuration.md from the variables declared in console/env.py."
    page = "docs/configuration.md"

    def render(self) -> str:
        """Return the text of the page."""
        return render()


def render() -> str:
    """Return the text of docs/configuration.md."""
    sections = [
        f"## `{variable.name}`\n\n{_wrap(variable.help)}\n\n"
        f"{_wrap(f'Default: {variable.default}.')}\n"
        for variable in env.VARIABLES
    ]
    elsewhere = "\n".join(
        f"- `{name}`: {text}." for name, text in env.READ_ELSEWHERE.items()
    )
    other = f"## Read by single commands\n\n{elsewhere}\n"
    return "\n".join([HEAD, *sections, other, TAIL])


def _wrap(text: str) -> str:
    return textwrap.fill(text, width=92, break_long_words=False, break_on_hyphens=False)
