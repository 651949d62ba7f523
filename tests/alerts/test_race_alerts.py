"""Two people and a report at the same instant leave one truth, on either database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from alerts import selectors, services
from alerts.models import Alert, AlertEvent
from alerts.settings import Choice
from console.accounts.models import User
from console.kit import clock
from console.kit.bulk import BulkResult
from console.kit.models import AuditEntry
from storepoints.models import Server, StorePoint
from tests import people
from tests.factories import make_alert, make_server, make_store_point
from tests.races import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

ROUNDS = 8


def follow(server: int) -> None:
    """Reconcile a server and its store points, as a report does."""
    with transaction.atomic():
        services.reconcile_alerts(
            store_points=StorePoint.objects.filter(server=server).values_list(
                "pk", flat=True
            ),
            servers=[server],
            now=clock.now(),
        )


def fail(server: Server, count: int = 3) -> list[int]:
    """Let a server with store points be offline, and return its alerts."""
    for _ in range(count):
        make_store_point(server=server)
    Server.objects.filter(pk=server.pk).update(offline_since=clock.now())
    server.store_points.update(state="server-offline", is_online=False)
    follow(server.pk)
    return list(Alert.objects.filter(server=server).values_list("pk", flat=True))


def recover(server: Server, **fields: object) -> None:
    """Let it report, with store points that are as the fields say."""
    with transaction.atomic():
        Server.objects.select_for_update().get(pk=server.pk)
        Server.objects.filter(pk=server.pk).update(offline_since=None)
        server.store_points.update(**fields)
        follow(server.pk)


def acknowledge(
    keys: list[int], person: User, results: list[BulkResult]
) -> Callable[[], None]:
    def run() -> None:
        results.append(services.acknowledge_alerts(keys, actor=person, now=clock.now()))

    return run


def test_it_lets_one_of_two_people_acknowledge_each_alert() -> None:
    alerts = [make_alert().pk for _ in range(40)]
    ana, ben = people.make_person("ana"), people.make_person("ben")
    results: list[BulkResult] = []

    failures = at_once(
        [acknowledge(alerts, ana, results)],
        # The same ones the other way round: whoever waits must not wait in a circle.
        [acknowledge(alerts[::-1], ben, results)],
    )

    assert failures == []
    assert sum(result.done for result in results) == len(alerts)
    assert sum(len(result.skipped) for result in results) == len(alerts)
    assert AlertEvent.objects.filter(kind="acknowledged").count() == len(alerts)
    assert AuditEntry.objects.filter(verb="alert.acknowledge").count() == len(alerts)


def test_it_leaves_one_truth_when_people_and_a_report_meet() -> None:
    ana, ben = people.make_person("ana"), people.make_person("ben")
    for _ in range(ROUNDS):
        server = make_server()
        alerts = fail(server)
        results: list[BulkResult] = []

        failures = at_once(
            [acknowledge(alerts, ana, results)],
            [acknowledge(alerts[:1], ben, results)],
            [partial(recover, server, state="offline", is_believed=True)],
        )

        assert failures == []
        for alert in Alert.objects.filter(server=server):
            check(alert)
        assert Alert.objects.filter(server=server, cleared_at__isnull=True).count() == 3


def check(alert: Alert) -> None:
    """See that an alert says what its events say, in the order of the commits."""
    kinds = list(alert.events.order_by("pk").values_list("kind", flat=True))
    last = next(
        (
            kind
            for kind in reversed(kinds)
            if kind in {"acknowledged", "unacknowledged", "lapsed"}
        ),
        "",
    )
    assert (alert.acknowledged_at is not None) == (last == "acknowledged"), kinds
    assert kinds.count("acknowledged") <= 1 + kinds.count("lapsed"), kinds
    if "released" in kinds and alert.acknowledged_at is not None:
        # Nobody's acknowledgement of the server hides what the store point has itself.
        assert kinds.index("acknowledged", kinds.index("released")), kinds
    assert (alert.cleared_at is not None) == ("cleared" in kinds), kinds


def test_it_takes_back_or_keeps_but_never_half() -> None:
    ana, ben = people.make_person("ana"), people.make_person("ben")
    for _ in range(ROUNDS):
        alerts = [make_alert().pk for _ in range(10)]
        services.acknowledge_alerts(alerts, actor=ana, now=clock.now())
        results: list[BulkResult] = []

        failures = at_once(
            [
                partial(
                    services.unacknowledge_alerts, alerts, actor=ben, now=clock.now()
                )
            ],
            [acknowledge(alerts[::-1], ben, results)],
        )

        assert failures == []
        rows = Alert.objects.filter(pk__in=alerts)
        assert len({row.acknowledged_by_name for row in rows}) == 1
        for row in rows:
            kinds = list(row.events.order_by("pk").values_list("kind", flat=True))
            assert (row.acknowledged_at is not None) == (kinds[-1] == "acknowledged")


def test_it_raises_a_destination_once_when_its_servers_fail_together() -> None:
    servers = [make_server()]
    servers += [make_server(destination=servers[0].destination) for _ in range(2)]
    for server in servers:
        make_store_point(server=server)

    def stop(server: Server) -> None:
        with transaction.atomic():
            Server.objects.select_for_update().get(pk=server.pk)
            server.store_points.update(
                state="offline", reason="io-error", is_online=False, is_believed=True
            )
            follow(server.pk)

    failures = at_once(*([partial(stop, server)] for server in servers))

    assert failures == []
    alert = Alert.objects.get(kind="destination-offline")
    assert alert.text.endswith("(none of 3 store points is online)")


def test_it_lets_two_people_choose_nothing_that_does_not_fit() -> None:
    ana, ben = people.administrator(), people.operator()
    low, critical = "store-point-low-on-space", "store-point-critically-low-on-space"

    def choose(person: User, kind: str, percent: float) -> None:
        services.change_notification_settings(
            {kind: Choice(parameters={"percent": percent})},
            actor=person,
            now=clock.now(),
        )

    for _ in range(ROUNDS):
        failures = at_once(
            [partial(choose, ana, low, 6.0)], [partial(choose, ben, critical, 8.0)]
        )

        # Each fits what was there before, and both do not fit each other.
        assert len(failures) == 1
        assert isinstance(failures[0], ValidationError)
        assert list(selectors.settings().contradictions()) == []
        services.reset_notification_settings(actor=ana, now=clock.now())


def test_it_hides_kinds_while_reports_lock_their_alerts() -> None:
    ana = people.administrator()
    shown, hidden = "store-point-slow", "store-point-offline"
    points = [make_store_point() for _ in range(20)]
    # What is chosen for first came last, so that the keys of both kinds cross.
    for kind in (shown, hidden):
        for point in points:
            make_alert(
                kind=kind,
                subject=f"store-point:{point.pk}",
                store_point=point,
                server=point.server,
            )
    subjects = [f"store-point:{point.pk}" for point in points]

    def look() -> None:
        with transaction.atomic():
            selectors.held_alerts(subjects, now=clock.now())

    def switch(*, is_shown: bool) -> None:
        choices = {kind: Choice(is_shown=is_shown) for kind in (hidden, shown)}
        services.change_notification_settings(choices, actor=ana, now=clock.now())

    failures = at_once(
        [look] * 150,
        [partial(switch, is_shown=number % 2 == 1) for number in range(60)],
    )

    assert failures == []
    assert not Alert.objects.filter(is_shown=False).exists()
