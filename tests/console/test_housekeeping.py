"""What is removed once nobody will ask for it again, and what stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection

from alerts.models import Alert, AlertEvent, AlertHistoryLimit
from alerts.services import keeping
from console import housekeeping
from console.accounts.models import OneTimeLink
from console.accounts.services import issue_setup_link, sign_in_link
from console.celery import app
from console.kit import audit, clock
from console.kit.models import AuditEntry
from notifications.models import Delivery
from storepoints.models import AgentRequest, StatusChange
from storepoints.services.adoption import adoption_request_of
from tests.factories import make_alert, make_store_point
from tests.people import make_person


def test_every_scheduled_task_exists() -> None:
    app.loader.import_default_modules()

    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}

    assert scheduled <= set(app.tasks)
    assert {"console.housekeeping", "alerts.reconcile_everything"} <= scheduled


@pytest.mark.django_db
class TestSweepOut:
    """Each with a clock that stands still."""

    @pytest.fixture(autouse=True)
    def _clock(self, frozen: clock.FrozenClock) -> None:
        self.frozen = frozen

    def sweep(self) -> dict[str, int]:
        return housekeeping.sweep_out(now=clock.now())

    def test_it_removes_ended_sessions(self) -> None:
        for name, days in (("over", -1), ("open", 1)):
            expires = clock.now() + timedelta(days=days)
            Session.objects.create(session_key=name, expire_date=expires)

        assert self.sweep()["sessions"] == 1
        assert Session.objects.get().session_key == "open"

    def test_it_removes_expired_cache_entries(self) -> None:
        cache.set("long", 1, 3600 * 24 * 3650)
        cache.set("short", 1, 3600)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE console_cache SET expires = %s WHERE cache_key LIKE %s",
                [
                    connection.ops.adapt_datetimefield_value(
                        clock.now() - timedelta(seconds=1)
                    ),
                    "%short",
                ],
            )

        self.sweep()

        with connection.cursor() as cursor:
            cursor.execute("SELECT cache_key FROM console_cache")
            keys = [key for (key,) in cursor.fetchall()]
        assert not any(key.endswith("short") for key in keys)
        assert any(key.endswith("long") for key in keys)

    def test_it_removes_links_that_are_long_over(self) -> None:
        person = make_person("viewer")
        sign_in_link(person, clock.now())
        used = OneTimeLink.objects.get()
        sign_in_link(person, clock.now())
        OneTimeLink.objects.filter(pk=used.pk).update(used_at=clock.now())
        issue_setup_link(clock.now())

        self.frozen.tick(29 * 86400)
        assert self.sweep()["links"] == 0
        self.frozen.tick(2 * 86400)

        assert self.sweep()["links"] == 2
        # The link to set the console up holds until there is an administrator.
        assert OneTimeLink.objects.get().purpose == OneTimeLink.Purpose.SETUP

    def test_it_removes_old_questions_but_not_an_open_adoption(self) -> None:
        open_point = make_store_point(adopted_at=None)
        done = make_store_point(adopted_at=clock.now())
        for point in (open_point, done):
            AgentRequest.objects.create(
                guid=adoption_request_of(point),
                server=point.server,
                kind="adopt",
                asked_at=clock.now(),
            )
        AgentRequest.objects.create(
            server=done.server, kind="inspect", asked_at=clock.now()
        )
        self.frozen.tick(86400 + 1)
        fresh = AgentRequest.objects.create(
            server=done.server, kind="inspect", asked_at=clock.now()
        )

        assert self.sweep()["agent requests"] == 2
        kept = set(AgentRequest.objects.values_list("guid", flat=True))
        assert kept == {adoption_request_of(open_point), fresh.guid}

    def test_it_keeps_the_last_change_of_each_store_point(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(housekeeping, "BATCH_ROWS", 2)
        point = make_store_point()
        for _ in range(6):
            StatusChange.objects.create(
                store_point=point,
                at=clock.now(),
                recorded_at=clock.now(),
                state_before="online",
                state="offline",
            )
        last = StatusChange.objects.order_by("-pk").first()
        self.frozen.tick(401 * 86400)

        assert self.sweep()["status changes"] == 5
        assert StatusChange.objects.get() == last

    def test_it_removes_alerts_that_are_over_with_all_that_was_of_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping, "REMOVED_AT_ONCE", 2)
        for _ in range(5):
            self.make_told(acknowledged_at=clock.now(), cleared_at=clock.now())
        audit.record(actor=None, verb="test", subject=None, now=clock.now())
        self.frozen.tick(730 * 86400)
        assert self.sweep()["alerts"] == 0
        self.frozen.tick(1)

        assert self.sweep()["alerts"] == 5
        for model in (Alert, AlertEvent, Delivery):
            assert model._default_manager.count() == 0
        assert AuditEntry.objects.filter(verb="test").exists()

    @pytest.mark.parametrize(
        "fields",
        [
            {"acknowledged_at": True},
            {"cleared_at": True},
            {"cleared_at": True, "acknowledged_at": True, "acknowledged_until": True},
        ],
        ids=["ongoing", "not acknowledged", "acknowledgement expired"],
    )
    def test_it_keeps_alerts_that_are_not_over(self, fields: dict[str, Any]) -> None:
        alert = self.make_told(**dict.fromkeys(fields, clock.now()))
        self.frozen.tick(3000 * 86400)

        assert self.sweep()["alerts"] == 0
        assert Alert.objects.get() == alert
        assert Delivery.objects.filter(event__alert=alert).exists()

    def test_it_counts_from_when_both_had_happened(self) -> None:
        alert = self.make_told(cleared_at=clock.now())
        self.frozen.tick(3000 * 86400)
        Alert.objects.filter(pk=alert.pk).update(acknowledged_at=clock.now())
        self.frozen.tick(86400)

        assert self.sweep()["alerts"] == 0

    def test_it_keeps_what_explains_an_alert_that_stays(self) -> None:
        over = {"acknowledged_at": clock.now(), "cleared_at": clock.now()}
        parent = self.make_told(**over)
        child = self.make_told(parent=parent)
        self.make_told(parent=parent, **over)
        self.frozen.tick(3000 * 86400)

        assert self.sweep()["alerts"] == 1
        assert set(Alert.objects.all()) == {parent, child}
        child.refresh_from_db()
        assert child.parent == parent

    def test_it_keeps_alerts_as_long_as_was_chosen(self) -> None:
        self.make_told(acknowledged_at=clock.now(), cleared_at=clock.now())
        AlertHistoryLimit.objects.create(pk=1, keep_days=10, changed_at=clock.now())
        self.frozen.tick(11 * 86400)

        assert self.sweep()["alerts"] == 1

    def make_told(self, **fields: Any) -> Alert:
        """An alert that somebody was told of."""
        alert = make_alert(**fields)
        event = AlertEvent.objects.create(
            alert=alert, at=clock.now(), kind="raised", routed_at=clock.now()
        )
        Delivery.objects.create(
            event=event,
            recipient="a@example.org",
            state="sent",
            sent_at=clock.now(),
            created_at=clock.now(),
            due_at=clock.now(),
            give_up_at=clock.now(),
        )
        return alert

    def test_a_second_run_finds_nothing(self) -> None:
        Session.objects.create(session_key="over", expire_date=clock.now())
        self.frozen.tick(1)
        self.sweep()

        assert not any(self.sweep().values())
