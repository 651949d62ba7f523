"""Pages, columns and filters of lists."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest
from django.test import RequestFactory
from pytest_django import DjangoAssertNumQueries

from console.accounts.models import User
from console.kit import paging, querystring
from console.kit.filters import Choice
from console.kit.problems import WrongInput
from console.kit.sorting import Column, Sorting
from tests import people

SORTING = Sorting(
    columns=(
        Column("name", "Name", order=("username",)),
        Column("seen", "Seen", order=("last_login",), is_first_descending=True),
        Column("note", "Note"),
    ),
    default="name",
)


class Rows(list[Any]):
    """What stands for a QuerySet where no database is needed."""

    def count(self) -> int:  # type: ignore[override]  # as a QuerySet counts
        return len(self)


def page_of(request: HttpRequest, rows: list[int]) -> paging.Page[Any]:
    queryset: Any = Rows(rows)
    return paging.page(request, queryset)


@pytest.mark.django_db
@pytest.mark.postgres
@pytest.mark.parametrize("rows", [2, 40])
def test_it_reads_a_page_in_two_queries(
    rows: int, rf: RequestFactory, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(rows):
        people.make_person(f"p{n:03}")

    with django_assert_num_queries(2):
        page = paging.page(rf.get("/"), User.objects.order_by("pk"))

    assert (len(page.rows), page.total) == (rows, rows)


def test_it_cuts_a_list_into_pages(rf: RequestFactory) -> None:
    page = page_of(rf.get("/?page=3&q=x"), list(range(120)))

    assert page.rows == list(range(100, 120))
    assert (page.first, page.last, page.total, page.pages) == (101, 120, 120, 3)
    assert page.previous == "?page=2&q=x"
    assert page.next == ""


def test_it_shows_the_last_page_for_one_after_it(rf: RequestFactory) -> None:
    page = page_of(rf.get("/?page=9"), list(range(120)))

    assert page.number == 3
    assert page.problem == "There is no page 9: this is the last, page 3."


def test_it_has_a_page_when_there_is_nothing(rf: RequestFactory) -> None:
    rows: list[int] = []

    page = page_of(rf.get("/"), rows)

    assert (page.rows, page.total, page.first, page.last) == ([], 0, 0, 0)
    assert not page.has_others


def test_it_leaves_out_far_pages(rf: RequestFactory) -> None:
    page = page_of(rf.get("/?page=10"), list(range(1000)))

    numbers = [step.number for step in page.steps]
    assert numbers == [1, None, 8, 9, 10, 11, 12, None, 20]


@pytest.mark.parametrize(
    "query", ["page=x", "page=-1", "page=0", "page=1e3", "page=٣", "size=7", "size=x"]
)
def test_it_says_what_a_page_number_is(rf: RequestFactory, query: str) -> None:
    with pytest.raises(WrongInput, match="Expected a"):
        page_of(rf.get(f"/?{query}"), [])


@pytest.mark.django_db
@pytest.mark.postgres
def test_it_sorts_by_declared_columns_those_without_value_last(
    rf: RequestFactory, frozen: object
) -> None:
    from console.kit import clock

    for name, seen in (("a", None), ("b", clock.now()), ("c", None)):
        people.make_person(name, last_login=seen)

    def names(query: str) -> list[str]:
        order = SORTING.read(rf.get(f"/?{query}"))
        rows = User.objects.order_by(*order.fields)
        return [row.username for row in rows]

    assert names("") == ["a", "b", "c"]
    assert names("sort=-name") == ["c", "b", "a"]
    assert names("sort=seen")[0] == "b"
    assert names("sort=-seen")[0] == "b"


def test_it_links_the_heads_of_columns(rf: RequestFactory) -> None:
    order = SORTING.read(rf.get("/?sort=name&page=4&q=x"))

    name, seen, note = order.headers
    assert (name.query, name.aria_sort) == ("?sort=-name&q=x", "ascending")
    assert (seen.query, seen.aria_sort) == ("?sort=-seen&q=x", "")
    assert note.query == ""


@pytest.mark.parametrize(
    "query", ["sort=note", "sort=password", "sort=--name", "sort=-"]
)
def test_it_refuses_other_columns(rf: RequestFactory, query: str) -> None:
    with pytest.raises(WrongInput, match="among name, seen"):
        SORTING.read(rf.get(f"/?{query}"))


def test_it_chooses_among_declared_values(rf: RequestFactory) -> None:
    choice = Choice("show", (("all", "All"), ("offline", "Offline")))
    request = rf.get("/?show=offline&page=2&q=x")

    everything, offline = choice.pills(request, {"all": 3})

    assert (everything.query, everything.count) == ("?q=x", 3)
    assert (offline.is_current, offline.count) == (True, None)
    with pytest.raises(WrongInput, match="one of all, offline"):
        choice.read({"show": "nonsense"})


def test_it_changes_query_strings(rf: RequestFactory) -> None:
    query = rf.get("/?page=2&q=a b&x=1&x=2").GET

    assert querystring.changed(query, q=None) == "?x=1&x=2"
    assert querystring.changed(query, page=3) == "?page=3&q=a+b&x=1&x=2"
    assert querystring.without(query, "x", "page") == "q=a+b"
