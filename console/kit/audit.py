"""The audit log: every verb that writes says who did it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db.models import CharField, Model, QuerySet, Value
from django.db.models.functions import Cast, Substr

from console.kit.models import AuditEntry
from console.kit.rows import insert_selected, value_of

#: The address that the request in hand came from; a middleware keeps it. It is a
#: context variable because services know people, not requests.
address: ContextVar[str | None] = ContextVar("audit_address", default=None)

#: What stands for "who" when nobody was signed in: a command, a task, the console.
CONSOLE = "console"

#: How much of a name fits beside what somebody did.
NAME_LENGTH = 150


@dataclass(frozen=True, slots=True)
class Outsider:
    """Somebody without an account, known by a name: who has a link from a mail."""

    name: str

    def get_username(self) -> str:
        """Return the name as it stands beside what they did, cut where it is too long."""
        if len(self.name) <= NAME_LENGTH:
            return self.name
        return f"{self.name[: NAME_LENGTH - 1]}…"


Actor = AbstractBaseUser | AnonymousUser | Outsider | None


def _entry(
    actor: Actor,
    verb: str,
    subject: Model | None,
    now: datetime,
    note: str,
    data: Mapping[str, Any] | None,
) -> AuditEntry:
    person = actor if isinstance(actor, AbstractBaseUser) else None
    return AuditEntry(
        at=now,
        actor_id=person.pk if person else None,
        actor_name=_name_of(actor),
        verb=verb,
        object_kind=subject._meta.model_name or "" if subject is not None else "",  # noqa: SLF001 (documented)
        object_id=str(subject.pk) if subject is not None else "",
        object_name=str(subject)[:255] if subject is not None else "",
        note=note,
        data=dict(data or {}),
        address=address.get(),
    )


def _name_of(actor: Actor) -> str:
    if isinstance(actor, AbstractBaseUser | Outsider):
        return actor.get_username()
    return CONSOLE


def record(
    *,
    actor: Actor,
    verb: str,
    subject: Model | None,
    now: datetime,
    note: str = "",
    data: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Write one audit entry; call it in the transaction of what it records.

    ``actor`` is a user, an Outsider, or None for the console itself; ``verb`` is dotted
    ("alert.acknowledge"); ``subject`` is the row it was done to, or None; ``data``
    is anything that JSON can hold (dates and decimals too).
    """
    entry = _entry(actor, verb, subject, now, note, data)
    entry.save(force_insert=True)
    return entry


def record_many(
    *,
    actor: Actor,
    verb: str,
    subjects: Iterable[Model],
    now: datetime,
    note: str = "",
    data: Mapping[str, Any] | None = None,
) -> int:
    """Write one audit entry for each subject in few statements; return how many."""
    entries = [_entry(actor, verb, subject, now, note, data) for subject in subjects]
    AuditEntry.objects.bulk_create(entries, batch_size=500)
    return len(entries)


def record_selected(
    *,
    actor: Actor,
    verb: str,
    subjects: QuerySet[Any],
    name: str,
    now: datetime,
    note: str = "",
    data: Mapping[str, Any] | None = None,
) -> int:
    """Write one audit entry for each row of a query in one statement; return how many.

    ``name`` is the field that holds what the rows are called. For bulk actions on
    thousands of rows, which `record_many` would have to read first.
    """
    template = _entry(actor, verb, None, now, note, data)
    values: dict[str, Any] = {
        each: value_of(template, each)
        for each in ("at", "actor", "actor_name", "verb", "note", "data", "address")
    }
    values |= {
        "object_kind": Value(subjects.model._meta.model_name or ""),  # noqa: SLF001
        "object_id": Cast("pk", CharField()),
        "object_name": Substr(name, 1, 255),
    }
    return insert_selected(AuditEntry, subjects, values)
