"""Who hears by which route: a decision table, and what holds of every plan."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.coverage import About, Coverage
from notifications.following import (
    Change,
    Followed,
    Reminders,
    Standing,
    Steps,
    decide_steps,
    replay,
)
from notifications.pace import Clock, Pace, Quiet, Turn, Waits
from notifications.rules import (
    Listener,
    Rule,
    plan,
    plan_close,
    remind,
    sentence,
    unreached,
)

NOW = datetime(2026, 7, 15, 21, 30, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")
QUIET = Quiet(time(21), time(7), UTC_ZONE)
ANA = Listener("ana@example.org", "ana", hears_everything=True)
BEN = Listener("ben@example.org", "ben", hears_everything=True, quiet=QUIET)
CARL = Listener("carl@example.org", "carl", groups=frozenset({1}))
DORA = Listener("dora@example.org", "dora", groups=frozenset({1, 2}), quiet=QUIET)
OPS = Listener("channel:7", "ops", is_channel=True)
EVERYBODY = (ANA, BEN, CARL, DORA, OPS)

CRITICAL = About("store-point-offline", 1, "store-point:1", server=3, destination=5)
WARNING = About("store-point-slow", 2, "store-point:1", server=3, destination=5)

HOURLY, DAILY = Clock(Pace.HOURLY), Clock(Pace.DAILY, time(8))
CRITICAL_ONLY = Coverage(severities=frozenset({1}))
PAGER = Rule(1, "Pager", CRITICAL_ONLY, lanes=frozenset({OPS.lane}))
TEAM = Rule(2, "Team", groups=frozenset({1}))
SUMMARY = Rule(3, "Summary", groups=frozenset({1}), clock=HOURLY)
MORNING = Rule(4, "Morning", groups=frozenset({2}), clock=DAILY)
LATER = Rule(5, "Later", groups=frozenset({1}), after=timedelta(minutes=30))
BERLIN = Rule(6, "Berlin", Coverage(destination=5), groups=frozenset({1}))
HAMBURG = Rule(7, "Hamburg", Coverage(destination=6), groups=frozenset({1}))
STOR = Rule(8, "stor-3", Coverage(server=3), groups=frozenset({1}))
SLOW = Rule(9, "Slow", Coverage(kinds=frozenset({WARNING.kind})), frozenset({2}))


@pytest.mark.parametrize(
    ("about", "rules", "said"),
    [
        (CRITICAL, [], "to ana, ben"),
        (
            WARNING,
            [],
            "to ana, ben; ben waits for quiet hours until 2026-07-16 07:00 UTC",
        ),
        (CRITICAL, [PAGER], "to ana, ben; by route “Pager” to channel “ops”"),
        (
            WARNING,
            [PAGER],
            "to ana, ben; ben waits for quiet hours until 2026-07-16 07:00 UTC",
        ),
        (CRITICAL, [TEAM], "to ana, ben; by route “Team” to carl, dora"),
        (
            CRITICAL,
            [SUMMARY],
            "to ana, ben; by route “Summary” to carl, dora in the hourly digest of "
            "22:00 UTC",
        ),
        # Whom several reach hears by what tells first.
        (CRITICAL, [SUMMARY, TEAM], "to ana, ben; by route “Team” to carl, dora"),
        (
            CRITICAL,
            [MORNING, SUMMARY],
            "to ana, ben; by route “Summary” to carl, dora in the hourly digest of "
            "22:00 UTC",
        ),
        (CRITICAL, [LATER], "to ana, ben"),
        (CRITICAL, [HAMBURG], "to ana, ben"),
        (CRITICAL, [BERLIN], "to ana, ben; by route “Berlin” to carl, dora"),
        (CRITICAL, [STOR, BERLIN], "to ana, ben; by route “stor-3” to carl, dora"),
        (CRITICAL, [SLOW], "to ana, ben"),
        (
            WARNING,
            [SLOW],
            "to ana, ben; by route “Slow” to dora; ben, dora wait for quiet hours "
            "until 2026-07-16 07:00 UTC",
        ),
    ],
)
def test_it_says_who_hears_by_what(about: About, rules: list[Rule], said: str) -> None:
    assert sentence(plan(about, EVERYBODY, rules, now=NOW), now=NOW) == said


def test_it_escalates_to_the_one_route_alone() -> None:
    planned = plan(CRITICAL, EVERYBODY, [TEAM, LATER, PAGER], now=NOW, escalation=5)

    assert [each.listener for each in planned] == [CARL, DORA]
    assert {each.rule for each in planned} == {LATER}


def test_it_escalates_by_no_route_that_does_not() -> None:
    assert plan(CRITICAL, EVERYBODY, [TEAM], now=NOW, escalation=TEAM.key) == []


@pytest.mark.parametrize(
    ("rules", "waiting", "turns"),
    [
        # Nothing says when any more: at once.
        ([], {}, [Turn(NOW), Turn(NOW)]),
        ([TEAM], {}, [Turn(NOW), Turn(NOW)]),
        ([LATER], {}, [Turn(NOW), Turn(NOW)]),
        (
            [SUMMARY],
            {},
            [Turn(datetime(2026, 7, 15, 22, tzinfo=UTC), Waits.HOURLY)] * 2,
        ),
        # Together with an open that waits, whatever the rules are by now.
        (
            [TEAM],
            {CARL.lane: Turn(NOW + timedelta(hours=9), Waits.DAILY)},
            [Turn(NOW + timedelta(hours=9), Waits.DAILY), Turn(NOW)],
        ),
        # One that should have gone by now takes the close along.
        (
            [SUMMARY],
            {CARL.lane: Turn(NOW - timedelta(hours=1), Waits.HOURLY)},
            [Turn(datetime(2026, 7, 15, 22, tzinfo=UTC), Waits.HOURLY)] * 2,
        ),
    ],
)
def test_it_tells_the_close_when_the_open_is_told(
    rules: list[Rule], waiting: dict[str, Turn], turns: list[Turn]
) -> None:
    planned = plan_close(CRITICAL, [CARL, DORA], rules, waiting=waiting, now=NOW)

    assert [each.turn for each in planned] == turns


def test_it_reminds_who_was_told_besides_who_hears() -> None:
    planned = plan(CRITICAL, EVERYBODY, [], now=NOW)

    found = remind(planned, [ANA, CARL], CRITICAL, now=NOW)

    assert [each.listener for each in found] == [ANA, BEN, CARL]


def test_it_names_who_would_hear_nothing() -> None:
    assert unreached(EVERYBODY, [TEAM]) == (OPS,)
    assert unreached(EVERYBODY, [PAGER, MORNING]) == (CARL,)


KEYS = st.frozensets(st.integers(1, 3), max_size=3)
CLOCKS = st.sampled_from([Clock(), HOURLY, DAILY])
LISTENERS = st.lists(
    st.builds(
        Listener,
        lane=st.sampled_from([f"p{n}@example.org" for n in range(6)]),
        name=st.just("p"),
        hears_everything=st.booleans(),
        groups=KEYS,
        quiet=st.sampled_from([None, QUIET]),
    ),
    unique_by=lambda each: each.lane,
    max_size=6,
)
COVERAGES = st.builds(
    Coverage,
    kinds=st.frozensets(st.sampled_from([CRITICAL.kind, WARNING.kind]), max_size=2),
    severities=st.frozensets(st.integers(1, 3), max_size=2),
    server=st.sampled_from([None, 3, 4]),
    destination=st.sampled_from([None, 5, 6]),
)
RULES = st.lists(
    st.builds(
        Rule,
        key=st.integers(1, 99),
        name=st.just("r"),
        coverage=COVERAGES,
        groups=KEYS,
        lanes=st.just(frozenset()),
        clock=CLOCKS,
        after=st.sampled_from([None, None, timedelta(minutes=5)]),
    ),
    unique_by=lambda each: each.key,
    max_size=6,
)
ABOUTS = st.sampled_from([CRITICAL, WARNING])


@given(ABOUTS, LISTENERS, RULES)
def test_it_tells_each_once_and_leaves_nobody_out(
    about: About, listeners: list[Listener], rules: list[Rule]
) -> None:
    planned = plan(about, listeners, rules, now=NOW)

    lanes = [each.listener.lane for each in planned]
    assert len(lanes) == len(set(lanes))
    for each in listeners:
        is_reached = each.hears_everything or any(
            rule.after is None and rule.reaches(each) and rule.coverage.covers(about)
            for rule in rules
        )
        assert (each.lane in lanes) is is_reached
    assert all(each.turn.due_at >= NOW for each in planned)


@given(ABOUTS, LISTENERS, RULES)
def test_it_tells_administrators_at_once_but_for_quiet_hours(
    about: About, listeners: list[Listener], rules: list[Rule]
) -> None:
    for each in plan(about, listeners, rules, now=NOW):
        if each.listener.hears_everything and (
            each.listener.quiet is None or about is CRITICAL
        ):
            assert each.turn == Turn(NOW)


@given(ABOUTS, LISTENERS, RULES, RULES)
def test_it_tells_nobody_later_for_having_more_routes(
    about: About, listeners: list[Listener], rules: list[Rule], more: list[Rule]
) -> None:
    before = {
        each.listener.lane: each.turn.due_at
        for each in plan(about, listeners, rules, now=NOW)
    }

    after = {
        each.listener.lane: each.turn.due_at
        for each in plan(about, listeners, [*rules, *more], now=NOW)
    }

    assert all(after[lane] <= due_at for lane, due_at in before.items())


@given(ABOUTS, LISTENERS, RULES)
def test_it_tells_every_close(
    about: About, told: list[Listener], rules: list[Rule]
) -> None:
    planned = plan_close(about, told, rules, waiting={}, now=NOW)

    assert [each.listener for each in planned] == told


# --- reminders and escalation -----------------------------------------------------------

REMINDERS = Reminders()


@pytest.mark.parametrize(
    ("about", "hours", "reminded", "steps"),
    [
        (CRITICAL, 3.99, None, Steps()),
        (CRITICAL, 4, None, Steps(reminds=True)),
        (CRITICAL, 9, 5.5, Steps()),
        (CRITICAL, 9, 5, Steps(reminds=True)),
        (CRITICAL, 0.49, None, Steps()),
        (WARNING, 23.9, None, Steps()),
        (WARNING, 24, None, Steps(reminds=True)),
    ],
)
def test_it_decides_when_to_remind(
    about: About, hours: float, reminded: float | None, steps: Steps
) -> None:
    start = NOW - timedelta(hours=hours)
    standing = Standing(
        about, start, None if reminded is None else start + timedelta(hours=reminded)
    )

    assert decide_steps(standing, [TEAM], REMINDERS, now=NOW) == steps


def test_it_decides_which_routes_are_next() -> None:
    first = Rule(1, "1", after=timedelta(minutes=5))
    second = Rule(2, "2", after=timedelta(minutes=10))
    other = Rule(3, "3", Coverage(server=99), after=timedelta(minutes=5))
    start = NOW - timedelta(minutes=7)

    def steps(*escalated: int) -> tuple[Rule, ...]:
        standing = Standing(CRITICAL, start, escalated=frozenset(escalated))
        return decide_steps(
            standing, [first, second, other], REMINDERS, now=NOW
        ).escalations

    assert steps() == (first,)
    assert steps(1) == ()


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.sampled_from(Change)), max_size=8).map(
        lambda rows: sorted(rows, key=lambda row: row[0])
    ),
    st.integers(1, 1000),
    st.integers(1, 1000),
)
def test_it_replays_what_looking_every_minute_would_find(
    rows: list[tuple[int, Change]], after: int, every: int
) -> None:
    def minute(number: int) -> datetime:
        return NOW + timedelta(minutes=number)

    rule = Rule(1, "1", after=timedelta(minutes=after))
    reminders = Reminders({1: timedelta(minutes=every)})
    changes = [(minute(at), change) for at, change in rows]

    found = replay(
        CRITICAL, changes, [rule], reminders, until=minute(3001), most=10_000
    )

    expected: list[Followed] = []
    start: datetime | None = None
    reminded: datetime | None = None
    escalated: frozenset[int] = frozenset()
    for number in range(3001):
        for at, change in rows:
            if at == number:
                start = minute(number) if change is Change.START else None
                reminded, escalated = None, frozenset()
        if start is None:
            continue
        steps = decide_steps(
            Standing(CRITICAL, start, reminded, escalated),
            [rule],
            reminders,
            now=minute(number),
        )
        if steps.reminds:
            expected.append(Followed(minute(number)))
            reminded = minute(number)
        for each in steps.escalations:
            expected.append(Followed(minute(number), each))
            escalated |= {each.key}
    key = [(each.at, each.rule is None) for each in found]
    assert sorted(key) == sorted((each.at, each.rule is None) for each in expected)
