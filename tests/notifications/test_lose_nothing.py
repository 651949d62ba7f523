"""Mail servers that do everything wrong for an hour, and an account of what arrived.

Each mail that a server took is looked up by its Message-ID: it must be one of those that
the console remembers, and whoever it tells twice was told twice because the server kept
its answer back. A line is printed for each kind of server (``pytest -s`` shows them).
"""

from __future__ import annotations

import random
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from alerts.models import Alert, AlertEvent
from console.kit import clock
from notifications import selectors, services
from notifications.models import Delivery, EmailSettings
from tests.notifications.certificates import make_certificate
from tests.notifications.factories import (
    clear,
    make_alert,
    make_recipient,
    make_user,
    set_up_mail,
)
from tests.notifications.mailserver import DROP, HANG, MailServer, text_of

pytestmark = [
    pytest.mark.django_db,
    # aiosmtpd does not count TLS from the first byte as TLS.
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
]

OK = "250 OK"
RECIPIENTS = ("ana@example.org", "bad@example.org", "ops@example.org")

#: How many sweeps a server misbehaves, and how far they are apart.
BAD_SWEEPS, SWEEP_SECONDS = 12, 31


@pytest.fixture(autouse=True)
def _still(frozen: clock.FrozenClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock stand still, and never take a slow machine for a server that hangs.

    An answer that came too late would be one that the account knows nothing of.
    """
    monkeypatch.setattr("notifications.transports.smtp.TIMEOUT_SECONDS", 3)


def sweep(frozen: clock.FrozenClock, seconds: float = SWEEP_SECONDS) -> None:
    frozen.tick(seconds)
    services.sweep(now=clock.now())


class Hostile:
    """Decides what a server answers, until it is told to be good."""

    def __init__(self, server: MailServer, behaviour: str) -> None:
        self._server = server
        self._behaviour = behaviour
        self._random = random.Random(behaviour)
        self._seen: Counter[str] = Counter()
        self._hangs = 0
        server.keeps_what_it_drops = True
        server.hang_seconds = 3.6  # Longer than the console waits in these tests.
        server.on_recipient = self._on_recipient
        server.on_data = self._on_data

    def mend(self) -> None:
        self._server.on_recipient = self._server.on_data = lambda address: OK

    def _on_recipient(self, address: str) -> str:
        self._seen[address] += 1
        is_bad = address.startswith("bad")
        if self._behaviour == "greylists":
            return OK if self._seen[address] % 3 == 0 else "451 4.7.1 come back"
        if self._behaviour == "refuses one of three for good" and is_bad:
            return "550 5.1.1 no such user"
        if self._behaviour == "refuses one of three for now" and is_bad:
            return "452 4.2.2 mailbox full"
        if self._behaviour == "drops at RCPT" and self._seen[address] % 2:
            return DROP
        if self._behaviour == "421 at RCPT" and self._seen[address] % 2:
            return "421 4.7.0 too busy"
        if self._behaviour == "everything":
            return self._random.choice([OK, OK, OK, "451 later", "421 busy", DROP])
        return OK

    def _on_data(self, address: str) -> str:
        self._seen[f"data {address}"] += 1
        is_odd = self._seen[f"data {address}"] % 2 == 1
        if self._behaviour == "hangs after DATA" and address.startswith("bad"):
            return self._hang()
        if self._behaviour == "drops after DATA" and is_odd:
            return DROP
        if self._behaviour == "421 after DATA" and is_odd:
            return "421 4.3.2 going down"
        if self._behaviour == "everything":
            answer = self._random.choice(
                [OK, OK, "451 later", "421 busy", "552 too big", DROP, HANG]
            )
            return self._hang() if answer == HANG else answer
        return OK

    def _hang(self) -> str:
        """Hang, but not for ever: each takes seconds of the test's own."""
        self._hangs += 1
        return HANG if self._hangs <= 2 else OK


@dataclass(frozen=True)
class Account:
    """What was to be told, what arrived, and what arrived more than once."""

    owed: int
    refused: int
    lost: int
    mails: int
    repeated: int
    allowed: int

    def __str__(self) -> str:
        return (
            f"{self.owed} to tell, {self.mails} mails, {self.lost} lost, "
            f"{self.refused} refused for good, {self.repeated} repeated of "
            f"{self.allowed} that the server kept its answer to"
        )


def is_taken(answer: str) -> bool:
    return answer in {OK, DROP, HANG}


def account(server: MailServer) -> Account:
    """Count what arrived, by Message-ID; fail for a mail that nobody remembers."""
    taken: Counter[str] = Counter()
    unanswered: Counter[str] = Counter()
    for mail, answer in zip(server.mails, server.answers, strict=True):
        if not is_taken(answer):
            # It said that it did not take it, so that this is no mail.
            continue
        taken[mail["Message-ID"]] += 1
        unanswered[mail["Message-ID"]] += answer != OK
    rows = list(Delivery.objects.select_related("event__alert"))
    known = {row.message_id for row in rows}
    assert set(taken) <= known, "a mail was sent under an id that is not remembered"
    refused = [row for row in rows if row.state == "failed"]
    lost = [row for row in rows if row.state != "failed" and not taken[row.message_id]]
    repeated = 0
    for message_id, times in taken.items():
        # At least once: again when its answer was lost, and never otherwise.
        assert times - 1 <= unanswered[message_id], message_id
        repeated += times - 1
    # The mails say what the rows say: each alert by name, to each recipient.
    for row in rows:
        if row in refused:
            continue
        texts = [
            text_of(mail)
            for mail in server.of(row.recipient)
            if mail["Message-ID"] == row.message_id
        ]
        assert any(row.event.alert.object_name in text for text in texts), row
    return Account(
        owed=len(rows),
        refused=len(refused),
        lost=len(lost),
        mails=sum(taken.values()),
        repeated=repeated,
        allowed=sum(unanswered.values()),
    )


def live_through(
    frozen: clock.FrozenClock, mend: Callable[[], None], *, sweeps: int = BAD_SWEEPS
) -> None:
    """Let things happen to a server that misbehaves; then mend it, and wait."""
    open_alerts: list[Alert] = []
    for number in range(sweeps):
        open_alerts.append(make_alert(f"Tank-{number:03}"))
        if number % 3 == 2:
            clear(open_alerts.pop(0))
        sweep(frozen)
    mend()
    for _ in range(60):
        sweep(frozen, 120)
        if not Delivery.objects.exclude(state__in=["sent", "failed"]).exists():
            break


#: What is refused for good must be said to be, and cannot arrive.
BEHAVIOURS = [
    "greylists",
    "refuses one of three for good",
    "refuses one of three for now",
    "hangs after DATA",
    "drops at RCPT",
    "drops after DATA",
    "421 at RCPT",
    "421 after DATA",
    "everything",
]


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_it_loses_nothing_and_repeats_only_what_it_must(
    mailbox: MailServer, frozen: clock.FrozenClock, behaviour: str
) -> None:
    for address in RECIPIENTS[1:]:
        make_recipient(address)
    hostile = Hostile(mailbox, behaviour)

    live_through(frozen, hostile.mend)

    found = account(mailbox)
    print(f"\n{behaviour}: {found}", end="")
    events = AlertEvent.objects.filter(kind__in=AlertEvent.NEWS).count()
    assert events == BAD_SWEEPS + BAD_SWEEPS // 3
    assert found.lost == 0
    assert found.repeated <= found.allowed
    assert not Delivery.objects.exclude(state__in=["sent", "failed"]).exists()
    assert not AlertEvent.objects.filter(routed_at__isnull=True).exists()
    if behaviour == "refuses one of three for good":
        # What waited with the first one that was refused was refused with it.
        failed = Delivery.objects.filter(state="failed")
        assert {row.recipient for row in failed} == {"bad@example.org"}
        assert all("550 5.1.1 no such user" in row.error for row in failed)
    elif behaviour == "everything":
        assert all(
            "552" in row.error for row in Delivery.objects.filter(state="failed")
        )
    else:
        # Nobody who can be reached is passed over because of another.
        assert found.owed == events * len(RECIPIENTS)
        assert found.refused == 0
    if behaviour in {"hangs after DATA", "drops after DATA", "everything"}:
        assert found.repeated > 0
    if behaviour in {"greylists", "drops at RCPT", "421 at RCPT", "421 after DATA"}:
        assert found.repeated == 0
    assert EmailSettings.objects.get().failing_since is None


# --- TLS ---------------------------------------------------------------------------------


@contextmanager
def secured(
    files: tuple[Path, Path], *, is_implicit: bool, port: int = 0
) -> Iterator[MailServer]:
    """Run a server with a certificate, which takes mail of "console" alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    server = MailServer(
        tls=context, is_implicit=is_implicit, users={"console": "correct horse"}
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("signed by nobody", "self-signed certificate"),
        ("expired", "certificate has expired"),
        ("for another host", "Hostname mismatch"),
    ],
)
def test_it_waits_for_a_certificate_that_can_be_trusted(
    db: None,
    frozen: clock.FrozenClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    security: str,
    fault: str,
    words: str,
) -> None:
    bad_directory, good_directory = tmp_path / "bad", tmp_path / "good"
    bad_directory.mkdir()
    good_directory.mkdir()
    bad = make_certificate(
        bad_directory,
        name="elsewhere.example" if fault == "for another host" else "localhost",
        is_expired=fault == "expired",
    )
    good = make_certificate(good_directory)
    trusted = good if fault == "signed by nobody" else bad
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted[0]))
    make_user("ana")
    make_recipient("ops@example.org")
    is_implicit = security == "tls"
    with secured(bad, is_implicit=is_implicit) as server:
        set_up_mail(
            server.port,
            host="localhost",
            security=security,
            username="console",
            password="correct horse",
        )
        live_through(frozen, lambda: None, sweeps=4)

        rows = list(Delivery.objects.all())
        assert {row.state for row in rows} == {"retry"}
        assert all("certificate of localhost is not valid" in row.error for row in rows)
        assert words in rows[0].error
        # Neither a mail nor the password went to whom it cannot trust.
        assert (server.mails, server.sign_ins) == ([], 0)
        problem = selectors.delivery_problem(clock.now())
        assert problem is not None
        assert "SSL_CERT_FILE" in problem.cure

    monkeypatch.setenv("SSL_CERT_FILE", str(good[0]))
    with secured(good, is_implicit=is_implicit) as server:
        EmailSettings.objects.update(port=server.port)
        for _ in range(4):
            sweep(frozen, 3600)

        found = account(server)
        print(f"\n{security}, a certificate {fault}: {found}", end="")
        assert (found.lost, found.repeated, found.refused) == (0, 0, 0)
        assert found.owed == 5 * 2
        assert server.sign_ins > 0
    assert not Delivery.objects.exclude(state="sent").exists()
