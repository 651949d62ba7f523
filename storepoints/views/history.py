"""Space, latency and states over time: charts of a store point and a destination."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from console.kit import clock, htmx, humane
from console.kit.access import needs
from console.kit.problems import WrongInput
from console.kit.spreadsheet import csv_response
from storepoints import charts, series
from storepoints.charts import Chart, Outlook, Strip, TimeAxis
from storepoints.models import Destination, Filesystem, ProbeSample, StorePoint
from storepoints.outlook import forecast_words
from storepoints.pieces import DAY, FIVE_MINUTES
from storepoints.series import RANGES, Range

#: What each chart shows when nothing was chosen.
SPACE, LATENCY, STATES = RANGES["90d"], RANGES["7d"], RANGES["30d"]
#: By how much of its range the space chart looks ahead, at most.
AHEAD = 0.75
#: A page shows the strips of so many store points.
MOST_STRIPS = 50


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart or strip with its heading, its words and what stands there without it."""

    name: str
    title: str
    range_label: str
    words: str
    chart: Chart | Strip
    empty: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class NamedStrip:
    """A strip of one of several store points."""

    name: str
    url: str
    strip: Strip


@require_GET
@needs("storepoints.view_storepoint")
def store_point(request: HttpRequest, key: int) -> HttpResponse:
    """Show the history of a store point in the range that was asked for."""
    row = StorePoint.objects.select_related("server", "filesystem").filter(pk=key)
    found = row.first()
    if found is None:
        raise Http404("There is no such store point: it may have been removed.")
    return htmx.render(
        request,
        "storepoints/history.html",
        "storepoints/_history.html",
        {
            "subject": found,
            "history": of_store_point(found, request, now=clock.now()),
        },
    )


@require_GET
@needs("storepoints.view_destination")
def destination(request: HttpRequest, key: int) -> HttpResponse:
    """Show the history of a destination in the range that was asked for."""
    found = get_object_or_404(Destination, pk=key)
    return htmx.render(
        request,
        "storepoints/history.html",
        "storepoints/_history.html",
        {
            "subject": found,
            "history": of_destination(found, request, now=clock.now()),
        },
    )


@require_GET
@needs("storepoints.view_storepoint")
def export(request: HttpRequest, key: int) -> HttpResponseBase:
    """Return the figures below a store point's charts as CSV."""
    row = get_object_or_404(
        StorePoint.objects.select_related("server", "filesystem"), pk=key
    )
    now = clock.now()
    chosen = read_range(request) or SPACE
    keys = [row.filesystem_id] if row.filesystem_id else []
    points = series.space_points(keys, chosen, now=now)
    latencies = series.latency_points(row.probe_samples.all(), chosen, now=now)

    def lines() -> Iterator[tuple[object, ...]]:
        for point in points:
            yield (_iso(point.at), "used_bytes", "", point.used, "")
            yield (_iso(point.at), "free_bytes", "", point.room - point.used, "")
        for latency in latencies:
            yield (
                _iso(latency.at),
                "latency_seconds",
                latency.least,
                latency.mean,
                latency.most,
            )

    return csv_response(
        f"history-{chosen.name}.csv",
        ["at", "series", "least", "value", "most"],
        lines(),
    )


def _iso(at: float) -> str:
    zone = timezone.get_current_timezone()
    return datetime.fromtimestamp(at, zone).isoformat(timespec="seconds")


def read_range(request: HttpRequest) -> Range | None:
    """Return the range of the query string; None for each chart's own.

    Raises WrongInput, naming the ranges, for anything else.
    """
    asked = request.GET.get("range", "")
    if not asked:
        return None
    if asked not in RANGES:
        raise WrongInput(
            f"Expected a range among {', '.join(RANGES)}, found {asked[:40]!r}."
        )
    return RANGES[asked]


def of_store_point(
    row: StorePoint, request: HttpRequest, *, now: datetime
) -> dict[str, Any]:
    """Return what the template needs for a store point; ``row`` has its filesystem."""
    chosen = read_range(request) if _is_history_page(request) else None
    filesystems = [row.filesystem] if row.filesystem else []
    strip_range = chosen or STATES
    begin = now - timedelta(seconds=strip_range.seconds)
    periods = series.periods([row], begin=begin, now=now)[row.pk]
    strip = charts.strip(periods, _axis(strip_range, now))
    return {
        **_frame(chosen, reverse("storepoints:store_point_history", args=[row.pk])),
        "figures": [
            _space_figure(filesystems, chosen or SPACE, now),
            _latency_figure(row.probe_samples.all(), chosen or LATENCY, now),
        ],
        "strips": [NamedStrip("", "", strip)],
        "strip_range": strip_range.label,
        "export_url": reverse("storepoints:export_history", args=[row.pk])
        + (f"?range={chosen.name}" if chosen else ""),
    }


def of_destination(
    row: Destination, request: HttpRequest, *, now: datetime
) -> dict[str, Any]:
    """Return what the template needs for a destination."""
    chosen = read_range(request) if _is_history_page(request) else None
    filesystems = list(
        Filesystem.objects.filter(server__destination=row, store_points__isnull=False)
        # A destination may have hundreds, with kilobytes in each of these.
        .defer("devices", "memory")
        .distinct()
    )
    strip_range = chosen or STATES
    begin = now - timedelta(seconds=strip_range.seconds)
    rows: QuerySet[StorePoint] = StorePoint.objects.filter(
        server__destination=row
    ).order_by("name")
    samples = ProbeSample.objects.filter(store_point__server__destination=row)
    shown = list(rows[: MOST_STRIPS + 1])
    periods = series.periods(shown[:MOST_STRIPS], begin=begin, now=now)
    axis = _axis(strip_range, now)
    return {
        **_frame(chosen, reverse("storepoints:destination_history", args=[row.pk])),
        "figures": [
            _space_figure(filesystems, chosen or SPACE, now),
            _latency_figure(samples, chosen or LATENCY, now, is_shared=True),
        ],
        "strips": [
            NamedStrip(
                each.name,
                each.get_absolute_url(),
                charts.strip(periods[each.pk], axis),
            )
            for each in shown[:MOST_STRIPS]
        ],
        "has_more_strips": len(shown) > MOST_STRIPS,
        "most_strips": MOST_STRIPS,
        "strip_range": strip_range.label,
    }


def _is_history_page(request: HttpRequest) -> bool:
    """Return whether the range in the query string is meant for the charts."""
    match = request.resolver_match
    return match is not None and match.url_name in {
        "store_point_history",
        "destination_history",
    }


def _frame(chosen: Range | None, url: str) -> dict[str, Any]:
    name = chosen.name if chosen else ""
    choices = [("", "Usual"), *((each.name, each.label) for each in RANGES.values())]
    return {
        "url": f"{url}?range={name}" if name else url,
        "pills": [
            {
                "label": label,
                "query": f"{url}?range={value}" if value else url,
                "is_current": value == name,
            }
            for value, label in choices
        ],
    }


def _axis(chosen: Range, now: datetime, *, end: float | None = None) -> TimeAxis:
    return TimeAxis(
        begin=now.timestamp() - chosen.seconds,
        end=end or now.timestamp(),
        zone=timezone.get_current_timezone(),
    )


def _space_figure(
    filesystems: Sequence[Filesystem], chosen: Range, now: datetime
) -> Figure:
    keys = [row.pk for row in filesystems]
    points = series.space_points(keys, chosen, now=now)
    single = filesystems[0] if len(filesystems) == 1 else None
    outlook = _outlook(single) if single else None
    end = now.timestamp()
    if outlook and chosen.seconds >= 7 * DAY:
        # As far ahead as the latest end, and no further than a part of the range.
        furthest = outlook.latest or outlook.full
        end += max(
            0.1 * chosen.seconds,
            min(AHEAD * chosen.seconds, 1.1 * (furthest - now.timestamp())),
        )
    chart = charts.space_chart(
        points,
        _axis(chosen, now, end=end),
        piece=chosen.step,
        now=now.timestamp(),
        outlook=outlook if end > now.timestamp() else None,
    )
    words = []
    if points:
        last, first = points[-1], points[0]
        used = 100 * last.used / last.room if last.room else None
        words.append(
            f"{humane.size(last.used)} of {humane.size(last.room)} used "
            f"({humane.percent(used)}), {humane.size(abs(last.used - first.used))} "
            f"{'more' if last.used >= first.used else 'less'} than at the beginning."
        )
    words += _forecast_words(filesystems, now)
    is_sum = len(filesystems) > 1
    together = f" of {humane.counted(len(filesystems), 'volume')} together"
    return Figure(
        name="space",
        title=f"Space{together if is_sum else ''}",
        range_label=chosen.label,
        words=" ".join(words),
        chart=chart,
        empty=(
            "The first sample stands here within ten minutes of a check that could "
            "read the space."
            if filesystems
            else "No check has read the space of a volume yet."
        ),
        note="Where one of the volumes was not read there is a gap." if is_sum else "",
    )


def _outlook(filesystem: Filesystem) -> Outlook | None:
    if filesystem.full_at is None:
        return None
    earliest = filesystem.full_earliest_at or filesystem.full_at
    latest = filesystem.full_latest_at
    return Outlook(
        filesystem.full_at.timestamp(),
        earliest.timestamp(),
        latest.timestamp() if latest else None,
    )


def _forecast_words(filesystems: Sequence[Filesystem], now: datetime) -> list[str]:
    """Return the forecast in a sentence, of the first that will be full if several."""
    if len(filesystems) == 1:
        return [forecast_words(filesystems[0], now)]
    dated = [row for row in filesystems if row.full_at is not None]
    if not dated:
        return []
    first = min(dated, key=lambda row: row.full_at or now)
    words = forecast_words(first, now)
    return [f"First of them, {first.mount_point}: {words[:1].lower()}{words[1:]}"]


def _latency_figure(
    samples: QuerySet[ProbeSample],
    chosen: Range,
    now: datetime,
    *,
    is_shared: bool = False,
) -> Figure:
    points = series.latency_points(samples, chosen, now=now)
    chart = charts.latency_chart(points, _axis(chosen, now), piece=chosen.step)
    words = ""
    if points:
        mean = sum(point.mean for point in points) / len(points)
        words = (
            f"A write probe took {humane.duration(mean)} on average, "
            f"{humane.duration(min(point.least for point in points))} at least and "
            f"{humane.duration(max(point.most for point in points))} at most."
        )
    return Figure(
        name="latency",
        title=f"Latency of write probes{' of all store points' if is_shared else ''}",
        range_label=chosen.label,
        words=words,
        chart=chart,
        empty=(
            "The first write probes stand here within ten minutes: "
            f"a point is made of {FIVE_MINUTES // 60} minutes of them."
        ),
        note="The scale is logarithmic.",
    )
