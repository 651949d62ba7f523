"""A real SMTP server that can be told to misbehave, in this process."""

from __future__ import annotations

import asyncio
import email
import email.policy
import socket
import ssl
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

#: What a handler may return instead of an answer: break the connection.
DROP = "DROP"
#: ... or say nothing for longer than anybody waits.
HANG = "HANG"

Answer = Callable[[str], str]


class MailServer:
    """Takes mail on a free port of 127.0.0.1 and keeps it.

    ``on_recipient`` and ``on_data`` are asked for the answer to RCPT TO (given the
    address) and to the end of DATA (given the first recipient): "250 OK", "450 ...",
    "550 ...", DROP or HANG.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        is_implicit: bool = False,
        users: dict[str, str] | None = None,
    ) -> None:
        self.mails: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.recipients: list[str] = []
        #: What each of ``mails`` was answered with, and when (`time.monotonic`).
        self.answers: list[str] = []
        self.times: list[float] = []
        self.sign_ins = 0
        self.connections = 0
        self.on_recipient: Answer = lambda address: "250 OK"
        self.on_data: Answer = lambda address: "250 OK"
        self.hang_seconds = 3.0
        self.keeps_what_it_drops = False
        self._lock = threading.Lock()
        options: dict[str, Any] = {"enable_SMTPUTF8": True}
        if tls is not None and is_implicit:
            options |= {"ssl_context": tls}
        elif tls is not None:
            options |= {"tls_context": tls, "require_starttls": True}
        if users is not None:
            options |= {
                "authenticator": self._authenticate(users),
                "auth_required": True,
                # With TLS from the first byte there is none to wait for.
                "auth_require_tls": tls is not None and not is_implicit,
            }
        self._controller = Controller(
            self, hostname="127.0.0.1", port=free_port(), **options
        )

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        if self._controller.server is not None:
            self._controller.stop()

    @property
    def port(self) -> int:
        return int(self._controller.port)

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]

    def of(self, address: str) -> list[EmailMessage]:
        """Return the mails that one recipient got, in order."""
        return [
            mail
            for mail, to in zip(self.mails, self.recipients, strict=True)
            if to == address
        ]

    def _authenticate(self, users: dict[str, str]) -> Any:
        def check(
            server: SMTP,
            session: Session,
            envelope: Envelope,
            mechanism: str,
            data: Any,
        ) -> AuthResult:
            assert isinstance(data, LoginPassword)
            self.sign_ins += 1
            name, password = data.login.decode(), data.password.decode()
            return AuthResult(success=users.get(name) == password, handled=False)

        return check

    async def handle_EHLO(  # noqa: N802 (aiosmtpd's name)
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        with self._lock:
            self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        answer = await self._play(server, self.on_recipient(address))
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802 (aiosmtpd's name)
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        answer = self.on_data(envelope.rcpt_tos[0])
        content = envelope.content
        assert isinstance(content, bytes)
        if answer.startswith("250") or self.keeps_what_it_drops:
            with self._lock:
                self.raw.append(content)
                self.mails.append(
                    email.message_from_bytes(content, policy=email.policy.default)
                )
                self.recipients.append(envelope.rcpt_tos[0])
                self.answers.append(answer)
                self.times.append(time.monotonic())
        return await self._play(server, answer)

    async def _play(self, server: SMTP, answer: str) -> str:
        if answer == HANG:
            await asyncio.sleep(self.hang_seconds)
            answer = DROP
        if answer == DROP:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "421 gone"
        return answer


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def html_of(mail: EmailMessage) -> str:
    part = mail.get_body(("html",))
    assert part is not None
    return str(part.get_content())
