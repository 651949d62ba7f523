"""Addresses under /destinations/."""

from __future__ import annotations

from django.urls import path

from storepoints.views import (
    destinations,
    history,
    readopt,
    servers,
    store_point,
    store_points,
)

app_name = "storepoints"

urlpatterns = [
    path("", destinations.overview, name="destinations"),
    path("add/", destinations.add, name="add_destination"),
    path("<int:key>/", destinations.detail, name="destination"),
    path("<int:key>/edit/", destinations.edit, name="edit_destination"),
    path("<int:key>/history/", history.destination, name="destination_history"),
    path("servers/", servers.overview, name="servers"),
    path("servers/<int:key>/", servers.detail, name="server"),
    path("servers/<int:key>/edit/", servers.edit, name="edit_server"),
    path("store-points/", store_points.overview, name="store_points"),
    path("store-points/export/", store_points.export, name="export_store_points"),
    path("store-points/actions/", store_points.act, name="store_point_actions"),
    path("store-points/add/", store_points.add, name="add_store_point"),
    path("store-points/<int:key>/", store_point.detail, name="store_point"),
    path(
        "store-points/<int:key>/history/",
        history.store_point,
        name="store_point_history",
    ),
    path(
        "store-points/<int:key>/history/export/",
        history.export,
        name="export_history",
    ),
    path("store-points/<int:key>/edit/", store_point.edit, name="edit_store_point"),
    path("store-points/<int:key>/adopt/", readopt.readopt, name="readopt_store_point"),
]
