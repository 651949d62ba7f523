"""News of this app for the apps above it.

``facts_recorded`` is sent inside the transaction that wrote the facts, so that what
follows from them (alerts, their outbox rows) stands or falls with them. Arguments:
``store_points`` and ``servers``, the primary keys of the rows whose facts may have
changed, and ``now``.
"""

from __future__ import annotations

from django.dispatch import Signal

facts_recorded = Signal()
