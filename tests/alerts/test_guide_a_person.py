"""The guide: each step with what is so now, and the buttons a person may press."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from alerts.catalogue import KINDS, Live
from alerts.guide import GuideStep, Mark, guide
from alerts.models import Alert
from alerts.scene import read_scene
from console.kit import clock, heartbeat
from notifications.models import EmailSettings
from storepoints.models import StorePoint
from tests import people
from tests.factories import (
    make_alert,
    make_filesystem,
    make_server,
    make_store_point,
)

pytestmark = [pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _checks_run() -> None:
    heartbeat.beat("tick", clock.now())


def everything(_permission: str) -> bool:
    return True


def nothing(_permission: str) -> bool:
    return False


def make_offline(**fields: Any) -> tuple[StorePoint, Alert]:
    """A store point that is not mounted, and its alert."""
    tank = make_store_point(
        **{
            "state": "offline",
            "reason": "not-mounted",
            "is_believed": True,
            "volume": {"mount_point": "/srv/tank"},
            "layer": 3,
            **fields,
        }
    )
    alert = make_alert(
        subject=f"store-point:{tank.pk}",
        store_point=tank,
        server=tank.server,
        data={"state": tank.state, "reason": tank.reason},
    )
    return tank, alert


def steps_of(alert: Alert, may: Any = everything) -> dict[Live, GuideStep]:
    alert = Alert.objects.get(pk=alert.pk)
    scene = read_scene(alert, may=may, now=clock.now())
    return {each.step.live: each for each in guide(scene)}


def words(step: GuideStep) -> str:
    return " | ".join(fact.words for fact in step.seen.facts)


def test_it_guides_through_a_store_point_that_is_offline() -> None:
    _, alert = make_offline()

    steps = steps_of(alert)

    assert list(steps) == [
        Live.STILL_HOLDS,
        Live.INBOUND,
        Live.SERVER,
        Live.DEVICES,
        Live.BACK,
        Live.ACKNOWLEDGED,
    ]
    assert [each.seen.mark for each in steps.values()] == [
        Mark.DONE,
        Mark.NOT_APPLICABLE,
        Mark.DONE,
        Mark.TODO,
        Mark.WAITING,
        Mark.WAITING,
    ]
    assert "Yes: Offline: not mounted" in words(steps[Live.STILL_HOLDS])
    assert "Checking again does not mend it" in words(steps[Live.STILL_HOLDS])
    assert [each.action for each in steps[Live.STILL_HOLDS].seen.buttons] == [
        "storepoint.check"
    ]
    assert "nothing to do" in words(steps[Live.INBOUND])
    assert steps[Live.DEVICES].is_current
    assert "mount /srv/tank" in [
        fact.command for fact in steps[Live.DEVICES].seen.facts
    ]


@pytest.mark.parametrize(("may", "is_offered"), [(everything, True), (nothing, False)])
def test_it_leads_to_re_adopting_for_who_may(may: Any, is_offered: bool) -> None:
    tank, alert = make_offline()

    facts = steps_of(alert, may)[Live.DEVICES].seen.facts

    urls = [fact.url for fact in facts if fact.url]
    assert urls == ([f"{tank.get_absolute_url()}adopt/"] if is_offered else [])


def test_it_says_nothing_of_trying_again_where_that_may_mend_it() -> None:
    _, alert = make_offline(reason="io-error")

    assert "does not mend" not in words(steps_of(alert)[Live.STILL_HOLDS])


def test_it_offers_to_enable_what_a_person_has_disabled() -> None:
    _, alert = make_offline(
        accepts_inbound=False,
        inbound_applied="disabled",
        inbound_changed_by="ana",
        inbound_changed_at=clock.now() - timedelta(days=1),
    )

    step = steps_of(alert)[Live.INBOUND]

    assert step.seen.mark is Mark.TODO
    assert step.is_current
    assert words(step) == "Disabled by ana"
    assert [each.label for each in step.seen.buttons] == ["Enable Inbound Backup"]


def test_it_waits_for_a_fence_that_is_lifted_by_good_checks() -> None:
    _, alert = make_offline(fenced_at=clock.now(), fence_reason="not-mounted")

    step = steps_of(alert)[Live.INBOUND]

    assert step.seen.mark is Mark.WAITING
    assert step.seen.buttons == ()
    assert "fenced: not mounted, by the console" in words(step)


def test_it_says_that_it_was_enabled_since() -> None:
    _, alert = make_offline(
        inbound_changed_by="ana", inbound_changed_at=clock.now() + timedelta(seconds=1)
    )

    step = steps_of(alert)[Live.INBOUND]

    assert (step.seen.mark, words(step)) == (Mark.DONE, "Enabled by ana")


def test_it_leads_to_the_alert_of_a_server_that_is_offline() -> None:
    long_ago = clock.now() - timedelta(minutes=10)
    server = make_server(awaiting_since=long_ago, offline_since=long_ago)
    _, alert = make_offline(
        server=server, state="server-offline", reason="server-offline"
    )
    parent = make_alert(
        kind="server-offline", subject=f"server:{server.pk}", server=server
    )

    steps = steps_of(alert)

    assert steps[Live.SERVER].seen.mark is Mark.TODO
    assert steps[Live.SERVER].is_current
    assert steps[Live.SERVER].seen.facts[0].url == parent.get_absolute_url()
    assert steps[Live.STILL_HOLDS].seen.mark is Mark.WAITING
    assert steps[Live.DEVICES].seen.mark is Mark.WAITING


def test_it_asks_for_a_check_when_there_is_no_recent_reading() -> None:
    _, alert = make_offline(checked_at=clock.now() - timedelta(minutes=5))

    step = steps_of(alert)[Live.STILL_HOLDS]

    assert step.seen.mark is Mark.TODO
    assert step.seen.buttons


def test_it_turns_the_steps_done_when_it_works_again() -> None:
    tank, alert = make_offline()
    StorePoint.objects.filter(pk=tank.pk).update(
        state="online", reason="", is_online=True, is_believed=False
    )
    Alert.objects.filter(pk=alert.pk).update(cleared_at=clock.now())

    steps = steps_of(alert)

    marks = {live: each.seen.mark for live, each in steps.items()}
    assert marks == {
        Live.STILL_HOLDS: Mark.DONE,
        Live.INBOUND: Mark.NOT_APPLICABLE,
        Live.SERVER: Mark.DONE,
        Live.DEVICES: Mark.DONE,
        Live.BACK: Mark.DONE,
        Live.ACKNOWLEDGED: Mark.TODO,
    }
    assert steps[Live.ACKNOWLEDGED].is_current


def test_it_waits_while_it_works_and_that_is_not_yet_believed() -> None:
    tank, alert = make_offline()
    StorePoint.objects.filter(pk=tank.pk).update(
        state="online", reason="", is_online=True, successes=1
    )

    steps = steps_of(alert)

    assert steps[Live.STILL_HOLDS].seen.mark is Mark.WAITING
    assert "1 good check of 2" in words(steps[Live.BACK])


def test_it_has_no_button_for_who_may_not_but_the_same_facts() -> None:
    _, alert = make_offline(accepts_inbound=False, inbound_applied="disabled")

    theirs, ours = steps_of(alert, nothing), steps_of(alert)

    assert not [each for each in theirs.values() if each.seen.buttons]
    assert words(theirs[Live.INBOUND]) == words(ours[Live.INBOUND])


@pytest.mark.parametrize(
    ("expires", "mark"), [(None, Mark.DONE), (-1, Mark.WAITING), (1, Mark.DONE)]
)
def test_it_says_who_acknowledged_and_when_that_has_expired(
    expires: int | None, mark: Mark
) -> None:
    _, alert = make_offline()
    until = clock.now() + timedelta(hours=expires) if expires else None
    Alert.objects.filter(pk=alert.pk).update(
        acknowledged_at=clock.now() - timedelta(hours=2),
        acknowledged_by_name="ana",
        acknowledged_until=until,
    )

    step = steps_of(alert)[Live.ACKNOWLEDGED]

    assert step.seen.mark is mark
    assert "ana" in words(step)
    assert ("expired" in words(step)) is (expires == -1)


def test_it_names_space_limit_and_what_to_type_to_see_what_fills() -> None:
    filesystem = make_filesystem(
        total_bytes=10**12, free_bytes=7 * 10**10, used_bytes=93 * 10**10
    )
    make_store_point(server=filesystem.server, filesystem=filesystem)
    alert = make_alert(
        kind="store-point-low-on-space",
        subject=f"filesystem:{filesystem.pk}",
        filesystem=filesystem,
        server=filesystem.server,
    )

    step = steps_of(alert)[Live.SPACE]

    assert "70 GB of 1 TB free (7 %)" in words(step)
    assert "The limit for its size is 100 GB." in words(step)
    assert any(fact.command.startswith("du -xh") for fact in step.seen.facts)


@pytest.mark.parametrize("count", [1, 2])
def test_it_offers_to_stop_inbound_backup_of_all_on_a_failing_drive(count: int) -> None:
    filesystem = make_filesystem(
        health="failing", health_reason="drive-failing", health_text="sdd fails SMART"
    )
    for _ in range(count):
        make_store_point(server=filesystem.server, filesystem=filesystem)
    alert = make_alert(
        kind="drive-failing",
        subject=f"filesystem:{filesystem.pk}",
        filesystem=filesystem,
        server=filesystem.server,
    )

    steps = steps_of(alert)

    (button,) = steps[Live.STOP_INBOUND].seen.buttons
    assert len(button.ids.split(",")) == count
    assert ("(2)" in button.label) is (count == 2)
    assert "Sdd fails SMART" in words(steps[Live.DEVICES])
    assert steps[Live.INBOUND].seen.mark is Mark.WAITING


def test_it_counts_what_a_destination_has_left_and_leads_to_what_failed() -> None:
    tank, of_tank = make_offline(name="Tank-07")
    server = tank.server
    for _ in range(2):
        make_store_point(server=server)
    alert = make_alert(
        kind="destination-at-risk",
        subject=f"destination:{server.destination_id}",
        destination=server.destination,
    )

    steps = steps_of(alert)

    assert "2 of 3 store points are online" in words(steps[Live.STILL_HOLDS])
    (fact,) = steps[Live.STORE_POINTS].seen.facts
    assert fact.words == "Tank-07: offline: not mounted"
    assert fact.url == of_tank.get_absolute_url()


def test_it_lets_the_doctor_speak_when_checks_do_not_run() -> None:
    heartbeat.beat("tick", clock.now() - timedelta(minutes=5))
    alert = make_alert(kind="health-checks-not-running", subject="console")

    steps = steps_of(alert)

    assert "Yes" in words(steps[Live.STILL_HOLDS])
    assert "heartbeat tick" in words(steps[Live.DOCTOR])
    assert "manage.py doctor" in [
        fact.command for fact in steps[Live.DOCTOR].seen.facts
    ]


def test_it_shows_the_doctors_words_to_who_sees_the_system_page_alone() -> None:
    heartbeat.beat("tick", clock.now() - timedelta(minutes=5))
    alert = make_alert(kind="health-checks-not-running", subject="console")

    said = words(steps_of(alert, nothing)[Live.DOCTOR])

    assert "An administrator sees here" in said
    assert "broker" not in said


@pytest.mark.parametrize("may", [everything, nothing])
def test_it_says_what_keeps_mail_from_leaving_to_whom_may_see(may: Any) -> None:
    EmailSettings.objects.create(
        pk=EmailSettings.ONLY,
        host="mail.example.org",
        sender="console@example.org",
        failing_since=clock.now() - timedelta(minutes=5),
        last_error="mail.example.org refused the password",
        last_cure="Correct the password under Settings > Email.",
    )
    alert = make_alert(kind="notification-delivery-failing", subject="console")

    steps = steps_of(alert, may)

    assert "Mail cannot be sent" in words(steps[Live.STILL_HOLDS])
    said = words(steps[Live.DELIVERY])
    assert ("refused the password" in said) is (may is everything)
    assert ("Correct the password" in said) is (may is everything)


def test_it_waits_when_a_server_answers_again_and_the_alert_does_not_say_so() -> None:
    server = make_server("stor-9")
    alert = make_alert(
        kind="server-offline", subject=f"server:{server.pk}", server=server
    )

    step = steps_of(alert)[Live.STILL_HOLDS]

    assert (step.seen.mark, words(step)) == (Mark.WAITING, "stor-9 is online")


def test_it_says_that_the_object_is_no_longer_watched() -> None:
    alert = make_alert()

    steps = steps_of(alert)

    assert steps[Live.STILL_HOLDS].seen.mark is Mark.NOT_APPLICABLE
    assert "no longer watched" in words(steps[Live.DEVICES])
    assert steps[Live.ACKNOWLEDGED].seen.mark is Mark.WAITING


def test_it_has_no_steps_for_a_kind_that_has_left_the_catalogue() -> None:
    assert steps_of(make_alert(kind="of-yesterday")) == {}


@pytest.mark.parametrize("who", ["viewer", "operator", "administrator"])
@pytest.mark.parametrize("is_cleared", [False, True])
@pytest.mark.parametrize("slug", KINDS)
def test_it_shows_the_page_of_every_kind_to_every_role(
    slug: str, is_cleared: bool, who: str
) -> None:
    kind = KINDS[slug]
    filesystem = make_filesystem(health="degraded", health_reason="volume-degraded")
    tank = make_store_point(server=filesystem.server, filesystem=filesystem)
    objects: dict[str, dict[str, Any]] = {
        "store-point": {"store_point": tank, "server": tank.server},
        "server": {"server": tank.server},
        "filesystem": {"filesystem": filesystem, "server": filesystem.server},
        "destination": {"destination": tank.server.destination},
        "console": {},
    }
    alert = make_alert(
        kind=slug,
        subject=f"{kind.scope}:1",
        cleared_at=clock.now() + timedelta(seconds=1) if is_cleared else None,
        **objects[kind.scope],
    )

    answer = people.client_of(who).get(alert.get_absolute_url())

    page = answer.content.decode()
    assert answer.status_code == 200
    assert page.count("data-step=") == len(kind.steps)
    assert ('id="do-' in page) is (who != "viewer")
