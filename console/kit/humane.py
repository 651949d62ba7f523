"""Numbers and times as people say them."""

from __future__ import annotations

from datetime import datetime, timedelta

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")

NONE = "—"


def elapsed(span: timedelta | float | None) -> str:
    """Return a span in one unit, rounded down: "4 s", "2 min", "1 h", "3 d".

    ``span`` is a timedelta or seconds; a negative one (clocks differ) counts as 0.
    """
    if span is None:
        return NONE
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    seconds = max(0, int(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h"
    return f"{seconds // 86400} d"


def duration(seconds: float | None) -> str:
    """Return how long something took: "0.2 ms", "41 ms", "1.3 s", "2 min"."""
    if seconds is None:
        return NONE
    if 0 < seconds < 0.0001:
        return "< 0.1 ms"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return elapsed(seconds)


def size(number: float | None) -> str:
    """Return bytes in decimal units, as drives are sold: "5.2 TB", "410 GB"."""
    if number is None:
        return NONE
    value = float(number)
    unit = 0
    while abs(value) >= 999.5 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    if unit == 0 or abs(value) >= 99.95:
        return f"{value:.0f} {_UNITS[unit]}"
    text = f"{value:.1f}".removesuffix(".0")
    return f"{text} {_UNITS[unit]}"


def percent(number: float | None) -> str:
    """Return a percentage as a whole number, never rounded up to 100: "74 %"."""
    if number is None:
        return NONE
    whole = round(number)
    if whole == 100 and number < 100:
        whole = 99
    return f"{whole} %"


def number(value: int) -> str:
    """Return a whole number with its thousands set apart: "12,408"."""
    return f"{value:,}"


def counted(value: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: "0 alerts", "1 alert", "2 alerts"."""
    noun = singular if value == 1 else plural or f"{singular}s"
    return f"{number(value)} {noun}"


def exact(at: datetime) -> str:
    """Return an instant in full, in the time zone of its value."""
    zone = at.strftime("%Z")
    return f"{at:%A} {at.day} {at:%B %Y, %H:%M:%S} {zone}".rstrip()


def listed(names: list[str], *, most: int = 3) -> str:
    """Return names as a sentence has them: "a", "a and b", "a, b and 4 more"."""
    return listed_of(names[:most], len(names))


def listed_of(shown: list[str], count: int) -> str:
    """Return the names that are shown of so many: "a, b and 8 more"."""
    rest = count - len(shown)
    if rest > 0:
        shown = [*shown, f"{number(rest)} more"]
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
