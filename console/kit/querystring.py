"""Query strings that differ from this page's in a few places."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import QueryDict


def changed(query: QueryDict, /, **changes: str | int | None) -> str:
    """Return "?..." with some parameters replaced, or removed where None.

    The page number is removed too unless it is among the changes, because another
    filter or order has other pages.
    """
    copy = query.copy()
    for name, value in {"page": None, **changes}.items():
        if value is None:
            copy.pop(name, None)
        else:
            copy[name] = str(value)
    return f"?{copy.urlencode()}"


def without(query: QueryDict, *names: str) -> str:
    """Return the query string without some parameters and without "?"."""
    copy = query.copy()
    for name in names:
        copy.pop(name, None)
    return copy.urlencode()


def hidden(query: QueryDict, *, leave_out: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Return the parameters that a GET form must carry along as hidden fields."""
    return {name: query.getlist(name) for name in query if name not in leave_out}


def text(query: QueryDict, name: str, *, most: int = 255) -> str:
    """Return what somebody typed into a search box, stripped and cut to ``most``.

    Without NULs: they stand in no column, and PostgreSQL refuses to look for one.
    """
    return query.get(name, "").replace("\0", "").strip()[:most]
