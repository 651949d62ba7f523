"""What is chosen for the kinds of alerts, and what holds by it: alerts.settings."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.catalogue import KINDS, Parameter
from alerts.engine import Severity
from alerts.settings import (
    CRITICALLY_LOW,
    FILLING,
    LOW,
    MOST_DELAY,
    OFFLINE,
    SLOW,
    STALE,
    Choice,
    Settings,
)
from storepoints.rules import DEFAULT

BERLIN, HAMBURG = 1, 2


def numbers(**values: float) -> Choice:
    return Choice(parameters=values)


def test_it_judges_as_the_engine_does_while_nothing_is_chosen() -> None:
    assert Settings({}).rules() == DEFAULT
    assert Settings({}).rules(BERLIN) == DEFAULT
    assert list(Settings({}).contradictions()) == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_it_has_defaults_that_could_be_chosen(kind: Any) -> None:
    for parameter in kind.parameters:
        if parameter.is_changeable:
            assert parameter.can_be(parameter.value), parameter


def test_it_inherits_what_a_destination_has_not_chosen() -> None:
    settings = Settings(
        {LOW: Choice(is_mailed=False, delay_seconds=600, parameters={"percent": 20.0})},
        {
            (BERLIN, LOW): Choice(severity=Severity.LOW, parameters={"hours": 8.0}),
            (HAMBURG, LOW): Choice(is_mailed=True, delay_seconds=0),
        },
    )

    everywhere, berlin, hamburg = (
        settings.of(LOW, place) for place in (None, BERLIN, HAMBURG)
    )

    assert (everywhere.is_mailed, berlin.is_mailed, hamburg.is_mailed) == (0, 0, 1)
    assert [each.delay for each in (everywhere, berlin, hamburg)] == [
        timedelta(minutes=10),
        timedelta(minutes=10),
        timedelta(0),
    ]
    assert [each.severity for each in (everywhere, berlin, hamburg)] == [
        Severity.WARNING,
        Severity.LOW,
        Severity.WARNING,
    ]
    assert settings.rules(BERLIN).space.low_percent == 20
    assert settings.rules(BERLIN).space.low_hours == 8
    assert settings.rules(HAMBURG).space.low_hours == 24
    assert settings.of(CRITICALLY_LOW, BERLIN).is_mailed


def test_it_lets_bytes_follow_the_share_until_they_are_chosen() -> None:
    follows = Settings({LOW: numbers(percent=20)})
    chosen = Settings({LOW: numbers(percent=20, bytes=150)})

    assert follows.of(LOW).numbers["bytes"] == 200
    assert follows.of(LOW).numbers["clear"] == 25
    assert follows.rules().space.low_bytes is None
    assert chosen.of(LOW).numbers["bytes"] == 150
    assert chosen.rules().space.low_bytes == 150e9


def test_it_writes_the_numbers_that_hold_into_the_texts() -> None:
    told = Settings({LOW: numbers(percent=20)}).of(LOW).told

    assert "Less than 20 % of the volume" in told.cause
    assert "200 GB of 1 TB" in told.cause
    assert any("At least 25 %" in step.text for step in told.confirm_resolved)
    assert "Less than 10 % of the volume" in KINDS[LOW].cause


def test_it_gives_every_number_to_what_judges_by_it() -> None:
    rules = Settings(
        {
            OFFLINE: numbers(failures=5, retry=20, successes=1),
            SLOW: numbers(times=3, floor=100, count=8, window=12, learn=2),
            FILLING: numbers(hours=12, percent=40, wait=30),
            "store-point-low-on-inodes": numbers(percent=3, number=500),
            STALE: numbers(days=5),
            "device-backup-critical": numbers(days=30),
        }
    ).rules()

    assert rules.belief.failures_until_believed == 5
    assert rules.belief.retry_seconds == 20
    assert rules.belief.successes_until_well == 1
    assert (rules.latency.times, rules.latency.floor_seconds) == (3, 0.1)
    assert (rules.latency.raise_count, rules.latency.window) == (8, 12)
    assert (rules.latency.hold_count, rules.latency.learn_seconds) == (4, 7200)
    assert (rules.space.filling_hours, rules.space.filling_percent) == (12, 40)
    assert rules.space.filling_soon_seconds == 1800
    assert (rules.space.low_inodes_percent, rules.space.low_inodes) == (3, 500)
    assert (rules.archives.warning_days, rules.archives.critical_days) == (5, 30)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (
            {CRITICALLY_LOW: numbers(percent=12)},
            "Store point critically low on space, free share below 12 %: expected less "
            "than Store point low on space, free share below 10 %.",
        ),
        (
            {LOW: numbers(percent=5)},
            "free share below 5 %: expected less than Store point low on space, free "
            "share below 5 %.",
        ),
        (
            {LOW: numbers(bytes=50)},
            "free space of 1 TB below 50 GB: expected less than",
        ),
        ({LOW: numbers(hours=3)}, "or full within 4 h: expected no more than"),
        ({LOW: numbers(percent=50)}, "expected less than Store point filling up"),
        (
            {STALE: numbers(days=7)},
            "Device backup warning, archives not changed for 7 days: expected less than "
            "Device backup critical, archives not changed for 7 days.",
        ),
        (
            {SLOW: numbers(count=11)},
            "in at least 11: expected no more than Store point",
        ),
    ],
)
def test_it_says_which_numbers_do_not_fit(
    choices: dict[str, Choice], words: str
) -> None:
    found = [each.words for each in Settings(choices).contradictions()]

    assert any(words in each for each in found), found


def test_it_finds_what_does_not_fit_in_one_destination_alone() -> None:
    settings = Settings(
        {LOW: numbers(percent=7)}, {(BERLIN, CRITICALLY_LOW): numbers(percent=8)}
    )

    found = {each.destination for each in settings.contradictions()}

    assert found == {BERLIN}


@pytest.mark.parametrize(
    ("kind", "choice", "words"),
    [
        (
            LOW,
            numbers(percent=120),
            "free share below: found 120, expected a number fr",
        ),
        (
            LOW,
            numbers(percent=math.nan),
            "found nan, expected a number from 0.1 to 50 %",
        ),
        (
            LOW,
            numbers(clear=20),
            "found a number “clear”, expected percent or bytes or",
        ),
        ("drive-failing", numbers(percent=5), "a number “percent”, expected none"),
        (
            OFFLINE,
            numbers(failures=1.5),
            "believed after: found 1.5, expected a whole number from 1 to 100 failures",
        ),
        (
            LOW,
            Choice(delay_seconds=604_801),
            "after: found 604801 s, expected from 0 s",
        ),
        (LOW, Choice(delay_seconds=-1), "after: found -1 s, expected from 0 s"),
    ],
)
def test_it_refuses_what_cannot_be_and_says_what_was_expected(
    kind: str, choice: Choice, words: str
) -> None:
    assert any(words in each for each in choice.refusals(KINDS[kind]).values())


def values_of(parameter: Parameter) -> st.SearchStrategy[float]:
    assert parameter.least is not None
    assert parameter.most is not None
    if parameter.is_whole:
        whole = st.integers(math.ceil(parameter.least), int(parameter.most))
        return whole.map(float)
    return st.floats(parameter.least, parameter.most)


def choices_of(kind: str) -> st.SearchStrategy[Choice]:
    changeable = {
        each.name: values_of(each)
        for each in KINDS[kind].parameters
        if each.is_changeable
    }
    return st.builds(
        Choice,
        is_shown=st.sampled_from([None, True, False]),
        is_mailed=st.sampled_from([None, True, False]),
        severity=st.sampled_from([None, *Severity]),
        delay_seconds=st.none() | st.integers(0, int(MOST_DELAY.total_seconds())),
        parameters=st.fixed_dictionaries({}, optional=changeable),
    )


everything = st.fixed_dictionaries(
    {}, optional={kind: choices_of(kind) for kind in KINDS}
)


@given(everything, everything)
def test_it_holds_what_was_chosen_and_else_what_is_inherited(
    chosen: dict[str, Choice], own: dict[str, Choice]
) -> None:
    settings = Settings({}).changed(chosen).changed(own, BERLIN)

    for slug, kind in KINDS.items():
        assert chosen.get(slug, Choice()).refusals(kind) == {}
        everywhere, berlin = settings.of(slug), settings.of(slug, BERLIN)
        assert settings.of(slug, HAMBURG) == everywhere
        for choice, setting, usual in (
            (chosen.get(slug, Choice()), everywhere, Settings({}).of(slug)),
            (own.get(slug, Choice()), berlin, everywhere),
        ):
            for name in ("is_shown", "is_mailed", "severity"):
                value = getattr(choice, name)
                expected = getattr(usual, name) if value is None else value
                assert getattr(setting, name) == expected
            for name, value in choice.parameters.items():
                assert setting.numbers[name] == value
    # What is said again is no change, and nothing chosen is as at first.
    assert settings.changed(chosen).choices == settings.choices
    nothing = dict.fromkeys(KINDS, Choice())
    emptied = settings.changed(nothing, BERLIN).changed(nothing)
    assert emptied.rules(BERLIN) == DEFAULT
    assert emptied.overrides == {}
