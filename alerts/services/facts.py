"""The rows that conditions are decided by, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from alerts import selectors
from alerts.catalogue import KINDS, DestinationFacts, Kind, Scope, Unknown, kinds_of
from alerts.engine import Condition, Key
from alerts.settings import Settings
from console.kit import humane
from storepoints.models import NAME_LENGTH, Destination, Filesystem, Server, StorePoint

#: The subject of the alerts about the console itself.
CONSOLE = "console"

Row = StorePoint | Server | Filesystem | Destination

#: How many store points a filesystem's alert names before "and N more".
NAMED = 2


class Facts:
    """The rows that conditions are decided by, and what follows from them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.conditions: list[Condition] = []
        self.unknown: set[Key] = set()
        self.subjects: set[str] = set()
        self.rows: dict[str, Row] = {}

    def add(self, scope: Scope, subject: str, row: Any, *, facts: Any = None) -> None:
        """Decide every kind of a scope for one row, or by other facts than the row."""
        self.subjects.add(subject)
        if isinstance(row, Row):
            self.rows[subject] = row
        for kind in kinds_of(scope):
            self._decide(
                kind, subject, row if facts is None else facts, destination_of(row)
            )

    def add_destination(self, row: Destination, facts: DestinationFacts) -> None:
        """Decide the kinds that are about a destination as a whole."""
        self.add(Scope.DESTINATION, f"{Scope.DESTINATION}:{row.pk}", row, facts=facts)

    def add_console(self, facts: dict[str, Any], *, part: str = "") -> None:
        """Decide the kinds about the console that are named; of others nothing is known."""
        subject = f"{CONSOLE}:{part}" if part else CONSOLE
        self.add_unknown(Scope.CONSOLE, subject)
        for slug, fact in facts.items():
            self.unknown.discard((slug, subject))
            self._decide(KINDS[slug], subject, fact)

    def add_unknown(self, scope: Scope, subject: str) -> None:
        """Say of a subject that nothing is known about it now."""
        self.subjects.add(subject)
        self.unknown |= {(kind.slug, subject) for kind in kinds_of(scope)}

    def add_parents(self) -> None:
        """Let the alerts that explain others be looked up, and be left as they are."""
        for condition in self.conditions:
            if condition.parent is None or condition.parent[1] in self.subjects:
                continue
            scope, _, _ = condition.parent[1].partition(":")
            self.add_unknown(Scope(scope), condition.parent[1])

    def add_waiting(self, kind: str, subject: str, data: dict[str, Any]) -> None:
        """Let a condition of the console itself hold that was waited for until now.

        The subject is the console, or a part of it; others of its kinds may wait too.
        """
        if subject not in self.subjects:
            self.add_unknown(Scope.CONSOLE, subject)
        self.unknown.discard((kind, subject))
        self.conditions.append(self._condition(KINDS[kind], subject, data, None))

    def _decide(
        self, kind: Kind, subject: str, facts: Any, destination: int | None = None
    ) -> None:
        setting = self.settings.of(kind.slug, destination)
        answer = kind.holds(facts, setting.numbers)
        if isinstance(answer, Unknown):
            self.unknown.add((kind.slug, subject))
        elif answer is not None:
            # The text is made when all are known: names are read for all at once.
            condition = self._condition(kind, subject, answer, destination)
            if kind.parent:
                condition = replace(condition, parent=kind.parent(facts))
            self.conditions.append(condition)

    def _condition(
        self, kind: Kind, subject: str, data: dict[str, Any], destination: int | None
    ) -> Condition:
        setting = self.settings.of(kind.slug, destination)
        return Condition(
            kind.slug,
            subject,
            setting.severity,
            data,
            is_shown=setting.is_shown,
            delay=setting.delay,
            gives_way_to=kind.gives_way_to,
        )

    def write_texts(self) -> None:
        """Give every condition its text; two queries if there are filesystems."""
        concerned = {condition.subject for condition in self.conditions}
        filesystems = [
            row
            for subject, row in self.rows.items()
            if isinstance(row, Filesystem) and subject in concerned
        ]
        if filesystems:
            selectors.name_store_points(filesystems)
        self.conditions = [
            replace(
                each,
                text=self._text(each),
                reported_by=reporter_of(self.rows.get(each.subject)),
            )
            for each in self.conditions
        ]

    def _text(self, condition: Condition) -> str:
        row = self.rows.get(condition.subject)
        count = row.store_point_count if isinstance(row, Filesystem) else 1  # type: ignore[attr-defined]  # annotated
        return KINDS[condition.kind].text(
            name_of(row), dict(condition.data), count=count
        )


def name_of(row: Row | None) -> str:
    """Return what an alert's text calls its object.

    A filesystem is called by its store points: "Vault-1", "Vault-1 and Vault-2 on
    /srv/tank", "Vault-1, Vault-2 and 8 more on /srv/tank".
    """
    if isinstance(row, Filesystem):
        facts: Any = row
        names = humane.listed_of(facts.named[:NAMED], facts.store_point_count)
        if facts.store_point_count == 1:
            return names
        return f"{names} on {row.mount_point}"
    return row.name if row is not None else "this console"


def destination_of(row: Any) -> int | None:
    """Return the key of the destination that a row belongs to, or is."""
    if isinstance(row, Destination):
        return row.pk
    if isinstance(row, StorePoint | Filesystem):
        row = row.server
    return row.destination_id if isinstance(row, Server) else None


def reporter_of(row: Row | None) -> str:
    """Return who says what an alert says: the server of its object, else the master."""
    return row.server.name if isinstance(row, StorePoint | Filesystem) else "master"


def about(row: Row | None) -> dict[str, Any]:
    """Return the fields of an alert that say what it is about."""
    objects: dict[str, Any] = dict.fromkeys(
        ("store_point", "server", "filesystem", "destination")
    )
    if isinstance(row, StorePoint):
        objects |= {"store_point": row, "server": row.server}
    elif isinstance(row, Filesystem):
        objects |= {"filesystem": row, "server": row.server}
    elif isinstance(row, Server):
        objects |= {"server": row}
    elif isinstance(row, Destination):
        objects |= {"destination": row}
    name = name_of(row)
    return {
        "object_name": name
        if len(name) <= NAME_LENGTH
        else f"{name[: NAME_LENGTH - 1]}…",
        "reported_by": reporter_of(row),
        **objects,
    }


def subjects_of(scope: Scope, keys: Iterable[int]) -> set[str]:
    """Return what the alerts of these rows are found by."""
    return {f"{scope}:{key}" for key in keys}
