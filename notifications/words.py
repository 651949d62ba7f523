"""The words of a mail: one line of anything, and the subject. No Django."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alerts.engine import Severity
from console.kit import humane

#: Longest subject, in characters. Mailboxes show 60 to 100; the rest is for searching.
SUBJECT_LENGTH = 180

#: Longest text of an alert in a mail; a name may have any length.
TEXT_LENGTH = 300

#: How many names a subject has before "and N more".
NAMED = 3


def one_line(text: str, most: int = TEXT_LENGTH) -> str:
    """Return text as one line that can stand in a header, at most ``most`` characters.

    Line breaks and control characters become spaces, so that no name can begin a
    header of its own. Invisible characters that turn the direction of writing are
    taken out, because they can make a name read as another one; those that join
    (emoji, scripts that need them) stay. Halves of a surrogate pair become "?".
    """
    # Long enough for any cut below: normalising 10,000 characters would be for nothing.
    text = text[: most * 4]
    kept = "".join(filter(None, map(_safe, text)))
    line = re.sub(r"\s+", " ", kept).strip()
    if len(line) <= most:
        return line
    return line[: most - 1].rstrip() + "…"


_JOINERS = "\u200c\u200d"


def _safe(character: str) -> str:
    category = unicodedata.category(character)
    if category in {"Cc", "Zl", "Zp"}:
        return " "
    if category == "Cf":
        return character if character in _JOINERS else ""
    return "?" if category == "Cs" else character


@dataclass(frozen=True, slots=True)
class Told:
    """One alert as a mail tells it: its texts, and whether it is over."""

    text: str
    name: str
    severity: Severity
    is_cleared: bool
    has_come_back: bool = False


def subject(alerts: Sequence[Told]) -> str:
    """Return the subject of a mail about these alerts; the words fit 0, 1 and many.

    ``[Critical] Store point is unavailable: Tank-07``, ``[Critical] 12 alerts: Tank-01,
    Tank-02, Tank-03 and 9 more``, ``[Cleared] Store point is unavailable: Tank-07``.
    The severity is the worst of those that are open.
    """
    ongoing = sorted(
        (each for each in alerts if not each.is_cleared),
        key=lambda each: each.severity,
    )
    cleared = [each for each in alerts if each.is_cleared]
    if not ongoing:
        return _cut(f"[Cleared] {_what(cleared)}")
    ending = f" ({humane.number(len(cleared))} cleared)" if cleared else ""
    if len(ongoing) == 1 and ongoing[0].has_come_back:
        ending = f" (came back){ending}"
    head = f"[{ongoing[0].severity.label}] "
    room = SUBJECT_LENGTH - len(head) - len(ending)
    return f"{head}{_cut(_what(ongoing), room)}{ending}"


def digest_subject(alerts: Sequence[Told]) -> str:
    """Return the subject of a digest about these alerts: "Digest: 2 open, 5 cleared".

    With the alert's text when it is only one.
    """
    ongoing = [each for each in alerts if not each.is_cleared]
    cleared = len(alerts) - len(ongoing)
    line = f"Digest: {digest_counts(len(ongoing), cleared)}"
    return _cut(f"{line}: {one_line(alerts[0].text)}") if len(alerts) == 1 else line


def digest_counts(ongoing: int, cleared: int) -> str:
    """Return what a digest has in words: "2 open, 5 cleared", "nothing"."""
    parts = [
        f"{humane.number(count)} {word}"
        for count, word in ((ongoing, "open"), (cleared, "cleared"))
        if count
    ]
    return ", ".join(parts) or "nothing"


def _what(alerts: Sequence[Told]) -> str:
    if len(alerts) == 1:
        return one_line(alerts[0].text)
    count = humane.counted(len(alerts), "alert")
    names = humane.listed(
        [one_line(name, 40) for name in _different(each.name for each in alerts)],
        most=NAMED,
    )
    return f"{count}: {names}" if names else count


def _different(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name.strip()))


def _cut(text: str, most: int = SUBJECT_LENGTH) -> str:
    return one_line(text, most)
