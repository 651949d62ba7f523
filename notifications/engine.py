"""Who hears of what, when, and what a failure means: pure decisions, no Django."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

#: How long after an event its mail waits for others that belong with it. A volume or a
#: server takes its store points along within a second or two.
GATHER = timedelta(seconds=2)

#: How long a claimed delivery belongs to the process that claimed it. A process that is
#: killed keeps its recipient from hearing anything for that long, so it is no longer
#: than the usual distance between two mails; and longer than the deadline for one mail
#: (transports.smtp.DEADLINE_SECONDS), because it is renewed just before each is sent.
LEASE = timedelta(seconds=30)

#: After this an undelivered message is given up, and said to be.
PATIENCE = timedelta(hours=24)

#: The shortest and the longest wait before another attempt.
FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(hours=1)

#: What the recipient of a channel's deliveries begins with; no address does.
CHANNEL_LANE = "channel:"

#: What the sentence about an event's routing begins with when nobody hears.
NOT_MAILED = "not mailed:"

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
    #: It was held under another alert, and now fails on its own account.
    RELEASED = "released"
    #: It comes and goes; until it is steady this is all that is said of it.
    FLAPPING = "flapping"
    #: A silence is over, and it still holds.
    UNSILENCED = "unsilenced"


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
    audience: Sequence[Person],
    told: Iterable[Person],
    is_mailed: bool,
    why_no_mail: str,
) -> Route:
    """Return who hears of an event.

    ``told`` are those who were sent, or are about to be sent, that the alert was
    raised, came back or got worse since it last cleared. If the open was sent, the
    close is always sent, whatever was switched off meanwhile, to those of them who are
    still in the ``audience``. ``why_no_mail`` is not empty when no mail can be sent
    now; a close then waits until it can.
    """
    if news is News.CLEARED:
        return _route_close(
            told, audience, is_mailed=is_mailed, why_no_mail=why_no_mail
        )
    if why_no_mail:
        return Route((), f"{NOT_MAILED} {why_no_mail}")
    if not is_mailed:
        return Route((), f"{NOT_MAILED} Send Email is off for this kind")
    people = tuple(audience)
    if not people:
        return Route(
            (),
            f"{NOT_MAILED} there are no recipients, and no administrator has an address "
            "(Settings > Notifications)",
        )
    return Route(people, f"to {_names(people)}")


def _route_close(
    told: Iterable[Person],
    audience: Sequence[Person],
    *,
    is_mailed: bool,
    why_no_mail: str,
) -> Route:
    before = tuple(told)
    if not before:
        return Route((), f"{NOT_MAILED} nobody was mailed that it was raised")
    people = still_mailed(before, audience)
    if not people:
        return Route(
            (), f"{NOT_MAILED} who was mailed that it was raised is mailed no longer"
        )
    sentence = f"to {_names(people)}"
    if not is_mailed:
        sentence += (
            ", who were mailed that it was raised (Send Email is off for this kind now)"
        )
    if why_no_mail:
        sentence += f", as soon as mail is sent again: {why_no_mail}"
    return Route(people, sentence)


def still_mailed(
    people: Iterable[Person], audience: Sequence[Person]
) -> tuple[Person, ...]:
    """Return those who are still in the audience, each as they stand there now.

    An address is compared in whatever case; who has another address by now is known
    by the name.
    """
    by_address = {person.address.lower(): person for person in audience}
    by_name = {person.name: person for person in audience}
    found: dict[str, Person] = {}
    for person in people:
        now = by_address.get(person.address.lower()) or by_name.get(person.name)
        if now is not None:
            found.setdefault(now.address.lower(), now)
    return tuple(found.values())


def without_names(sentence: str, count: int) -> str:
    """Return the sentence about an event's routing for those who may see no address.

    ``count`` is how many people it was routed to: "to 3 recipients".
    """
    if not count:
        return sentence if sentence.startswith(NOT_MAILED) else ""
    return f"to {count:,} {'recipient' if count == 1 else 'recipients'}"


def mask(address: str) -> str:
    """Return an address for those who may not see it: "o…@…"."""
    return f"{address[:1]}…@…"


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
    #: The server closed the connection when it heard of this recipient or their mail
    #: (421): perhaps it goes away, perhaps only this mail is too much for it now.
    CHANNEL = "channel"
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
