"""A store point's own page: why it is in its state, and what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_http_methods

from console.accounts.people import person_of
from console.kit import clock, htmx, humane
from console.kit.access import needs
from storepoints import selectors, series, services, verdict
from storepoints.actions import MENU
from storepoints.forms import EditStorePointForm
from storepoints.models import StatusChange, StorePoint
from storepoints.states import WORKING, Reason, State
from storepoints.views import history
from storepoints.views.saving import edit_page
from storepoints.views.store_points import shown

#: How many status changes the page shows.
HISTORY = 50

#: While one of these holds, the volume that is known is not, or not surely, the one
#: at the path.
ELSEWHERE = frozenset(
    {Reason.NOT_MOUNTED, Reason.DIFFERENT_VOLUME, Reason.WRONG_STORE_POINT}
)


@require_GET
@needs("storepoints.view_storepoint")
def detail(request: HttpRequest, key: int) -> HttpResponse:
    """Show a store point: state, reason, evidence, cure, volume, space, history."""
    now = clock.now()
    pulse = selectors.read_pulse(now)
    row = selectors.store_points(now=now, pulse=pulse).filter(pk=key).first()
    if row is None:
        raise Http404("There is no such store point: it may have been removed.")
    store_point: Any = shown(row, now)
    server = selectors.servers(now=now, pulse=pulse).get(pk=row.server_id)
    server_state = selectors.server_state(server, now=now, pulse=pulse)
    state, reason = State(store_point.shown_state), Reason(store_point.shown_reason)
    # What stale evidence says is history, and is shown as such below.
    is_current = state not in {State.SERVER_OFFLINE, State.UNKNOWN, State.PENDING}
    changes = list(row.status_changes.all()[:HISTORY])
    return htmx.render(
        request,
        "storepoints/store_point.html",
        "storepoints/_store_point.html",
        {
            "store_point": store_point,
            "server": server,
            "server_state": server_state,
            "is_volume_seen": is_current
            and state != State.NOT_RESPONDING
            and reason not in ELSEWHERE,
            "is_volume_gone": reason in {Reason.NOT_MOUNTED, Reason.DIFFERENT_VOLUME},
            "steps": verdict.steps(
                state=state if is_current else State.SERVER_OFFLINE,
                evidence=row.evidence,
                server_says=(
                    f"{humane.elapsed(now - server.last_report_at)} ago"
                    if server.last_report_at
                    else "has never reported"
                ),
                server_ok=server_state == State.ONLINE,
                limits=row.limits if state in WORKING else None,
            ),
            "cure": verdict.cure(
                state=state,
                reason=reason,
                path=row.path,
                volume=row.volume,
                server_name=row.server.name,
                marker=row.evidence.get("marker"),
                devices=row.filesystem.devices if row.filesystem else None,
            ),
            "fall_through": verdict.fallen_through(
                row.fall_through, since=row.since, reason=reason
            ),
            "stale_archives": _stale_archives(row),
            "changes": [_described(change) for change in changes],
            "volume": row.evidence.get("volume") if is_current else None,
            "menu": MENU.for_row(request, row),
            "inodes_used": _inodes_used(row),
            "writes": series.writes_of_a_day(row, now=now),
            # Called by the whole page alone, not by the part that refreshes itself.
            "history": partial(history.of_store_point, row, request, now=now),
        },
    )


def _stale_archives(row: StorePoint) -> list[dict[str, Any]]:
    """Return the archives that have not changed for longest, the oldest first."""
    return [
        {
            "name": archive["name"],
            "changed_at": datetime.fromtimestamp(archive["changed_at"], UTC),
        }
        for archive in row.stale_archives.get("oldest", [])
    ]


def _described(change: StatusChange) -> Any:
    described: Any = change
    described.words = verdict.describe(change.state, change.reason)
    return described


def _inodes_used(row: StorePoint) -> float | None:
    if not row.total_inodes or row.free_inodes is None:
        return None
    return 100 * (row.total_inodes - row.free_inodes) / row.total_inodes


@require_http_methods(["GET", "POST"])
@needs("storepoints.change_storepoint")
def edit(request: HttpRequest, key: int) -> HttpResponse:
    """Change a store point's name, note and intervals."""
    store_point = get_object_or_404(StorePoint.objects.select_related("server"), pk=key)
    return edit_page(
        request,
        EditStorePointForm(request.POST or None, instance=store_point),
        save=partial(
            services.edit_store_point,
            store_point,
            actor=person_of(request),
            now=clock.now(),
        ),
        title=f"Edit {store_point.name}",
        text=(
            f"{store_point.path} on {store_point.server}. If its disk was moved, "
            "re-adopt it: its page offers that while the disk is not found."
        ),
        back=store_point.get_absolute_url(),
    )
