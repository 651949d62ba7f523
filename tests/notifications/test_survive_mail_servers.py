"""Mail servers that refuse, hang, drop, lie about themselves, or are not there."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from console.accounts.models import User
from console.kit import clock
from notifications import mail, selectors, services
from notifications.engine import LEASE
from notifications.models import Delivery, EmailSettings
from notifications.services import sending
from tests.notifications.certificates import make_certificate
from tests.notifications.factories import (
    clear,
    make_alert,
    make_recipient,
    make_user,
    set_up_mail,
)
from tests.notifications.mailserver import DROP, HANG, MailServer, free_port, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _still(frozen: clock.FrozenClock) -> None:
    """Let the clock stand still."""


def sweep(frozen: clock.FrozenClock, seconds: float = 0) -> services.Sent:
    frozen.tick(seconds)
    return services.sweep(now=clock.now())


def row_of(address: str) -> Delivery:
    return Delivery.objects.get(recipient=address)


def test_it_tries_again_when_the_server_says_later(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    mailbox.on_recipient = lambda address: "451 4.7.1 greylisted, come back"
    make_alert()

    sweep(frozen, 2)

    row = row_of("ana@example.org")
    assert row.state == "retry"
    assert row.error == (
        "The mail server refused the recipient: 451 4.7.1 greylisted, come back"
    )
    wait = row.due_at - clock.now()
    assert timedelta(seconds=30) <= wait <= timedelta(seconds=40)
    mailbox.on_recipient = lambda address: "250 OK"
    sweep(frozen, 29)
    assert mailbox.mails == []
    sweep(frozen, 12)
    assert row_of("ana@example.org").state == "sent"
    assert row_of("ana@example.org").attempts == 2


def test_it_fails_for_good_when_the_server_refuses_the_recipient(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    mailbox.on_recipient = lambda address: "550 5.1.1 no such user here"
    make_alert()

    sent = sweep(frozen, 2)

    row = row_of("ana@example.org")
    assert sent == services.Sent(refused=1)
    assert row.state == "failed"
    assert "550 5.1.1 no such user here" in row.error
    problem = selectors.delivery_problem(clock.now())
    assert problem is not None
    assert problem.title == "Mail to ana@example.org cannot be delivered"
    assert EmailSettings.objects.get().failing_since is None


@pytest.mark.parametrize(
    "answer", ["550 5.1.1 no such user", "451 later", "421 4.7.0 later", DROP]
)
def test_it_reaches_two_of_three_when_one_is_bad(
    mailbox: MailServer, frozen: clock.FrozenClock, answer: str
) -> None:
    make_recipient("bad@example.org")
    make_recipient("good@example.org")
    mailbox.on_recipient = lambda address: (
        answer if address.startswith("bad") else "250 OK"
    )
    make_alert()

    sweep(frozen, 2)

    assert sorted(mailbox.recipients) == ["ana@example.org", "good@example.org"]
    assert row_of("bad@example.org").state in {"failed", "retry"}
    assert EmailSettings.objects.get().failing_since is None


def test_it_reaches_the_others_when_one_makes_the_server_hang(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_recipient("bad@example.org")
    make_recipient("good@example.org")
    mailbox.on_data = lambda address: HANG if address.startswith("bad") else "250 OK"
    make_alert()

    sweep(frozen, 2)

    assert sorted(mailbox.recipients) == ["ana@example.org", "good@example.org"]
    assert row_of("bad@example.org").state == "retry"
    assert "did not answer within" in row_of("bad@example.org").error


def test_it_reaches_the_others_when_one_mail_cannot_be_made(
    mailbox: MailServer,
    frozen: clock.FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_recipient("bad@example.org")
    compose = mail.compose

    def break_one(batch: Any, **kwargs: Any) -> Any:
        if Delivery.objects.filter(batch=batch, recipient="bad@example.org").exists():
            raise ZeroDivisionError
        return compose(batch, **kwargs)

    monkeypatch.setattr(mail, "compose", break_one)
    make_alert()

    sweep(frozen, 2)

    assert mailbox.recipients == ["ana@example.org"]
    row = row_of("bad@example.org")
    assert (row.state, row.error) == (
        "retry",
        "The console could not make this mail (ZeroDivisionError).",
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("550 5.7.1 looks like spam", "550 5.7.1 looks like spam"),
        ("452 4.3.1 disk full", "452 4.3.1 disk full"),
        ("421 4.3.2 shutting down", "421 4.3.2 shutting down"),
    ],
)
def test_it_keeps_what_the_server_says_of_the_mail(
    mailbox: MailServer, frozen: clock.FrozenClock, answer: str, said: str
) -> None:
    mailbox.on_data = lambda address: answer
    make_alert()

    sweep(frozen, 2)

    row = row_of("ana@example.org")
    assert said in row.error
    assert row.state == ("failed" if answer.startswith("550") else "retry")


def test_it_sends_the_same_message_again_when_the_answer_was_lost(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    mailbox.on_data = lambda address: DROP
    mailbox.keeps_what_it_drops = True
    alert = make_alert()
    sweep(frozen, 2)
    mailbox.on_data = lambda address: "250 OK"
    clear(alert)

    sweep(frozen, 45)
    sweep(frozen, 31)

    first, again, cleared = mailbox.mails
    assert first["Message-ID"] == again["Message-ID"] != cleared["Message-ID"]
    assert first["Subject"] == again["Subject"]
    assert cleared["In-Reply-To"] == first["Message-ID"]


def test_it_tells_raise_and_clear_together_when_the_server_was_away(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    EmailSettings.objects.update(port=free_port())
    alert = make_alert("Tank-07")
    sweep(frozen, 2)
    assert row_of("ana@example.org").state == "retry"
    clear(alert)
    EmailSettings.objects.update(port=mailbox.port)

    sweep(frozen, 60)

    assert mailbox.subjects == ["[Cleared] Store point is unavailable: Tank-07"]
    assert "raised 2026-" in text_of(mailbox.mails[0])


def test_it_sends_again_with_the_same_id_after_a_crash(
    mailbox: MailServer, frozen: clock.FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*args: Any, **kwargs: Any) -> None:
        raise Killed

    make_alert()
    with monkeypatch.context() as patched:
        patched.setattr(sending, "_mark_sent", die)
        with pytest.raises(Killed):
            sweep(frozen, 2)
    assert row_of("ana@example.org").state == "sending"
    sweep(frozen, 15)
    assert len(mailbox.mails) == 1

    sweep(frozen, 15)

    first, again = mailbox.mails
    assert first["Message-ID"] == again["Message-ID"]
    assert row_of("ana@example.org").state == "sent"
    assert row_of("ana@example.org").attempts == 2


def test_it_keeps_the_id_of_a_crashed_batch_while_the_server_is_down(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_alert()
    services.route_events(now=clock.now())
    batch = sending.claim("ana@example.org", now=clock.now() + timedelta(seconds=2))
    assert batch is not None
    EmailSettings.objects.update(port=free_port())

    sweep(frozen, 130)
    EmailSettings.objects.update(port=mailbox.port)
    sweep(frozen, 90)

    assert mailbox.mails[0]["Message-ID"] == batch.message_id


def test_it_says_since_when_mail_cannot_be_sent_and_recovers_at_once(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_recipient("ops@example.org")
    EmailSettings.objects.update(port=free_port())
    make_alert()
    sweep(frozen, 2)
    since = clock.now()
    for _ in range(6):
        sweep(frozen, 600)

    problem = selectors.delivery_problem(clock.now())
    assert problem is not None
    assert problem.since == since
    assert problem.title == "Mail cannot be sent"
    assert "the connection was refused" in problem.error
    assert "Check host and port" in problem.cure

    EmailSettings.objects.update(port=mailbox.port)
    make_alert()
    sweep(frozen, 61)
    sweep(frozen, 61)

    assert selectors.delivery_problem(clock.now()) is None
    assert not Delivery.objects.exclude(state="sent").exists()
    assert sorted(mailbox.recipients) == ["ana@example.org", "ops@example.org"]


def test_it_tries_a_dead_server_once_in_a_run(
    mailbox: MailServer, frozen: clock.FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        make_recipient(f"p{number}@example.org")
    EmailSettings.objects.update(port=free_port())
    tries: list[str] = []
    connect = smtplib.SMTP.connect

    def count(self: smtplib.SMTP, *args: Any, **kwargs: Any) -> Any:
        tries.append("")
        return connect(self, *args, **kwargs)

    monkeypatch.setattr(smtplib.SMTP, "connect", count)
    make_alert()

    sent = sweep(frozen, 2)

    assert len(tries) == 1
    assert sent == services.Sent(put_off=21)


def test_it_notes_a_server_that_breaks_every_connection(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    mailbox.on_recipient = lambda address: DROP
    make_alert()

    sweep(frozen, 2)

    assert EmailSettings.objects.get().failing_since == clock.now()


def test_it_gives_up_after_a_day_and_says_so(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    mailbox.on_recipient = lambda address: "451 later"
    make_alert()
    sweep(frozen, 2)
    for _ in range(30):
        sweep(frozen, 3600)

    row = row_of("ana@example.org")
    assert row.state == "failed"
    assert row.error == (
        "Given up after 24 h: The mail server refused the recipient: 451 later"
    )
    assert 20 <= row.attempts <= 40


def test_it_sends_a_failed_message_again_by_hand(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    mailbox.on_recipient = lambda address: "550 no"
    make_alert()
    sweep(frozen, 2)
    mailbox.on_recipient = lambda address: "250 OK"
    row = row_of("ana@example.org")
    ben = make_user("ben")

    result = services.send_again([row.pk], actor=ben, now=clock.now())
    sweep(frozen, 31)

    assert result.done == 1
    assert row_of("ana@example.org").state == "sent"
    again = services.send_again([row.pk], actor=ben, now=clock.now())
    assert again.done == 0
    assert again.skipped[0].why == "is sent, not failed"


def test_it_connects_anew_after_421_to_one_recipient(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    for name in ("bad", "bad2", "bad3", "good", "good2"):
        make_recipient(f"{name}@example.org")
    mailbox.on_recipient = lambda address: (
        "421 4.7.0 try again later" if address.startswith("bad") else "250 OK"
    )
    make_alert()

    sent = sweep(frozen, 2)

    assert sent == services.Sent(mails=3, put_off=3)
    assert sorted(mailbox.recipients) == [
        "ana@example.org",
        "good2@example.org",
        "good@example.org",
    ]
    assert "421 4.7.0 try again later" in row_of("bad@example.org").error
    assert EmailSettings.objects.get().failing_since is None
    # Nor does one that is only tried again say that the server is down.
    sweep(frozen, 60)
    assert EmailSettings.objects.get().failing_since is None


def test_it_does_not_go_on_asking_a_server_that_says_421_to_everybody(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    for number in range(20):
        make_recipient(f"p{number}@example.org")
    mailbox.on_recipient = lambda address: "421 4.3.2 shutting down"
    make_alert()

    sent = sweep(frozen, 2)

    assert sent == services.Sent(put_off=21)
    assert mailbox.connections == sending.CLOSED_IN_A_ROW
    assert EmailSettings.objects.get().failing_since == clock.now()


def test_it_notes_a_server_that_says_421_to_the_only_one(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    mailbox.on_recipient = lambda address: "421 4.3.2 shutting down"
    make_alert()

    sweep(frozen, 2)

    assert EmailSettings.objects.get().failing_since == clock.now()


# --- servers that trickle ----------------------------------------------------------------


class Trickle:
    """Answers at once, but from some command on never comes to an end of its answer."""

    def __init__(self, at: bytes) -> None:
        self._at = at
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._is_over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._is_over.set()
        self._listener.close()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            try:
                line, _ = self._listener.accept()
                with line:
                    self._talk(line)
            except OSError:
                continue

    def _talk(self, line: socket.socket) -> None:
        if self._at == b"":
            self._trickle(line)
        line.sendall(b"220 here\r\n")
        for command in line.makefile("rb"):
            if command.upper().startswith(self._at):
                self._trickle(line)
            line.sendall(b"250 OK\r\n")

    def _trickle(self, line: socket.socket) -> None:
        while not self._is_over.wait(0.2):
            line.sendall(b"250-more to come\r\n")


@pytest.mark.parametrize(
    ("at", "security"),
    [
        (b"", "none"),
        (b"EHLO", "none"),
        (b"MAIL", "none"),
        (b"RCPT", "none"),
        (b"", "tls"),
    ],
)
def test_it_does_not_wait_for_an_answer_that_trickles(
    db: None, monkeypatch: pytest.MonkeyPatch, at: bytes, security: str
) -> None:
    monkeypatch.setattr("notifications.transports.smtp.DEADLINE_SECONDS", 1.5)
    trickle = Trickle(at)
    start = time.monotonic()

    tested = send_test(trickle.port, security=security)

    trickle.close()
    assert not tested.is_sent
    assert time.monotonic() - start < 5
    if security == "none":
        assert "within 1.5 s" in tested.words


def test_it_sends_nothing_whose_lease_ran_out_while_it_connected(
    mailbox: MailServer, frozen: clock.FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = mail.compose
    taken: list[object] = []

    def be_slow(batch: Any, **kwargs: Any) -> Any:
        made = compose(batch, **kwargs)
        if not taken:
            frozen.tick(LEASE.total_seconds())
            taken.append(sending.claim("ana@example.org", now=clock.now()))
        return made

    monkeypatch.setattr(mail, "compose", be_slow)
    make_alert()

    sweep(frozen, 2)

    assert taken != [None]
    assert mailbox.mails == []
    sweep(frozen, LEASE.total_seconds())
    assert len(mailbox.mails) == 1


def test_it_lets_a_person_hear_30_s_after_a_process_was_killed(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    alert = make_alert("Tank-07")
    frozen.tick(2)
    services.route_events(now=clock.now())
    assert sending.claim("ana@example.org", now=clock.now()) is not None
    clear(alert)

    for _ in range(29):
        sweep(frozen, 1)
    assert mailbox.mails == []
    sweep(frozen, 1)
    sweep(frozen, 30)

    # The open first, then the close.
    assert [subject.split()[0] for subject in mailbox.subjects] == [
        "[Critical]",
        "[Cleared]",
    ]


# --- what is switched off meanwhile ------------------------------------------------------


def switch_sending(mailbox: MailServer, *, is_enabled: bool) -> None:
    stored = EmailSettings.objects.get()
    services.change_email_settings(
        services.MailServer(
            host=stored.host,
            port=mailbox.port,
            security="none",
            username="",
            password=None,
            sender=stored.sender,
            is_enabled=is_enabled,
            group_seconds=30,
        ),
        actor=User.objects.get(username="ana"),
        now=clock.now(),
    )


@pytest.mark.parametrize("hours", [1, 72])
def test_it_tells_the_close_when_sending_is_switched_on_again(
    mailbox: MailServer, frozen: clock.FrozenClock, hours: int
) -> None:
    alert = make_alert("Tank-07")
    sweep(frozen, 2)
    switch_sending(mailbox, is_enabled=False)
    clear(alert)
    make_alert("Tank-08")
    for _ in range(hours):
        sweep(frozen, 3600)
    assert len(mailbox.mails) == 1

    switch_sending(mailbox, is_enabled=True)
    sweep(frozen, 60)

    # Of what was raised while sending was off nobody is told.
    assert mailbox.subjects == [
        "[Critical] Store point is unavailable: Tank-07",
        "[Cleared] Store point is unavailable: Tank-07",
    ]


def test_it_sends_nothing_that_waits_for_who_is_no_longer_mailed(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    make_user("ben")
    dora = make_user("dora")
    ops = make_recipient("ops@example.org")
    make_alert()
    services.route_events(now=clock.now())
    User.objects.filter(username="ben").update(is_active=False)
    User.objects.filter(pk=dora.pk).update(email="dora@elsewhere.example")
    ops.delete()

    sweep(frozen, 2)

    # Who only changed the address still hears what was written to the old one.
    assert sorted(mailbox.recipients) == ["ana@example.org", "dora@example.org"]
    for address in ("ben@example.org", "ops@example.org"):
        assert row_of(address).state == "failed"
        assert "no longer mailed" in row_of(address).error


# --- sign-in and TLS -------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for "localhost" that nobody has signed, and its key."""
    return make_certificate(tmp_path)


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[MailServer]:
    """A server that wants STARTTLS, and the password of "console"."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = MailServer(tls=context, users={"console": "correct horse"})
    server.start()
    yield server
    server.stop()


def send_test(port: int, **fields: Any) -> Any:
    set_up_mail(port, **fields)
    ana = make_user("ana")
    return services.send_test("x@example.org", actor=ana, now=clock.now())


def test_it_sends_by_starttls_with_a_password(
    secure: MailServer,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    tested = send_test(
        secure.port,
        host="localhost",
        security="starttls",
        username="console",
        password="correct horse",
    )

    assert tested.is_sent, tested.words
    assert secure.recipients == ["x@example.org"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"host": "localhost", "security": "starttls"},
            "The certificate of localhost is not valid: ",
        ),
        ({"host": "localhost", "security": "tls"}, "TLS with localhost:"),
        ({"security": "none"}, "530"),
    ],
)
def test_it_sends_nothing_to_whom_it_cannot_trust(
    secure: MailServer, fields: dict[str, Any], words: str
) -> None:
    tested = send_test(secure.port, **fields)

    assert not tested.is_sent
    assert words in tested.words
    assert tested.cure
    assert secure.mails == []


def test_it_says_that_the_password_is_wrong(
    secure: MailServer,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    tested = send_test(
        secure.port,
        host="localhost",
        security="starttls",
        username="console",
        password="wrong",
    )

    assert not tested.is_sent
    assert "refused the user name or the password: 535" in tested.words


def test_it_says_that_a_server_has_no_starttls(server: MailServer) -> None:
    tested = send_test(server.port, security="starttls")

    assert not tested.is_sent
    assert "does not offer STARTTLS" in tested.words
    assert server.mails == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"port": 1}, "Nothing answers at 127.0.0.1:1: the connection was refused."),
        ({"host": "no-such-host.invalid"}, "There is no address for the host name"),
        ({"host": ""}, "Nothing was sent: no mail server is set up."),
    ],
)
def test_it_says_that_there_is_no_server(
    server: MailServer, fields: dict[str, Any], words: str
) -> None:
    tested = send_test(server.port, **fields) if "port" not in fields else send_test(1)

    assert not tested.is_sent
    assert words in tested.words
    assert tested.cure


def test_it_says_that_the_key_of_the_password_is_gone(server: MailServer) -> None:
    tested = send_test(server.port, username="x", sealed_password="nonsense")

    assert not tested.is_sent
    assert "cannot be read" in tested.words


def test_it_says_that_a_password_must_be_ascii(
    secure: MailServer,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    tested = send_test(
        secure.port,
        host="localhost",
        security="starttls",
        username="console",
        password="pässword",
    )

    assert not tested.is_sent
    assert "letters outside ASCII" in tested.words
