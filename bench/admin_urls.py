"""The console's addresses, and Django's own admin with the active alerts in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin import AdminSite, ModelAdmin, RelatedFieldListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import path

from alerts.models import Alert
from alerts.selectors import active_alerts
from console.kit import clock
from console.urls import urlpatterns as console_urlpatterns

#: Rows on a page, on both sides.
SIZE = 100

if TYPE_CHECKING:
    _AlertAdmin = ModelAdmin[Alert]
else:
    _AlertAdmin = ModelAdmin


class BenchSite(AdminSite):
    """An admin that lets everybody in who is signed in."""

    def has_permission(self, request: HttpRequest) -> bool:
        """Let in whoever is signed in: accounts of the console are not "staff"."""
        return bool(request.user.is_authenticated)


class AlertAdmin(_AlertAdmin):
    """The Alerts Overview as one would write it for Django's admin."""

    list_display = (
        "severity",
        "text",
        "reported_by",
        "object_name",
        "raised_at",
        "cleared_at",
        "acknowledged_by_name",
    )
    list_display_links = ("text",)
    list_per_page = SIZE
    # What the overview's form narrows down by; a choice of all servers is a list there.
    list_filter = (
        "severity",
        "kind",
        ("server", RelatedFieldListFilter),
        ("server__destination", RelatedFieldListFilter),
        "raised_at",
    )
    search_fields = ("text", "object_name", "reported_by", "note")
    ordering = ("severity", "-raised_at", "-pk")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        """Return the very rows that the overview lists."""
        return active_alerts(clock.now())


site = BenchSite(name="admin")
site.register(Alert, AlertAdmin)

urlpatterns: list[Any] = [*console_urlpatterns, path("bench-admin/", site.urls)]
