"""Sorting a list by its declared columns and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from django.db.models import F
from django.db.models.expressions import OrderBy
from django.http import HttpRequest

from console.kit import querystring
from console.kit.problems import WrongInput


@dataclass(frozen=True)
class Column:
    """A column of a list: how the query string and the page call it, and its order.

    ``order`` names the fields to sort by, most significant first; a column without
    is not sortable. ``is_number`` sets it to the right; ``help`` explains it.
    ``is_first_descending`` is for columns where the largest is what one looks for.
    """

    name: str
    label: str
    order: tuple[str, ...] = ()
    is_number: bool = False
    is_first_descending: bool = False
    help: str = ""


@dataclass(frozen=True)
class Header:
    """What the head of a table shows for a column."""

    name: str
    label: str
    query: str
    aria_sort: Literal["ascending", "descending", ""]
    is_number: bool
    help: str


@dataclass(frozen=True)
class Order:
    """The order that was asked for: pass ``fields`` to ``order_by``."""

    column: Column
    is_descending: bool
    fields: tuple[OrderBy, ...]
    headers: tuple[Header, ...]


@dataclass(frozen=True)
class Sorting:
    """The columns of a list; ``default`` is as in the query string ("-at").

    ``filled`` are the fields that no row lacks. Only by them can an index give the
    order: "those without a value last" is another one for a database.
    """

    columns: Sequence[Column]
    default: str
    parameter: str = "sort"
    filled: frozenset[str] = frozenset()

    def read(self, request: HttpRequest) -> Order:
        """Return the order that the query string asks for, ``?sort=-used``.

        Raises WrongInput, naming the sortable columns, for anything else. Rows that
        lack a value come last in either direction, and the primary key decides
        between equals so that pages neither repeat nor skip a row.
        """
        asked = request.GET.get(self.parameter) or self.default
        is_descending, name = asked.startswith("-"), asked.removeprefix("-")
        sortable = {column.name: column for column in self.columns if column.order}
        if name not in sortable:
            raise WrongInput(
                f"Expected a column to sort by among {', '.join(sortable)} "
                f'(with "-" in front for descending), found {asked[:40]!r}.'
            )
        column = sortable[name]
        terms = column.order if "-pk" in column.order else (*column.order, "pk")
        return Order(
            column=column,
            is_descending=is_descending,
            fields=tuple(
                self._field(each, is_descending=is_descending) for each in terms
            ),
            headers=tuple(
                self._header(request, each, column, is_descending=is_descending)
                for each in self.columns
            ),
        )

    def _header(
        self,
        request: HttpRequest,
        column: Column,
        current: Column,
        *,
        is_descending: bool,
    ) -> Header:
        query = ""
        aria_sort: Literal["ascending", "descending", ""] = ""
        if column is current:
            aria_sort = "descending" if is_descending else "ascending"
        if column.order:
            is_next_descending = (
                not is_descending if column is current else column.is_first_descending
            )
            value = f"-{column.name}" if is_next_descending else column.name
            query = querystring.changed(request.GET, **{self.parameter: value})
        return Header(
            name=column.name,
            label=column.label,
            query=query,
            aria_sort=aria_sort,
            is_number=column.is_number,
            help=column.help,
        )

    def _field(self, name: str, *, is_descending: bool) -> OrderBy:
        """Return one term; a field that is declared with "-" turns the other way."""
        plain = name.removeprefix("-")
        is_up = name.startswith("-") is is_descending
        last = None if plain in {"pk", *self.filled} else True
        field = F(plain)
        return field.asc(nulls_last=last) if is_up else field.desc(nulls_last=last)
