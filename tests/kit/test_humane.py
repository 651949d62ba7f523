"""Numbers and times as people say them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.template import Context, Template
from hypothesis import given
from hypothesis import strategies as st

from console.kit import clock, humane


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (48 * 3600 - 1, "47 h"),
        (48 * 3600, "2 d"),
        (400 * 86400, "400 d"),
    ],
)
def test_it_says_a_span_in_one_unit(seconds: float, words: str) -> None:
    assert humane.elapsed(seconds) == words
    assert humane.elapsed(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (None, "—"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1500, "1.5 kB"),
        (410 * 10**9, "410 GB"),
        (5_200_000_000_000, "5.2 TB"),
        (999_999_999_999, "1 TB"),
        (16 * 10**12, "16 TB"),
        (10**30, "1000000000000 EB"),
    ],
)
def test_it_says_sizes_in_decimal_units(number: int | None, words: str) -> None:
    assert humane.size(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "—"),
        (0, "0.0 ms"),
        (0.00002, "< 0.1 ms"),
        (0.0002, "0.2 ms"),
        (0.041, "41 ms"),
        (1.3, "1.3 s"),
        (125, "2 min"),
    ],
)
def test_it_says_how_long_something_took(seconds: float | None, words: str) -> None:
    assert humane.duration(seconds) == words


@given(st.integers(min_value=0, max_value=10**20))
def test_it_says_sizes_in_at_most_five_characters_and_a_unit(number: int) -> None:
    value, unit = humane.size(number).split(" ")

    assert len(value) <= 5
    assert unit in {"B", "kB", "MB", "GB", "TB", "PB", "EB"}


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 %"), (73.6, "74 %"), (99.7, "99 %"), (100, "100 %"), (None, "—")],
)
def test_it_never_rounds_up_to_full(number: float | None, words: str) -> None:
    assert humane.percent(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 alerts"), (1, "1 alert"), (2, "2 alerts"), (12408, "12,408 alerts")],
)
def test_it_counts(number: int, words: str) -> None:
    assert humane.counted(number, "alert") == words


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d"], "a, b, c and 1 more"),
    ],
)
def test_it_lists_names(names: list[str], words: str) -> None:
    assert humane.listed(names) == words


def test_it_shows_an_instant_in_the_persons_zone(frozen: clock.FrozenClock) -> None:
    from django.utils import timezone

    instant = frozen() - timedelta(minutes=2)
    template = Template('{% load humane %}{% ago at " ago" %}|{% at at %}')

    with timezone.override(ZoneInfo("Asia/Kathmandu")):
        shown = template.render(Context({"at": instant}))

    ago, exact = shown.split("|")
    assert ">2 min ago</time>" in ago
    assert "data-elapsed" in ago
    assert 'datetime="2026-07-15T17:43:00+05:45"' in exact
    assert 'title="Wednesday 15 July 2026, 17:43:00 +0545"' in exact
    assert ">17:43:00</time>" in exact


def test_it_shows_the_date_of_what_was_not_today(frozen: clock.FrozenClock) -> None:
    template = Template("{% load humane %}{% at at %}")

    shown = template.render(Context({"at": datetime(2026, 7, 1, 9, 5, tzinfo=UTC)}))

    assert ">2026-07-01 09:05:00</time>" in shown


def test_it_shows_a_dash_for_never() -> None:
    template = Template("{% load humane %}{% ago at %}{% at at %}{{ at|elapsed }}")

    assert template.render(Context({"at": None})) == "———"
