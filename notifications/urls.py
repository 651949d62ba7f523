"""Addresses under /settings/."""

from __future__ import annotations

from django.urls import path

from notifications.views import (
    channels,
    deliveries,
    drills,
    email,
    groups,
    kinds,
    mine,
    recipients,
    routes,
)

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
    path("notifications/groups/", groups.groups, name="groups"),
    path("notifications/groups/add/", groups.add, name="add_group"),
    path("notifications/groups/<int:key>/", groups.edit, name="group"),
    path("notifications/groups/<int:key>/remove/", groups.remove, name="remove_group"),
    path("notifications/routes/", routes.routes, name="routes"),
    path("notifications/routes/add/", routes.add, name="add_route"),
    path("notifications/routes/<int:key>/", routes.edit, name="route"),
    path("notifications/routes/<int:key>/move/", routes.move, name="move_route"),
    path("notifications/routes/<int:key>/switch/", routes.switch, name="switch_route"),
    path("notifications/routes/<int:key>/remove/", routes.remove, name="remove_route"),
    path("notifications/reminders/", routes.save_reminders, name="save_reminders"),
    path("notifications/dry-run/", routes.dry_run, name="dry_run"),
    path("notifications/mine/", mine.mine, name="mine"),
    path("notifications/people/<int:key>/", mine.of_person, name="of_person"),
    path("drills/", drills.drills, name="drills"),
    path("drills/start/", drills.start, name="start_drill"),
    path("drills/<int:key>/", drills.drill, name="drill"),
    path("drills/<int:key>/cancel/", drills.cancel, name="cancel_drill"),
    path("channels/", channels.channels, name="channels"),
    path("channels/add/<slug:kind>/", channels.add, name="add_channel"),
    path("channels/<int:key>/", channels.channel, name="channel"),
    path("channels/<int:key>/test/", channels.test, name="test_channel"),
    path("channels/<int:key>/switch/", channels.switch, name="switch_channel"),
    path("channels/<int:key>/remove/", channels.remove, name="remove_channel"),
    path("channels/heartbeat/", channels.save_heartbeat, name="save_heartbeat"),
    path("channels/heartbeat/test/", channels.test_heartbeat, name="test_heartbeat"),
    path(
        "channels/webhook.schema.json", channels.webhook_schema, name="webhook_schema"
    ),
    path("email/", email.settings, name="email"),
    path("email/save/", email.save, name="save_email"),
    path("email/test/", email.test, name="test_email"),
]
