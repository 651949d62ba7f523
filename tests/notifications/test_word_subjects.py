"""The words of a subject: right for 0, 1, 2 and many, and safe in a header."""

from __future__ import annotations

import unicodedata
from email.header import Header

from hypothesis import given
from hypothesis import strategies as st

from alerts.engine import Severity
from notifications.words import SUBJECT_LENGTH, Told, one_line, subject


def told(
    name: str = "Tank-07",
    severity: Severity = Severity.CRITICAL,
    *,
    cleared: bool = False,
    back: bool = False,
) -> Told:
    return Told(
        text=f"Store point is unavailable: {name}",
        name=name,
        severity=severity,
        is_cleared=cleared,
        has_come_back=back,
    )


def test_it_names_the_one_alert() -> None:
    assert subject([told()]) == "[Critical] Store point is unavailable: Tank-07"


def test_it_names_the_one_alert_that_cleared() -> None:
    line = subject([told(cleared=True)])

    assert line == "[Cleared] Store point is unavailable: Tank-07"


def test_it_says_that_one_came_back() -> None:
    line = subject([told(back=True)])

    assert line == "[Critical] Store point is unavailable: Tank-07 (came back)"


def test_it_counts_two() -> None:
    assert subject([told("a"), told("b")]) == "[Critical] 2 alerts: a and b"


def test_it_counts_twelve_and_names_three() -> None:
    alerts = [told(f"Tank-{number:02}") for number in range(1, 13)]

    line = subject(alerts)

    assert line == "[Critical] 12 alerts: Tank-01, Tank-02, Tank-03 and 9 more"


def test_it_takes_the_worst_severity_of_what_is_open() -> None:
    alerts = [told("a", Severity.LOW), told("b", Severity.WARNING)]

    assert subject(alerts) == "[Warning] 2 alerts: b and a"
    assert subject([told("c", cleared=True), *alerts]).startswith("[Warning] ")


def test_it_counts_what_cleared_beside_what_is_open() -> None:
    line = subject([told("a"), told("b", cleared=True), told("c", cleared=True)])

    assert line == "[Critical] Store point is unavailable: a (2 cleared)"


def test_it_counts_what_cleared_alone() -> None:
    line = subject([told("a", cleared=True), told("b", cleared=True)])

    assert line == "[Cleared] 2 alerts: a and b"


def test_it_has_words_for_nothing() -> None:
    assert subject([]) == "[Cleared] 0 alerts"


def test_it_keeps_emoji_and_takes_out_what_turns_the_direction() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f466"

    assert one_line(f"a {family} b") == f"a {family} b"
    assert one_line("x\u202egnp.exe") == "xgnp.exe"


@given(st.lists(st.text(max_size=300), min_size=1, max_size=6), st.booleans())
def test_it_is_one_short_line_whatever_the_names(
    names: list[str], cleared: bool
) -> None:
    line = subject([told(name, cleared=cleared) for name in names])

    assert len(line) <= SUBJECT_LENGTH + 10
    assert not any(unicodedata.category(each) in {"Cc", "Cs", "Zl"} for each in line)
    assert "\n" not in str(Header(line, "utf-8"))


def test_it_cuts_ten_thousand_characters() -> None:
    line = subject([told("x" * 10_000)])

    assert line.startswith("[Critical] Store point is unavailable: xxx")
    assert line.endswith("…")
    assert len(line) <= SUBJECT_LENGTH
