"""The audit log, signs of life, and secrets at rest."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import override_settings

from console.kit import audit, clock, heartbeat, secrets
from console.kit.models import AppendOnly, AuditEntry
from tests import people

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


def test_it_records_who_did_what(frozen: clock.FrozenClock) -> None:
    ana = people.make_person("ana")
    token = audit.address.set("192.0.2.7")

    audit.record(
        actor=ana,
        verb="user.change",
        subject=ana,
        now=frozen(),
        note="why",
        data={"a": 1},
    )
    audit.address.reset(token)

    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.actor_name, entry.at) == (ana, "ana", frozen())
    assert (entry.object_kind, entry.object_id, entry.object_name) == (
        "user",
        str(ana.pk),
        "ana",
    )
    assert (entry.note, entry.data, entry.address) == ("why", {"a": 1}, "192.0.2.7")


def test_it_keeps_the_name_of_somebody_who_is_removed(
    frozen: clock.FrozenClock,
) -> None:
    ana = people.make_person("ana")
    audit.record(actor=ana, verb="user.change", subject=None, now=frozen())

    ana.delete()

    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.actor_name) == (None, "ana")


def test_it_calls_the_console_by_its_name(frozen: clock.FrozenClock) -> None:
    audit.record(actor=None, verb="server.enrol", subject=None, now=frozen())

    assert str(AuditEntry.objects.get()) == "console server.enrol"


def test_it_changes_and_removes_no_entry(frozen: clock.FrozenClock) -> None:
    audit.record(actor=None, verb="server.enrol", subject=None, now=frozen())

    with pytest.raises(AppendOnly):
        AuditEntry.objects.update(verb="x")
    with pytest.raises(AppendOnly):
        AuditEntry.objects.all().delete()


def test_it_remembers_the_last_beat(frozen: clock.FrozenClock) -> None:
    assert heartbeat.age("tick", frozen()) is None

    heartbeat.beat("tick", frozen() - timedelta(seconds=9))
    heartbeat.beat("tick", frozen() - timedelta(seconds=4))

    assert heartbeat.age("tick", frozen()) == 4
    assert heartbeat.read(["tick", "report"]) == {
        "tick": frozen() - timedelta(seconds=4)
    }


def test_it_does_not_trust_a_beat_from_the_future(frozen: clock.FrozenClock) -> None:
    heartbeat.beat("tick", frozen() + timedelta(hours=1))

    assert heartbeat.age("tick", frozen()) == 3600


def test_it_keeps_secrets_unreadable() -> None:
    sealed = secrets.encrypt("hunter2")

    assert "hunter2" not in sealed
    assert secrets.encrypt("hunter2") != sealed
    assert secrets.decrypt(sealed) == "hunter2"
    assert secrets.decrypt(secrets.encrypt("")) == ""


def test_it_says_when_the_key_does_not_fit() -> None:
    sealed = secrets.encrypt("hunter2")

    with override_settings(SECRET_KEY="another key"), pytest.raises(secrets.Unreadable):
        secrets.decrypt(sealed)


def test_it_still_reads_with_the_key_before() -> None:
    with override_settings(SECRET_KEY="the old key"):
        sealed = secrets.encrypt("hunter2")

    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["the old key"]):
        assert secrets.decrypt(sealed) == "hunter2"
