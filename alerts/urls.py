"""Addresses under /alerts/."""

from __future__ import annotations

from django.urls import path

from alerts.views import alert, overview, silences

app_name = "alerts"

urlpatterns = [
    path("", overview.overview, name="alerts"),
    path("actions/", overview.act, name="actions"),
    path("export/", overview.export, name="export"),
    path("silences/", silences.overview, name="silences"),
    path("silences/add/", silences.add, name="add_silence"),
    path("silences/actions/", silences.act, name="silence_actions"),
    path("silences/<int:key>/", silences.detail, name="silence"),
    path("silences/<int:key>/edit/", silences.edit, name="edit_silence"),
    path("<int:key>/", alert.detail, name="alert"),
]
