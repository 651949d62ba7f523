"""The verdict on a store point over time: pure decisions, no Django, no clock.

A *finding* of the agent says what one probe saw. ``decide`` folds it into the status
that the console shows: soft and hard failures, recovery, warnings about space, inodes
and latency, and how soon to look again. ``shown`` says what to believe of a status
whose reading has aged. Both are total functions of their arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from storepoints.states import BELIEVED_AT_ONCE, FAILED, Reason, State

#: A reading older than this many intervals is not believed any more (design, D3).
INTERVALS_UNTIL_STALE = 3

#: Without a tick for this long, checks are said not to be running. A tick comes every
#: 2 s; this leaves room for a restart of the worker and of beat.
TICK_SILENCE = timedelta(seconds=15)

#: A reading that claims to be later than now by more than this was dated by a clock
#: that has since been set back: its age is not known.
FUTURE = timedelta(seconds=10)

#: Share of a newly observed clock difference that is taken over at each report.
OFFSET_PULL = 0.05


class Limit(StrEnum):
    """A limit that a working store point has passed; several can hold at once."""

    CRITICALLY_LOW_SPACE = "critically-low-space"
    LOW_SPACE = "low-space"
    LOW_INODES = "low-inodes"
    SLOW = "slow"


#: The reason shown for a degraded store point, by the first limit that holds.
REASON_OF_LIMIT = {
    Limit.CRITICALLY_LOW_SPACE: Reason.LOW_SPACE,
    Limit.LOW_SPACE: Reason.LOW_SPACE,
    Limit.LOW_INODES: Reason.LOW_INODES,
    Limit.SLOW: Reason.SLOW,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """How a store point is judged: spans in seconds, shares in per cent.

    The defaults are those of the design (D4) and of the field notes, section 2.
    """

    check_seconds: float = 30
    retry_seconds: float = 10
    confirm_seconds: float = 1
    failures_until_believed: int = 3
    successes_until_well: int = 2
    low_space_percent: float = 10
    critically_low_space_percent: float = 5
    low_inodes_percent: float = 5
    clear_points: float = 5
    slow_seconds: float = 2
    clear_slow_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """What one probe saw, reduced to what a decision needs; sizes in bytes."""

    at: datetime
    state: State
    reason: Reason = Reason.NONE
    latency_seconds: float | None = None
    free_bytes: int | None = None
    used_bytes: int | None = None
    free_inodes: int | None = None
    total_inodes: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """What the console holds of a store point between two readings.

    ``is_believed`` is true while a failure counts as hard: it has an alert until
    enough probes succeeded in a row.
    """

    state: State = State.PENDING
    reason: Reason = Reason.NONE
    since: datetime | None = None
    is_believed: bool = False
    failures: int = 0
    successes: int = 0
    limits: frozenset[Limit] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """The new status, whether state or reason changed, and when to look again."""

    status: Status
    has_changed: bool
    pace: timedelta


def free_percent(free: int | None, used: int | None) -> float | None:
    """Return the free share of what users can fill, in per cent, as df reckons it."""
    if free is None or used is None or free + used <= 0:
        return None
    return 100 * free / (free + used)


def limits_passed(
    reading: Reading, before: frozenset[Limit], rule: Rule
) -> frozenset[Limit]:
    """Return the limits that a reading passes.

    A limit that held before is kept until the figure is better by a margin, so that
    94 % and 95 % in turn are one condition and not many.
    """
    passed: set[Limit] = set()

    def is_below(limit: Limit, share: float | None, bound: float) -> bool:
        margin = rule.clear_points if limit in before else 0
        return share is not None and share < bound + margin

    space = free_percent(reading.free_bytes, reading.used_bytes)
    if is_below(Limit.CRITICALLY_LOW_SPACE, space, rule.critically_low_space_percent):
        passed.add(Limit.CRITICALLY_LOW_SPACE)
    if is_below(Limit.LOW_SPACE, space, rule.low_space_percent):
        passed.add(Limit.LOW_SPACE)

    if reading.total_inodes and reading.free_inodes is not None:
        inodes = 100 * reading.free_inodes / reading.total_inodes
        if is_below(Limit.LOW_INODES, inodes, rule.low_inodes_percent):
            passed.add(Limit.LOW_INODES)

    if reading.latency_seconds is not None:
        share = rule.clear_slow_share if Limit.SLOW in before else 1
        if reading.latency_seconds >= rule.slow_seconds * share:
            passed.add(Limit.SLOW)
    return frozenset(passed)


def decide(before: Status, reading: Reading, rule: Rule) -> Decision:
    """Fold a reading into a status.

    1. A failure shows at once. It is believed, and so worth an alert, after
       ``failures_until_believed`` in a row, or at once where a retry cannot mend it.
    2. A success shows at once. A believed failure is over after
       ``successes_until_well`` in a row; the confirming probe follows quickly.
    3. A store point that works and has passed a limit is degraded.
    """
    if reading.state in FAILED:
        failures = before.failures + 1
        status = Status(
            state=reading.state,
            reason=reading.reason,
            is_believed=(
                before.is_believed
                or failures >= rule.failures_until_believed
                or reading.reason in BELIEVED_AT_ONCE
            ),
            failures=failures,
            limits=before.limits,
        )
        pace = rule.retry_seconds
    else:
        successes = before.successes + 1
        is_believed = before.is_believed and successes < rule.successes_until_well
        limits = limits_passed(reading, before.limits, rule)
        first = next((limit for limit in Limit if limit in limits), None)
        status = Status(
            state=State.DEGRADED if first else State.ONLINE,
            reason=REASON_OF_LIMIT[first] if first else Reason.NONE,
            is_believed=is_believed,
            successes=successes,
            limits=limits,
        )
        pace = rule.confirm_seconds if is_believed else rule.check_seconds

    is_same_state = status.state == before.state
    status = Status(
        state=status.state,
        reason=status.reason,
        since=before.since if is_same_state and before.since else reading.at,
        is_believed=status.is_believed,
        failures=status.failures,
        successes=status.successes,
        limits=status.limits,
    )
    return Decision(
        status=status,
        has_changed=not is_same_state or status.reason != before.reason,
        pace=timedelta(seconds=min(pace, rule.check_seconds)),
    )


def end_of_belief(since: datetime, check_seconds: float) -> datetime:
    """Return from when on a reading is stale, or an unanswered question is silence."""
    return since + timedelta(seconds=INTERVALS_UNTIL_STALE * check_seconds)


def shown(
    *,
    state: State,
    reason: Reason,
    checked_at: datetime | None,
    stale_at: datetime | None,
    silent_at: datetime | None,
    are_checks_running: bool,
    now: datetime,
) -> tuple[State, Reason]:
    """Return the state and reason to show: never a stale green (design, D3).

    While checks are not running nothing can be said about a server, so a reading
    that has aged is unknown and not the server's fault. ``stale_at`` is None while
    there is no reading, ``silent_at`` while the server owes no answer. ``selectors``
    says the same in SQL; a test holds the two together.
    """
    if are_checks_running and silent_at is not None and silent_at < now:
        return State.SERVER_OFFLINE, Reason.SERVER_OFFLINE
    if checked_at is None or stale_at is None:
        return State.PENDING, Reason.NONE
    is_from_the_future = checked_at > now + FUTURE
    if stale_at < now or is_from_the_future or state == State.SERVER_OFFLINE:
        return State.UNKNOWN, Reason.STALE
    return state, reason


def estimate_offset(before: float | None, received: float, sent: float) -> float:
    """Return how far the master's clock is ahead of an agent's, in seconds.

    Each report bounds it from above: the difference between arrival and dispatch is
    the offset plus the time on the way, so the least difference is the best estimate.
    It is pulled slowly towards later differences, so that a clock that was set is
    followed, while one late report does not make its old findings look fresh.
    """
    observed = received - sent
    if before is None or observed < before:
        return observed
    return before + OFFSET_PULL * (observed - before)
