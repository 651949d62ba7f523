"""Pages of rows, always with how many there are and never silently cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict

from console.kit import querystring
from console.kit.problems import WrongInput

M = TypeVar("M", bound=Model)
T = TypeVar("T")

SIZES = (50, 100, 250)


@dataclass(frozen=True)
class Step:
    """A link of the pager: a page number, or None where numbers are left out."""

    number: int | None
    query: str
    is_current: bool


@dataclass(frozen=True)
class Size:
    """A choice of how many rows a page has."""

    size: int
    query: str
    is_current: bool


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of rows and the links to the others; numbers count from 1."""

    rows: list[T]
    number: int
    pages: int
    total: int
    size: int
    first: int
    last: int
    steps: tuple[Step, ...]
    sizes: tuple[Size, ...]
    previous: str
    next: str
    problem: str

    @property
    def has_others(self) -> bool:
        """Return whether there are other pages than this."""
        return self.pages > 1


def page(
    request: HttpRequest,
    rows: QuerySet[M],
    *,
    sizes: Sequence[int] = SIZES,
    total: int | None = None,
) -> Page[M]:
    """Return the page of rows that the query string asks for: two queries, always.

    Who knows already how many rows there are says so with ``total``, and it is one.

    ``page`` counts from 1 and ``size`` is one of ``sizes`` (default: the first).
    Something that is no number raises WrongInput; a page after the last is the last
    one, with a ``problem`` that says so (rows went away while somebody read them).
    """
    size = _whole(request.GET, "size", sizes[0])
    if size not in sizes:
        offered = ", ".join(map(str, sizes))
        raise WrongInput(f"Expected a page size among {offered}, found {size}.")
    asked = _whole(request.GET, "page", 1)
    if asked < 1:
        raise WrongInput(f"Expected a page number from 1, found {asked}.")
    total = rows.count() if total is None else total
    pages = max(1, -(-total // size))
    number = min(asked, pages)
    start = (number - 1) * size
    shown = list(rows[start : start + size]) if total else []
    query = request.GET
    return Page(
        rows=shown,
        number=number,
        pages=pages,
        total=total,
        size=size,
        first=start + 1 if shown else 0,
        last=start + len(shown),
        steps=tuple(_steps(query, number, pages)),
        sizes=tuple(
            Size(each, querystring.changed(query, size=each), each == size)
            for each in sizes
        ),
        previous=querystring.changed(query, page=number - 1) if number > 1 else "",
        next=querystring.changed(query, page=number + 1) if number < pages else "",
        problem=(
            f"There is no page {asked}: this is the last, page {pages}."
            if asked > pages
            else ""
        ),
    )


def _whole(query: QueryDict, name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    # More digits than any list has rows would only cost time to read.
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise WrongInput(f"Expected a whole number for {name!r}, found {text[:40]!r}.")
    return int(text)


def _steps(query: QueryDict, number: int, pages: int) -> Iterator[Step]:
    near = {1, pages, *range(max(1, number - 2), min(pages, number + 2) + 1)}
    before = 0
    for each in sorted(near):
        if each - before > 1:
            yield Step(None, "", is_current=False)
        yield Step(each, querystring.changed(query, page=each), each == number)
        before = each
