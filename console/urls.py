"""Every address of the console. Each app keeps its own below the part given here."""

from __future__ import annotations

from importlib import util

from django.urls import URLPattern, URLResolver, include, path

from console import health
from console.views import dashboard, search, shell

urlpatterns: list[URLPattern | URLResolver] = [
    path("", dashboard.dashboard, name="dashboard"),
    path("search/", search.search, name="search"),
    path("status/", shell.status, name="status"),
    path("theme/", shell.theme, name="theme"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("", include("console.accounts.urls")),
]

for prefix, module in (
    ("destinations/", "storepoints.urls"),
    ("alerts/", "alerts.urls"),
    ("settings/", "notifications.urls"),
):
    if util.find_spec(module) is not None:
        urlpatterns.append(path(prefix, include(module)))

handler400 = "console.views.errors.bad_request"
handler403 = "console.views.errors.forbidden"
handler404 = "console.views.errors.not_found"
handler429 = "console.views.errors.too_many"
handler500 = "console.views.errors.server_error"
