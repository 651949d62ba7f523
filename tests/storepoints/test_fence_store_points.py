"""The fence: when it is raised, counted and lifted, and what a person sees of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from alerts.models import Alert
from console.kit import clock, heartbeat
from console.kit.models import AuditEntry
from storepoints import services
from storepoints.fence import DOWN, Fence, Policy, follow, progress
from storepoints.models import StorePoint
from storepoints.services.checks import SPECIFIED, specification
from storepoints.services.fence import follow_readings
from storepoints.states import FENCING, WORKING, Reason, State
from tests import people
from tests.factories import (
    make_destination,
    make_finding,
    make_report,
    make_server,
    make_store_point,
)

ON, BY_HAND, OFF = Policy(is_on=True), Policy(True, 0), Policy(is_on=False)
NOT_MOUNTED, READ_ONLY = Reason.NOT_MOUNTED, Reason.READ_ONLY
OFFLINE, ONLINE, DEGRADED = State.OFFLINE, State.ONLINE, State.DEGRADED
FULL, NONE, LOW = Reason.FULL, Reason.NONE, Reason.LOW_SPACE


# --- the decision ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "state", "reason", "policy", "after"),
    [
        # Raised at the first finding of the four reasons, and of no other.
        (DOWN, OFFLINE, NOT_MOUNTED, ON, Fence(NOT_MOUNTED)),
        (DOWN, OFFLINE, READ_ONLY, ON, Fence(READ_ONLY)),
        (DOWN, OFFLINE, FULL, ON, DOWN),
        (DOWN, State.NOT_RESPONDING, NONE, ON, DOWN),
        (DOWN, ONLINE, NONE, ON, DOWN),
        # Never without a policy, and lifted when it is switched off.
        (DOWN, OFFLINE, NOT_MOUNTED, OFF, DOWN),
        (Fence(NOT_MOUNTED, 1), OFFLINE, NOT_MOUNTED, OFF, DOWN),
        # Counted, also while degraded, and lifted by the last.
        (Fence(NOT_MOUNTED), ONLINE, NONE, ON, Fence(NOT_MOUNTED, 1)),
        (Fence(NOT_MOUNTED, 1), DEGRADED, LOW, ON, Fence(NOT_MOUNTED, 2)),
        (Fence(NOT_MOUNTED, 2), ONLINE, NONE, ON, DOWN),
        (Fence(NOT_MOUNTED, 8), ONLINE, NONE, ON, DOWN),
        # In a row: any failure begins the counting again.
        (Fence(NOT_MOUNTED, 2), OFFLINE, FULL, ON, Fence(NOT_MOUNTED)),
        (Fence(NOT_MOUNTED, 2), State.NOT_RESPONDING, NONE, ON, Fence(NOT_MOUNTED)),
        (Fence(NOT_MOUNTED, 2), OFFLINE, READ_ONLY, ON, Fence(READ_ONLY)),
        # By hand only.
        (Fence(NOT_MOUNTED, 99), ONLINE, NONE, BY_HAND, Fence(NOT_MOUNTED, 100)),
    ],
)
def test_it_decides(
    before: Fence, state: State, reason: Reason, policy: Policy, after: Fence
) -> None:
    assert follow(before, state, reason, policy) == after


readings = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(sorted(WORKING)), st.just(Reason.NONE)),
        st.tuples(st.just(State.OFFLINE), st.sampled_from(list(Reason))),
        st.tuples(st.just(State.NOT_RESPONDING), st.just(Reason.NONE)),
    ),
    max_size=30,
)


@given(readings, st.integers(0, 5))
def test_it_is_lifted_by_that_many_good_probes_in_a_row_and_by_nothing_else(
    sequence: list[tuple[State, Reason]], good_probes: int
) -> None:
    policy = Policy(is_on=True, good_probes=good_probes)
    fence, good = DOWN, 0

    for state, reason in sequence:
        before, fence = fence, follow(fence, state, reason, policy)
        good = good + 1 if state in WORKING and before.is_up else 0
        assert fence.reason in FENCING | {Reason.NONE}
        if state not in WORKING:
            assert fence.is_up == (before.is_up or reason in FENCING)
        elif before.is_up:
            assert fence.is_up == (not good_probes or good < good_probes)
            assert fence.successes in (good, 0)
        else:
            assert fence == DOWN


def test_it_says_how_far_the_counting_is() -> None:
    assert progress(Fence(NOT_MOUNTED, 2), ON) == "2 of 3 good checks"
    assert progress(Fence(NOT_MOUNTED), ON) == ""
    assert progress(Fence(NOT_MOUNTED, 2), BY_HAND) == ""
    assert progress(DOWN, ON) == ""


# --- in the report's transaction -------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, Any]]]:
    """What the agent was asked to probe, order by order; no broker is needed."""
    orders: list[list[dict[str, Any]]] = []

    def send(server: Any, kind: str, payload: dict[str, Any], **_: Any) -> bool:
        orders.append(payload["store_points"])
        return True

    monkeypatch.setattr("storepoints.services.checks.send_order", send)
    return orders


@pytest.fixture
def tank() -> StorePoint:
    heartbeat.beat("tick", clock.now())
    destination = make_destination("Berlin", is_fencing=True)
    return make_store_point("Tank-07", server=make_server(destination=destination))


def report(tank: StorePoint, reason: str = "", **more: Any) -> StorePoint:
    """Record a report that says this of a store point, and return it as it is now."""
    state = "offline" if reason else "online"
    finding = make_finding(tank, state=state, reason=reason, **more)
    services.record_report(make_report(tank.server, finding), now=clock.now())
    tank.refresh_from_db()
    return tank


database = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.postgres,
    pytest.mark.usefixtures("asked"),
]


class TestRecording:
    """With a database."""

    pytestmark = database

    @pytest.mark.parametrize("reason", sorted(FENCING))
    def test_it_fences_at_the_first_finding_and_tells_the_agent_at_once(
        self, tank: StorePoint, asked: list[list[dict[str, Any]]], reason: str
    ) -> None:
        report(tank, reason)

        assert tank.fenced_at is not None
        assert (tank.fence_reason, tank.inbound_revision) == (reason, 2)
        assert tank.accepts_inbound, "the person's own wish is left alone"
        (order,) = asked
        assert [(o["inbound"], o["is_fenced"]) for o in order] == [("disabled", True)]
        entry = AuditEntry.objects.get(verb="storepoint.fence")
        assert (entry.actor_name, entry.data) == ("console", {"reason": reason})

    def test_it_does_not_fence_without_the_policy(
        self, tank: StorePoint, asked: list[Any]
    ) -> None:
        tank.server.destination.is_fencing = False
        tank.server.destination.save()

        report(tank, "not-mounted")

        assert tank.fenced_at is None
        assert not asked

    def test_it_counts_quickly_and_lifts_after_three_in_a_row(
        self, tank: StorePoint, asked: list[list[dict[str, Any]]]
    ) -> None:
        report(tank, "not-mounted")

        counts = []
        for reason in ("", "", "full", "", ""):
            report(tank, reason)
            counts.append(tank.fence_successes)
            assert tank.pace <= timedelta(seconds=10)
            assert tank.due_at is not None
            assert tank.due_at <= clock.now() + timedelta(seconds=10)
        report(tank)

        assert counts == [1, 2, 0, 1, 2]
        assert (tank.fenced_at, tank.fence_reason, tank.fence_successes) == (
            None,
            "",
            0,
        )
        assert (tank.inbound_revision, tank.accepts_inbound) == (3, True)
        assert [order[0]["inbound"] for order in asked] == ["disabled", "enabled"]
        entry = AuditEntry.objects.get(verb="storepoint.lift_fence")
        assert (entry.actor_name, entry.note) == ("console", "3 good checks")

    def test_what_a_person_disabled_stays_disabled(self, tank: StorePoint) -> None:
        StorePoint.objects.update(accepts_inbound=False)

        for reason in ("not-mounted", "", "", ""):
            report(tank, reason)

        assert tank.fenced_at is None
        assert not tank.accepts_inbound

    def test_a_report_twice_raises_it_once(self, tank: StorePoint) -> None:
        finding = make_finding(tank, state="offline", reason="read-only")
        envelope = make_report(tank.server, finding)

        for _ in range(2):
            services.record_report(envelope, now=clock.now())

        assert AuditEntry.objects.filter(verb="storepoint.fence").count() == 1
        assert StorePoint.objects.get().inbound_revision == 2

    def test_it_fences_many_with_few_statements(
        self, tank: StorePoint, django_assert_max_num_queries: Any
    ) -> None:
        many = [make_store_point(server=tank.server) for _ in range(40)]
        findings = [
            make_finding(each, state="offline", reason="not-mounted") for each in many
        ]
        rows = list(StorePoint.objects.filter(pk__in=[each.pk for each in many]))
        services.record_report(make_report(tank.server, *findings), now=clock.now())
        assert StorePoint.objects.filter(fenced_at__isnull=False).count() == 40
        StorePoint.objects.update(fenced_at=None, fence_reason="")
        for row in rows:
            row.state, row.reason = "offline", "not-mounted"

        with transaction.atomic(), django_assert_max_num_queries(3):
            follow_readings(tank.server, rows, now=clock.now())

    def test_switching_the_policy_off_lifts_it(
        self, tank: StorePoint, asked: list[Any]
    ) -> None:
        report(tank, "not-mounted")
        asked.clear()

        services.edit_destination(
            tank.server.destination,
            is_fencing=False,
            actor=people.administrator(),
            now=clock.now(),
        )

        tank.refresh_from_db()
        assert tank.fenced_at is None
        assert asked[0][0]["inbound"] == "enabled"
        entry = AuditEntry.objects.get(verb="storepoint.lift_fence")
        assert (entry.actor_name, entry.note) == (
            "administrator",
            "the policy was switched off",
        )

    def test_it_raises_no_storm_but_an_alert_where_a_person_must_act(
        self, tank: StorePoint
    ) -> None:
        tank.server.destination.fence_good_probes = 0
        tank.server.destination.save()

        report(tank, "not-mounted")
        assert [alert.kind for alert in Alert.objects.all()] == ["store-point-offline"]
        report(tank)
        report(tank)

        alert = Alert.objects.get(kind="inbound-backup-disabled")
        assert alert.text == (
            "Inbound backup is disabled: Tank-07 (by the console: not mounted)"
        )
        services.change_inbound(
            [tank.pk], is_enabled=True, actor=people.operator(), now=clock.now()
        )
        alert.refresh_from_db()
        assert alert.cleared_at is not None

    # --- by hand -----------------------------------------------------------------------

    def test_a_person_lifts_it_when_the_store_point_works(
        self, tank: StorePoint
    ) -> None:
        report(tank, "not-mounted")
        report(tank)

        page = act("operator", tank)

        tank.refresh_from_db()
        assert tank.fenced_at is None
        assert "Enabling inbound backup of 1 store point." in page
        entry = AuditEntry.objects.get(verb="storepoint.lift_fence")
        assert (entry.actor_name, entry.note) == ("operator", "by hand")
        assert not AuditEntry.objects.filter(verb="storepoint.enable_inbound").exists()

    def test_a_person_does_not_lift_it_while_the_volume_is_away(
        self, tank: StorePoint
    ) -> None:
        StorePoint.objects.update(accepts_inbound=False)
        report(tank, "not-mounted")

        page = act("operator", tank)

        tank.refresh_from_db()
        assert tank.fenced_at is not None
        assert not tank.accepts_inbound, "the wish is left alone"
        assert "is fenced: its volume is not mounted" in page

    def test_it_is_not_lifted_when_it_broke_after_it_was_chosen(
        self, tank: StorePoint
    ) -> None:
        report(tank, "not-mounted")
        report(tank)
        later = clock.now() + timedelta(seconds=91)

        changed = services.change_inbound(
            [tank.pk], is_enabled=True, actor=people.operator(), now=later
        )

        assert changed == []
        assert StorePoint.objects.get().fenced_at is not None

    # --- what is seen ------------------------------------------------------------------

    def test_it_says_fenced_by_the_console_wherever_inbound_backup_stands(
        self, tank: StorePoint
    ) -> None:
        report(tank, "not-mounted")
        report(tank)
        report(tank)
        viewer = people.client_of("viewer")
        overview = "/destinations/store-points/?show=inbound-disabled"

        for url in (overview, f"/destinations/store-points/{tank.pk}/"):
            page = viewer.get(url).content.decode()
            assert 'data-inbound="fenced"' in page
            assert "fenced: not mounted, by the console; 2 of 3 good checks" in page
        csv = b"".join(viewer.get("/destinations/store-points/export/")).decode()
        assert ",fenced,not-mounted," in csv

    def test_it_does_not_count_a_fenced_store_point_as_accepting(
        self, tank: StorePoint
    ) -> None:
        report(tank, "not-mounted")
        report(tank)
        destination = tank.server.destination

        page = people.client_of("viewer").get(destination.get_absolute_url())

        text = page.content.decode()
        assert "0 of 1 store point" in text
        assert "1 store point is fenced now" in text
        assert "after 3 good checks" in text

    @pytest.mark.parametrize(
        ("probes", "status", "stored"),
        [
            ("5", 302, 5),
            ("0", 302, 0),
            ("1001", 422, 3),
            ("-1", 422, 3),
            ("many", 422, 3),
            ("", 422, 3),
            (None, 302, 3),
        ],
    )
    def test_it_edits_the_policy(
        self, tank: StorePoint, probes: str | None, status: int, stored: int
    ) -> None:
        destination = tank.server.destination
        data = {"name": destination.name, "note": "", "is_fencing": "on"}
        if probes is not None:
            data["fence_good_probes"] = probes

        response = people.client_of("administrator").post(
            f"/destinations/{destination.pk}/edit/", data
        )

        destination.refresh_from_db()
        assert response.status_code == status
        assert (destination.is_fencing, destination.fence_good_probes) == (True, stored)


def test_it_is_off_by_default() -> None:
    from storepoints.models import Destination

    assert not Destination().is_fencing
    assert Destination().fence_good_probes == 3


def test_it_tells_the_agent_that_it_is_fenced_and_what_was_applied() -> None:
    row: dict[str, Any] = dict.fromkeys(SPECIFIED) | {
        "accepts_inbound": True,
        "fenced_at": clock.now(),
        "inbound_applied": "enabled",
    }

    spec = specification(row)

    assert (spec["inbound"], spec["is_fenced"], spec["told"]) == (
        "disabled",
        True,
        "enabled",
    )


def act(who: str, tank: StorePoint) -> str:
    """Choose Enable Inbound Backup and return the page that follows."""
    response = people.client_of(who).post(
        "/destinations/store-points/actions/",
        {"action": "storepoint.enable_inbound", "ids": tank.pk},
        follow=True,
    )
    return response.content.decode()
