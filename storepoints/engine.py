"""The verdict on a store point over time: pure decisions, no Django, no clock.

A *finding* of the agent says what one probe saw. ``decide`` folds it into the status
that the console shows: soft and hard failures, recovery, and how soon to look again.
``judge_space`` says which limits a filesystem has passed, ``learn_latency`` what is
usual for a store point and whether it is slow. ``shown`` says what to believe of a
status whose reading has aged. All are total functions of their arguments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

from storepoints.states import BELIEVED_AT_ONCE, FAILED, WORKING, Reason, State

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
    """A limit that is passed although the store point works; several can hold at once.

    In the order in which they matter: the first that holds is the reason shown.
    """

    DRIVE_FAILING = "drive-failing"
    CRITICALLY_LOW_SPACE = "critically-low-space"
    VOLUME_DEGRADED = "volume-degraded"
    LOW_SPACE = "low-space"
    LOW_INODES = "low-inodes"
    SLOW = "slow"
    #: Only of a filesystem: what fills up is not degraded yet.
    FILLING_UP = "filling-up"


#: The reason shown for a degraded store point, by the first limit that holds.
REASON_OF_LIMIT = {
    Limit.DRIVE_FAILING: Reason.DRIVE_FAILING,
    Limit.CRITICALLY_LOW_SPACE: Reason.LOW_SPACE,
    Limit.VOLUME_DEGRADED: Reason.VOLUME_DEGRADED,
    Limit.LOW_SPACE: Reason.LOW_SPACE,
    Limit.LOW_INODES: Reason.LOW_INODES,
    Limit.SLOW: Reason.SLOW,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """How soon a store point's failures and successes are believed; spans in seconds.

    The defaults are those of the design (D4).
    """

    check_seconds: float = 30
    retry_seconds: float = 10
    confirm_seconds: float = 1
    failures_until_believed: int = 3
    successes_until_well: int = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """What one probe saw, reduced to what a decision needs.

    ``limits`` are those that were passed at the same time: by the filesystem
    (``judge_space``), by the devices below it, and by the latency (``learn_latency``).
    """

    at: datetime
    state: State
    reason: Reason = Reason.NONE
    limits: frozenset[Limit] = frozenset()


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


def decide(before: Status, reading: Reading, rule: Rule) -> Decision:
    """Fold a reading into a status.

    1. A failure shows at once. It is believed, and so worth an alert, after
       ``failures_until_believed`` in a row, or at once where a retry cannot mend it.
       The limits stay as they were: nothing was measured.
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
        state, reason = _working(reading.limits)
        status = Status(
            state=state,
            reason=reason,
            is_believed=is_believed,
            successes=successes,
            limits=reading.limits,
        )
        pace = rule.confirm_seconds if is_believed else rule.check_seconds
    return _decision(before, status, reading.at, min(pace, rule.check_seconds))


def follow_limits(
    before: Status, limits: frozenset[Limit], *, at: datetime, rule: Rule
) -> Decision:
    """Fold in limits that became known without a probe of this store point.

    So it follows at once when another store point on its filesystem was probed. What
    does not work keeps its state.
    """
    status = replace(before, limits=limits)
    if before.state in WORKING:
        state, reason = _working(limits)
        status = replace(status, state=state, reason=reason)
    return _decision(before, status, at, rule.check_seconds)


def _working(limits: frozenset[Limit]) -> tuple[State, Reason]:
    first = next((limit for limit in REASON_OF_LIMIT if limit in limits), None)
    if first is None:
        return State.ONLINE, Reason.NONE
    return State.DEGRADED, REASON_OF_LIMIT[first]


def _decision(
    before: Status, status: Status, at: datetime, pace_seconds: float
) -> Decision:
    is_same_state = status.state == before.state
    return Decision(
        status=replace(
            status, since=before.since if is_same_state and before.since else at
        ),
        has_changed=not is_same_state or status.reason != before.reason,
        pace=timedelta(seconds=pace_seconds),
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


# --- filesystems and their space ----------------------------------------------------------

#: Longest identity that a row holds, in characters.
IDENTITY_LENGTH = 255

#: Types whose ``fsid`` differs between the subvolumes of one filesystem.
FSID_BY_SUBVOLUME = frozenset({"btrfs", "bcachefs"})

#: Types that make inodes as they need them: what they call free follows free space.
WITHOUT_INODES = frozenset({"btrfs", "bcachefs", "zfs"})


def filesystem_identity(volume: Mapping[str, Any]) -> str:
    """Return what tells a filesystem from the others of its server.

    ``volume`` has the fields of ``VolumeId``. The UUID where there is one: bind mounts
    and Btrfs subvolumes have that of their filesystem, and share its space. Else the
    filesystem id, else type and source; a source that names no place ("tmpfs", "none")
    is told apart by its mount point. Empty when the volume has no mount point.
    """
    mount_point = str(volume.get("mount_point") or "")
    fs_type = str(volume.get("fs_type") or "")
    source = str(volume.get("source") or "")
    if not mount_point:
        return ""
    if volume.get("fs_uuid"):
        identity = f"uuid:{volume['fs_uuid']}"
    elif volume.get("fsid") and fs_type not in FSID_BY_SUBVOLUME:
        identity = f"fsid:{fs_type}:{volume['fsid']}"
    elif "/" in source or ":" in source:
        identity = f"source:{fs_type}:{source}"
    else:
        identity = f"place:{fs_type}:{source}:{mount_point}"
    if len(identity) <= IDENTITY_LENGTH:
        return identity
    digest = sha256(identity.encode(errors="surrogateescape")).hexdigest()
    return f"{identity.partition(':')[0]}:{digest}"


def free_percent(free: int | None, used: int | None) -> float | None:
    """Return the free share of what users can fill, in per cent, as df reckons it."""
    if free is None or used is None or free + used <= 0:
        return None
    return 100 * free / (free + used)


@dataclass(frozen=True, slots=True)
class SpaceRule:
    """When a filesystem is low: shares in per cent, sizes in bytes.

    Share and time are the defaults that others use (field notes, section 2). What
    ``clear_points`` and ``clear_times`` add is the distance between raise and clear.
    """

    low_percent: float = 10
    critically_low_percent: float = 5
    low_hours: float = 24
    critically_low_hours: float = 4
    #: Free bytes of ``normal_bytes`` that are few; None: the share of it.
    low_bytes: float | None = None
    critically_low_bytes: float | None = None
    filling_hours: float = 24
    #: Nothing is said to be filling up while more than this is free.
    filling_percent: float = 50
    #: The size up to which the share alone decides.
    normal_bytes: float = 1e12
    size_exponent: float = 0.8
    clear_points: float = 5
    clear_times: float = 1.5
    #: How long "full within" must have been so before it counts.
    low_soon_seconds: float = 1800
    filling_soon_seconds: float = 3600
    low_inodes_percent: float = 5
    low_inodes: float = 1_000_000
    clear_inodes_times: float = 2

    def free_bound(
        self, size: float, percent: float, few_bytes: float | None = None
    ) -> float:
        """Return how many free bytes are few on a filesystem of this size.

        ``few_bytes`` are few of ``normal_bytes``; None: ``percent`` of that. So it is
        ``percent`` of the size up to ``normal_bytes``; above, it grows with the size to
        the power ``size_exponent``: 10 % is 100 GB of 1 TB, 0.63 TB of 10 TB and 4 TB
        of 100 TB. The shape and the exponent are those of Checkmk's "magic factor"
        (its manual: 0.8, from 20 GB on); the norm here is that of a backup drive.
        """
        share = percent / 100 if few_bytes is None else few_bytes / self.normal_bytes
        if size <= self.normal_bytes:
            return share * size
        growth = math.pow(size / self.normal_bytes, self.size_exponent)
        return share * self.normal_bytes * growth


SPACE_RULE = SpaceRule()


@dataclass(frozen=True, slots=True)
class Space:
    """The figures of a filesystem, and how fast a day's trend says that it fills.

    ``bytes_per_second`` is None while no day was seen, or when nobody could say.
    """

    at: datetime
    free_bytes: int
    used_bytes: int
    total_inodes: int = 0
    free_inodes: int = 0
    fs_type: str = ""
    bytes_per_second: float | None = None


def seconds_to_full(space: Space) -> float | None:
    """Return when nothing is free if the trend goes on; None when it does not grow."""
    if space.bytes_per_second is None or space.bytes_per_second <= 0:
        return None
    return space.free_bytes / space.bytes_per_second


def judge_space(
    space: Space,
    before: frozenset[Limit],
    soon: Mapping[str, float],
    rule: SpaceRule,
) -> tuple[frozenset[Limit], dict[str, float]]:
    """Return the limits that a filesystem passes, and since when it would soon be full.

    1. It is low when the free share is below the limit AND either few bytes are free
       for its size, or the day's trend fills it within the hours of the limit, and has
       said so for a while: one big write makes no alarm.
    2. A limit that held is kept until the same rule with softer numbers no longer
       holds, so figures that move between the two change nothing.
    3. It is filling up when it is not low yet, and the trend fills it within a day.
    4. It is low on inodes when their free share AND their number are small; no claim
       where a filesystem does not count them.

    ``soon`` (seconds since 1970 by limit) is what this function returned last time.
    """
    share = free_percent(space.free_bytes, space.used_bytes)
    if share is None:
        return before, dict(soon)
    now = space.at.timestamp()
    since: dict[str, float] = {}
    passed: set[Limit] = set()

    def is_soon(limit: Limit, hours: float, wait_seconds: float) -> bool:
        seconds = seconds_to_full(space)
        times = rule.clear_times if limit in before else 1
        if seconds is None or seconds >= hours * 3600 * times:
            return False
        # A clock that was set back starts the wait anew.
        since[limit] = min(soon.get(limit, now), now)
        return limit in before or now - since[limit] >= wait_seconds

    def is_low(
        limit: Limit, percent: float, hours: float, few_bytes: float | None
    ) -> bool:
        bound = percent + (rule.clear_points if limit in before else 0)
        will_be_full = is_soon(limit, hours, rule.low_soon_seconds)
        # The bytes are as much softer as the share is.
        softer = None if few_bytes is None else few_bytes * bound / percent
        few = rule.free_bound(space.free_bytes + space.used_bytes, bound, softer)
        return share < bound and (space.free_bytes < few or will_be_full)

    if is_low(
        Limit.CRITICALLY_LOW_SPACE,
        rule.critically_low_percent,
        rule.critically_low_hours,
        rule.critically_low_bytes,
    ):
        passed |= {Limit.CRITICALLY_LOW_SPACE, Limit.LOW_SPACE}
    if is_low(Limit.LOW_SPACE, rule.low_percent, rule.low_hours, rule.low_bytes):
        passed.add(Limit.LOW_SPACE)

    roomy = rule.filling_percent + (
        rule.clear_points if Limit.FILLING_UP in before else 0
    )
    fills = is_soon(Limit.FILLING_UP, rule.filling_hours, rule.filling_soon_seconds)
    if fills and share < roomy and Limit.LOW_SPACE not in passed:
        passed.add(Limit.FILLING_UP)

    if _is_low_on_inodes(space, rule, is_held=Limit.LOW_INODES in before):
        passed.add(Limit.LOW_INODES)
    return frozenset(passed), since


def _is_low_on_inodes(space: Space, rule: SpaceRule, *, is_held: bool) -> bool:
    if space.total_inodes <= 0 or space.fs_type in WITHOUT_INODES:
        return False
    share = 100 * space.free_inodes / space.total_inodes
    points = rule.clear_points if is_held else 0
    times = rule.clear_inodes_times if is_held else 1
    return (
        share < rule.low_inodes_percent + points
        and space.free_inodes < rule.low_inodes * times
    )


# --- latency -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LatencyRule:
    """When a store point is slow, by what is usual for it; spans in seconds.

    Latencies spread over orders of magnitude, so everything is reckoned on logarithms:
    ``times`` and ``deviations`` are how many times, and how many usual deviations,
    above the usual a slow write is.
    """

    floor_seconds: float = 0.25
    times: float = 5
    deviations: float = 3
    #: Slow writes among the newest ``window`` that raise, and that still hold.
    window: int = 10
    raise_count: int = 6
    hold_count: int = 3
    clear_share: float = 0.6
    #: No claim before so much was seen.
    learn_seconds: float = 86_400
    learn_probes: int = 20
    #: How fast the usual follows: a day; and how far one write can pull at it.
    memory_seconds: float = 86_400
    clip_deviations: float = 3
    most_pull: float = 0.05
    least_deviation: float = 0.05


LATENCY_RULE = LatencyRule()


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is usual for a store point's writes, as natural logarithms of seconds.

    ``recent`` has a digit for each of the newest writes: 0 usual, 1 not clearly better,
    2 slow. ``log_now`` is the mean of about as many writes. ``since`` and ``at`` are
    when the first and the newest were seen, in seconds since 1970.
    """

    count: int = 0
    log_mean: float = 0.0
    log_deviation: float = math.log(2)
    log_now: float = 0.0
    since: float = 0.0
    at: float = 0.0
    recent: str = ""
    is_slow: bool = False

    @property
    def usual_seconds(self) -> float:
        """Return the usual latency."""
        return math.exp(self.log_mean)

    @property
    def now_seconds(self) -> float:
        """Return the latency of the newest writes."""
        return math.exp(self.log_now)


def learn_latency(
    before: Baseline, seconds: float, at: datetime, rule: LatencyRule
) -> Baseline:
    """Judge the latency of a write by what was usual before it, then learn from it.

    1. A write is slow above both ``floor_seconds`` and the usual, times ``times`` or
       the deviations, whichever is more. The store point is slow when
       ``raise_count`` of the newest ``window`` were; it is no longer when fewer than
       ``hold_count`` are above ``clear_share`` of that. On the first day nothing is.
    2. Mean and mean deviation take over a share of each write: all count the same on
       the first day, then what is a day old counts for a third. A write further off
       than ``clip_deviations`` teaches no more than one that is just so far off, so a
       spike is forgotten and a step takes a day to become the new usual.
    """
    now = at.timestamp()
    value = math.log(max(seconds, 1e-6))
    if before.count == 0:
        return Baseline(
            count=1, log_mean=value, log_now=value, since=now, at=now, recent="0"
        )
    times = max(rule.times, math.exp(rule.deviations * before.log_deviation))
    bound = max(rule.floor_seconds, before.usual_seconds * times)
    digit = 2 if seconds > bound else 1 if seconds > bound * rule.clear_share else 0
    recent = f"{before.recent}{digit}"[-rule.window :]
    is_known = (
        now - before.since >= rule.learn_seconds and before.count >= rule.learn_probes
    )
    if before.is_slow:
        is_slow = len(recent) - recent.count("0") >= rule.hold_count
    else:
        is_slow = is_known and recent.count("2") >= rule.raise_count

    elapsed = max(0.0, now - before.at)
    pull = min(elapsed / rule.memory_seconds, rule.most_pull)
    if not is_known:
        pull = max(pull, 1 / (before.count + 1))
    reach = rule.clip_deviations * before.log_deviation
    off = min(max(value - before.log_mean, -reach), reach)
    # 1.2533 is the ratio of deviation to mean distance of a normal distribution.
    deviation = before.log_deviation + pull * (1.2533 * abs(off) - before.log_deviation)
    return Baseline(
        count=before.count + 1,
        log_mean=before.log_mean + pull * off,
        log_deviation=max(deviation, rule.least_deviation),
        log_now=before.log_now + (value - before.log_now) * 2 / (rule.window + 1),
        since=min(before.since, now),
        at=max(before.at, now),
        recent=recent,
        is_slow=is_slow,
    )
