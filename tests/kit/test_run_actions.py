"""Action menus: what is offered, asked, guarded, done and told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlencode

import pytest
from django import forms
from django.conf import settings
from django.contrib.messages import get_messages
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse, QueryDict
from django.test import RequestFactory

from console.accounts.models import User
from console.kit import actions
from console.kit.actions import Action, ActionMenu, Ask, Confirmation
from console.kit.bulk import BulkResult, Left, Noun
from console.kit.models import AuditEntry
from console.kit.problems import Forbidden, WrongInput
from tests import people

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

PEOPLE = Noun("person", "people")


class NoteForm(forms.Form):
    note = forms.CharField(max_length=20)


def _is_asleep(row: User, now: datetime) -> str:
    return "" if row.is_active else "is already asleep"


def _sleep(rows: Sequence[User], ask: Ask) -> BulkResult:
    done = User.objects.filter(pk__in=[row.pk for row in rows]).update(
        is_active=False, first_name=ask.fields.get("note", "")
    )
    return BulkResult(done)


SLEEP = Action[User](
    name="user.sleep",
    label="Sleep",
    permission="alerts.acknowledge_alert",
    applies=_is_asleep,
    run=_sleep,
    past="Put to sleep",
    audits=True,
)
SLEEP_SURELY = Action[User](
    name="user.sleep_surely",
    label="Sleep surely…",
    permission="alerts.acknowledge_alert",
    applies=_is_asleep,
    run=_sleep,
    past="Put to sleep",
    confirm=Confirmation(
        effects=lambda rows: [f"{len(rows)} will dream."], form=NoteForm
    ),
)
MENU = ActionMenu[User](
    id="people",
    noun=PEOPLE,
    actions=(SLEEP, SLEEP_SURELY),
    rows=User.objects.all,
    url_name="users",
)


@pytest.fixture
def sleepers() -> list[User]:
    return [people.make_person(f"p{n}") for n in range(3)]


def post(who: User, **data: object) -> tuple[HttpResponse, list[str]]:
    """Return the answer to the POST of the menu, and the messages it left."""
    request = RequestFactory().post("/act/", data)
    request.user = who
    return _respond(request)


def _respond(request: HttpRequest) -> tuple[HttpResponse, list[str]]:
    kept: list[str] = []

    def view(request: HttpRequest) -> HttpResponse:
        answer = actions.respond(
            request,
            menu=MENU,
            back="/people/",
            matching=lambda query: User.objects.filter(
                username__startswith=query.get("q", "?")
            ).order_by("pk"),
        )
        kept.extend(str(message) for message in get_messages(request))
        return answer

    answer = SessionMiddleware(MessageMiddleware(view))(request)
    assert isinstance(answer, HttpResponse)
    return answer, kept


def test_it_runs_tells_and_audits(sleepers: list[User]) -> None:
    operator = people.operator()
    User.objects.filter(pk=sleepers[1].pk).update(is_active=False)

    answer, told = post(
        operator,
        action="user.sleep",
        ids=[row.pk for row in sleepers],
        next="/back/?a=1",
    )

    assert (answer.status_code, answer["Location"]) == (302, "/back/?a=1")
    assert told == ["Put to sleep 2 people. Skipped 1: p1 is already asleep."]
    assert not User.objects.filter(username__startswith="p", is_active=True).exists()
    entries = AuditEntry.objects.filter(verb="user.sleep")
    assert sorted(entries.values_list("actor_name", "object_name")) == [
        ("operator", "p0"),
        ("operator", "p2"),
    ]


def test_it_asks_before_it_runs_what_wants_confirmation(sleepers: list[User]) -> None:
    ids = [row.pk for row in sleepers]

    answer, _ = post(people.operator(), action="user.sleep_surely", ids=ids)

    page = answer.content.decode()
    assert answer.status_code == 200
    assert "Sleep surely 3 people?" in page
    assert "3 will dream." in page
    assert all(row.username in page for row in sleepers)
    assert f'name="ids" value="{",".join(map(str, ids))}"' in page
    assert User.objects.filter(is_active=False).count() == 0


def test_it_runs_with_the_form_once_it_is_confirmed(sleepers: list[User]) -> None:
    ids = ",".join(str(row.pk) for row in sleepers)

    _, told = post(
        people.operator(),
        action="user.sleep_surely",
        ids=ids,
        confirm="1",
        note="tired",
    )

    assert told == ["Put to sleep 3 people."]
    assert User.objects.filter(is_active=False, first_name="tired").count() == 3


def test_it_asks_again_when_the_form_is_wrong(sleepers: list[User]) -> None:
    answer, _ = post(
        people.operator(),
        action="user.sleep_surely",
        ids=[sleepers[0].pk],
        confirm="1",
        note="x" * 21,
    )

    assert answer.status_code == 422
    assert "at most 20 characters" in answer.content.decode()
    assert User.objects.filter(is_active=False).count() == 0


def test_it_takes_all_that_match_the_page(sleepers: list[User]) -> None:
    _, told = post(
        people.operator(), action="user.sleep", all_matching="1", query="q=p&page=2"
    )

    assert told == ["Put to sleep 3 people."]


def test_it_says_which_rows_are_gone(sleepers: list[User]) -> None:
    _, told = post(
        people.operator(), action="user.sleep", ids=[sleepers[0].pk, 999_999]
    )

    assert told == [
        "Put to sleep 1 person. Skipped 1: person 999999 is no longer there."
    ]


def test_it_says_that_nothing_was_selected() -> None:
    answer, told = post(people.operator(), action="user.sleep")

    assert answer["Location"] == "/people/"
    assert told == [
        "Nothing was selected. Tick one or more people first, then choose Sleep again."
    ]


def test_it_goes_only_to_pages_of_its_own(sleepers: list[User]) -> None:
    for elsewhere in (
        "https://elsewhere.example/",
        "//elsewhere.example",
        "javascript:1",
    ):
        answer, _ = post(
            people.operator(), action="user.sleep", ids=sleepers[0].pk, next=elsewhere
        )

        assert answer["Location"] == "/people/"


def test_it_refuses_whoever_lacks_the_permission(sleepers: list[User]) -> None:
    with pytest.raises(Forbidden):
        post(people.viewer(), action="user.sleep", ids=[sleepers[0].pk])

    assert User.objects.filter(is_active=False).count() == 0


def test_it_names_the_actions_there_are() -> None:
    with pytest.raises(WrongInput, match=r"among user\.sleep, user\.sleep_surely"):
        post(people.operator(), action="user.wake")


@pytest.mark.parametrize("ids", ["nonsense", "1;2", "1,x"])
def test_it_refuses_ids_of_another_kind(ids: str) -> None:
    with pytest.raises(WrongInput, match="ids of people"):
        post(people.operator(), action="user.sleep", ids=ids)


def test_it_finds_thousands_of_rows(sleepers: list[User]) -> None:
    data = QueryDict(mutable=True)
    data["ids"] = ",".join(str(n) for n in range(1, 5000))

    chosen = actions.choose(MENU, data, None)

    assert {row.pk for row in chosen.rows} >= {row.pk for row in sleepers}


@pytest.mark.parametrize(
    "number",
    ["99999999999", "9223372036854775808", "9" * 4000, "-99999999999999999999"],
)
def test_it_says_of_an_id_that_no_row_can_have_that_it_is_gone(
    sleepers: list[User], number: str
) -> None:
    answer, told = post(
        people.operator(), action="user.sleep", ids=f"{sleepers[0].pk},{number}"
    )

    assert answer.status_code == 302
    assert told[0].startswith("Put to sleep 1 person. Skipped 1: person ")
    assert told[0].endswith("is no longer there.")
    assert len(told[0]) < 200


def test_it_takes_no_more_rows_than_a_confirmation_can_carry(
    sleepers: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MOST", 2)
    ids = ",".join(str(row.pk) for row in sleepers)

    for chosen in ({"ids": ids}, {"all_matching": "1", "query": "q=p"}):
        with pytest.raises(WrongInput, match="Expected at most 2 people at once"):
            post(people.operator(), action="user.sleep", **chosen)
    assert User.objects.filter(is_active=False).count() == 0


def test_it_asks_to_confirm_as_many_rows_as_it_takes() -> None:
    longest = "9" * 19
    form = urlencode({"ids": ",".join([longest] * actions.MOST)})

    assert len(form) < (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)


def test_it_draws_what_the_person_may(rf: RequestFactory, sleepers: list[User]) -> None:
    request = rf.get("/people/?q=p")
    request.user = people.viewer()
    assert MENU.for_list(request, total=3).entries == ()

    request.user = people.operator()
    User.objects.filter(pk=sleepers[0].pk).update(is_active=False)
    sleepers[0].refresh_from_db()

    assert [entry.label for entry in MENU.for_list(request, total=3).entries] == [
        "Sleep",
        "Sleep surely…",
    ]
    row = MENU.for_row(request, sleepers[0])
    assert [entry.why_not for entry in row.entries] == ["is already asleep"] * 2


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (BulkResult(0), "Acknowledged 0 alerts."),
        (BulkResult(1), "Acknowledged 1 alert."),
        (BulkResult(2), "Acknowledged 2 alerts."),
        (BulkResult(0, (Left("A", "is gone"),)), "Skipped 1: A is gone."),
        (
            BulkResult(3, (Left("Tank-07", "is already acknowledged"),)),
            "Acknowledged 3 alerts. Skipped 1: Tank-07 is already acknowledged.",
        ),
        (
            BulkResult(1, tuple(Left(f"T{n}", "is old") for n in range(5))),
            "Acknowledged 1 alert. Skipped 5: T0 is old, T1 is old, T2 is old and 2 more.",
        ),
        (
            BulkResult(0, (), (Left("A", "could not be asked"),)),
            "Failed for 1: A could not be asked.",
        ),
    ],
)
def test_it_tells_what_happened(result: BulkResult, words: str) -> None:
    assert result.sentences("Acknowledged", Noun("alert", "alerts")) == words
