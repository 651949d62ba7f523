"""Drills: one at a time, a deadline for each step, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import IntegrityError
from django.test import Client

from alerts.models import Alert, AlertEvent
from alerts.services import reconcile_alerts
from console.kit import clock, heartbeat
from console.kit.models import AuditEntry
from notifications import services
from notifications.drill_steps import CLEAN_UP, Outcome, steps_of
from notifications.models import Delivery, Drill
from notifications.services import drilling
from storepoints.models import Server, StatusChange, StorePoint
from tests import people
from tests.factories import make_server, make_store_point

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


@pytest.fixture(autouse=True)
def _console(
    frozen: clock.FrozenClock, settings: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """A master server whose agent adopts at once: a real one is in tests/e2e."""
    settings.DATA_DIR = tmp_path
    make_server("master", is_master=True)
    monkeypatch.setattr("storepoints.services.add_store_point", add_store_point)


def add_store_point(*, name: str, path: str, server: Server, **_: Any) -> StorePoint:
    return make_store_point(
        name, path=path, server=server, is_drill=True, state="pending", checked_at=None
    )


def start() -> Drill:
    return services.start_drill(actor=people.administrator(), now=clock.now())


def advance(drill: Drill) -> Drill:
    services.advance_drill(now=clock.now())
    drill.refresh_from_db()
    return drill


def outcomes(drill: Drill) -> dict[str, str]:
    return {step["slug"]: step["outcome"] for step in drill.steps}


def step(drill: Drill, slug: str) -> dict[str, Any]:
    return next(step for step in drill.steps if step["slug"] == slug)


def say(drill: Drill, state: str, *, reason: str = "", believed: bool = False) -> None:
    """Record what the agent would have found."""
    row = StorePoint.objects.get(name=drill.name)
    StatusChange.objects.create(
        store_point=row,
        at=clock.now(),
        recorded_at=clock.now(),
        state_before=row.state,
        state=state,
        reason=reason,
    )
    row.state, row.reason, row.is_online = state, reason, state == "online"
    row.is_believed, row.since = believed, clock.now()
    row.checked_at, row.stale_at = clock.now(), clock.now() + timedelta(seconds=90)
    row.save()
    reconcile_alerts(store_points=[row.pk], servers=[], now=clock.now())


def nothing_is_left(drill: Drill) -> bool:
    return (
        not StorePoint.objects.filter(name=drill.name).exists()
        and not Path(drill.directory).exists()
        and not Alert.objects.filter(acknowledged_at__isnull=True).exists()
        and not Alert.objects.filter(cleared_at__isnull=True).exists()
    )


def play(frozen: clock.FrozenClock, *, until: str = "") -> Drill:
    """Play a drill up to a step that is waited for, or to its end."""
    drill = advance(start())
    acts: dict[str, Callable[[], None]] = {
        "online": lambda: say(drill, "online"),
        "detected": lambda: say(drill, "offline", reason="path-missing"),
        "alerted": lambda: say(drill, "offline", reason="path-missing", believed=True),
        "mailed": lambda: mail_of(drill, AlertEvent.Kind.RAISED),
        "back": lambda: say(drill, "online"),
        "closing-mailed": lambda: mail_of(drill, AlertEvent.Kind.CLEARED),
    }
    for slug, act in acts.items():
        current = drill.current
        assert current is not None
        assert current["slug"] == slug, outcomes(drill)
        if slug == until:
            return drill
        frozen.tick(2)
        act()
        frozen.tick(1)
        advance(drill)
    return drill


def mail_of(drill: Drill, kind: AlertEvent.Kind) -> None:
    event = AlertEvent.objects.get(alert__object_name=drill.name, kind=kind)
    AlertEvent.objects.filter(pk=event.pk).update(routed_at=clock.now())
    for number in range(2):
        Delivery.objects.create(
            event=event,
            recipient=f"{number}@example.org",
            state="sent",
            sent_at=clock.now() + timedelta(seconds=number),
            created_at=clock.now(),
            due_at=clock.now(),
            give_up_at=clock.now(),
        )


def test_it_times_each_step_by_the_instants_that_were_recorded(
    frozen: clock.FrozenClock,
) -> None:
    drill = play(frozen)

    assert drill.state == Drill.State.PASSED
    assert set(outcomes(drill).values()) == {Outcome.DONE}
    # Said 2 s later by the console, looked at 1 s after that.
    assert step(drill, "detected")["seconds"] == 2
    assert step(drill, "mailed")["text"] == "to 2 of 2 people"
    assert nothing_is_left(drill)
    verbs = AuditEntry.objects.filter(verb__startswith="drill.").order_by("pk")
    assert [row.verb for row in verbs] == ["drill.start", "drill.finish"]


def test_it_acknowledges_as_the_person_who_started_it(
    frozen: clock.FrozenClock,
) -> None:
    drill = play(frozen, until="back")

    assert drill.alert is not None
    assert drill.alert.acknowledged_by == people.administrator()
    assert step(drill, "acknowledged")["text"] == "by administrator"


def test_it_really_moves_the_directory(frozen: clock.FrozenClock) -> None:
    drill = play(frozen, until="detected")
    assert (drill.in_place.exists(), drill.away.exists()) == (False, True)

    drill.delete()
    drill = play(frozen, until="back")
    assert (drill.in_place.exists(), drill.away.exists()) == (True, False)


@pytest.mark.parametrize(
    "slug", ["online", "detected", "alerted", "mailed", "back", "closing-mailed"]
)
def test_it_fails_at_a_deadline_says_which_step_and_cleans_up(
    frozen: clock.FrozenClock, slug: str
) -> None:
    drill = play(frozen, until=slug)

    frozen.tick(step(drill, slug)["deadline_seconds"])
    advance(drill)

    assert drill.state == Drill.State.FAILED
    assert drill.failure.startswith(step(drill, slug)["label"])
    assert "not within" in drill.failure
    assert outcomes(drill)[slug] == Outcome.FAILED
    assert outcomes(drill)[CLEAN_UP] == Outcome.DONE
    assert nothing_is_left(drill)


@pytest.mark.parametrize("slug", ["online", "detected", "alerted", "mailed", "back"])
def test_it_cleans_up_when_it_is_cancelled(
    frozen: clock.FrozenClock, slug: str
) -> None:
    drill = play(frozen, until=slug)

    services.cancel_drill(drill.pk, actor=people.administrator(), now=clock.now())
    advance(drill)

    assert drill.state == Drill.State.CANCELLED
    assert drill.cancelled_by_name == "administrator"
    assert nothing_is_left(drill)
    with pytest.raises(services.DrillRefused, match="is over"):
        services.cancel_drill(drill.pk, actor=None, now=clock.now())


def test_it_says_why_nobody_was_mailed(frozen: clock.FrozenClock) -> None:
    drill = play(frozen, until="mailed")

    services.sweep(now=clock.now())
    advance(drill)

    assert outcomes(drill)["mailed"] == Outcome.SKIPPED
    assert "no mail server is set up" in step(drill, "mailed")["text"]
    assert outcomes(drill)["acknowledged"] == Outcome.DONE


def test_it_fails_when_no_mail_was_taken(frozen: clock.FrozenClock) -> None:
    drill = play(frozen, until="mailed")
    mail_of(drill, AlertEvent.Kind.RAISED)
    Delivery.objects.update(state="failed", sent_at=None)

    advance(drill)

    assert drill.state == Drill.State.FAILED
    assert "no mail to 2 people was taken" in drill.failure


def test_it_fails_when_somebody_removes_its_store_point(
    frozen: clock.FrozenClock,
) -> None:
    drill = play(frozen, until="detected")
    StorePoint.objects.filter(name=drill.name).delete()

    advance(drill)

    assert drill.state == Drill.State.FAILED
    assert "somebody removed the store point" in drill.failure
    assert nothing_is_left(drill)


def test_there_is_one_at_a_time() -> None:
    first = start()

    with pytest.raises(services.DrillRefused, match="running already"):
        start()
    assert Drill.objects.get() == first
    first.pk = None
    with pytest.raises(IntegrityError):
        first.save(force_insert=True)


def test_nobody_takes_over_while_somebody_is_at_it(frozen: clock.FrozenClock) -> None:
    drill = start()
    Drill.objects.update(
        lease="b2d1a8b6-4f6e-4a3e-9d41-1c6a32f0a111",
        lease_until=clock.now() + drilling.LEASE,
    )

    assert advance(drill).store_point is None
    frozen.tick(drilling.LEASE.total_seconds())
    assert advance(drill).store_point is not None


@pytest.mark.parametrize("slug", ["added", "broken", "mended", CLEAN_UP])
def test_a_step_that_was_taken_and_not_noted_is_taken_again(
    frozen: clock.FrozenClock, monkeypatch: pytest.MonkeyPatch, slug: str
) -> None:
    """As when the worker is killed between doing it and saying so."""
    save = drilling._save
    killed: list[str] = []

    def die(drill: Drill) -> None:
        if step(drill, slug)["outcome"] == Outcome.DONE and not killed:
            killed.append(slug)
            raise KeyboardInterrupt
        save(drill)

    monkeypatch.setattr(drilling, "_save", die)
    real = services.advance_drill

    def survive(*, now: Any) -> bool:
        try:
            return real(now=now)
        except KeyboardInterrupt:
            frozen.tick(drilling.LEASE.total_seconds() + 1)
            return real(now=clock.now())

    monkeypatch.setattr(services, "advance_drill", survive)

    drill = play(frozen)

    assert killed == [slug]
    assert drill.state == Drill.State.PASSED, drill.failure
    assert nothing_is_left(drill)


def test_a_drill_puts_no_destination_at_risk(frozen: clock.FrozenClock) -> None:
    master = Server.objects.get(is_master=True)
    make_store_point(server=master)

    play(frozen, until="mailed")

    assert set(Alert.objects.values_list("kind", flat=True)) == {"store-point-offline"}


def test_it_needs_nothing_while_none_is_running(
    django_assert_num_queries: Any,
) -> None:
    with django_assert_num_queries(1):
        assert services.advance_drill(now=clock.now()) is False


def test_every_step_has_what_takes_it() -> None:
    steps = steps_of(
        check_seconds=30,
        retry_seconds=10,
        tries=3,
        delay_seconds=0,
        good_tries=2,
        group_seconds=30,
    )

    assert [each.slug for each in steps] == list(drilling.STEPS)
    assert steps[-1].slug == CLEAN_UP
    assert all(each.deadline_seconds > each.target_seconds for each in steps)
    # A worker that is killed is followed before the step's time is up.
    lease = drilling.LEASE.total_seconds()
    assert all(each.deadline_seconds > lease for each in steps)


def test_it_waits_as_long_as_the_settings_let_it() -> None:
    def alerted(tries: int, delay_seconds: float) -> Any:
        steps = steps_of(
            check_seconds=30,
            retry_seconds=10,
            tries=tries,
            delay_seconds=delay_seconds,
            good_tries=2,
            group_seconds=30,
        )
        return next(each for each in steps if each.slug == "alerted")

    assert alerted(3, 0).target_seconds == 24
    assert alerted(3, 600).target_seconds == 24 + 600 + 5
    assert alerted(3, 600).deadline_seconds > 629
    assert alerted(100, 0).deadline_seconds > 99 * 12


# --- its pages and its command ---------------------------------------------------------


@pytest.fixture
def administrator() -> Client:
    heartbeat.beat("tick", clock.now())
    return people.client_of("administrator")


def test_it_is_started_and_followed_on_its_page(
    administrator: Client, frozen: clock.FrozenClock
) -> None:
    page = administrator.post("/settings/drills/start/", follow=True)

    drill = Drill.objects.get()
    assert page.redirect_chain[-1][0] == f"/settings/drills/{drill.pk}/"
    assert drill.started_by_name == "administrator"
    content = page.content.decode()
    assert 'data-step="added" data-outcome="running"' in content
    assert "Cancel the drill" in content
    part = administrator.get(drill.get_absolute_url(), HTTP_HX_REQUEST="true")
    assert "<html" not in part.content.decode()

    again = administrator.post("/settings/drills/start/", follow=True)
    assert "running already" in again.content.decode()


def test_it_is_not_started_while_checks_are_not_running() -> None:
    page = people.client_of("administrator").post(
        "/settings/drills/start/", follow=True
    )

    assert "Checks are not running" in page.content.decode()
    assert not Drill.objects.exists()


def test_a_viewer_sees_drills_and_starts_none(frozen: clock.FrozenClock) -> None:
    drill = play(frozen)
    viewer = people.client_of("viewer")

    content = viewer.get("/settings/drills/").content.decode()

    assert drill.name in content
    assert "Start a drill" not in content
    assert viewer.get(drill.get_absolute_url()).status_code == 200
    assert viewer.post("/settings/drills/start/").status_code == 403


@pytest.mark.parametrize("count", [0, 1, 2])
def test_it_lists_past_drills(administrator: Client, count: int) -> None:
    for _ in range(count):
        make_past_drill()

    content = administrator.get("/settings/drills/").content.decode()

    words = {0: "No drill yet", 1: "1 drill", 2: "2 drills"}
    assert words[count] in content
    assert content.count('data-state="passed"') == count


def test_it_lists_as_many_in_as_few_queries(
    administrator: Client, django_assert_max_num_queries: Any
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            administrator.get("/settings/drills/")
        return len(captured)

    make_past_drill(), make_past_drill()
    few = queries()
    for _ in range(38):
        make_past_drill()

    assert queries() == few


def make_past_drill() -> Drill:
    drill = start()
    Drill.objects.filter(pk=drill.pk).update(
        state=Drill.State.PASSED, finished_at=clock.now()
    )
    return drill


def test_the_command_says_what_to_do_when_the_console_does_not_run() -> None:
    people.administrator()

    with pytest.raises(CommandError, match=r"manage\.py up"):
        call_command("drill")
    assert not Drill.objects.exists()


def test_the_command_names_who_could_acknowledge() -> None:
    with pytest.raises(CommandError, match="create_administrator"):
        call_command("drill")
    people.administrator()
    with pytest.raises(
        CommandError, match=r"named 'ana'\. Administrators: administrator"
    ):
        call_command("drill", "--as", "ana")
