"""News of this app for the app above it: a wake-up, sent after the commit.

Nothing depends on it: events that it missed are found by the periodic sweep.
"""

from __future__ import annotations

from django.dispatch import Signal

events_written = Signal()
