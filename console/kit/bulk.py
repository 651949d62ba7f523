"""What happened to each of many: done, skipped with a reason, failed with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from django.core.exceptions import ValidationError

from console.kit import humane

T = TypeVar("T")

#: How many skipped or failed rows a sentence names before "and N more".
NAMED = 3


class Noun(NamedTuple):
    """What the rows of a list are called: one and several."""

    one: str
    many: str

    def counted(self, number: int) -> str:
        """Return "1 alert", "2 alerts"."""
        return humane.counted(number, self.one, self.many)


class Left(NamedTuple):
    """A row that was left as it was: its name and why, to follow it in a sentence."""

    name: str
    why: str


class Skip(Exception):
    """Raised for one row by what `each` calls: the text says why, after its name."""


@dataclass(frozen=True)
class BulkResult:
    """How many rows were done, and which ones were skipped or failed, and why."""

    done: int
    skipped: tuple[Left, ...] = ()
    failed: tuple[Left, ...] = ()

    def __add__(self, other: BulkResult) -> BulkResult:
        """Return both results as one."""
        return BulkResult(
            self.done + other.done,
            self.skipped + other.skipped,
            self.failed + other.failed,
        )

    def sentences(self, past: str, noun: Noun) -> str:
        """Return what to tell the person, right for 0, 1 and many.

        "Acknowledged 3 alerts. Skipped 1: Tank-07 is already acknowledged."
        """
        parts = []
        if self.done or not (self.skipped or self.failed):
            parts.append(f"{past} {noun.counted(self.done)}.")
        if self.skipped:
            parts.append(_left("Skipped", self.skipped))
        if self.failed:
            parts.append(_left("Failed for", self.failed))
        return " ".join(parts)


def _left(word: str, rows: tuple[Left, ...]) -> str:
    named = humane.listed([f"{row.name} {row.why}" for row in rows], most=NAMED)
    return f"{word} {humane.number(len(rows))}: {named}."


def each(rows: Iterable[T], do: Callable[[T], object]) -> BulkResult:
    """Do something to each row for itself: one that cannot does not stop the others.

    ``do`` raises Skip to leave a row out, and ValidationError when it refuses it.
    """
    done = 0
    skipped: list[Left] = []
    failed: list[Left] = []
    for row in rows:
        try:
            do(row)
        except Skip as skip:
            skipped.append(Left(str(row), str(skip)))
        except ValidationError as error:
            why = " ".join(error.messages).rstrip(".")
            failed.append(Left(str(row), f"({why})"))
        else:
            done += 1
    return BulkResult(done, tuple(skipped), tuple(failed))
