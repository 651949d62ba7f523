"""Apprise: chat, paging, push and mail services, each by an address of its own kind.

Apprise runs in a process of its own (`apprise_child`), which has nothing of the console
and is ended when it takes too long: its plugins are many, and one that hangs, grows or
asks what it should not must be nobody else's problem.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
from typing import Any

from django.conf import settings

from console.kit import clock
from notifications.engine import Problem, Scope, judge_status, read_retry_after
from notifications.messages import Message
from notifications.transports.http import plain
from notifications.transports.masking import Mask
from notifications.transports.smtp import NotSent

#: How long a message may take. Shorter than a lease (engine.LEASE), so that who sends
#: still holds what is being sent.
DEADLINE_SECONDS = 20

#: What Apprise calls how bad something is.
_TYPES = {
    "critical": "failure",
    "warning": "warning",
    "low": "info",
    "cleared": "success",
}

#: What of the environment the process gets: no secret of the console's.
_PASSED_ON = (
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONPATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TZ",
)


#: Signs by which chats know that somebody is to be called; not those within addresses.
_CALLS = re.compile(r"(?<!\w)[@!](?=[\w&])")


class WrongAddress(ValueError):
    """An address that Apprise does not take; the text says what was expected."""


def check(url: str) -> str:
    """Return what the service of an address is called; raises WrongAddress.

    Nothing is sent. Starts a process, which takes half a second.
    """
    try:
        answer = _ask({"do": "check", "url": url, "allows_private": False})
    except NotSent as failure:
        raise WrongAddress(failure.problem.words) from None
    if answer["problem"] or not answer["service"]:
        why = answer["problem"] or "Expected an address of Apprise."
        said = _said(answer, Mask(url))
        raise WrongAddress(f"{why} Apprise said: {said}" if said else why)
    return str(answer["service"])


def post(url: str, message: Message, *, allows_private: bool) -> str:
    """Send a message; return what Apprise said of it. Raises NotSent."""
    mask = Mask(url)
    answer = _ask(
        {
            "do": "send",
            "url": url,
            "title": _without_calls(message.title),
            "body": _without_calls(message.body),
            "type": _TYPES[message.severity],
            "console": settings.PUBLIC_URL,
            "allows_private": allows_private,
        }
    )
    said = _said(answer, mask)
    service = answer["service"] or "Apprise"
    if answer["is_sent"]:
        return f"{service} took it{f': {said}' if said else '.'}"
    raise NotSent(_problem(answer, service, said, mask))


def _without_calls(text: str) -> str:
    """Return a text in which no name calls people: "@everyone", "<!channel>", "<@U1>".

    A space of no width stands behind the sign.
    """
    return _CALLS.sub("\\g<0>\u200b", text)


def _problem(answer: dict[str, Any], service: str, said: str, mask: Mask) -> Problem:
    if answer["problem"]:
        return Problem(
            f"{answer['problem']} {said}".strip(),
            "Type the address anew.",
            Scope.SERVER,
            is_permanent=True,
        )
    if answer["refused"]:
        return Problem(
            mask.over(answer["refused"]),
            "Allow addresses of this machine and of private networks for it, if that is "
            "meant; else type another address.",
            Scope.SERVER,
        )
    words = f"{service} did not take it{f': {said}' if said else '.'}"
    failed = [status for status in answer["statuses"] if status >= 400]
    # Where the last request had no answer, what others were answered is not why.
    if failed and not answer["is_broken"]:
        problem = judge_status(
            failed[-1],
            words if said else f"{service} answered {failed[-1]}.",
            retry_after=read_retry_after(answer["retry_after"], now=clock.now()),
        )
        if problem is not None:
            return problem
    return Problem(
        words,
        "Check the address. It is tried again by itself.",
        Scope.SERVER,
        is_certain=answer["is_certain"],
    )


def _said(answer: dict[str, Any], mask: Mask) -> str:
    """Return Apprise's log lines in one, without what is secret in the address."""
    # Each by itself, because each may have been cut within a secret.
    return plain("; ".join(map(mask.over, answer["lines"])))


def _ask(order: dict[str, Any]) -> dict[str, Any]:
    """Have a process obey an order; raises NotSent when it does not come to an answer."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "notifications.transports.apprise_child"],
            input=json.dumps(order).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=settings.BASE_DIR,
            env=_environment(),
            timeout=DEADLINE_SECONDS,
            check=False,
            start_new_session=True,
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise NotSent(
            Problem(
                f"The service did not answer within {DEADLINE_SECONDS} s.",
                "Nothing: it is tried again by itself. If it goes on, ask whoever runs "
                "it.",
                Scope.SERVER,
                is_certain=False,
            )
        ) from None
    except (OSError, ValueError) as error:
        raise NotSent(
            Problem(
                f"Apprise came to no answer ({type(error).__name__}).",
                "Nothing: it is tried again by itself. If it goes on, please report "
                "this.",
                Scope.SERVER,
                is_certain=False,
            )
        ) from error
    if not isinstance(answer, dict):
        raise TypeError(f"expected an answer of the process, found {answer!r}")
    return answer


def _environment() -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # The authorities that everything else here trusts.
    authorities = os.environ.get(
        "SSL_CERT_FILE", ssl.get_default_verify_paths().cafile or ""
    )
    if authorities:
        passed["REQUESTS_CA_BUNDLE"] = authorities
    return {
        **passed,
        # Nobody's passwords for other hosts, and no files left behind.
        "HOME": "/nonexistent",
        "NETRC": os.devnull,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
