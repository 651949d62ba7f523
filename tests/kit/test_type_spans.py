"""Spans as people type them: console.kit.spans."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.kit import spans


@given(st.integers(0, 10**7))
def test_it_reads_what_it_writes(seconds: int) -> None:
    span = timedelta(seconds=seconds)

    assert spans.read(spans.in_words(span)) == span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90 s", 90),
        ("90s", 90),
        (" 1 H 30 Min ", 5400),
        ("2h", 7200),
        ("7 d", 604_800),
        ("0", 0),
        ("at once", 0),
        ("0 min", 0),
    ],
)
def test_it_reads_a_span(text: str, seconds: int) -> None:
    assert spans.read(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["30", "", "soon", "1.5 h", "-5 min", "5 m", "1 h 1 h", "5 min!", "9" * 40 + " s"],
)
def test_it_takes_nothing_else_for_one(text: str) -> None:
    assert spans.read(text) is None


@given(st.text(max_size=30))
def test_it_reads_any_text_without_failing(text: str) -> None:
    span = spans.read(text)

    assert span is None or span >= timedelta(0)
