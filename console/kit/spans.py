"""Spans of time as people type them, exactly: "90 s", "1 h 30 min"."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"d": 86_400, "h": 3600, "min": 60, "s": 1}
_PART = re.compile(r"(\d{1,9})\s*(d|h|min|s)\s*")

#: What stands for no time at all.
AT_ONCE = "at once"


def in_words(span: timedelta) -> str:
    """Return a span of whole seconds as it can be typed: "1 h 30 min", "at once"."""
    seconds = int(span.total_seconds())
    words = []
    for unit, length in _UNITS.items():
        count, seconds = divmod(seconds, length)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words) or AT_ONCE


def read(text: str) -> timedelta | None:
    """Return the span that was typed; None when it is none, or has no unit."""
    text = text.strip().lower()
    if text in {"0", AT_ONCE}:
        return timedelta(0)
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text):
        return None
    if len({unit for _, unit in parts}) < len(parts):
        return None
    return timedelta(seconds=sum(int(count) * _UNITS[unit] for count, unit in parts))
