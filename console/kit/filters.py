"""Filters of a list as links: each choice is an address, so it can be kept and sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.http import HttpRequest

from console.kit import querystring
from console.kit.problems import WrongInput


@dataclass(frozen=True)
class Pill:
    """A choice of a filter, with how many rows it would leave (None: not counted)."""

    value: str
    label: str
    query: str
    is_current: bool
    count: int | None = None


@dataclass(frozen=True)
class Choice:
    """A filter with a few declared values; the first is the default.

    ``values`` are (value, label) pairs; ``parameter`` is its name in the query string.
    """

    parameter: str
    values: Sequence[tuple[str, str]]

    def read(self, query: Mapping[str, str]) -> str:
        """Return the chosen value; raises WrongInput, naming those there are."""
        asked = query.get(self.parameter, "") or self.values[0][0]
        known = [value for value, _ in self.values]
        if asked not in known:
            raise WrongInput(
                f"Expected {self.parameter!r} to be one of {', '.join(known)}, "
                f"found {asked[:40]!r}."
            )
        return asked

    def pills(
        self, request: HttpRequest, counts: Mapping[str, int] | None = None
    ) -> list[Pill]:
        """Return the links; the default value is the address without the parameter."""
        current = self.read(request.GET)
        default = self.values[0][0]
        return [
            Pill(
                value=value,
                label=label,
                query=querystring.changed(
                    request.GET, **{self.parameter: None if value == default else value}
                ),
                is_current=value == current,
                count=counts.get(value) if counts is not None else None,
            )
            for value, label in self.values
        ]
