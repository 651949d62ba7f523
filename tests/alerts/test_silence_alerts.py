"""Silences: what they cover, what they keep from people, and what is said afterwards."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts import services, silences
from alerts.coverage import Coverage, compare
from alerts.models import Alert, AlertEvent, Silence, SilenceWindow
from console.kit import clock
from console.kit.models import AuditEntry
from notifications.models import Delivery
from notifications.services import route_events
from storepoints.models import StorePoint
from tests import people
from tests.factories import (
    make_alert,
    make_destination,
    make_filesystem,
    make_server,
    make_store_point,
)
from tests.notifications.factories import happens, set_up_mail
from tests.races import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _mail(db: None, frozen: clock.FrozenClock) -> None:
    """Set mail up, with one administrator who hears; the clock stands still."""
    set_up_mail(25)
    people.administrator()


def silence(name: str = "Array rebuild", **fields: Any) -> Silence:
    """Silence something from now on, for six hours unless said otherwise."""
    everything = fields.pop("everything", False)
    return services.create_silence(
        {
            "name": name,
            "starts_at": clock.now(),
            "ends_at": clock.now() + 6 * HOUR,
            **fields,
        },
        actor=people.operator(),
        now=clock.now(),
        is_everything_meant=everything,
    )


def raise_one(**fields: Any) -> Alert:
    alert = make_alert(**fields)
    happens(alert, AlertEvent.Kind.RAISED)
    route_events(now=clock.now())
    return alert


def follow() -> int:
    told = services.follow_silences(now=clock.now())
    route_events(now=clock.now())
    return told


def said(alert: Alert) -> list[str]:
    """Return what people are told of an alert."""
    return list(
        Delivery.objects.filter(event__alert=alert)
        .order_by("event")
        .values_list("event__kind", flat=True)
    )


class TestCoverage:
    """Which alerts a silence covers, by rows and by SQL alike."""

    def world(self) -> dict[str, Alert]:
        berlin, bonn = make_destination("Berlin"), make_destination("Bonn")
        one, two = make_server(destination=berlin), make_server(destination=bonn)
        volume, shared = make_filesystem(server=one), make_filesystem(server=one)
        alone = make_store_point(server=one, filesystem=volume)
        both = [make_store_point(server=one, filesystem=shared) for _ in range(2)]
        self.keys = {
            "berlin": berlin.pk,
            "one": one.pk,
            "alone": f"store-point:{alone.pk}",
            "left": f"store-point:{both[0].pk}",
            "right": f"store-point:{both[1].pk}",
        }
        kind = {"kind": "store-point-low-on-space"}
        return {
            "alone": make_alert(
                subject=self.keys["alone"], store_point=alone, server=one
            ),
            "left": make_alert(
                subject=self.keys["left"], store_point=both[0], server=one
            ),
            "volume": make_alert(
                "warning",
                subject=f"filesystem:{volume.pk}",
                filesystem=volume,
                server=one,
                **kind,
            ),
            "shared": make_alert(
                "low",
                subject=f"filesystem:{shared.pk}",
                filesystem=shared,
                server=one,
                **kind,
            ),
            "two": make_alert(
                subject=f"server:{two.pk}", server=two, kind="server-offline"
            ),
            "berlin": make_alert(
                subject=f"destination:{berlin.pk}",
                destination=berlin,
                kind="destination-offline",
            ),
            "console": make_alert(subject="console", kind="health-checks-not-running"),
        }

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"kinds": ["store-point-low-on-space"]}, "volume shared"),
            ({"severities": [2, 3]}, "volume shared"),
            ({"severities": [1], "server": "one"}, "alone left"),
            ({"server": "one"}, "alone left volume shared"),
            ({"destination": "berlin"}, "alone left volume shared berlin"),
            ({"subjects": ["alone"]}, "alone volume"),
            ({"subjects": ["left"]}, "left"),
            ({"subjects": ["left", "right"]}, "left shared"),
            ({"subjects": ["console"]}, "console"),
            ({"subjects": ["alone"], "kinds": ["server-offline"]}, ""),
            ({}, "alone left volume shared two berlin console"),
        ],
    )
    def test_it_covers(self, fields: dict[str, Any], expected: str) -> None:
        alerts = self.world()
        find = self.keys.get
        coverage = Coverage(
            kinds=frozenset(fields.get("kinds", ())),
            severities=frozenset(fields.get("severities", ())),
            subjects=frozenset(str(find(x, x)) for x in fields.get("subjects", ())),
            server=find(fields.get("server", "")),  # type: ignore[arg-type]
            destination=find(fields.get("destination", "")),  # type: ignore[arg-type]
        )

        by_row = {
            name
            for name, row in alerts.items()
            if coverage.covers(silences.about_of([row])[row.pk])
        }
        by_sql = set(silences.covered_alerts(coverage).values_list("pk", flat=True))

        assert by_row == set(expected.split())
        assert by_sql == {alerts[name].pk for name in by_row}

    def test_it_asks_as_often_for_forty_alerts_as_for_two(self) -> None:
        server = make_server()
        volumes = [make_filesystem(server=server) for _ in range(20)]
        tanks = [make_store_point(server=server) for _ in range(20)]
        rows = [make_alert(filesystem=each, server=server) for each in volumes]
        rows += [make_alert(store_point=each, server=server) for each in tanks]
        silence(server=server)
        silence(subjects=["store-point:1"])
        counts = []

        for some in (rows[19:21], rows):
            with CaptureQueriesContext(connection) as queries:
                found = silences.silence_of(some, clock.now())
            assert len(found) == len(some)
            counts.append(len(queries))

        assert counts == [3, 3]

    def test_it_costs_one_query_when_nothing_is_silenced(self) -> None:
        rows = [make_alert() for _ in range(3)]

        with CaptureQueriesContext(connection) as queries:
            assert silences.silence_of(rows, clock.now()) == {}

        assert len(queries) == 1

    def test_it_counts_what_each_covers_in_one_query(self) -> None:
        alert = make_alert()
        make_alert("low")
        one, two = silence(subjects=[alert.subject]), silence(everything=True)

        with CaptureQueriesContext(connection) as queries:
            counts = silences.count_covered([one, two])

        assert (counts, len(queries)) == ({one.pk: 1, two.pk: 2}, 1)

    def test_it_compares(self) -> None:
        found = compare(
            {"1": 1, "2": 2, "3": 3, "12": 2}, {"2": 1, "3": 3, "12": 3, "4": 1}
        )

        assert (found.new, found.gone) == ((4,), (1,))
        assert (found.worse, found.unchanged) == ((2,), (3, 12))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "is_everything_meant"),
        ({"kinds": ["x"], "name": " "}, "name"),
        ({"kinds": ["x"], "ends_at": None}, "starts_at"),
        ({"kinds": ["x"], "ends_at": datetime(2020, 1, 1, tzinfo=UTC)}, "ends_at"),
        ({"kinds": ["x"], "repeats": "daily"}, "starts_local"),
        (
            {
                "kinds": ["x"],
                "repeats": "weekly",
                "first_day": date(2026, 1, 1),
                "starts_local": time(1),
                "ends_local": time(2),
            },
            "weekdays",
        ),
        ({"kinds": ["x"], "repeats": "daily", "first_day": date(1, 1, 1)}, "first_day"),
    ],
)
def test_it_refuses_what_is_wrong(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as error:
        silence(**fields)

    assert field in error.value.message_dict
    assert not Silence.objects.exists()


def test_it_keeps_news_and_says_so(frozen: clock.FrozenClock) -> None:
    kept = silence(severities=[1])

    alert = raise_one()
    other = raise_one(severity="warning")

    event = alert.events.get()
    assert (event.is_withheld, event.withheld_by) == (True, kept)
    assert event.routing == "not mailed: silenced by “Array rebuild” until 18:00 UTC"
    assert (said(alert), said(other)) == ([], ["raised"])


def test_it_says_the_date_when_it_ends_on_another_day() -> None:
    silence(severities=[1], ends_at=clock.now() + 24 * HOUR)

    assert raise_one().events.get().routing.endswith("until 2026-07-16 12:00 UTC")


def test_it_tells_what_happened_before_it(frozen: clock.FrozenClock) -> None:
    alert = make_alert()
    happens(alert, AlertEvent.Kind.RAISED)
    frozen.tick(1)
    silence(everything=True)

    route_events(now=clock.now())

    assert said(alert) == ["raised"]


def test_it_tells_at_the_end_what_still_holds(frozen: clock.FrozenClock) -> None:
    silence(everything=True)
    alert = raise_one()

    frozen.tick(6 * 3600 - 1)
    assert follow() == 0
    frozen.tick(1)
    assert follow() == 1
    assert follow() == 0

    assert said(alert) == ["unsilenced"]
    assert alert.events.get(kind="unsilenced").note == (
        "“Array rebuild” is over, and it still holds."
    )
    assert follow() == 0


def test_it_says_nothing_of_what_came_and_went(frozen: clock.FrozenClock) -> None:
    silence(everything=True)
    alert = raise_one()
    frozen.tick(60)
    happens(alert, AlertEvent.Kind.CLEARED)
    route_events(now=clock.now())

    frozen.tick(6 * 3600)

    assert follow() == 0
    assert said(alert) == []


def test_it_sends_the_close_of_what_was_told_before(frozen: clock.FrozenClock) -> None:
    alert = raise_one()
    frozen.tick(60)
    silence(everything=True)
    frozen.tick(60)
    happens(alert, AlertEvent.Kind.CLEARED)
    route_events(now=clock.now())
    assert said(alert) == ["raised"]

    frozen.tick(6 * 3600)
    follow()

    assert said(alert) == ["raised", "cleared"]


def test_it_says_nothing_of_what_held_before_and_after(
    frozen: clock.FrozenClock,
) -> None:
    alert = raise_one()
    frozen.tick(60)
    silence(everything=True)

    frozen.tick(7 * 3600)

    assert follow() == 0
    assert said(alert) == ["raised"]


def test_it_mails_nobody_of_what_somebody_has_acknowledged(
    frozen: clock.FrozenClock,
) -> None:
    silence(everything=True)
    alert = raise_one()
    services.acknowledge_alerts([alert.pk], actor=people.operator(), now=clock.now())

    frozen.tick(7 * 3600)
    follow()

    assert said(alert) == []
    event = alert.events.get(kind="unsilenced")
    assert event.routing == "not mailed: operator has acknowledged it"


def test_it_leaves_it_to_another_silence(frozen: clock.FrozenClock) -> None:
    silence("Short", everything=True, ends_at=clock.now() + HOUR)
    alert = raise_one()
    long = silence("Long", severities=[1])

    frozen.tick(3600)
    assert follow() == 0
    assert alert.events.get().withheld_by == long
    frozen.tick(6 * 3600)
    assert follow() == 1


def test_it_waits_while_another_alert_explains_it(frozen: clock.FrozenClock) -> None:
    silence(everything=True)
    alert = raise_one()
    parent = make_alert(kind="server-offline")
    Alert.objects.filter(pk=alert.pk).update(parent=parent)

    frozen.tick(7 * 3600)
    assert follow() == 0
    Alert.objects.filter(pk=alert.pk).update(parent=None)

    assert follow() == 1


def test_it_compares_each_window(frozen: clock.FrozenClock) -> None:
    gone, worse, same = raise_one(), raise_one(severity="warning"), raise_one()
    frozen.tick(60)
    kept = silence(everything=True)
    frozen.tick(60)
    happens(gone, AlertEvent.Kind.CLEARED)
    Alert.objects.filter(pk=worse.pk).update(severity=1)
    happens(worse, AlertEvent.Kind.WORSENED)
    new = raise_one()

    frozen.tick(6 * 3600)
    follow()

    window = kept.windows.get()
    found = compare(window.before, window.after)
    assert (found.new, found.gone) == ((new.pk,), (gone.pk,))
    assert (found.worse, found.unchanged) == ((worse.pk,), (same.pk,))
    assert window.compared_at == clock.now()


def test_it_compares_windows_that_nobody_noticed(frozen: clock.FrozenClock) -> None:
    start = clock.now()
    gone = raise_one()
    kept = silence(
        everything=True,
        repeats="daily",
        first_day=start.date(),
        starts_local=time(20),
        ends_local=time(22),
    )
    frozen.move_to(start.replace(hour=21))
    happens(gone, AlertEvent.Kind.CLEARED)
    new = raise_one()
    assert not SilenceWindow.objects.exists()

    frozen.move_to(start.replace(hour=9) + timedelta(days=3))
    assert follow() == 2
    assert follow() == 0

    windows = list(kept.windows.order_by("starts_at"))
    assert [each.starts_at.day for each in windows] == [15, 16, 17]
    first = compare(windows[0].before, windows[0].after)
    assert (first.new, first.gone) == ((new.pk,), (gone.pk,))
    assert compare(windows[1].before, windows[1].after).unchanged == (new.pk,)
    assert (said(gone), said(new)) == (["raised", "cleared"], ["unsilenced"])


def test_it_ends_once_and_tells_at_once(frozen: clock.FrozenClock) -> None:
    kept = silence(everything=True)
    alert = raise_one()
    frozen.tick(60)

    first = services.end_silences([kept.pk], actor=people.operator(), now=clock.now())
    again = services.end_silences([kept.pk], actor=people.operator(), now=clock.now())
    route_events(now=clock.now())

    assert (first.done, again.done) == (1, 0)
    assert again.skipped[0].why == "was ended by operator already"
    assert said(alert) == ["unsilenced"]
    window = kept.windows.get()
    assert (window.ends_at, window.compared_at) == (clock.now(), clock.now())
    assert silences.silences_in_force(clock.now()) == []
    verbs = AuditEntry.objects.filter(object_kind="silence").values_list(
        "verb", flat=True
    )
    assert sorted(verbs) == ["silence.create", "silence.end"]


def test_it_ends_nothing_that_is_over(frozen: clock.FrozenClock) -> None:
    kept = silence(everything=True)
    frozen.tick(7 * 3600)

    result = services.end_silences([kept.pk], actor=people.operator(), now=clock.now())

    assert (result.done, result.skipped[0].why) == (0, "is over")


def test_it_tells_what_it_covers_no_longer(frozen: clock.FrozenClock) -> None:
    kept = silence(severities=[1, 2])
    left, stays = raise_one(severity="warning"), raise_one()
    frozen.tick(60)

    services.change_silence(
        kept.pk, {"severities": [1]}, actor=people.operator(), now=clock.now()
    )
    route_events(now=clock.now())

    assert (said(left), said(stays)) == (["unsilenced"], [])
    assert kept.windows.get().compared_at is None


def test_it_goes_on_when_it_is_prolonged(frozen: clock.FrozenClock) -> None:
    kept = silence(everything=True)
    end = clock.now() + 9 * HOUR
    services.change_silence(
        kept.pk,
        {"ends_at": end},
        actor=people.operator(),
        now=clock.now(),
        is_everything_meant=True,
    )

    frozen.tick(7 * 3600)
    follow()

    window = kept.windows.get()
    assert (window.ends_at, window.compared_at) == (end, None)


def test_it_deletes_what_is_over_and_keeps_the_sentence(
    frozen: clock.FrozenClock,
) -> None:
    kept = silence(everything=True)
    alert = raise_one()
    actor = people.operator()
    refused = services.delete_silences([kept.pk], actor=actor, now=clock.now())
    frozen.tick(7 * 3600)
    owed = services.delete_silences([kept.pk], actor=actor, now=clock.now())
    follow()

    done = services.delete_silences([kept.pk], actor=actor, now=clock.now())

    assert refused.skipped[0].why == "is in force: end it first"
    assert owed.skipped[0].why == "still keeps news that people have to be told"
    assert done.done == 1
    assert "silenced by “Array rebuild”" in alert.events.get(kind="raised").routing


@pytest.mark.django_db(transaction=True)
def test_it_says_everything_once_when_two_look_at_once(
    frozen: clock.FrozenClock,
) -> None:
    kept = silence(everything=True)
    tanks: list[StorePoint] = [make_store_point() for _ in range(20)]
    alerts = [
        make_alert(subject=f"store-point:{tank.pk}", store_point=tank) for tank in tanks
    ]
    for alert in alerts:
        happens(alert, AlertEvent.Kind.RAISED)
    route_events(now=clock.now())
    frozen.tick(7 * 3600)
    now = clock.now()
    sweep = [lambda: services.follow_silences(now=now)] * 3
    actor = people.operator()
    end = [lambda: services.end_silences([kept.pk], actor=actor, now=now)]

    failures = at_once(sweep, sweep, end, [lambda: route_events(now=now)] * 3)

    assert failures == []
    route_events(now=now)
    assert Delivery.objects.count() == len(alerts)
    events = AlertEvent.objects.filter(kind="unsilenced")
    assert events.count() == len(alerts)
    assert kept.windows.count() == 1
