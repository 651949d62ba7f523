"""An alert's own page: both texts, its guide, and everything that happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from alerts import silences
from alerts.actions import MENU
from alerts.forms import AcknowledgeForm
from alerts.guide import guide
from alerts.models import EVIDENCE, Alert, AlertEvent
from alerts.scene import MOST, Scene, read_scene, related_alerts
from alerts.views.overview import shown
from alerts.words import event_words
from console.kit import clock, htmx, humane
from console.kit.access import needs
from storepoints import verdict
from storepoints.states import Reason

#: How many events the timeline shows, and how many earlier occurrences are listed.
EVENTS = 100
EARLIER = 10


@require_GET
@needs("alerts.view_alert")
def detail(request: HttpRequest, key: int) -> HttpResponse:
    """Show an alert with its guide, its timeline, and who was told of it or why not."""
    now = clock.now()
    row = (
        Alert.objects.select_related(
            "parent", "store_point", "server", "filesystem__server", "destination"
        )
        .filter(pk=key)
        .first()
    )
    if row is None:
        raise Http404("There is no such alert.")
    scene = read_scene(shown(row, now), may=request.user.has_perm, now=now)
    events, has_more = _events(row)
    children = list(row.children.order_by("cleared_at", "text")[: MOST + 1])
    found = row.data.get(EVIDENCE) or {}
    return htmx.render(
        request,
        "alerts/alert.html",
        "alerts/_alert.html",
        {
            "alert": row,
            "kind": scene.kind,
            "scene": scene,
            "steps": guide(scene),
            "silence": silences.silence_of([row], now).get(row.pk),
            "acknowledge": _acknowledge_form(request, row),
            "here": request.get_full_path(),
            "events": events,
            "has_more_events": has_more,
            "news": [each for each in events if each.row.kind in AlertEvent.NEWS],
            "fall_through": _fallen_through(scene),
            "found": verdict.found_in_words(found),
            "found_layer": found.get("layer"),
            "found_cure": found,
            "children": children[:MOST],
            "has_more_children": len(children) > MOST,
            "related": related_alerts(scene),
            "earlier": _earlier(row),
            "menu": MENU.for_row(request, row),
        },
    )


@dataclass(frozen=True)
class Told:
    """An event with its words."""

    row: AlertEvent
    words: str


def _events(alert: Alert) -> tuple[list[Told], bool]:
    """Return the newest events in their order, and whether there are older ones."""
    # The deliveries belong to the app above; here they are only looked at.
    rows = list(
        alert.events.select_related("withheld_by")
        .prefetch_related("deliveries")
        .order_by("-at", "-pk")[: EVENTS + 1]
    )
    told = [Told(row, event_words(row)) for row in reversed(rows[:EVENTS])]
    return told, len(rows) > EVENTS


def _acknowledge_form(request: HttpRequest, alert: Any) -> AcknowledgeForm | None:
    """Return the form in the guide, for who may; None when there is nothing to do."""
    if alert.is_seen or not request.user.has_perm("alerts.acknowledge_alert"):
        return None
    form = AcknowledgeForm(auto_id="guide-%s")
    for field in form.fields.values():
        # The page refreshes itself; what is being typed stays as it is.
        field.widget.attrs["hx-preserve"] = "true"
    return form


@dataclass(frozen=True)
class Occurrence:
    """An earlier alert of the same kind and object, and how long it lasted."""

    alert: Any
    lasted: str


def _earlier(alert: Alert) -> list[Occurrence]:
    """Return earlier alerts of the same kind and object, the newest first; 1 query."""
    rows = (
        Alert.objects.filter(kind=alert.kind, subject=alert.subject)
        .exclude(pk=alert.pk)
        .order_by("-raised_at", "-pk")[:EARLIER]
    )
    return [Occurrence(row, _lasted(row.raised_at, row.cleared_at)) for row in rows]


def _lasted(raised_at: datetime, cleared_at: datetime | None) -> str:
    return humane.elapsed(cleared_at - raised_at) if cleared_at else ""


def _fallen_through(scene: Scene) -> dict[str, Any] | None:
    row = scene.store_point
    if row is None:
        return None
    return verdict.fallen_through(
        row.fall_through, since=row.since, reason=Reason(row.shown_reason)
    )
