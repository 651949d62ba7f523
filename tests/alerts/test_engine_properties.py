"""What holds for alerts.engine whatever happens, each tried with 10,000 histories.

A history is a small fleet's: a server with two store points that fail for reasons of
different weight, are not heard of behind their server, are acknowledged (all or one, for
good or for a while, and taken back), and live through minutes or hours.

What is expected is written down here in the spans and counts of the design, not in those
of the engine: a rule that was changed there fails here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.catalogue.base import UNKNOWN as NOT_KNOWN
from alerts.catalogue.store_point_offline import KIND
from alerts.engine import (
    RULES,
    Change,
    Clear,
    Condition,
    Held,
    Key,
    Raise,
    Reopen,
    Severity,
    Steady,
    Update,
)
from storepoints.engine import Reading, Rule, Status, decide
from storepoints.models import StorePoint
from storepoints.states import Reason, State
from tests.alerts.memory import Memory

START = datetime(2026, 3, 1, 14, 2, tzinfo=UTC)

thorough = settings(
    max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

SERVER: Key = ("server-offline", "server:1")
TANKS = ("store-point:1", "store-point:2")

#: What a store point may be found to be: well, not known, or failed in some way.
WELL, UNKNOWN = "well", "unknown"


@dataclass(frozen=True)
class Found:
    """One report of a server: is it heard of, and how are its store points."""

    is_offline: bool
    tanks: tuple[str | tuple[Severity, int], ...]

    def conditions(self) -> list[Condition]:
        found = []
        if self.is_offline:
            found.append(Condition(*SERVER, Severity.CRITICAL))
        for subject, state in zip(TANKS, self.tanks, strict=True):
            if self.is_offline:
                found.append(
                    Condition("offline", subject, Severity.CRITICAL, parent=SERVER)
                )
            elif isinstance(state, tuple):
                severity, used = state
                found.append(Condition("offline", subject, severity, {"used": used}))
        return found

    def unknown(self) -> set[Key]:
        if self.is_offline:
            return set()
        return {
            ("offline", subject)
            for subject, state in zip(TANKS, self.tanks, strict=True)
            if state == UNKNOWN
        }


#: A store point that comes and goes, as often as flapping needs.
FLAP = (Found(False, ((Severity.CRITICAL, 90), WELL)), Found(False, (WELL, WELL))) * (
    RULES.flap_returns + 1
)

failures = st.tuples(st.sampled_from(list(Severity)), st.integers(90, 91))
states = st.one_of(st.just(WELL), st.just(UNKNOWN), failures)
reports = st.builds(
    Found,
    is_offline=st.booleans(),
    tanks=st.tuples(states, states),
)


@dataclass(frozen=True)
class Acknowledge:
    """A person says "seen": of all alerts or one, for good or for some minutes."""

    one: int | None = None
    minutes: int | None = None


@dataclass(frozen=True)
class Unacknowledge:
    """A person takes that back."""

    one: int


acknowledgements = st.builds(
    Acknowledge,
    one=st.none() | st.integers(0, 3),
    minutes=st.none() | st.sampled_from([4, 30]),
)
steps = st.one_of(
    reports,
    acknowledgements,
    st.builds(Unacknowledge, one=st.integers(0, 3)),
    st.just("flap"),
    st.sampled_from([1, 5, 16, 61]).map(lambda minutes: timedelta(minutes=minutes)),
)
histories = st.lists(steps, max_size=14)

#: The design's figures (D5).
BLIP, HOUR, OFTEN = timedelta(minutes=15), timedelta(hours=1), 3


def live(
    memory: Memory, history: list[Any]
) -> Iterator[tuple[Found | Acknowledge | Unacknowledge, datetime, list[Change]]]:
    """Live through a history; yields what happened, when, and what that changed."""
    now = START
    for step in history:
        if isinstance(step, timedelta):
            now += step
        elif isinstance(step, Found):
            now += timedelta(seconds=1)
            yield step, now, memory.apply(step.conditions(), now, step.unknown())
        elif step == "flap":
            for found in FLAP:
                now += timedelta(minutes=1)
                yield found, now, memory.apply(found.conditions(), now, found.unknown())
        elif isinstance(step, Acknowledge):
            minutes = step.minutes
            until = None if minutes is None else now + timedelta(minutes=minutes)
            memory.acknowledge(now, one=step.one, until=until)
            yield step, now, []
        else:
            memory.unacknowledge(step.one)
            yield step, now, []


@thorough
@given(histories)
def test_it_never_has_two_open_alerts_for_one_kind_and_object(
    history: list[Any],
) -> None:
    memory = Memory()
    for _ in live(memory, history):
        keys = [alert.key for alert in memory.ongoing]
        assert len(keys) == len(set(keys))


@thorough
@given(histories)
def test_it_changes_nothing_when_a_report_is_applied_twice(history: list[Any]) -> None:
    memory = Memory()
    for step, now, _ in live(memory, history):
        if isinstance(step, Found):
            before = list(memory.alerts)

            assert memory.apply(step.conditions(), now, step.unknown()) == []
            assert memory.alerts == before


def open_state(memory: Memory) -> list[tuple[Any, ...]]:
    # Behind its server an alert keeps what was known of it, if anything was.
    return sorted(
        (alert.key, alert.parent)
        if alert.parent
        else (alert.key, alert.severity, dict(alert.data))
        for alert in memory.ongoing
    )


@thorough
@given(
    st.lists(reports, min_size=1, max_size=6).flatmap(
        lambda each: st.tuples(
            st.just(each),
            # Every one at least once, some twice, in any order.
            st.permutations([*range(len(each)), *range(len(each) // 2)]),
        )
    )
)
def test_it_ends_in_the_same_state_in_any_order(
    given_: tuple[list[Found], list[int]],
) -> None:
    sent, order = given_
    # Everything is known at last; what is unknown depends on what was known before.
    last = Found(
        sent[-1].is_offline, tuple(WELL if t == UNKNOWN else t for t in sent[-1].tanks)
    )
    sent = [*sent[:-1], last]
    memory, expected = Memory(), Memory()
    newest = -1
    for step, sequence in enumerate(order):
        # As record_report does: a report that is no newer than the recorded one is dropped.
        if sequence > newest:
            newest = sequence
            now = START + timedelta(seconds=step)
            memory.apply(sent[sequence].conditions(), now, sent[sequence].unknown())

    expected.apply(last.conditions(), START)

    assert open_state(memory) == open_state(expected)


@thorough
@given(histories)
def test_it_reports_nothing_cleared_as_open_and_nothing_open_as_cleared(
    history: list[Any],
) -> None:
    memory = Memory()
    for step, _, _ in live(memory, history):
        if not isinstance(step, Found):
            continue
        holding = {each.key: each.severity for each in step.conditions()}
        ongoing = {alert.key: alert.severity for alert in memory.ongoing}
        silent = step.unknown()
        assert {key for key in ongoing if key not in silent} == set(holding)
        for key, severity in holding.items():
            # Behind its server an alert keeps the severity that it had before.
            assert step.is_offline or ongoing[key] == severity


@thorough
@given(histories)
def test_it_never_hides_a_worse_condition_behind_an_acknowledgement(
    history: list[Any],
) -> None:
    memory = Memory()
    seen: dict[Key, tuple[Severity, bool]] = {}
    for step, now, _ in live(memory, history):
        if isinstance(step, Acknowledge):
            for alert in memory.alerts:
                if alert.is_acknowledged(now) and alert.acknowledged_at == now:
                    seen[alert.key] = (alert.severity, alert.is_presumed)
        for alert in memory.ongoing:
            if alert.is_acknowledged(now) and not alert.parent:
                severity, was_presumed = seen[alert.key]
                # A person saw at least this of this very alert, and saw itself.
                assert severity <= alert.severity
                assert alert.is_presumed or not was_presumed


@thorough
@given(histories)
def test_it_says_that_a_condition_got_worse(history: list[Any]) -> None:
    memory = Memory()
    for _, now, changes in live(memory, history):
        for change in changes:
            if not isinstance(change, Update | Reopen):
                continue
            is_worse = change.condition.severity < change.alert.severity
            if isinstance(change, Update):
                assert change.has_worsened == is_worse
            after = memory.alerts[change.alert.id - 1]
            assert not (is_worse and after.is_acknowledged(now))


@thorough
@given(histories)
def test_it_continues_an_alert_for_a_blip_and_no_longer(history: list[Any]) -> None:
    """One that nobody has seen, or not for long enough, stands there and continues."""
    memory = Memory()
    for _, now, changes in live(memory, history):
        for change in changes:
            if isinstance(change, Reopen):
                before = change.alert
                assert before.cleared_at is not None
                is_blip = now - before.cleared_at <= BLIP
                assert is_blip or is_open(before, now) or before.flapping_since
            elif isinstance(change, Raise):
                *earlier, _ = (
                    alert
                    for alert in memory.alerts
                    if alert.key == change.condition.key
                )
                for alert in earlier[-1:]:
                    assert alert.cleared_at is not None
                    assert now - alert.cleared_at > BLIP
                    assert not is_open(alert, now)


def is_open(alert: Held, now: datetime) -> bool:
    """Return whether it stands in the active list: no acknowledgement counts now."""
    until = alert.acknowledged_until
    return alert.acknowledged_at is None or (until is not None and until <= now)


@thorough
@given(histories)
def test_it_flaps_from_the_third_return_within_an_hour(history: list[Any]) -> None:
    memory = Memory()
    returns: dict[int, list[datetime]] = {}
    changed_at: dict[int, datetime] = {}
    flapping: set[int] = set()
    for _, now, changes in live(memory, history):
        before = dict(changed_at)
        back = {change.alert.id for change in changes if isinstance(change, Reopen)}
        for change in changes:
            if isinstance(change, Steady):
                assert now - before[change.alert.id] >= HOUR
                assert change.alert.id not in back
                flapping.discard(change.alert.id)
            if not isinstance(change, Clear | Reopen):
                continue
            key = change.alert.id
            if now - changed_at.get(key, now) >= HOUR:
                # Nobody looked, but it has been steady for that long.
                flapping.discard(key)
            changed_at[key] = now
            # All that is said of one that flaps is that it does, and that once.
            assert change.is_quiet == (key in flapping)
            if isinstance(change, Reopen) and not change.condition.is_held:
                recent = [at for at in returns.get(key, ()) if now - at < HOUR]
                returns[key] = [*recent, now]
                is_often = len(returns[key]) >= OFTEN
                assert change.starts_flapping == (is_often and key not in flapping)
                if is_often:
                    flapping.add(key)


@thorough
@given(histories)
def test_it_holds_alerts_under_a_parent_that_is_there(history: list[Any]) -> None:
    memory = Memory()
    for step, _, _ in live(memory, history):
        if isinstance(step, Found) and not step.is_offline:
            assert not [
                alert
                for alert in memory.ongoing
                if alert.parent and alert.key not in step.unknown()
            ]
        if isinstance(step, Found) and step.is_offline:
            ongoing = {alert.key for alert in memory.ongoing}
            for alert in memory.ongoing:
                assert alert.key == SERVER or alert.parent in ongoing


@thorough
@given(histories)
def test_it_always_tells_the_close_when_it_told_the_open(history: list[Any]) -> None:
    """And while an alert flaps, nothing but that it does, or that it is worse."""
    memory = Memory()
    told: set[int] = set()
    end = START
    for _, now, changes in live(memory, history):
        end = now
        for change in changes:
            tell(change, told, memory)
    # The window passes, and everything is well.
    for _ in range(2):
        end += RULES.flap_window
        for change in memory.apply([], end):
            tell(change, told, memory)

    assert told == set()
    assert not any(alert.flapping_since for alert in memory.alerts)


def tell(change: Change, told: set[int], memory: Memory) -> None:
    """Tell people of a change as alerts.services writes its news."""
    if isinstance(change, Raise):
        if not change.condition.is_held:
            told.add(newest(change, memory))
    elif isinstance(change, Reopen):
        is_worse = change.condition.severity < change.alert.severity
        is_told = not change.is_quiet or change.starts_flapping or is_worse
        if is_told and not change.condition.is_held:
            told.add(change.alert.id)
    elif isinstance(change, Update):
        if change.is_released or change.has_worsened:
            told.add(change.alert.id)
    elif isinstance(change, Clear):
        if not change.is_quiet:
            told.discard(change.alert.id)
    elif isinstance(change, Steady) and change.is_close_owed:
        told.discard(change.alert.id)


def newest(change: Raise, memory: Memory) -> int:
    return max(alert.id for alert in memory.alerts if alert.key == change.condition.key)


RULE = Rule()
#: How long a failure has to last until it is believed, if every probe finds it.
HARD = (RULE.failures_until_believed - 1) * timedelta(seconds=RULE.retry_seconds)

readings = st.lists(
    st.tuples(
        st.sampled_from([State.ONLINE, State.OFFLINE, State.NOT_RESPONDING]),
        st.sampled_from([Reason.IO_ERROR, Reason.PATH_MISSING, Reason.NOT_MOUNTED]),
        st.integers(1, 30),
    ),
    max_size=20,
)


@thorough
@given(readings)
def test_it_leaves_no_condition_that_lasted_without_an_alert(
    found: list[tuple[State, Reason, int]],
) -> None:
    """From the reading to the alert: the verdict's engine and this one together."""
    memory, status, now = Memory(), Status(), START
    failing_since: datetime | None = None
    probes = 0
    for state, reason, seconds in found:
        now += timedelta(seconds=min(seconds, RULE.retry_seconds))
        is_failing = state != State.ONLINE
        reading = Reading(
            at=now, state=state, reason=reason if is_failing else Reason.NONE
        )
        status = decide(status, reading, RULE).status
        answer = KIND.holds(
            StorePoint(
                state=status.state,
                reason=status.reason,
                is_believed=status.is_believed,
                adopted_at=START,
            ),
            {},
        )
        failing_since = (failing_since or now) if is_failing else None
        probes = probes + 1 if is_failing else 0
        holds = isinstance(answer, dict)
        memory.apply(
            [Condition("offline", TANKS[0], Severity.CRITICAL)] if holds else [],
            now,
            {("offline", TANKS[0])} if answer is NOT_KNOWN else (),
        )
        lasted = failing_since is not None and now - failing_since >= HARD
        if lasted and probes >= RULE.failures_until_believed:
            assert [alert.key for alert in memory.ongoing] == [("offline", TANKS[0])]


def test_histories_reach_what_is_proved() -> None:
    """The properties would hold of nothing as well: see that all of it happens."""
    seen: set[str] = set()

    @settings(max_examples=2_000, deadline=None, database=None, derandomize=True)
    @given(histories)
    def look(history: list[Any]) -> None:
        memory = Memory()
        for _, now, changes in live(memory, history):
            seen.update(type(change).__name__ for change in changes)
            seen.update("flapping" for alert in memory.alerts if alert.is_flapping(now))
            seen.update(
                "lapse" for change in changes if getattr(change, "does_lapse", 0)
            )
            seen.update(
                "release" for change in changes if getattr(change, "is_released", 0)
            )

    look()

    expected = {"Raise", "Reopen", "Update", "Hold", "Clear", "Steady"}
    assert seen >= expected | {"flapping", "lapse", "release"}
