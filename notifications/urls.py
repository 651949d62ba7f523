"""Addresses under /settings/."""

from __future__ import annotations

from django.urls import path

from notifications.views import deliveries, drills, email, kinds, recipients

app_name = "notifications"

urlpatterns = [
    path("notifications/", kinds.settings, name="settings"),
    path("notifications/save/", kinds.save, name="save"),
    path("notifications/reset/", kinds.reset, name="reset"),
    path(
        "notifications/destinations/",
        kinds.choose_destination,
        name="choose_destination",
    ),
    path(
        "notifications/destinations/<int:key>/", kinds.destination, name="destination"
    ),
    path(
        "notifications/destinations/<int:key>/save/",
        kinds.save_destination,
        name="save_destination",
    ),
    path(
        "notifications/destinations/<int:key>/reset/",
        kinds.reset_destination,
        name="reset_destination",
    ),
    path("notifications/recipients/", recipients.add, name="add_recipient"),
    path(
        "notifications/recipients/<int:key>/remove/",
        recipients.remove,
        name="remove_recipient",
    ),
    path("notifications/deliveries/", deliveries.log, name="deliveries"),
    path("notifications/deliveries/actions/", deliveries.act, name="delivery_actions"),
    path("drills/", drills.drills, name="drills"),
    path("drills/start/", drills.start, name="start_drill"),
    path("drills/<int:key>/", drills.drill, name="drill"),
    path("drills/<int:key>/cancel/", drills.cancel, name="cancel_drill"),
    path("email/", email.settings, name="email"),
    path("email/save/", email.save, name="save_email"),
    path("email/test/", email.test, name="test_email"),
]
