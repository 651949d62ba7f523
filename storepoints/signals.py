"""News of this app for the apps above it.

``facts_recorded`` is sent inside the transaction that wrote the facts, so that what
follows from them (alerts, their outbox rows) stands or falls with them. Arguments:
``store_points``, ``servers`` and (where any is concerned) ``filesystems``, the primary
keys of the rows whose facts may have changed, ``destinations`` that have lost or gained
store points, and ``now``. Who names filesystems has
locked their server. ``at_hand`` may hold rows of these that are locked and as they
were just written, so that nobody needs to read them again. ``rules`` are those that the
facts were judged by, where they were: what is said of them goes by the same.
"""

from __future__ import annotations

from django.dispatch import Signal

facts_recorded = Signal()
