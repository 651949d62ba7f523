"""Takes secrets out of what others say: answers, log lines, errors. No Django."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

#: What stands for a secret.
MASKED = "•••"

#: Shorter parts of an address are words, such as "v1" or "api".
SHORTEST = 5


class Mask:
    """Knows the parts of a secret address, and the secrets beside it."""

    def __init__(self, address: str, *secrets: str) -> None:
        """Take apart an address: everything behind its scheme may be a secret."""
        _, _, rest = address.partition("://")
        parts = {address, rest, *secrets}
        parts |= set(re.split(r"[/?&=#@:,;+]+", rest))
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
        for sign, part in kept.items():
            text = text.replace(sign, part)
        return text
