"""When an archive is said to be stale: the numbers that agent and console share."""

from __future__ import annotations

#: Days without a change. Code42's own figures (server settings, alert.backup).
WARNING_DAYS = 3
CRITICAL_DAYS = 7

DAY_SECONDS = 86_400

#: How many of the oldest are named.
NAMED = 20
