"""Silences: what is kept quiet, until when, and what came of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_POST,
)

from alerts import services, silences
from alerts.actions import SILENCES
from alerts.catalogue import KINDS
from alerts.coverage import compare
from alerts.engine import Severity
from alerts.forms import SilenceForm
from alerts.models import Alert, Silence
from alerts.schedule import Window
from alerts.views.overview import shown
from console.accounts.people import person_of
from console.kit import actions, clock, htmx, humane, paging
from console.kit.access import needs

#: How many alerts and coming windows a preview shows.
PREVIEWED, COMING = 20, 5

#: How many windows a silence's page compares, and how many alerts each names.
WINDOWS, NAMED = 20, 20

#: How many of the objects that a silence names are called by their names.
NAMED_OBJECTS = 3


@require_GET
@needs("alerts.view_alert")
def overview(request: HttpRequest) -> HttpResponse:
    """List the silences: in force, coming, over."""
    now = clock.now()
    page = paging.page(request, silences.silences())
    counts = silences.count_covered(page.rows)
    names = _names(page.rows)
    return render(
        request,
        "alerts/silences.html",
        {
            "page": page,
            "rows": [_with_state(row, now, counts[row.pk], names) for row in page.rows],
            "menu": SILENCES.for_list(request, total=page.total),
        },
    )


@require_GET
@needs("alerts.view_alert")
def detail(request: HttpRequest, key: int) -> HttpResponse:
    """Show a silence, what it covers now, its windows and what came of each."""
    now = clock.now()
    silence = get_object_or_404(silences.silences(), pk=key)
    count = silences.count_covered([silence])[silence.pk]
    return render(
        request,
        "alerts/silence.html",
        {
            "silence": _with_state(silence, now, count, _names([silence])),
            "windows": _compared(silence),
            "may_edit": silence.ended_at is None,
            "menu": SILENCES.for_row(request, silence),
            **_preview(silence, now),
        },
    )


@require_http_methods(["GET", "POST"])
@needs("alerts.silence_alert")
def add(request: HttpRequest) -> HttpResponse:
    """Make a silence, with a look at what it covers before it is saved."""
    zone = timezone.get_current_timezone_name()
    local = clock.now().astimezone(ZoneInfo(zone)).replace(second=0, microsecond=0)
    initial = {
        "time_zone": zone,
        "starts_at": local.replace(tzinfo=None),
        "server": request.GET.get("server", "")[:18],
        "objects": request.GET.get("store_point", "").replace("\0", "")[:200],
    }
    return _edit(request, None, initial)


@require_http_methods(["GET", "POST"])
@needs("alerts.silence_alert")
def edit(request: HttpRequest, key: int) -> HttpResponse:
    """Change a silence."""
    silence = get_object_or_404(Silence, pk=key)
    return _edit(request, silence, SilenceForm.initial_of(silence))


@require_POST
@needs("alerts.view_alert")
def act(request: HttpRequest) -> HttpResponse:
    """Do what the action menu was asked for."""
    return actions.respond(
        request,
        menu=SILENCES,
        back="alerts:silences",
        matching=lambda _query: Silence.objects.order_by("pk"),
    )


def _edit(
    request: HttpRequest, silence: Silence | None, initial: dict[str, Any]
) -> HttpResponse:
    now = clock.now()
    form = SilenceForm(request.POST or None, initial=initial)
    preview: dict[str, Any] = {}
    if request.method == "POST" and form.is_valid():
        fields = form.silence_fields()
        is_meant = bool(form.cleaned_data["is_everything_meant"])
        try:
            if "save" in request.POST:
                saved = _save(request, silence, fields, is_meant=is_meant, now=now)
                return redirect(saved)
            planned = Silence(**fields)
            services.refuse_wrong(planned, is_everything_meant=True)
            preview = {"is_preview": True, **_preview(planned, now)}
        except ValidationError as error:
            form.add_error(None, error)
    is_wrong = form.is_bound and not form.is_valid()
    return htmx.render(
        request,
        "alerts/silence_form.html",
        "alerts/_silence_preview.html",
        {"form": form, "silence": silence, "is_wrong": is_wrong, **preview},
        status=422 if is_wrong and "save" in request.POST else 200,
    )


def _save(
    request: HttpRequest,
    silence: Silence | None,
    fields: dict[str, Any],
    *,
    is_meant: bool,
    now: datetime,
) -> Silence:
    actor = person_of(request)
    if silence is None:
        return services.create_silence(
            fields, actor=actor, now=now, is_everything_meant=is_meant
        )
    return services.change_silence(
        silence.pk, fields, actor=actor, now=now, is_everything_meant=is_meant
    )


def _preview(silence: Silence, now: datetime) -> dict[str, Any]:
    """Return what a silence covers now, and its next windows."""
    alerts = silences.covered_alerts(silence.coverage)
    current = silence.schedule.at(now)
    coming = itertools.islice(silence.schedule.following(now), COMING)
    return {
        "covered": [shown(row, now) for row in alerts[:PREVIEWED]],
        "covered_count": alerts.count(),
        "store_point_count": silences.covered_store_points(silence.coverage).count(),
        "coming": [
            _in_zone(each, silence)
            for each in ([current] if current else []) + [*coming]
        ][:COMING],
    }


def _in_zone(window: Window, silence: Silence) -> dict[str, str]:
    zone = ZoneInfo(silence.time_zone)
    local, utc = (
        f"{window.starts_at.astimezone(each):%Y-%m-%d %H:%M} to "
        f"{window.ends_at.astimezone(each):%Y-%m-%d %H:%M %Z}"
        for each in (zone, UTC)
    )
    return {"local": local, "utc": "" if utc == local else utc}


def _names(rows: Iterable[Silence]) -> dict[str, str]:
    """Return what the objects are called that these silences name first."""
    return silences.names_of(
        subject for row in rows for subject in row.subjects[:NAMED_OBJECTS]
    )


def _with_state(
    silence: Any, now: datetime, count: int, names: Mapping[str, str]
) -> Any:
    """Add to a silence what its row shows."""
    silence.window = silence.schedule.at(now)
    silence.coming = silence.schedule.next_after(now)
    silence.covered_count = count
    silence.covers = _words(silence, names)
    silence.state = (
        "in force" if silence.window else "coming" if silence.coming else "over"
    )
    return silence


def _words(silence: Silence, names: Mapping[str, str]) -> str:
    """Return what a silence covers, in words; ``names`` are those of its objects."""
    if silence.coverage.is_everything:
        return "Every alert"
    parts = [KINDS[each].short_name for each in silence.kinds if each in KINDS]
    parts += [Severity(each).label for each in silence.severities]
    if silence.subjects:
        first = silence.subjects[:NAMED_OBJECTS]
        parts.append(
            humane.listed_of(
                [names.get(each, "what was removed") for each in first],
                len(silence.subjects),
            )
        )
    if silence.server:
        parts.append(f"server {silence.server}")
    if silence.destination:
        parts.append(f"destination {silence.destination}")
    return ", ".join(parts)


def _compared(silence: Silence) -> list[dict[str, Any]]:
    """Return the newest windows with what was new, gone and worse; one query more."""
    windows = list(silence.windows.all()[:WINDOWS])
    found = [
        compare(each.before, each.after) if each.compared_at else None
        for each in windows
    ]
    keys = {
        key
        for each in found
        if each
        for group in (each.new, each.gone, each.worse)
        for key in group[:NAMED]
    }
    alerts = Alert.objects.in_bulk(keys)
    return [
        {
            "row": window,
            "before_count": len(window.before),
            "groups": [
                (word, len(group), [alerts[k] for k in group[:NAMED] if k in alerts])
                for word, group in (
                    ("new", each.new),
                    ("gone", each.gone),
                    ("worse", each.worse),
                )
            ]
            if each
            else [],
            "unchanged": len(each.unchanged) if each else 0,
        }
        for window, each in zip(windows, found, strict=True)
    ]
