"""SMTP: one connection for a run of mails, and what each failure means in words."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from functools import partial
from types import TracebackType
from typing import Any, Self

from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.message import sanitize_address

from console.kit import secrets
from notifications.engine import Problem, Scope
from notifications.models import EmailSettings, Security
from notifications.transports.deadline import Deadline as _Deadline

#: How long one answer of the server may take.
TIMEOUT_SECONDS = 10

#: How long connecting may take as a whole, and then each mail: an answer that trickles
#: in keeps every time-out of a read. Shorter than a lease (engine.LEASE), so that who
#: sends still holds what is being sent.
DEADLINE_SECONDS = 20

#: "Service not available, closing transmission channel" (RFC 5321, 4.2.2).
CLOSING = 421

#: How much of a server's answer is kept.
ANSWER_LENGTH = 300


class NotSent(Exception):
    """A mail was not sent, or it is not known whether it was."""

    def __init__(self, problem: Problem) -> None:
        """Keep what is known about it."""
        super().__init__(problem.words)
        self.problem = problem


class _Plain(smtplib.SMTP):
    """A connection that a deadline watches from its first byte."""

    deadline: _Deadline

    def __init__(
        self, *args: Any, deadline: _Deadline | None = None, **kwargs: Any
    ) -> None:
        if deadline is not None:
            self.deadline = deadline
        super().__init__(*args, **kwargs)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        line: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]  # smtplib's own seam, which SMTP_SSL uses too
        self.deadline.watch(line)
        return line


class _Tls(smtplib.SMTP_SSL, _Plain):
    """The same, inside TLS: SMTP_SSL wraps the socket that _Plain makes."""

    def __init__(self, *args: Any, deadline: _Deadline, **kwargs: Any) -> None:
        # SMTP_SSL does not know it and so does not hand it on to _Plain.
        self.deadline = deadline
        super().__init__(*args, **kwargs)


class _Backend(EmailBackend):
    """Django's, whose connections a deadline watches while they are made."""

    deadline: _Deadline

    @property
    def connection_class(self) -> Any:
        """Return what makes a connection."""
        return partial(_Tls if self.use_ssl else _Plain, deadline=self.deadline)


class Postman:
    """Sends mails over one connection to the mail server, opened when first needed.

    A connection that failed is thrown away, never used again: after a failed STARTTLS
    it would go on in the clear. Use it as a context manager; not for several threads.
    """

    def __init__(self, settings: EmailSettings) -> None:
        """Take the settings; nothing is connected yet."""
        self._settings = settings
        self._backend: _Backend | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say goodbye to the server."""
        self.close()

    def close(self) -> None:
        """Say goodbye to the server; what was not opened is no matter."""
        if self._backend is not None:
            backend, self._backend = self._backend, None
            with _Deadline(DEADLINE_SECONDS) as deadline:
                try:
                    _watch(backend, deadline)
                    backend.close()
                except OSError:
                    _drop(backend)

    def open(self) -> None:
        """Connect, protect the connection and sign in; raises NotSent."""
        if self._backend is not None:
            return
        settings = self._settings
        _check_sender(settings)
        try:
            password = secrets.decrypt(settings.sealed_password)
        except secrets.Unreadable:
            raise NotSent(
                Problem(
                    "The password of the mail server cannot be read: it was stored "
                    "with another secret key.",
                    "Type the password again under Settings > Email.",
                    Scope.SERVER,
                )
            ) from None
        backend = _Backend(
            host=settings.host,
            port=settings.port,
            username=settings.username,
            password=password,
            use_tls=settings.security == Security.STARTTLS,
            use_ssl=settings.security == Security.TLS,
            timeout=TIMEOUT_SECONDS,
            fail_silently=False,
        )
        with _Deadline(DEADLINE_SECONDS) as backend.deadline:
            try:
                backend.open()
            except (OSError, UnicodeError) as error:
                _drop(backend)
                if backend.deadline.is_over:
                    raise NotSent(_too_slow(settings, is_connecting=True)) from error
                raise NotSent(explain(error, settings, is_connecting=True)) from error
        self._backend = backend

    def send(self, message: EmailMessage) -> None:
        """Send one mail to its one recipient; raises NotSent."""
        self.open()
        backend = self._backend
        assert backend is not None  # noqa: S101 - open() made it or raised
        with _Deadline(DEADLINE_SECONDS) as deadline:
            try:
                _watch(backend, deadline)
                backend.send_messages([message])
            except (OSError, ValueError) as error:
                if not _is_still_good(error):
                    self._backend = None
                    _drop(backend)
                if deadline.is_over:
                    raise NotSent(_too_slow(self._settings)) from error
                raise NotSent(explain(error, self._settings)) from error


def _is_still_good(error: Exception) -> bool:
    """Return whether the connection goes on after a failure.

    After most answers to RCPT smtplib resets the transaction. After 421 it closes its
    socket, because the server does.
    """
    return isinstance(error, smtplib.SMTPRecipientsRefused) and all(
        code != CLOSING for code, _ in error.recipients.values()
    )


def _watch(backend: _Backend, deadline: _Deadline) -> None:
    line = backend.connection.sock if backend.connection is not None else None
    if line is not None:
        deadline.watch(line)


def _drop(backend: _Backend) -> None:
    """Close the socket without a word: the server may not listen any more."""
    if backend.connection is not None:
        backend.connection.close()
        backend.connection = None


def _check_sender(settings: EmailSettings) -> None:
    """Raise NotSent when no mail can be from the sender; the form lets in no such."""
    try:
        sanitize_address(settings.sender, "utf-8")
    except ValueError:
        raise NotSent(
            Problem(
                f"The sender is no address: {_plain(settings.sender)}",
                "Type it again under Settings > Email, such as Store Points "
                "<console@example.org>.",
                Scope.SERVER,
            )
        ) from None


def _too_slow(settings: EmailSettings, *, is_connecting: bool = False) -> Problem:
    what = "get ready for mail" if is_connecting else "take a mail"
    return Problem(
        f"{settings} did not {what} within {DEADLINE_SECONDS} s.",
        "Nothing: it is tried again by itself. If it goes on, ask whoever runs the "
        "mail server why its answers are so slow.",
        Scope.SERVER if is_connecting else Scope.CONNECTION,
        is_certain=is_connecting,
    )


def explain(
    error: Exception, settings: EmailSettings, *, is_connecting: bool = False
) -> Problem:
    """Return what a failure means: in words with the server's answer, and the cure.

    4xx answers, connection errors, time-outs and TLS errors are transient; a 5xx
    answer about the recipient or the mail is permanent for that recipient. What is
    wrong with the sign-in or the sender is the server's or the settings' matter: it
    is tried again, because somebody can mend it before the message is given up.
    """
    where = str(settings)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, answer = next(iter(error.recipients.values()))
        if code == CLOSING:
            return _closing(where, code, answer, Scope.CHANNEL)
        return Problem(
            f"The mail server refused the recipient: {_answer(code, answer)}",
            "Correct the address or remove it."
            if code >= 500
            else "Nothing: it is tried again by itself.",
            Scope.RECIPIENT,
            is_permanent=code >= 500,
        )
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return Problem(
            f"{where} refused the user name or the password: {_words_of(error)}",
            "Correct the user name, or type the password again, under Settings > "
            "Email. Some providers want an app password.",
            Scope.SERVER,
        )
    if isinstance(error, smtplib.SMTPSenderRefused):
        if error.smtp_code == CLOSING:
            return _closing(where, error.smtp_code, error.smtp_error)
        return Problem(
            f"{where} refused the sender {error.sender}: {_words_of(error)}",
            "Choose a sender under Settings > Email that this server lets you send "
            "as; it may also want a user name and password.",
            Scope.SERVER,
        )
    if isinstance(error, smtplib.SMTPDataError):
        if error.smtp_code == CLOSING:
            return _closing(where, error.smtp_code, error.smtp_error, Scope.CHANNEL)
        return Problem(
            f"{where} refused the mail: {_words_of(error)}",
            "Ask whoever runs the mail server what its answer means."
            if error.smtp_code >= 500
            else "Nothing: it is tried again by itself.",
            Scope.RECIPIENT,
            is_permanent=error.smtp_code >= 500,
        )
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return _not_supported(error, where)
    if isinstance(error, smtplib.SMTPResponseException):
        return Problem(
            f"{where} answered {_words_of(error)}",
            "Check that this is a mail server that takes mail from this machine.",
            Scope.SERVER,
        )
    if isinstance(error, UnicodeError) and is_connecting:
        return Problem(
            "The user name or the password has letters outside ASCII, which signing in "
            "to a mail server does not allow.",
            "Choose another password for the mail account, and type it under "
            "Settings > Email.",
            Scope.SERVER,
        )
    # Errors of certificates are both.
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return Problem(
            f"The address cannot be written in a mail: {_plain(str(error))}.",
            "Correct the address.",
            Scope.RECIPIENT,
            is_permanent=True,
        )
    return _explain_connection(error, settings, is_connecting=is_connecting)


def _explain_connection(
    error: Exception, settings: EmailSettings, *, is_connecting: bool
) -> Problem:
    where = str(settings)
    scope = Scope.SERVER if is_connecting else Scope.CONNECTION

    def broken(words: str, cure: str) -> Problem:
        return Problem(words, cure, scope, is_certain=is_connecting)

    if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(
        error.__context__, TimeoutError
    ):
        # smtplib says of a time-out that the connection was closed.
        error = error.__context__
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return broken(
            f"{where} closed the connection without an answer.",
            "Check the port and the security setting: a port for TLS does not "
            "understand a connection without it, and the other way round.",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return broken(
            f"The certificate of {settings.host} is not valid: {error.verify_message}.",
            "Use the host name that stands in the certificate. If it comes from an "
            "authority of your own, name that authority's file in SSL_CERT_FILE.",
        )
    if isinstance(error, ssl.SSLError):
        return broken(
            f"TLS with {where} failed: {error.reason or error}.",
            "Check port and security: STARTTLS is usual on port 587 (or 25), TLS on "
            "port 465.",
        )
    if isinstance(error, TimeoutError):
        return broken(
            f"{where} did not answer within {TIMEOUT_SECONDS} s.",
            "Check host and port, and that no firewall is in between. A TLS port also "
            "stays silent when it is used without TLS.",
        )
    if isinstance(error, socket.gaierror):
        return broken(
            f"There is no address for the host name {settings.host}.",
            "Check the spelling of the host, and this machine's name resolution.",
        )
    if isinstance(error, ConnectionRefusedError):
        return broken(
            f"Nothing answers at {where}: the connection was refused.",
            "Check host and port, and that the mail server is running.",
        )
    if isinstance(error, ConnectionError):
        return broken(
            f"The connection to {where} broke.",
            "Nothing: it is tried again by itself. If it goes on, look into the mail "
            "server's log.",
        )
    return broken(
        f"Sending by {where} failed: {_plain(str(error)) or type(error).__name__}.",
        "Check host, port and security, and that the mail server is running.",
    )


def _closing(
    where: str, code: int, answer: bytes | str, scope: Scope = Scope.CONNECTION
) -> Problem:
    """Return what 421 means: the server closes the connection, perhaps for one mail."""
    return Problem(
        f"{where} does not take mail now: {_answer(code, answer)}",
        "Nothing: it is tried again by itself.",
        scope,
    )


def _not_supported(error: smtplib.SMTPNotSupportedError, where: str) -> Problem:
    text = str(error)
    if "STARTTLS" in text:
        return Problem(
            f"{where} does not offer STARTTLS.",
            "Choose TLS (usually port 465), or None for a server in your own network.",
            Scope.SERVER,
        )
    if "AUTH" in text.upper():
        return Problem(
            f"{where} does not let anybody sign in on this connection.",
            "Choose STARTTLS or TLS, or leave user name and password empty.",
            Scope.SERVER,
        )
    return Problem(
        f"{where} cannot carry this address: {_plain(text)}",
        "Use an address without letters outside ASCII.",
        Scope.RECIPIENT,
        is_permanent=True,
    )


def _words_of(error: smtplib.SMTPResponseException) -> str:
    return _answer(error.smtp_code, error.smtp_error)


def _answer(code: int, answer: bytes | str) -> str:
    """Return a server's answer as one line: "550 5.1.1 no such user"."""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return f"{code} {_plain(text)}".strip()


def _plain(text: str) -> str:
    """Return text from outside as one line without control characters."""
    line = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()
    return line if len(line) <= ANSWER_LENGTH else f"{line[: ANSWER_LENGTH - 1]}…"
