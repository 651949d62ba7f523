"""The watchman: what the terminal is told, and what is said when checks stop."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.models import Alert, AlertEvent
from console.kit import clock, heartbeat
from console.watchman import Watchman
from storepoints.models import StatusChange
from tests.factories import make_alert, make_store_point

pytestmark = pytest.mark.django_db


def test_it_tells_each_change_and_alert_once_in_one_line() -> None:
    lines: list[str] = []
    tank = make_store_point("Tank\n07")
    watchman = Watchman(say=lines.append, started_at=clock.now())
    watchman.look(now=clock.now())
    StatusChange.objects.create(
        store_point=tank,
        at=clock.now(),
        recorded_at=clock.now(),
        state_before="online",
        state="offline",
        reason="not-mounted",
    )
    alert = make_alert(text="Store point is unavailable: Tank-07")
    AlertEvent.objects.create(alert=alert, at=clock.now(), kind="raised")

    watchman.look(now=clock.now())
    watchman.look(now=clock.now())

    assert [line[9:] for line in lines] == [
        "Tank�07 offline: not mounted",
        "ALERT: [Critical] Store point is unavailable: Tank-07",
    ]


def test_it_raises_when_checks_stop_and_clears_when_they_run_again() -> None:
    with clock.freeze(clock.now()) as frozen:
        heartbeat.beat("tick", clock.now())
        watchman = Watchman(say=lambda _: None, started_at=clock.now())
        for _ in range(61):
            watchman.look(now=clock.now())
            assert not Alert.objects.exists()
            frozen.tick(1)

        watchman.look(now=clock.now())
        assert Alert.objects.get().text == (
            "Health checks are not running: this console"
        )
        heartbeat.beat("tick", clock.now())
        watchman.look(now=clock.now())

    assert Alert.objects.get().cleared_at is not None


def test_it_takes_nothing_back_because_it_was_started_again() -> None:
    with clock.freeze(clock.now()) as frozen:
        heartbeat.beat("tick", clock.now())
        watchman = Watchman(say=lambda _: None, started_at=clock.now())
        frozen.tick(120)
        watchman.look(now=clock.now())

        again = Watchman(say=lambda _: None, started_at=clock.now())
        again.look(now=clock.now())
        frozen.tick(120)
        again.look(now=clock.now())

    assert [event.kind for event in AlertEvent.objects.all()] == ["raised"]


def test_it_blames_nobody_for_the_time_before_it_started() -> None:
    heartbeat.beat("tick", clock.now() - timedelta(days=1))

    Watchman(say=lambda _: None, started_at=clock.now()).look(now=clock.now())

    assert not Alert.objects.exists()
