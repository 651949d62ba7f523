"""Charts: geometry that holds for whatever was recorded, and the pages that draw it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from console.kit.clock import FrozenClock
from storepoints import charts, series
from storepoints.charts import LatencyPoint, Outlook, Period, SpacePoint, TimeAxis
from storepoints.models import (
    Destination,
    Filesystem,
    ProbeSample,
    Resolution,
    SpaceSample,
    StatusChange,
    StorePoint,
)
from storepoints.outlook import forecast_words, full_in, horizon
from storepoints.series import RANGES
from storepoints.states import Reason, State
from tests import factories, people

DAY, HOUR = 86_400, 3600
GB = 10**9
NOON = datetime(2026, 7, 15, 12, 0, tzinfo=UTC)
NOW = NOON.timestamp()
BERLIN = ZoneInfo("Europe/Berlin")


def axis(days: float, *, end: float = NOW, zone: Any = UTC) -> TimeAxis:
    return TimeAxis(end - days * DAY, end, zone)


def labels(found: TimeAxis) -> list[str]:
    return [tick.label for tick in found.ticks()]


def numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", path)]


# --- axes --------------------------------------------------------------------------------


def test_a_day_is_labelled_in_hours_of_the_persons_zone() -> None:
    assert labels(axis(1, zone=BERLIN)) == [
        "15:00",
        "18:00",
        "21:00",
        "Wed 15",
        "03:00",
        "06:00",
        "09:00",
        "12:00",
    ]


def test_an_hour_that_is_skipped_moves_no_label() -> None:
    # On 29 March 2026 clocks in Berlin went from 02:00 to 03:00.
    begin = datetime(2026, 3, 29, tzinfo=BERLIN).timestamp()
    found = TimeAxis(begin, begin + 23 * HOUR, BERLIN)

    places = {tick.label: float(tick.place[:-1]) for tick in found.ticks()}

    assert places["03:00"] == pytest.approx(100 * 2 / 23, abs=0.01)
    assert places["06:00"] == pytest.approx(100 * 5 / 23, abs=0.01)


def test_days_begin_at_midnight_where_clocks_are_set() -> None:
    # On 25 October 2026 a day in Berlin has 25 hours.
    begin = datetime(2026, 10, 24, tzinfo=BERLIN).timestamp()
    end = datetime(2026, 10, 28, tzinfo=BERLIN).timestamp()

    places = [float(tick.place[:-1]) for tick in TimeAxis(begin, end, BERLIN).ticks()]

    hours = [97 * place / 100 for place in places]
    assert hours == pytest.approx([0, 24, 49, 73, 97], abs=0.02)


@pytest.mark.parametrize("chosen", RANGES.values(), ids=lambda each: each.name)
def test_every_range_has_a_few_labels(chosen: series.Range) -> None:
    found = labels(axis(chosen.seconds / DAY, zone=BERLIN))

    assert 3 <= len(found) <= 13
    assert len(found) == len(set(found)) or chosen.name == "5y"


@given(st.floats(1, 1e21))
def test_a_scale_of_sizes_is_round_and_holds_the_most(most: float) -> None:
    top, ticks = charts.size_ticks(most)

    assert top >= most
    assert 2 <= len(ticks) <= charts.MOST_Y_TICKS + 2
    assert all(value <= top for value, _ in ticks)
    assert len({label for _, label in ticks}) == len(ticks) or most < 10


@given(st.floats(1e-6, 100), st.floats(1, 1e6))
def test_a_scale_of_durations_has_labels(least: float, factor: float) -> None:
    low, high, ticks = charts.duration_ticks(least, least * factor)

    assert low < least
    assert high > least * factor
    assert all(low <= value <= high for value, _ in ticks)


# --- plots -------------------------------------------------------------------------------


def space(*used: float, begin: float = NOW - 10 * HOUR) -> list[SpacePoint]:
    return [
        SpacePoint(begin + number * HOUR, each, 1000)
        for number, each in enumerate(used)
    ]


def test_what_was_not_recorded_is_a_gap() -> None:
    points = [*space(100, 200, 300), *space(400, 500, begin=NOW - HOUR)]

    chart = charts.space_chart(points, axis(1), piece=HOUR, now=NOW)

    lines = [shape.path for shape in chart.shapes if shape.kind == "line"]
    assert [path.count("L") for path in lines] == [2, 1]


def test_what_was_rolled_up_is_no_gap() -> None:
    days_before = [
        SpacePoint(NOW - number * DAY, 100, 1000, span=DAY) for number in (4, 3, 2)
    ]
    hours_after = space(200, 300, begin=NOW - DAY)

    chart = charts.space_chart(
        [*days_before, *hours_after], axis(7), piece=HOUR, now=NOW
    )

    assert [shape.kind for shape in chart.shapes].count("line") == 1


def test_a_lone_point_can_be_seen() -> None:
    chart = charts.space_chart(space(100), axis(1), piece=HOUR, now=NOW)

    [line] = [shape.path for shape in chart.shapes if shape.kind == "line"]
    assert line.endswith("h2")


def test_nothing_recorded_is_an_empty_chart() -> None:
    assert charts.space_chart([], axis(1), piece=HOUR, now=NOW).is_empty
    assert charts.latency_chart([], axis(1), piece=HOUR).is_empty
    assert charts.strip([], axis(1)).is_empty


def test_more_used_is_higher_and_later_is_further_right() -> None:
    chart = charts.space_chart(space(0, 500, 1000), axis(1), piece=HOUR, now=NOW)

    [line] = [shape.path for shape in chart.shapes if shape.kind == "line"]
    x1, y1, x2, y2, x3, y3 = numbers(line)
    assert x1 < x2 < x3
    assert y1 == 1000
    assert y1 > y2 > y3 > 0


@given(
    used=st.lists(st.floats(0, 1000), min_size=1, max_size=50),
    ends=st.lists(st.floats(0, 400), min_size=3, max_size=3),
    is_never=st.booleans(),
)
def test_the_outlook_stays_within_the_plot(
    used: list[float], ends: list[float], *, is_never: bool
) -> None:
    early, full, late = (NOW + days * DAY for days in sorted(ends))
    ahead = TimeAxis(NOW - 90 * DAY, NOW + 60 * DAY, UTC)
    outlook = Outlook(full, early, None if is_never else late)

    chart = charts.space_chart(
        space(*used, begin=NOW - len(used) * HOUR),
        ahead,
        piece=HOUR,
        now=NOW,
        outlook=outlook,
    )

    paths = [s.path for s in chart.shapes if s.kind.startswith("forecast")]
    assert len(paths) == 2
    for path in paths:
        assert all(0 <= number <= 1000 for number in numbers(path))
    assert chart.now == 600


def test_the_columns_are_few_and_say_the_figures() -> None:
    points = space(*range(720), begin=NOW - 30 * DAY)

    chart = charts.space_chart(points, axis(30), piece=HOUR, now=NOW)

    assert len(chart.columns) == charts.MOST_COLUMNS
    assert chart.columns[-1].cells[1:] == ("719 B", "72 %", "281 B")
    assert len(chart.head) == len(chart.columns[0].cells)


def test_a_column_of_latency_says_least_mean_and_most() -> None:
    points = [
        LatencyPoint(NOW - 100 * HOUR + number * HOUR, 0.001, 0.002, 0.004)
        for number in range(99)
    ] + [LatencyPoint(NOW - HOUR, 0.001, 0.004, 31.0)]

    chart = charts.latency_chart(points, axis(7), piece=HOUR)

    assert chart.columns[0].cells[1:] == ("1.0 ms", "2.0 ms", "4.0 ms")
    assert chart.columns[-1].cells[1:] == ("1.0 ms", "3.0 ms", "31.0 s")
    [band] = [shape.path for shape in chart.shapes if shape.kind == "band"]
    assert all(0 <= number <= 1000 for number in numbers(band))


# --- the strip ---------------------------------------------------------------------------


def period(begin: float, end: float, state: State = State.ONLINE) -> Period:
    return Period(NOW - begin, NOW - end, state, state.value)


def test_the_share_online_is_never_rounded_up() -> None:
    made = charts.strip(
        [
            period(30 * DAY, 10 * DAY),
            period(10 * DAY, 10 * DAY - 1, State.OFFLINE),
            period(10 * DAY - 1, 0),
        ],
        axis(30),
    )

    assert made.online == "99.99 %"
    assert [(total.words, total.times) for total in made.totals] == [
        ("online", 2),
        ("offline", 1),
    ]
    assert made.totals[-1].share == "< 0.01 %"


def test_what_is_not_known_counts_for_no_share() -> None:
    made = charts.strip(
        [
            period(10 * DAY, 5 * DAY, State.PENDING),
            period(5 * DAY, 3 * DAY, State.UNKNOWN),
            period(3 * DAY, DAY),
            period(DAY, 0, State.DEGRADED),
        ],
        axis(30),
    )

    assert made.online == "100 %"


def test_a_short_failure_is_wide_enough_and_on_top() -> None:
    made = charts.strip(
        [
            period(30 * DAY, 15 * DAY),
            period(15 * DAY, 15 * DAY - 5, State.OFFLINE),
            period(15 * DAY - 5, 0),
        ],
        axis(30),
    )

    assert made.bars[-1].state == State.OFFLINE
    assert float(made.bars[-1].width[:-1]) == charts.LEAST_PERCENT


def test_flapping_is_drawn_in_columns_of_the_worst_state() -> None:
    flaps = [
        period(
            DAY - number * 60,
            DAY - (number + 1) * 60,
            State.OFFLINE if number % 2 else State.ONLINE,
        )
        for number in range(1440)
    ]

    made = charts.strip(flaps, axis(1))

    assert len(made.bars) <= charts.MOST_PERIODS
    assert {bar.state for bar in made.bars} == {State.OFFLINE}
    assert made.online == "50 %"
    assert made.totals[0].times == 720


# --- reading -----------------------------------------------------------------------------


def make_filesystem(server: Any, **fields: Any) -> Filesystem:
    return factories.make_filesystem(
        **{
            "server": server,
            "created_at": NOON,
            "space_at": NOON,
            "total_bytes": 1000 * GB,
            "used_bytes": 400 * GB,
            "free_bytes": 600 * GB,
            **fields,
        }
    )


def add_space(
    filesystem: Filesystem,
    resolution: Resolution,
    *ages: timedelta,
    used: int = 400 * GB,
) -> None:
    SpaceSample.objects.bulk_create(
        SpaceSample(
            filesystem=filesystem,
            resolution=resolution,
            at=NOON - age,
            total_bytes=1000 * GB,
            used_bytes=used,
            free_bytes=1000 * GB - used,
        )
        for age in ages
    )


def add_probes(
    store_point: StorePoint, resolution: Resolution, *ages: timedelta, **fields: Any
) -> None:
    ProbeSample.objects.bulk_create(
        ProbeSample(
            **{
                "store_point": store_point,
                "resolution": resolution,
                "at": NOON - age,
                "probes": 10,
                "failures": 0,
                "writes": 10,
                "latency_least": 0.001,
                "latency_mean": 0.002,
                "latency_most": 0.004,
                **fields,
            }
        )
        for age in ages
    )


def change(
    store_point: StorePoint,
    age: timedelta,
    state: State,
    reason: Reason = Reason.NONE,
) -> None:
    StatusChange.objects.create(
        store_point=store_point,
        at=NOON - age,
        recorded_at=NOON - age,
        state_before="pending",
        state=state,
        reason=reason,
    )


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


def days(number: float) -> timedelta:
    return timedelta(days=number)


@pytest.mark.django_db
@pytest.mark.postgres
def test_a_series_is_pieced_together_from_what_there_is(frozen: FrozenClock) -> None:
    filesystem = make_filesystem(factories.make_server())
    # Hours were kept for two days only; the last is not rolled up yet.
    add_space(filesystem, Resolution.DAY, *(days(n) for n in range(1, 7)), used=1)
    add_space(filesystem, Resolution.HOUR, *(hours(n) for n in range(2, 49)), used=2)
    add_space(filesystem, Resolution.FIVE_MINUTES, hours(1), hours(0.5), used=3)

    points = series.space_points([filesystem.pk], RANGES["7d"], now=NOON)

    assert [point.at for point in points] == sorted(point.at for point in points)
    assert [point.used for point in points] == [1] * 4 + [2] * 47 + [3]


@pytest.mark.django_db
@pytest.mark.postgres
@pytest.mark.parametrize("chosen", RANGES.values(), ids=lambda each: each.name)
def test_a_series_has_at_most_400_points(
    chosen: series.Range, frozen: FrozenClock
) -> None:
    server = factories.make_server()
    store_point = factories.make_store_point(server=server)
    filesystem = make_filesystem(server)
    for resolution, age in (
        (Resolution.FIVE_MINUTES, [timedelta(minutes=5 * n) for n in range(2016)]),
        (Resolution.HOUR, [hours(n) for n in range(2160)]),
        (Resolution.DAY, [days(n) for n in range(1825)]),
    ):
        add_space(filesystem, resolution, *age)
        add_probes(store_point, resolution, *age)

    space_points = series.space_points([filesystem.pk], chosen, now=NOON)
    latencies = series.latency_points(ProbeSample.objects.all(), chosen, now=NOON)

    assert 100 < len(space_points) <= 400
    assert 100 < len(latencies) <= 400


@pytest.mark.django_db
@pytest.mark.postgres
def test_a_sum_has_a_gap_where_one_was_not_read(frozen: FrozenClock) -> None:
    server = factories.make_server()
    first, second = make_filesystem(server), make_filesystem(server)
    add_space(first, Resolution.HOUR, hours(5), hours(4), hours(3), hours(2), used=10)
    add_space(second, Resolution.HOUR, hours(4), hours(2), used=5)

    points = series.space_points([first.pk, second.pk], RANGES["7d"], now=NOON)

    # It was alone at first; later, where the second is missing, nothing is claimed.
    assert [point.used for point in points] == [10, 15, 15]


@pytest.mark.django_db
@pytest.mark.postgres
def test_latencies_of_several_count_as_often_as_was_written(
    frozen: FrozenClock,
) -> None:
    server = factories.make_server()
    quick, slow, other = (factories.make_store_point(server=server) for _ in range(3))
    add_probes(quick, Resolution.HOUR, hours(2), writes=30)
    add_probes(
        slow,
        Resolution.HOUR,
        hours(2),
        latency_least=0.004,
        latency_mean=0.010,
        latency_most=0.5,
    )
    add_probes(other, Resolution.HOUR, hours(2), latency_mean=9.0, latency_most=9.0)

    (point,) = series.latency_points(
        ProbeSample.objects.filter(store_point__in=[quick, slow]),
        RANGES["7d"],
        now=NOON,
    )

    assert (point.least, point.most) == (0.001, 0.5)
    assert point.mean == pytest.approx((30 * 0.002 + 10 * 0.010) / 40)


@pytest.mark.django_db
@pytest.mark.postgres
def test_periods_begin_in_the_state_before_the_range(frozen: FrozenClock) -> None:
    store_point = factories.make_store_point()
    change(store_point, days(90), State.ONLINE)
    change(store_point, days(40), State.OFFLINE, Reason.NOT_MOUNTED)
    change(store_point, days(10), State.ONLINE)

    found = series.periods([store_point], begin=NOON - days(30), now=NOON)

    [offline, online] = found[store_point.pk]
    assert (offline.state, offline.words) == (State.OFFLINE, "Offline: not mounted")
    assert (NOW - offline.begin, NOW - offline.end) == (30 * DAY, 10 * DAY)
    assert (online.state, online.end) == (State.ONLINE, NOW)


@pytest.mark.django_db
@pytest.mark.postgres
def test_a_stale_reading_is_unknown_from_when_it_is(frozen: FrozenClock) -> None:
    store_point = factories.make_store_point(checked_at=NOON - hours(5))
    change(store_point, days(2), State.ONLINE)

    found = series.periods([store_point], begin=NOON - days(30), now=NOON)

    [online, unknown] = found[store_point.pk]
    assert unknown.state == State.UNKNOWN
    assert unknown.begin == online.end == (NOON - hours(5)).timestamp() + 90


@pytest.mark.django_db
@pytest.mark.postgres
def test_it_adds_up_what_a_day_of_probes_wrote(frozen: FrozenClock) -> None:
    store_point = factories.make_store_point(
        tally={"at": int(NOW), "probes": 3, "failures": 0, "writes": 2}
    )
    add_probes(
        store_point, Resolution.FIVE_MINUTES, hours(1), hours(23), hours(25), writes=4
    )
    add_probes(store_point, Resolution.HOUR, hours(2))

    found = series.writes_of_a_day(store_point, now=NOON)

    assert (found.probes, found.writes, found.bytes) == (23, 10, 40_960)


# --- pages -------------------------------------------------------------------------------


def make_past(name: str = "Tank-07", **fields: Any) -> StorePoint:
    """A store point with a week of everything."""
    server = fields.pop("server", None) or factories.make_server()
    filesystem = make_filesystem(server, **fields)
    store_point = factories.make_store_point(name, server=server, filesystem=filesystem)
    ages = [hours(n) for n in range(1, 24 * 8)]
    add_space(filesystem, Resolution.HOUR, *ages)
    add_probes(store_point, Resolution.HOUR, *ages)
    change(store_point, days(8), State.ONLINE)
    change(store_point, days(2), State.OFFLINE, Reason.NOT_MOUNTED)
    change(store_point, days(1), State.ONLINE)
    return store_point


def history_url(of: StorePoint | Destination, query: str = "") -> str:
    return f"{of.get_absolute_url()}history/{query}"


def svgs(content: str) -> list[ET.Element]:
    """Return the charts and strips of a page; ill-formed ones raise ParseError."""
    found = []
    for start in re.finditer(r'<svg class="(?:chart|strip)[" ]', content):
        depth = 0
        for tag in re.finditer(r"<(/?)svg\b", content[start.start() :]):
            depth += -1 if tag[1] else 1
            if not depth:
                end = content.index(">", start.start() + tag.start())
                found.append(ET.fromstring(content[start.start() : end + 1]))
                break
    return found


@pytest.fixture
def viewer(db: None, frozen: FrozenClock) -> Client:
    return people.client_of("viewer")


@pytest.mark.parametrize("query", ["", *(f"?range={name}" for name in RANGES)])
def test_a_store_points_history_is_drawn(viewer: Client, query: str) -> None:
    store_point = make_past()

    content = viewer.get(history_url(store_point, query)).content.decode()

    assert 'data-chart="space"' in content
    assert 'data-chart="latency"' in content
    assert "online " in content
    assert len(svgs(content)) == 3
    assert "400 GB of 1 TB used (40 %)" in content


@pytest.mark.postgres
def test_it_says_the_figures_without_the_picture(viewer: Client) -> None:
    content = viewer.get(history_url(make_past())).content.decode()

    assert 'aria-label="Online 87.5 %, Offline: not mounted 12.5 %"' in content
    assert "A write probe took 2.0 ms on average, 1.0 ms at least" in content
    assert content.count("<summary>Figures</summary>") == 2
    assert "<strong>online 87.5 %</strong>" in content


def test_it_carries_no_style_and_no_script_of_its_own(viewer: Client) -> None:
    content = viewer.get(
        history_url(make_past()), headers={"HX-Request": "true"}
    ).content.decode()

    assert "<html" not in content
    assert "<style" not in content
    assert "<script" not in content
    assert " style=" not in content


def test_the_store_points_page_has_the_history_once(viewer: Client) -> None:
    store_point = make_past()

    page = viewer.get(store_point.get_absolute_url()).content.decode()
    part = viewer.get(
        store_point.get_absolute_url(), headers={"HX-Request": "true"}
    ).content.decode()

    assert page.count('data-chart="space"') == 1
    assert 'hx-trigger="every 60s"' in page
    # What refreshes every two seconds does not draw charts.
    assert "data-chart" not in part


def test_without_a_sample_it_says_when_there_will_be_one(viewer: Client) -> None:
    store_point = factories.make_store_point()

    content = viewer.get(history_url(store_point)).content.decode()

    assert "No check has read the space of a volume yet" in content
    assert "within ten minutes" in content
    assert "the first check begins the strip" in content
    assert 'class="chart ' not in content


def test_before_a_full_week_it_says_from_when_there_is_a_forecast(
    viewer: Client,
) -> None:
    server = factories.make_server()
    filesystem = make_filesystem(server)
    store_point = factories.make_store_point(server=server, filesystem=filesystem)
    add_space(filesystem, Resolution.HOUR, hours(20), hours(1))

    content = viewer.get(history_url(store_point)).content.decode()

    assert "it stands here from Tuesday 21 July, 16:00" in content
    assert "forecast, with its range" not in content


def test_the_forecast_is_drawn_and_said(viewer: Client) -> None:
    store_point = make_past(
        growth_bytes_per_day=10.0 * GB,
        full_at=NOON + days(41),
        full_earliest_at=NOON + days(35),
        full_latest_at=None,
    )

    content = viewer.get(history_url(store_point)).content.decode()

    assert "It grows by about 10 GB a day and will be full in about 41 d" in content
    assert "(in 35 d at the earliest, never at the latest)" in content
    assert "chart-forecast-band" in content


def test_an_unknown_range_is_refused_by_name(viewer: Client) -> None:
    answer = viewer.get(history_url(make_past(), "?range=eternity"))

    assert answer.status_code == 400
    assert "24h, 7d, 30d, 90d, 1y, 5y" in answer.content.decode()


@pytest.mark.postgres
def test_a_destination_has_its_volumes_together_and_each_strip(
    viewer: Client,
) -> None:
    server = factories.make_server()
    make_past("Tank-07", server=server)
    make_past("Tank-08", server=server)

    content = viewer.get(history_url(server.destination)).content.decode()
    page = viewer.get(server.destination.get_absolute_url()).content.decode()

    assert "Space of 2 volumes together" in content
    assert "800 GB of 2 TB used (40 %)" in content
    assert 'data-strip="Tank-07"' in content
    assert 'data-strip="Tank-08"' in content
    assert "Latency of write probes of all store points" in content
    assert 'data-chart="space"' in page
    assert 'data-chart="latency"' in page


@pytest.mark.postgres
def test_ten_store_points_on_one_volume_are_counted_once(viewer: Client) -> None:
    store_point = make_past()
    for _ in range(3):
        factories.make_store_point(
            server=store_point.server, filesystem=store_point.filesystem
        )

    content = viewer.get(history_url(store_point.server.destination)).content.decode()

    assert "400 GB of 1 TB used (40 %)" in content


def test_a_destinations_history_asks_as_often_for_two_as_for_twenty(
    viewer: Client,
) -> None:
    def measured(count: int) -> int:
        server = factories.make_server()
        for number in range(count):
            make_past(f"{server}-{number}", server=server)
        with CaptureQueriesContext(connection) as queries:
            viewer.get(history_url(server.destination))
        return len(queries)

    assert measured(2) == measured(20)


def test_a_week_of_figures_as_csv(viewer: Client) -> None:
    store_point = make_past()

    answer = viewer.get(history_url(store_point, "export/?range=7d"))

    lines = b"".join(answer.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "at,series,least,value,most"
    assert lines[1].startswith("2026-07-08T")
    assert any(",used_bytes,,400000000000," in line for line in lines)
    assert any(",latency_seconds,0.001,0.002,0.004" in line for line in lines)


# --- the column "Full in" ----------------------------------------------------------------


@pytest.mark.postgres
def test_the_overview_sorts_by_when_it_is_full(viewer: Client) -> None:
    for name, age in (("A", 300), ("B", 3), ("C", 41)):
        make_past(
            name, growth_bytes_per_day=1.0 * GB, full_at=NOON + timedelta(days=age)
        )
    factories.make_store_point("D")

    content = viewer.get("/destinations/store-points/?sort=full").content.decode()

    names = re.findall(r'data-name="(\w)"', content)
    assert names == ["B", "C", "A", "D"]
    cells = re.findall(
        r'data-label="Full in" class="cell-number"><span title="([^"]*)">([^<]*)<',
        content,
    )
    assert [cell for _, cell in cells] == ["3 d", "41 d", "10 months", "—"]
    assert cells[-1][0] == "A forecast needs a full week of samples"


def test_full_in_is_said_in_words_that_fit() -> None:
    cases = {
        timedelta(hours=4): "4 h",
        timedelta(days=41): "41 d",
        timedelta(days=150): "5 months",
        timedelta(days=1200): "3 years",
    }

    assert {span: horizon(span) for span in cases} == cases


def test_full_in_has_no_date_without_growth() -> None:
    still = Filesystem(growth_bytes_per_day=-1.0)
    full = Filesystem(growth_bytes_per_day=1.0, free_bytes=0, full_at=NOON)

    assert full_in(None, NOON)[0] == "—"
    assert full_in(still, NOON) == (
        "—",
        "No date: it does not grow, or too little to say",
    )
    assert full_in(full, NOON)[0] == "now"


def test_a_date_that_has_passed_is_no_reading() -> None:
    """A server that fell silent before its date is not known to be full."""
    past = Filesystem(
        growth_bytes_per_day=1.0, free_bytes=7, full_at=NOON - timedelta(minutes=5)
    )

    assert full_in(past, NOON) == ("now", "By the forecast; 7 B were free when read")
    assert forecast_words(past, NOON) == (
        "By the forecast it is full by now; 7 B were free when it was read last."
    )


@pytest.mark.postgres
@pytest.mark.django_db
def test_it_adds_up_sizes_beyond_those_of_an_integer() -> None:
    server = factories.make_server()
    huge = 2**62 + 1
    keys = []
    for number in range(3):
        filesystem = factories.make_filesystem(server=server, identity=f"uuid:{number}")
        SpaceSample.objects.create(
            filesystem=filesystem,
            resolution=Resolution.FIVE_MINUTES,
            at=NOON - timedelta(hours=1),
            total_bytes=huge,
            used_bytes=huge,
            free_bytes=0,
        )
        keys.append(filesystem.pk)

    (point,) = series.space_points(keys, series.RANGES["24h"], now=NOON)

    assert point.used == pytest.approx(3 * huge)
