"""Settings > Users, one's own account, and the audit log."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from console.accounts import roles, services
from console.accounts.models import User
from console.accounts.roles import Role
from console.kit import audit, clock
from console.kit.models import AuditEntry
from tests import people

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

NEW = {
    "name": "ben",
    "email": "ben@example.org",
    "role": "operator",
    "password": people.PASSWORD,
    "password_again": people.PASSWORD,
}


@pytest.fixture
def browser() -> Client:
    return people.client_of("administrator")


@pytest.mark.parametrize(
    ("role", "permission", "holds"),
    [
        ("viewer", "alerts.view_alert", True),
        ("viewer", "storepoints.view_anything_new", True),
        ("viewer", "accounts.view_user", False),
        ("viewer", "alerts.acknowledge_alert", False),
        ("operator", "alerts.acknowledge_alert", True),
        ("operator", "storepoints.change_inbound", True),
        ("operator", "storepoints.delete_storepoint", False),
        ("administrator", "storepoints.delete_storepoint", True),
        ("nonsense", "alerts.view_alert", False),
    ],
)
def test_a_role_holds_what_the_table_says(
    role: str, permission: str, holds: bool
) -> None:
    assert roles.holds(role, permission) is holds
    person = User(username="x", role=role)
    assert person.has_perm(permission) is holds


def test_a_role_asks_the_database_nothing(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    viewer = people.viewer()

    with django_assert_num_queries(0):
        assert not viewer.has_perm("alerts.acknowledge_alert")


def test_nobody_holds_anything_once_switched_off() -> None:
    person = people.make_person("ana", Role.ADMINISTRATOR, is_active=False)

    assert not person.has_perm("alerts.view_alert")


def test_it_adds_a_person(browser: Client) -> None:
    answer = browser.post("/settings/users/add/", NEW)

    assert answer.status_code == 302
    ben = User.objects.get(username="ben")
    assert (ben.role, ben.email) == ("operator", "ben@example.org")
    entry = AuditEntry.objects.get(verb="user.add", object_name="ben")
    assert (entry.actor_name, entry.data) == ("administrator", {"role": "operator"})
    assert entry.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Viewer"}, "Somebody has this name already."),
        ({"email": "VIEWER@example.org"}, "Somebody has this email address already."),
        ({"role": "king"}, "Select a valid choice."),
        ({"password": "12345678"}, "The two passwords are not the same."),
    ],
)
def test_it_says_why_a_person_cannot_be_added(
    browser: Client, changes: dict[str, str], words: str
) -> None:
    people.viewer()

    answer = browser.post("/settings/users/add/", {**NEW, **changes})

    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not User.objects.filter(username="ben").exists()


def test_it_changes_a_role_and_says_so_in_the_log(browser: Client) -> None:
    viewer = people.viewer()

    browser.post(
        f"/settings/users/{viewer.pk}/",
        {"role": "operator", "is_active": "on", "email": "viewer@example.org"},
    )

    viewer.refresh_from_db()
    assert viewer.role == "operator"
    entry = AuditEntry.objects.get(verb="user.change")
    assert entry.data == {"role": ["viewer", "operator"]}


@pytest.mark.parametrize(
    "change", [{"role": "viewer", "is_active": "on"}, {"role": "administrator"}]
)
def test_it_keeps_the_last_administrator(
    browser: Client, change: dict[str, str]
) -> None:
    people.make_person("former", Role.ADMINISTRATOR, is_active=False)
    last = people.administrator()

    answer = browser.post(
        f"/settings/users/{last.pk}/", {"email": last.email, **change}
    )

    assert answer.status_code == 422
    assert "is the last administrator" in answer.content.decode()
    last.refresh_from_db()
    assert (last.role, last.is_active) == ("administrator", True)


def test_it_ends_the_sessions_of_somebody_switched_off(browser: Client) -> None:
    theirs = people.client_of("operator")
    operator = people.operator()

    browser.post(
        f"/settings/users/{operator.pk}/", {"role": "operator", "email": operator.email}
    )

    assert theirs.get("/").status_code == 302


def test_it_sets_a_password_and_ends_the_sessions(browser: Client) -> None:
    theirs = people.client_of("operator")
    operator = people.operator()

    browser.post(
        f"/settings/users/{operator.pk}/password/",
        {"password": "another good one", "password_again": "another good one"},
    )

    operator.refresh_from_db()
    assert operator.check_password("another good one")
    assert theirs.get("/").status_code == 302
    entry = AuditEntry.objects.get(verb="user.set_password")
    assert "another good one" not in str(entry.data) + entry.note


@pytest.mark.parametrize("method", ["get", "post"])
def test_it_asks_administrators_for_their_present_password_too(
    browser: Client, method: str
) -> None:
    administrator = people.administrator()
    form = {"password": "another good one", "password_again": "another good one"}

    answer = getattr(browser, method)(
        f"/settings/users/{administrator.pk}/password/", form
    )

    assert (answer.status_code, answer["Location"]) == (302, "/account/password/")
    administrator.refresh_from_db()
    assert administrator.check_password(people.PASSWORD)


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("operator", 403)])
def test_it_shows_the_audit_log_to_administrators_only(who: str, status: int) -> None:
    client = people.client_of(who)

    assert client.get("/settings/audit-log/").status_code == status
    assert "/settings/audit-log/" not in client.get("/").content.decode()


def test_people_change_their_own_password_and_stay_signed_in() -> None:
    mine, elsewhere = people.client_of("viewer"), people.client_of("viewer")
    form = {"password": "another good one", "password_again": "another good one"}

    wrong = mine.post("/account/password/", {**form, "current": "nonsense"})
    right = mine.post("/account/password/", {**form, "current": people.PASSWORD})

    assert wrong.status_code == 422
    assert "not your present password" in wrong.content.decode()
    assert right.status_code == 302
    assert mine.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302


def test_people_change_how_they_see_the_console() -> None:
    mine = people.client_of("viewer")

    answer = mine.post(
        "/account/",
        {
            "first_name": "Vera",
            "last_name": "V",
            "email": "vera@example.org",
            "time_zone": "Asia/Kathmandu",
            "theme": "dark",
        },
        follow=True,
    )

    page = answer.content.decode()
    assert 'data-bs-theme="dark"' in page
    assert people.viewer().time_zone == "Asia/Kathmandu"


def test_people_cannot_change_their_own_role() -> None:
    mine = people.client_of("viewer")

    mine.post("/account/", {"theme": "auto", "role": "administrator", "email": ""})

    assert people.viewer().role == "viewer"


@pytest.mark.parametrize(
    "change", [{"time_zone": "Mars/Base"}, {"theme": "pink"}, {"email": "x"}]
)
def test_it_refuses_what_no_account_has(change: dict[str, str]) -> None:
    mine = people.client_of("viewer")

    answer = mine.post("/account/", {"theme": "auto", "email": "", **change})

    assert answer.status_code == 422


def test_the_model_knows_its_time_zones() -> None:
    person = people.viewer()
    person.time_zone = "Mars/Base"

    with pytest.raises(ValidationError, match="such as Europe/Berlin"):
        person.full_clean()


def test_times_are_shown_in_the_persons_zone(frozen: clock.FrozenClock) -> None:
    client = people.client_of("administrator")
    User.objects.update(time_zone="Asia/Kathmandu")
    audit.record(actor=None, verb="server.enrol", subject=None, now=frozen())

    page = client.get("/settings/audit-log/").content.decode()

    assert "2026-07-15 17:45:00" in page


def test_a_zone_that_is_gone_does_not_break_a_page() -> None:
    client = people.client_of("viewer")
    User.objects.update(time_zone="Mars/Base")

    assert client.get("/").status_code == 200


def test_names_are_one_persons_in_any_case() -> None:
    people.make_person("ana")

    with pytest.raises(IntegrityError):
        User.objects.create(username="ANA")


def test_a_theme_is_kept_without_a_script_and_with_one() -> None:
    client = people.client_of("viewer")

    plain = client.post("/theme/", {"theme": "dark", "next": "/alerts/"})
    script = client.post(
        "/theme/", {"theme": "light"}, headers={"accept": "application/json"}
    )
    wrong = client.post("/theme/", {"theme": "pink"})

    assert plain["Location"] == "/alerts/"
    assert script.status_code == 204
    assert people.viewer().theme == "light"
    assert wrong.status_code == 400
    assert "Expected a theme among auto, light, dark" in wrong.content.decode()


def test_the_list_of_people_can_be_narrowed(browser: Client) -> None:
    people.viewer()
    people.make_person("gone", is_active=False)

    def names(query: str) -> set[str]:
        page = browser.get(f"/settings/users/?{query}")
        return {row.username for row in page.context["page"].rows}

    assert names("") == {"administrator", "viewer"}
    assert names("who=inactive") == {"gone"}
    assert names("who=administrators") == {"administrator"}
    assert names("who=all&q=VIEW") == {"viewer"}


@pytest.mark.parametrize("path", ["/settings/users/", "/settings/audit-log/"])
def test_a_list_costs_the_same_for_2_rows_and_for_40(
    browser: Client, path: str
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            browser.get(path)
        return len(queries)

    def add(names: range) -> None:
        for n in names:
            services.create_user(
                name=f"p{n}",
                email=f"p{n}@example.org",
                password=people.PASSWORD,
                role=Role.VIEWER,
                actor=None,
                now=clock.now(),
            )

    browser.get(path)
    add(range(2))
    for_two = cost()
    add(range(2, 40))

    assert cost() == for_two


def test_the_audit_log_finds_what_was_done(browser: Client) -> None:
    now = clock.now()
    ana = people.make_person("ana")
    audit.record(
        actor=ana, verb="alert.acknowledge", subject=ana, now=now, note="known"
    )
    audit.record(actor=None, verb="storepoint.add", subject=None, now=now)

    def verbs(query: str) -> list[str]:
        page = browser.get(f"/settings/audit-log/?{query}")
        return [row.verb for row in page.context["page"].rows]

    assert verbs("") == ["storepoint.add", "alert.acknowledge"]
    assert verbs("person=ana") == ["alert.acknowledge"]
    assert verbs("verb=storepoint") == ["storepoint.add"]
    assert verbs("verb=store") == []
    assert verbs(f"object=user:{ana.pk}") == ["alert.acknowledge"]
    assert verbs("object=user:0") == []
    assert verbs("q=KNOWN") == ["alert.acknowledge"]
