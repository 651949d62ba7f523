"""Taking back what was just done: the offer stands beside the message that tells it.

An action with an `Undo` puts an offer into its message; components/messages.html draws
it as a form with one button, which needs no script. What was done is found again by
whose it was and when: an offer is nothing that anybody else could use.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from console.kit.problems import WrongInput

#: How long something can be taken back with one click.
PATIENCE = timedelta(hours=1)


@dataclass(frozen=True)
class Offer:
    """What a message offers to take back: where that is asked for, and what it was."""

    url: str
    action: str
    at: str

    def as_tags(self) -> str:
        """Return it as the extra tags of a message, which hold text."""
        return json.dumps(asdict(self))


def offer_of(tags: str) -> Offer | None:
    """Return the offer that a message's extra tags hold, if any."""
    if not tags.startswith("{"):
        return None
    return Offer(**json.loads(tags))


def read_instant(text: str, now: datetime) -> datetime:
    """Return when the thing was done; raises WrongInput when that is too long ago."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise WrongInput(
            f"Expected an instant with its time zone in 'at', found {text[:40]!r}."
        )
    if not now - PATIENCE <= at <= now:
        raise WrongInput(
            "This can be undone within an hour; it was done at "
            f"{at:%Y-%m-%d %H:%M:%S %Z}. The action menu can still take it back."
        )
    return at
