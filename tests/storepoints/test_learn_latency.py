"""What is usual for a store point's writes: properties of storepoints.engine."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storepoints.engine import LATENCY_RULE, Baseline, learn_latency

START = datetime(2026, 3, 1, 14, 2, tzinfo=UTC)
DAY_OF_PROBES = 24 * 3600 // 30


def learn(
    latencies: Iterable[float],
    *,
    after: Baseline | None = None,
    step_seconds: float = 30,
) -> tuple[Baseline, int]:
    """Return what was learnt, and after how many writes it was slow first; -1: never."""
    baseline = after or Baseline()
    at = datetime.fromtimestamp(baseline.at, UTC) if after else START
    first = -1
    for number, seconds in enumerate(latencies):
        at += timedelta(seconds=step_seconds)
        baseline = learn_latency(baseline, seconds, at, LATENCY_RULE)
        if baseline.is_slow and first < 0:
            first = number
    return baseline, first


@cache
def learnt(usual: float = 0.1, *, noise: float = 0.3, days: float = 1.1) -> Baseline:
    """What was learnt of a store point that is about so fast."""
    dice = random.Random(7)
    count = int(days * DAY_OF_PROBES)
    return learn(usual * dice.lognormvariate(0, noise) for _ in range(count))[0]


@pytest.mark.parametrize("usual", [0.0005, 0.02, 0.3, 2.0])
def test_it_learns_what_is_usual(usual: float) -> None:
    baseline = learnt(usual)

    assert baseline.usual_seconds == pytest.approx(usual, rel=0.1)
    assert baseline.log_deviation == pytest.approx(0.3, rel=0.2)


@given(st.floats(1e-5, 4.9), st.sampled_from([30, 600, 3600]))
@settings(max_examples=25, deadline=None)
def test_it_never_alarms_while_latency_is_constant(
    seconds: float, step_seconds: float
) -> None:
    count = int(2 * 24 * 3600 / step_seconds)

    _, first = learn([seconds] * count, step_seconds=step_seconds)

    assert first == -1


@given(st.floats(0.03, 0.4), st.floats(10, 100))
@settings(max_examples=20, deadline=None)
def test_it_alarms_soon_after_a_tenfold_step(usual: float, times: float) -> None:
    _, first = learn([usual * times] * 10, after=learnt(usual, noise=0.2))

    assert first == LATENCY_RULE.raise_count - 1


@given(st.floats(1.5, 4.5))
@settings(max_examples=10, deadline=None)
def test_it_makes_nothing_of_a_small_step(times: float) -> None:
    _, first = learn([0.1 * times] * 120, after=learnt(0.1, noise=0.2))

    assert first == -1


def test_it_makes_nothing_of_what_is_short_for_anybody() -> None:
    # A hundred times the usual, but no person would notice.
    _, first = learn([0.1] * 100, after=learnt(0.001))

    assert first == -1


def test_it_says_nothing_on_the_first_day() -> None:
    half_a_day = [0.01] * (DAY_OF_PROBES // 2)
    slow = [1.0] * (DAY_OF_PROBES // 2 - 5)

    _, first = learn([*half_a_day, *slow])

    assert first == -1


def test_it_says_nothing_after_a_few_writes_however_far_apart() -> None:
    _, first = learn([0.01] * 5 + [3.0] * 10, step_seconds=86_400)

    assert first == -1


@pytest.mark.parametrize("step_seconds", [5, 30, 300])
def test_it_does_not_chase_a_step_within_an_hour(step_seconds: float) -> None:
    before = learnt(0.1)
    writes = int(3600 / step_seconds)

    after, _ = learn([1.0] * writes, after=before, step_seconds=step_seconds)

    assert after.is_slow
    assert after.usual_seconds < 1.2 * before.usual_seconds


def test_it_takes_a_new_usual_over_in_some_days() -> None:
    after, _ = learn([1.0] * (4 * DAY_OF_PROBES), after=learnt(0.1))

    assert not after.is_slow
    assert after.usual_seconds > 0.5


@pytest.mark.parametrize("spike", [0.5, 30.0])
def test_it_is_not_taught_by_a_spike(spike: float) -> None:
    before = learnt(0.1)

    after, first = learn([spike], after=before)

    assert first == -1
    assert after.usual_seconds == pytest.approx(before.usual_seconds, rel=0.01)


def test_it_clears_when_writes_are_clearly_faster_again() -> None:
    slow, _ = learn([1.0] * 10, after=learnt(0.1))
    still, _ = learn([0.45] * 50, after=slow)
    better, _ = learn([0.1] * 8, after=slow)

    assert slow.is_slow
    assert still.is_slow
    assert not better.is_slow


@given(st.lists(st.floats(0.31, 0.49), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_it_changes_at_most_once_between_raise_and_clear(
    latencies: list[float],
) -> None:
    """Usual 100 ms: slow above 500 ms, over below 300 ms."""
    quiet = learnt(0.1, noise=0.05)
    slow, _ = learn([1.0] * 10, after=quiet)

    for first in (quiet, slow):
        baseline, changes = first, 0
        for latency in latencies:
            after, _ = learn([latency], after=baseline)
            changes += after.is_slow != baseline.is_slow
            baseline = after

        assert changes <= 1


@given(
    st.lists(st.floats(0, 1e6), max_size=30),
    st.lists(st.floats(-1e5, 1e5), min_size=30, max_size=30),
)
def test_it_survives_any_clock_and_any_latency(
    latencies: list[float], steps: list[float]
) -> None:
    baseline = Baseline()
    at = START
    for seconds, step in zip(latencies, steps, strict=False):
        at += timedelta(seconds=step)
        baseline = learn_latency(baseline, seconds, at, LATENCY_RULE)

    assert Baseline(**json.loads(json.dumps(asdict(baseline)))) == baseline
    assert baseline.log_deviation > 0
    assert len(baseline.recent) <= LATENCY_RULE.window
