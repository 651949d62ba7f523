"""What a kind of alert is. Each kind is one module beside this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from alerts.engine import Severity


class Scope(StrEnum):
    """What an alert is about, and so which facts it is decided by."""

    STORE_POINT = "store-point"
    SERVER = "server"
    CONSOLE = "console"


class Unknown:
    """The answer of a kind when the facts do not say whether its condition holds."""


UNKNOWN = Unknown()

#: Numbers of the condition when it holds, None when it does not.
Answer = dict[str, Any] | None | Unknown


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of alert: its texts, and how its condition is told from the facts.

    ``short_name`` stands in Settings > Notifications, ``long_text`` in the Alerts
    Overview and in mails; ``{name}`` is the object and the other fields are those of
    the condition's numbers. ``holds`` is given a row of its scope.
    """

    slug: str
    scope: Scope
    severity: Severity
    short_name: str
    long_text: str
    cause: str
    effects: str
    confirm: str
    resolve: tuple[str, ...]
    confirm_resolved: str
    holds: Callable[[Any], Answer]

    def text(self, name: str, data: dict[str, Any]) -> str:
        """Return the long text for an object; names are taken as they are."""
        return self.long_text.format_map({**data, "name": name})
