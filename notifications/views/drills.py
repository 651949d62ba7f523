"""Settings > Drills: start one, follow it, and what the past ones came to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from console.accounts.people import person_of
from console.kit import clock, htmx, paging
from console.kit.access import needs
from notifications import selectors, services
from notifications.drill_steps import Outcome
from notifications.models import Drill
from notifications.tasks import advance_soon
from storepoints.selectors import read_pulse

VIEW = "notifications.view_drill"
RUN = "notifications.run_drill"


@require_safe
@needs(VIEW)
def drills(request: HttpRequest) -> HttpResponse:
    """List the drills, the newest first, with what each came to."""
    page = paging.page(request, Drill.objects.order_by("-pk"))
    now = clock.now()
    return render(
        request,
        "notifications/drills.html",
        {
            "page": page,
            "rows": [_summed_up(row) for row in page.rows],
            "running": next((row for row in page.rows if row.is_running), None)
            or selectors.running_drill(),
            "may_run": request.user.has_perm(RUN),
            "is_checking": read_pulse(now).is_running,
            "why_no_mail": selectors.email_settings().why_not,
        },
    )


@require_safe
@needs(VIEW)
def drill(request: HttpRequest, key: int) -> HttpResponse:
    """Show a drill step by step: how long each took, and how long it should take."""
    row = Drill.objects.select_related("alert", "store_point").filter(pk=key).first()
    if row is None:
        raise Http404("There is no such drill.")
    now = clock.now()
    return htmx.render(
        request,
        "notifications/drill.html",
        "notifications/_drill.html",
        {
            "drill": _summed_up(row),
            "steps": _shown(row, now),
            "may_run": request.user.has_perm(RUN),
            "is_stuck": row.is_running and not read_pulse(now).is_running,
        },
    )


@require_POST
@needs(RUN)
def start(request: HttpRequest) -> HttpResponse:
    """Start a drill and go to its page."""
    now = clock.now()
    if not read_pulse(now).is_running:
        messages.error(
            request,
            "Checks are not running, so nothing would be noticed. “manage.py doctor” "
            "says what is missing; start the drill afterwards.",
        )
        return redirect("notifications:drills")
    try:
        row = services.start_drill(actor=person_of(request), now=now)
    except services.DrillRefused as refused:
        messages.error(request, str(refused))
        return redirect("notifications:drills")
    advance_soon()
    return redirect(row.get_absolute_url())


@require_POST
@needs(RUN)
def cancel(request: HttpRequest, key: int) -> HttpResponse:
    """Ask for a drill to be ended, and what it made to be removed."""
    if not Drill.objects.filter(pk=key).exists():
        raise Http404("There is no such drill.")
    try:
        services.cancel_drill(key, actor=person_of(request), now=clock.now())
    except services.DrillRefused as refused:
        messages.info(request, str(refused))
    else:
        messages.success(request, "Cancelled. What the drill made is being removed.")
        advance_soon()
    return redirect("notifications:drill", key=key)


def _summed_up(row: Any) -> Any:
    """Add to a drill how long it took and how many steps were slower than their target."""
    row.seconds = (
        (row.finished_at - row.started_at).total_seconds() if row.finished_at else None
    )
    row.slow = sum(_is_slow(step) for step in row.steps)
    row.taken = sum(step["outcome"] != Outcome.WAITING for step in row.steps)
    return row


def _is_slow(step: dict[str, Any]) -> bool:
    seconds = step["seconds"]
    return seconds is not None and seconds > step["target_seconds"]


def _shown(row: Drill, now: datetime) -> list[dict[str, Any]]:
    """Return the steps as the page shows them; the one that is waited for runs."""
    current = row.current if row.is_running else None
    return [
        {
            **step,
            "shown": "running" if step is current else step["outcome"],
            "at": datetime.fromisoformat(step["at"]) if step["at"] else None,
            "waited": (now - row.entered_at).total_seconds()
            if step is current
            else None,
            "is_slow": _is_slow(step),
        }
        for step in row.steps
    ]
