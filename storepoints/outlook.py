"""The forecast of a filesystem in words, for pages and lists."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from console.kit import humane
from storepoints import series
from storepoints.models import Filesystem
from storepoints.pieces import DAY


def forecast_words(filesystem: Filesystem, now: datetime) -> str:
    """Return when a filesystem will be full, or why that is not said."""
    growth = filesystem.growth_bytes_per_day
    if growth is None:
        first = series.first_space_at([filesystem.pk])
        if first is None:
            return "A forecast needs a full week of samples."
        ready = timezone.localtime(first + timedelta(days=7))
        if ready > now:
            return (
                "A forecast needs a full week of samples: it stands here from "
                f"{ready:%A} {ready.day} {ready:%B}, {ready:%H:%M}."
            )
        return "A forecast needs a full week of samples without long gaps."
    if filesystem.full_at is None:
        if growth <= 0:
            return "It does not grow from week to week, so there is no date."
        return (
            f"It grows by about {humane.size(growth)} a day, too little or too "
            "unevenly for a date."
        )
    if filesystem.full_at <= now:
        if filesystem.free_bytes:
            return (
                f"By the forecast it is full by now; {humane.size(filesystem.free_bytes)}"
                " were free when it was read last."
            )
        return "It is full."
    grows = f"It grows by about {humane.size(growth)} a day"
    return f"{grows} and will be full in {_range_words(filesystem, now)}."


def _range_words(filesystem: Filesystem, now: datetime) -> str:
    full_at = filesystem.full_at or now
    earliest = filesystem.full_earliest_at or full_at
    latest = filesystem.full_latest_at
    end = horizon(latest - now) if latest else "never"
    local = timezone.localtime(full_at)
    return (
        f"about {horizon(full_at - now)}, on {local.day} {local:%B %Y} (in "
        f"{horizon(earliest - now)} at the earliest, {end} at the latest)"
    )


def horizon(span: timedelta) -> str:
    """Return how far ahead something is: "4 h", "41 d", "14 months", "3 years"."""
    days = span.total_seconds() / DAY
    if days < 100:
        return humane.elapsed(span)
    if days < 730:
        return humane.counted(round(days / 30.44), "month")
    return humane.counted(round(days / 365.25), "year")


def full_in(filesystem: Filesystem | None, now: datetime) -> tuple[str, str]:
    """Return the cell of the column "Full in", and what hovering over it says."""
    if filesystem is None or filesystem.growth_bytes_per_day is None:
        return humane.NONE, "A forecast needs a full week of samples"
    if filesystem.full_at is None:
        return humane.NONE, "No date: it does not grow, or too little to say"
    if filesystem.full_at <= now:
        if filesystem.free_bytes:
            free = humane.size(filesystem.free_bytes)
            return "now", f"By the forecast; {free} were free when read"
        return "now", "Nothing is free any more"
    return horizon(filesystem.full_at - now), f"In {_range_words(filesystem, now)}"
