"""Every address of the console. Each app keeps its own below the part given here."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from console import health
from console.views import dashboard, handover, search, shell, system
from notifications.views import by_mail

urlpatterns: list[URLPattern | URLResolver] = [
    path("", dashboard.dashboard, name="dashboard"),
    path("search/", search.search, name="search"),
    path("status/", shell.status, name="status"),
    path("theme/", shell.theme, name="theme"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("", include("console.accounts.urls")),
    path("destinations/", include("storepoints.urls")),
    path("alerts/handover/", handover.handover, name="handover"),
    path("alerts/", include("alerts.urls")),
    path(
        "settings/",
        RedirectView.as_view(pattern_name="notifications:settings"),
        name="settings",
    ),
    path("settings/", include("notifications.urls")),
    path("acknowledge/<str:token>/", by_mail.acknowledge, name="acknowledge_by_mail"),
    path("settings/system/", system.settings, name="system"),
    path("settings/system/save/", system.save, name="save_system"),
    path("settings/system/export/", system.export_now, name="export_now"),
    path("settings/system/alerts/", system.save_alerts, name="save_alert_history"),
]

handler400 = "console.views.errors.bad_request"
handler403 = "console.views.errors.forbidden"
handler404 = "console.views.errors.not_found"
handler429 = "console.views.errors.too_many"
handler500 = "console.views.errors.server_error"
