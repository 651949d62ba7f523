"""Who hears of what, when, and what a failure means: pure decisions, no Django."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
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

#: How long the link of a mail can be used: over a week off, and not for ever.
LINK_LIVES = timedelta(days=7)

#: The shortest and the longest wait before another attempt.
FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(hours=1)

#: The longest wait of a channel before another attempt, and the longest that its server
#: can ask for. Nothing new is sent meanwhile either: there is one server behind it.
CHANNEL_LAST_RETRY = timedelta(minutes=15)
MOST_RETRY_AFTER = timedelta(hours=6)

#: The usual distance between two messages by a channel.
CHANNEL_GROUP = timedelta(seconds=30)

#: What the recipient of a channel's deliveries begins with; no address does.
CHANNEL_LANE = "channel:"

#: What the sentence about an event's routing begins with when nobody hears.
NOT_MAILED = "not mailed:"

#: Why, when there is nobody at all.
NOT_REACHED = "there are no recipients"

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
    #: It still holds, and nobody has acknowledged it.
    REMINDED = "reminded"
    #: As before, and a route says who hears next.
    ESCALATED = "escalated"


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


def decide_route(
    news: News,
    *,
    audience: Sequence[Person],
    told: Iterable[Person],
    is_mailed: bool,
    why_no_mail: str,
    say: Callable[[Sequence[Person]], str] | None = None,
) -> Route:
    """Return who hears of an event.

    ``told`` are those who were sent, or are about to be sent, that the alert was
    raised, came back or got worse since it last cleared. If the open was sent, the
    close is always sent, whatever was switched off meanwhile, to those of them who are
    still in the ``audience``. ``why_no_mail`` is not empty when no mail can be sent
    now; a close then waits until it can. ``say`` puts into words who hears and when.
    """
    if news is News.CLEARED:
        return _route_close(
            told, audience, is_mailed=is_mailed, why_no_mail=why_no_mail, say=say
        )
    if why_no_mail:
        return Route((), f"{NOT_MAILED} {why_no_mail}")
    if not is_mailed:
        return Route((), f"{NOT_MAILED} Send Email is off for this kind")
    people = tuple(audience)
    if not people:
        return Route(
            (),
            f"{NOT_MAILED} {NOT_REACHED}, and no administrator has an address "
            "(Settings > Notifications)",
        )
    return Route(people, say(people) if say else f"to {_names(people)}")


def _route_close(
    told: Iterable[Person],
    audience: Sequence[Person],
    *,
    is_mailed: bool,
    why_no_mail: str,
    say: Callable[[Sequence[Person]], str] | None,
) -> Route:
    before = tuple(told)
    if not before:
        return Route((), f"{NOT_MAILED} nobody was mailed that it was raised")
    people = still_mailed(before, audience)
    if not people:
        return Route(
            (), f"{NOT_MAILED} who was mailed that it was raised is mailed no longer"
        )
    sentence = say(people) if say else f"to {_names(people)}"
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


def back_off(
    attempts: int, *, jitter: float, most: timedelta = LAST_RETRY
) -> timedelta:
    """Return how long to wait after a number of failed attempts, 30 s to ``most``.

    It doubles with each attempt; ``jitter`` (0 to 1) spreads it over the upper
    quarter, so that what failed together does not come back together.
    """
    doubled = float(1 << min(max(attempts, 1) - 1, 20))
    longest = min(most, FIRST_RETRY / 0.75 * doubled)
    share: float = 0.75 + 0.25 * min(max(jitter, 0.0), 1.0)
    return longest * share


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
    because the connection broke before its answer came. ``retry_after`` is how long it
    asked to be left alone.
    """

    words: str
    cure: str
    scope: Scope
    is_permanent: bool = False
    is_certain: bool = True
    retry_after: timedelta | None = None


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


#: Answers of HTTP that are about now, and not about the request (RFC 9110, RFC 6585,
#: RFC 8470).
_LATER = frozenset({408, 425, 429})

#: Answers that are about the address or the key: every other message will get them too.
_CLOSED = {
    401: "Type the address and its key anew: the service does not know them.",
    403: "Type the address and its key anew: the service does not let them in.",
    404: "Type the address anew: the service knows it no longer, or it was mistyped.",
    410: "Type a new address: the service has given this one up.",
}


def judge_status(
    status: int, words: str, *, retry_after: timedelta | None
) -> Problem | None:
    """Return what an HTTP status means for a message; None when it was taken.

    2xx is taken. 408, 425, 429 and 5xx are tried again, after as long as the server
    asks for. 401, 403, 404 and 410 are about the channel, which has to be mended first;
    every other answer is about this message, which is not tried again.
    """
    if 200 <= status < 300:
        return None
    if status in _LATER or status >= 500:
        return Problem(
            words,
            "Nothing: it is tried again by itself. If it goes on, ask whoever runs it.",
            Scope.SERVER,
            # It may have been taken all the same: it is sent again as it was.
            is_certain=False,
            retry_after=retry_after,
        )
    if status in _CLOSED:
        return Problem(words, _CLOSED[status], Scope.SERVER, is_permanent=True)
    return Problem(
        words,
        "Ask whoever runs the service what its answer means, then send the failed "
        "message again from the delivery log.",
        Scope.RECIPIENT,
        is_permanent=True,
    )


def read_retry_after(text: str, *, now: datetime) -> timedelta | None:
    """Return what a Retry-After header asks for, at most 6 h; None when it is none.

    Seconds or a date of HTTP (RFC 9110, 10.2.3); one that has passed asks for nothing.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), MOST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max(at - now, timedelta(0)), MOST_RETRY_AFTER)


def distance(used: int, *, per_hour: int, group: timedelta) -> timedelta | None:
    """Return how far the next message keeps from the previous one; None: not this hour.

    ``used`` is how many went out in the last hour. The first half of the budget may be
    used at the usual distance; the rest is spread over an hour, so that a storm does
    not use it up and then nobody hears for the rest of the hour. What waits meanwhile
    is told together.
    """
    if used >= per_hour:
        return None
    half = per_hour // 2
    if used < half:
        return group
    return max(group, timedelta(hours=1) / (per_hour - half))
