"""Settings > System: how much history is kept, and what the console runs on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from alerts import selectors as alerts
from alerts.forms import AlertHistoryLimitForm
from alerts.models import Alert
from alerts.services import change_alert_history_limit
from console import doctor, figures, tasks
from console import system as inventory
from console.accounts.people import person_of
from console.export import daily
from console.kit import audit, clock, humane
from console.kit.access import needs
from notifications.selectors import delivery_lag
from storepoints import series, services
from storepoints.forms import HistoryLimitForm
from storepoints.models import Filesystem, HistoryLimit, Resolution, StorePoint

PERMISSION = "storepoints.change_historylimit"

RESOLUTION_WORDS = {
    Resolution.FIVE_MINUTES: "Five minutes",
    Resolution.HOUR: "Hours",
    Resolution.DAY: "Days",
}


@require_safe
@needs(PERMISSION)
def settings(request: HttpRequest) -> HttpResponse:
    """Show the limits of history, what it takes now, versions and health."""
    return _show(request, HistoryLimitForm(instance=series.history_limit()))


@require_POST
@needs(PERMISSION)
def save(request: HttpRequest) -> HttpResponse:
    """Save the limits; with "preview" or "reset" pressed, show without saving."""
    if "reset" in request.POST:
        defaults = HistoryLimit(pk=1, changed_at=clock.now())
        return _show(request, HistoryLimitForm(instance=defaults), is_unsaved=True)
    form = HistoryLimitForm(request.POST, instance=series.history_limit())
    if not form.is_valid():
        return _show(request, form, status=422)
    if "preview" in request.POST:
        return _show(request, form, is_unsaved=True)
    changes = services.change_history_limit(
        **form.cleaned_data, actor=person_of(request), now=clock.now()
    )
    if changes:
        messages.success(
            request, "Saved. What is beyond the limits is removed within minutes."
        )
    else:
        messages.info(request, "Nothing was changed.")
    return redirect("system")


@require_POST
@needs("console.export_database")
def export_now(request: HttpRequest) -> HttpResponse:
    """Have a worker export the database, and say so: it may take minutes."""
    try:
        tasks.export.apply_async(kwargs={"is_asked": True}, expires=600, retry=False)
    except (OperationalError, RedisError, OSError) as error:
        reason = " ".join(str(error).split())
        messages.error(
            request,
            f"The message broker takes nothing now ({reason}). On the master server, "
            "“manage.py export_console FILE” needs none.",
        )
        return redirect("system")
    audit.record(
        actor=person_of(request),
        verb="console.export",
        subject=None,
        now=clock.now(),
    )
    messages.success(
        request, "The export has begun; this page shows it when it is done."
    )
    return redirect("system")


@require_POST
@needs("alerts.change_alerthistorylimit")
def save_alerts(request: HttpRequest) -> HttpResponse:
    """Save how long alerts are kept; with "preview" pressed, show without saving."""
    form = AlertHistoryLimitForm(request.POST, instance=alerts.alert_history_limit())
    stored = HistoryLimitForm(instance=series.history_limit())
    if not form.is_valid():
        return _show(request, stored, alert_form=form, status=422)
    if "preview" in request.POST:
        return _show(request, stored, alert_form=form, is_unsaved=True)
    if change_alert_history_limit(
        **form.cleaned_data, actor=person_of(request), now=clock.now()
    ):
        messages.success(request, "Saved. What is older is removed within the hour.")
    else:
        messages.info(request, "Nothing was changed.")
    return redirect("system")


def _show(
    request: HttpRequest,
    form: HistoryLimitForm,
    *,
    alert_form: AlertHistoryLimitForm | None = None,
    is_unsaved: bool = False,
    status: int = 200,
) -> HttpResponse:
    # An invalid form has half-changed its instance; the stored limits speak then.
    is_wrong = form.is_bound and bool(form.errors)
    limit = series.history_limit() if is_wrong else form.instance
    measured = series.measure_history()
    context: dict[str, Any] = {
        "form": form,
        "is_unsaved": is_unsaved,
        **_alert_history(alert_form),
        "preview": _preview(limit),
        "limit": series.history_limit(),
        "history": [
            {
                "label": RESOLUTION_WORDS[resolution],
                "probes": measured.probes.get(resolution, 0),
                "spaces": measured.spaces.get(resolution, 0),
            }
            for resolution in Resolution
        ],
        "history_bytes": measured.bytes,
        "sample_bytes": (series.PROBE_BYTES, series.SPACE_BYTES),
        "database": inventory.read_database(),
        "is_sqlite": connection.vendor == "sqlite",
        "export": daily.read_status(),
        "versions": inventory.versions(),
        "findings": list(doctor.examine(clock.now())),
        **_own_figures(clock.now()),
    }
    return render(request, "console/system.html", context, status=status)


def _alert_history(form: AlertHistoryLimitForm | None) -> dict[str, Any]:
    """Return the form of the alerts' limit, and how many alerts are older than it."""
    stored = alerts.alert_history_limit()
    form = form or AlertHistoryLimitForm(instance=stored)
    # An invalid form has half-changed its instance; the stored limit speaks then.
    is_wrong = form.is_bound and bool(form.errors)
    keep_days = stored.keep_days if is_wrong else form.instance.keep_days
    return {
        "alert_form": form,
        "alert_keep_days": keep_days,
        "alert_count": Alert.objects.count(),
        "alerts_to_go": alerts.over_alerts(keep_days, now=clock.now()).count(),
    }


def _own_figures(now: datetime) -> dict[str, Any]:
    """Return how soon the console tells, and what waits to be done or sent."""
    raised, mailed = figures.detection(now)
    return {
        "detection": [
            ("From the first failed check to the alert", raised),
            ("From the first failed check to the first mail", mailed),
        ],
        "detection_days": figures.MEASURED.days,
        "queues": figures.queues(now),
        "delivery_lag": delivery_lag(now),
    }


def _preview(limit: HistoryLimit) -> dict[str, Any]:
    """Return what history will take with these limits, for the fleet as it is."""
    store_points = StorePoint.objects.count()
    filesystems = Filesystem.objects.filter(store_points__isnull=False)
    volumes = filesystems.distinct().count()
    sizes = series.bytes_when_full(
        limit, store_points=store_points, filesystems=volumes
    )
    most = limit.most_megabytes * 1_000_000
    return {
        "fleet": f"{humane.counted(store_points, 'store point')} on "
        f"{humane.counted(volumes, 'volume')}",
        **sizes,
        "most": most,
        "is_capped": sizes["end"] > most,
    }
