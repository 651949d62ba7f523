"""What an answer means, how long to wait after it, and how a budget is spent."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.engine import (
    CHANNEL_LAST_RETRY,
    MOST_RETRY_AFTER,
    Scope,
    back_off,
    distance,
    judge_status,
    read_retry_after,
)
from notifications.transports import apprise
from notifications.transports.masking import MASKED, Mask

NOW = datetime(2026, 7, 15, 12, 0, tzinfo=UTC)
GROUP = timedelta(seconds=30)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_it_takes_2xx_for_sent(status: int) -> None:
    assert judge_status(status, "", retry_after=None) is None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_it_tries_again_what_is_about_now(status: int) -> None:
    problem = judge_status(status, "words", retry_after=GROUP)

    assert problem is not None
    assert not problem.is_permanent
    assert problem.retry_after == GROUP
    # It may have been taken: the same message goes again under the same id.
    assert not problem.is_certain


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_it_closes_a_channel_that_is_gone(status: int) -> None:
    problem = judge_status(status, "words", retry_after=None)

    assert problem is not None
    assert (problem.is_permanent, problem.scope) == (True, Scope.SERVER)


@pytest.mark.parametrize("status", [300, 304, 400, 405, 409, 413, 415, 422, 431, 451])
def test_it_fails_only_the_message_for_the_rest(status: int) -> None:
    problem = judge_status(status, "words", retry_after=None)

    assert problem is not None
    assert (problem.is_permanent, problem.scope) == (True, Scope.RECIPIENT)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("9" * 40, MOST_RETRY_AFTER.total_seconds()),
        ("Wed, 15 Jul 2026 12:05:00 GMT", 300),
        ("Wed, 15 Jul 2026 11:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MOST_RETRY_AFTER.total_seconds()),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("Wed, 99 Foo 2026", None),
        ("Wed, 15 Jul 2026 99999999999999:05:00 GMT", None),
    ],
)
def test_it_reads_how_long_to_wait(text: str, seconds: float | None) -> None:
    found = read_retry_after(text, now=NOW)

    assert (found.total_seconds() if found is not None else None) == seconds


@given(st.text(max_size=60))
def test_it_reads_any_header_without_failing(text: str) -> None:
    found = read_retry_after(text, now=NOW)

    assert found is None or timedelta(0) <= found <= MOST_RETRY_AFTER


@given(st.integers(1, 1000), st.floats(0, 1))
def test_it_never_waits_longer_than_a_channel_may(attempts: int, jitter: float) -> None:
    wait = back_off(attempts, jitter=jitter, most=CHANNEL_LAST_RETRY)

    assert timedelta(seconds=29) < wait <= CHANNEL_LAST_RETRY


@pytest.mark.parametrize(
    ("used", "per_hour", "seconds"),
    [
        (0, 60, 30),
        (29, 60, 30),
        (30, 60, 120),
        (59, 60, 120),
        (60, 60, None),
        (0, 1, 3600),
        (1, 1, None),
        (0, 2, 30),
        (1, 2, 3600),
        (0, 3600, 30),
        (3599, 3600, 30),
    ],
)
def test_it_spreads_a_budget(used: int, per_hour: int, seconds: int | None) -> None:
    found = distance(used, per_hour=per_hour, group=GROUP)

    assert found == (timedelta(seconds=seconds) if seconds is not None else None)


@given(st.integers(1, 200))
def test_it_keeps_to_a_budget_in_a_storm_that_does_not_end(per_hour: int) -> None:
    sent: list[float] = []
    for second in range(0, 3 * 3600, 10):
        used = sum(at > second - 3600 for at in sent)
        wait = distance(used, per_hour=per_hour, group=GROUP)
        if wait is None or (sent and second - sent[-1] < wait.total_seconds()):
            continue
        sent.append(second)

    for at in sent:
        assert sum(at <= each < at + 3600 for each in sent) <= per_hour
    # And nobody hears nothing for longer than the rest of the budget is spread.
    gaps = [later - at for at, later in itertools.pairwise(sent)]
    assert max(gaps, default=0) <= 3600 / (per_hour - per_hour // 2) + 3610 / per_hour


def test_it_masks_every_part_of_an_address() -> None:
    mask = Mask(
        "slack://T1JJ3T3L2/A1BRTD4JD%2F/TIiajkdnlazkcOXrIdevi7FQ/#ops", "k3y-k3y"
    )

    masked = mask.over(
        "POST /services/T1JJ3T3L2/a1brtd4jd//TIiajkdnlazkcOXrIdevi7FQ as k3y-k3y: 404"
    )

    assert "T1JJ3T3L2" not in masked
    assert "a1brtd4jd" not in masked
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in masked
    assert "k3y-k3y" not in masked
    assert MASKED in masked
    assert masked.endswith(": 404")


def test_it_leaves_what_may_be_shown() -> None:
    mask = Mask("https://hooks.example.org/T1JJ3T3L2")

    shown = mask.over(
        "https://hooks.example.org answered 404", "https://hooks.example.org"
    )

    assert shown == "https://hooks.example.org answered 404"


def test_it_masks_a_password_as_it_travels() -> None:
    mask = Mask("https://ana:s3cret%21@hooks.example.org/hook")

    masked = mask.over("401 you sent Basic YW5hOnMzY3JldCE= to me")

    assert masked == f"401 you sent Basic {MASKED} to me"


@pytest.mark.parametrize("cut", ["TIiajkdnlazk", "TIiajkdnlazk…", "tiIAJKDNLAZK… more"])
def test_it_masks_what_is_left_of_a_secret_that_was_cut(cut: str) -> None:
    mask = Mask("https://hooks.example.org/TIiajkdnlazkcOXrIdevi7FQ")

    masked = mask.over(f"no such hook: {cut}")

    assert masked == f"no such hook: {cut.lower().replace('tiiajkdnlazk', MASKED)}"


@pytest.mark.parametrize(("is_broken", "is_permanent"), [(False, True), (True, False)])
def test_it_judges_a_service_by_its_last_request(
    *, is_broken: bool, is_permanent: bool
) -> None:
    answer = {
        "problem": "",
        "refused": "",
        "statuses": [404],
        "retry_after": "",
        "is_broken": is_broken,
        "is_certain": True,
    }

    problem = apprise._problem(answer, "Matrix", "", Mask("matrix://host"))

    assert problem.is_permanent is is_permanent
