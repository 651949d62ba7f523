"""Addresses under /alerts/."""

from __future__ import annotations

from django.urls import path

from alerts.views import alert, overview

app_name = "alerts"

urlpatterns = [
    path("", overview.overview, name="alerts"),
    path("actions/", overview.act, name="actions"),
    path("export/", overview.export, name="export"),
    path("<int:key>/", alert.detail, name="alert"),
]
