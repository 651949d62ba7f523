"""Takes secrets out of what others say: answers, log lines, errors. No Django."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote, unquote

#: What stands for a secret.
MASKED = "•••"

#: Where a text was cut, as http.plain says so.
_CUT = re.compile(r"…|\Z")

#: Shorter parts of an address are words, such as "v1" or "api".
SHORTEST = 5


class Mask:
    """Knows the parts of a secret address, and the secrets beside it."""

    def __init__(self, address: str, *secrets: str) -> None:
        """Take apart an address: everything behind its scheme may be a secret."""
        _, _, rest = address.partition("://")
        parts = {address, rest, *secrets}
        parts |= set(re.split(r"[/?&=#@:,;+]+", rest))
        person, separator, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
        if separator:
            # As it travels, which servers that show what they were asked say back.
            basic = base64.b64encode(unquote(person).encode("utf-8", "replace"))
            parts |= {person, basic.decode()}
        known: set[str] = set()
        for part in parts:
            known |= {part, unquote(part), quote(unquote(part), safe="")}
        # The longest first, so that no rest of one is left behind.
        self._known = sorted(
            (part for part in known if len(part) >= SHORTEST), key=len, reverse=True
        )

    def over(self, text: str, *shown: str) -> str:
        """Return a text without the secrets; ``shown`` are parts that may stay."""
        kept = {f"\0{number}\0": part for number, part in enumerate(shown) if part}
        for sign, part in kept.items():
            text = text.replace(part, sign)
        for part in self._known:
            text = re.sub(re.escape(part), MASKED, text, flags=re.IGNORECASE)
        text = self._without_beginnings(text)
        for sign, part in kept.items():
            text = text.replace(sign, part)
        return text

    def _without_beginnings(self, text: str) -> str:
        """Take out what is left of a secret where a text was cut within it."""
        for end in reversed([found.start() for found in _CUT.finditer(text)]):
            before = text[:end].lower()
            most = max(
                (_overlap(before, part.lower()) for part in self._known), default=0
            )
            if most >= SHORTEST:
                text = f"{text[: end - most]}{MASKED}{text[end:]}"
        return text


def _overlap(text: str, part: str) -> int:
    """Return how many characters of its beginning a part has at the end of a text."""
    most = min(len(text), len(part) - 1)
    return next((size for size in range(most, 0, -1) if text.endswith(part[:size])), 0)
