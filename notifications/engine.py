"""Who hears of what, when, and what a failure means: pure decisions, no Django."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

#: How long after an event its mail waits for others that belong with it. A volume or a
#: server takes its store points along within a second or two.
GATHER = timedelta(seconds=2)

#: How long a claimed delivery belongs to the process that claimed it. Much longer than
#: one mail takes with a time-out of 10 s for each answer of the server.
LEASE = timedelta(minutes=2)

#: After this an undelivered message is given up, and said to be.
PATIENCE = timedelta(hours=24)

#: The shortest and the longest wait before another attempt.
FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(hours=1)

#: How many names the sentence about an event's routing has before "and N more".
NAMED = 20


class DeliveryState(StrEnum):
    """What became of a delivery."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    RETRY = "retry"
    FAILED = "failed"
    HELD = "held"

    @property
    def label(self) -> str:
        """The words for a person."""
        return {"pending": "Waiting", "retry": "Will retry"}.get(
            self.value, self.value.capitalize()
        )


#: States of a delivery that is still to be made.
UNSENT = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.RETRY)

#: States that count as "was told, or is about to be".
TOLD = (*UNSENT, DeliveryState.SENT, DeliveryState.HELD)


class News(StrEnum):
    """Events of an alert that are worth a message (alerts.models.AlertEvent.NEWS)."""

    RAISED = "raised"
    REOPENED = "reopened"
    WORSENED = "worsened"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is to hear: an address, and what the routing calls them."""

    address: str
    name: str


@dataclass(frozen=True, slots=True)
class Route:
    """Who hears of an event, and the sentence that says so or says why nobody does."""

    people: tuple[Person, ...]
    sentence: str


def audience_of(
    administrators: Iterable[Person], recipients: Iterable[Person]
) -> list[Person]:
    """Return everybody who is to hear, administrators first, each address once.

    Addresses are compared without regard to case: no mail server tells them apart.
    """
    people: dict[str, Person] = {}
    for person in (*administrators, *recipients):
        if person.address.strip():
            people.setdefault(person.address.strip().lower(), person)
    return list(people.values())


def decide_route(
    news: News,
    *,
    audience: Iterable[Person],
    told: Iterable[Person],
    is_mailed: bool,
    why_no_mail: str,
) -> Route:
    """Return who hears of an event.

    ``told`` are those who were sent, or are about to be sent, that the alert was
    raised, came back or got worse since it last cleared. If the open was sent, the
    close is always sent, to exactly them, whatever was switched off meanwhile.
    ``why_no_mail`` is not empty when no mail can be sent at all.
    """
    if why_no_mail:
        return Route((), f"not mailed: {why_no_mail}")
    if news is News.CLEARED:
        people = tuple(told)
        if not people:
            return Route((), "not mailed: nobody was mailed that it was raised")
        if not is_mailed:
            return Route(
                people,
                f"to {_names(people)}, who were mailed that it was raised (Send Email "
                "is off for this kind now)",
            )
        return Route(people, f"to {_names(people)}")
    if not is_mailed:
        return Route((), "not mailed: Send Email is off for this kind")
    people = tuple(audience)
    if not people:
        return Route(
            (),
            "not mailed: there are no recipients, and no administrator has an address "
            "(Settings > Notifications)",
        )
    return Route(people, f"to {_names(people)}")


def _names(people: tuple[Person, ...]) -> str:
    names = [person.name or person.address for person in people]
    more = len(names) - NAMED
    if more > 0:
        return f"{', '.join(names[:NAMED])} and {more:,} more"
    return ", ".join(names)


def back_off(attempts: int, *, jitter: float) -> timedelta:
    """Return how long to wait after a number of failed attempts, 30 s to 1 h.

    It doubles with each attempt; ``jitter`` (0 to 1) spreads it over the upper
    quarter, so that what failed together does not come back together.
    """
    doubled = float(1 << min(max(attempts, 1) - 1, 20))
    most = min(LAST_RETRY, FIRST_RETRY / 0.75 * doubled)
    share: float = 0.75 + 0.25 * min(max(jitter, 0.0), 1.0)
    return most * share


class Scope(StrEnum):
    """What a failure is about."""

    #: The server or the settings: nobody can be reached until that is mended.
    SERVER = "server"
    #: The connection broke during one mail; perhaps the server, perhaps the mail.
    CONNECTION = "connection"
    #: This recipient only.
    RECIPIENT = "recipient"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a mail was not sent: in words, and what to do about it.

    ``is_certain`` is false when the server may have accepted the mail all the same,
    because the connection broke before its answer came.
    """

    words: str
    cure: str
    scope: Scope
    is_permanent: bool = False
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is known of one recipient's unsent deliveries when somebody wants to send.

    ``due_at`` is the earliest of those that are not part of an earlier attempt.
    """

    due_at: datetime | None
    attempted_at: datetime | None


def may_send(waiting: Waiting, *, group: timedelta, now: datetime) -> bool:
    """Return whether a new mail to a recipient may leave now.

    The first goes out when the short gather is over; further ones keep the group's
    distance from the previous, so that a storm is few mails.
    """
    if waiting.due_at is None or waiting.due_at > now:
        return False
    return waiting.attempted_at is None or waiting.attempted_at + group <= now
