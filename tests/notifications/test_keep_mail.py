"""What a silence keeps from mailboxes, and the one mail at its end."""

from __future__ import annotations

from datetime import timedelta

from alerts.services import create_silence, follow_silences
from console.kit import clock
from notifications import services
from tests import people
from tests.notifications.factories import clear, make_alert
from tests.notifications.mailserver import MailServer


def sweep(frozen: clock.FrozenClock, seconds: float) -> None:
    frozen.tick(seconds)
    follow_silences(now=clock.now())
    services.sweep(now=clock.now())


def test_it_mails_nothing_in_a_silence_and_once_at_its_end(
    mailbox: MailServer, frozen: clock.FrozenClock
) -> None:
    told = make_alert("Vault")
    services.sweep(now=clock.now())
    sweep(frozen, 2)
    create_silence(
        {
            "name": "Array rebuild",
            "severities": [1],
            "starts_at": clock.now(),
            "ends_at": clock.now() + timedelta(hours=1),
        },
        actor=people.operator(),
        now=clock.now(),
    )

    make_alert("Tank-07")
    clear(make_alert("Tank-08"))
    clear(told)
    sweep(frozen, 60)
    sweep(frozen, 60)
    assert mailbox.subjects == ["[Critical] Store point is unavailable: Vault"]

    # The end, and the short gather of what is mailed then.
    sweep(frozen, 3600)
    sweep(frozen, 2)
    sweep(frozen, 60)

    assert len(mailbox.mails) == 2
    text = mailbox.mails[1].as_string()
    assert "Tank-07" in text
    assert "Vault" in text
    assert "Tank-08" not in text
