"""The catalogue of alerts, in the order in which Settings > Notifications lists them.

To add a kind, write a module with a ``KIND`` into this package, and its test.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from alerts.catalogue.base import (
    UNKNOWN,
    DestinationFacts,
    Kind,
    Live,
    Numbers,
    Parameter,
    Scope,
    Step,
    Unknown,
)


def _read_kinds() -> dict[str, Kind]:
    """Return every kind of this package: the worst first, then by what it is about.

    Their texts have the numbers that hold while nobody has chosen others.
    """
    kinds: list[Kind] = [
        import_module(f"{__name__}.{module.name}").KIND
        for module in pkgutil.iter_modules(__path__)
        if module.name != "base"
    ]
    scopes = list(Scope)
    kinds.sort(
        key=lambda kind: (kind.severity, scopes.index(kind.scope), kind.short_name)
    )
    return {kind.slug: kind.filled({}) for kind in kinds}


KINDS: dict[str, Kind] = _read_kinds()


def kinds_of(scope: Scope) -> list[Kind]:
    """Return the kinds that are decided by the facts of one scope."""
    return [kind for kind in KINDS.values() if kind.scope is scope]


__all__ = [
    "KINDS",
    "UNKNOWN",
    "DestinationFacts",
    "Kind",
    "Live",
    "Numbers",
    "Parameter",
    "Scope",
    "Step",
    "Unknown",
    "kinds_of",
]
