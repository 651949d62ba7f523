"""Every route of the console: who may reach it, and how it is asked.

A URL without a row here fails `test_it_lists_every_route`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from django.urls import reverse

from alerts.models import Alert, Silence
from console.accounts.roles import Role
from console.kit import clock
from notifications.models import Channel, Drill, Group, Recipient
from notifications.models import Route as NotificationRoute
from storepoints.models import Destination, Server, StorePoint
from tests import people


@dataclass(frozen=True)
class Route:
    """A route: its URL name, the least role that may reach it, and the method.

    ``least`` is None for routes that are open to everybody; ``arguments`` are those of
    the URL, where a word stands for the key of that object in `World`.
    """

    name: str
    least: Role | None
    method: str = "GET"
    arguments: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.name}"


def _key(of: str) -> dict[str, str]:
    return {"key": of}


VIEWER, ADMINISTRATOR = Role.VIEWER, Role.ADMINISTRATOR

ROUTES: tuple[Route, ...] = (
    Route("dashboard", VIEWER),
    Route("search", VIEWER),
    Route("status", VIEWER),
    Route("theme", VIEWER, "POST"),
    Route("settings", None),
    Route("livez", None),
    Route("readyz", None),
    Route("account_login", None),
    Route("account_logout", None),
    Route("sign_in_link", None, arguments={"token": "nonsense"}),
    Route("setup", None),
    Route("account", VIEWER),
    Route("account_change_password", VIEWER),
    Route("users", ADMINISTRATOR),
    Route("add_user", ADMINISTRATOR),
    Route("user", ADMINISTRATOR, arguments=_key("user")),
    Route("user_password", ADMINISTRATOR, arguments=_key("user")),
    Route("audit_log", ADMINISTRATOR),
    Route("storepoints:destinations", VIEWER),
    Route("storepoints:add_destination", ADMINISTRATOR),
    Route("storepoints:destination", VIEWER, arguments=_key("destination")),
    Route("storepoints:edit_destination", ADMINISTRATOR, arguments=_key("destination")),
    Route("storepoints:destination_history", VIEWER, arguments=_key("destination")),
    Route("storepoints:servers", VIEWER),
    Route("storepoints:server", VIEWER, arguments=_key("server")),
    Route("storepoints:edit_server", ADMINISTRATOR, arguments=_key("server")),
    Route("storepoints:store_points", VIEWER),
    Route("storepoints:export_store_points", VIEWER),
    # Each action asks for its own permission: tests/kit/test_run_actions.py.
    Route("storepoints:store_point_actions", VIEWER, "POST"),
    Route("storepoints:add_store_point", ADMINISTRATOR),
    Route("storepoints:store_point", VIEWER, arguments=_key("store_point")),
    Route("storepoints:store_point_history", VIEWER, arguments=_key("store_point")),
    Route("storepoints:export_history", VIEWER, arguments=_key("store_point")),
    Route("storepoints:edit_store_point", ADMINISTRATOR, arguments=_key("store_point")),
    Route(
        "storepoints:readopt_store_point", ADMINISTRATOR, arguments=_key("store_point")
    ),
    Route("handover", VIEWER),
    Route("alerts:alerts", VIEWER),
    Route("alerts:actions", VIEWER, "POST"),
    Route("alerts:export", VIEWER),
    Route("alerts:silences", VIEWER),
    Route("alerts:silence", VIEWER, arguments=_key("silence")),
    Route("alerts:add_silence", Role.OPERATOR),
    Route("alerts:edit_silence", Role.OPERATOR, arguments=_key("silence")),
    Route("alerts:silence_actions", VIEWER, "POST"),
    Route("alerts:alert", VIEWER, arguments=_key("alert")),
    Route("notifications:settings", VIEWER),
    Route("notifications:save", ADMINISTRATOR, "POST"),
    Route("notifications:reset", ADMINISTRATOR, "POST"),
    Route("notifications:choose_destination", VIEWER),
    Route("notifications:destination", VIEWER, arguments=_key("destination")),
    Route(
        "notifications:save_destination",
        ADMINISTRATOR,
        "POST",
        arguments=_key("destination"),
    ),
    Route(
        "notifications:reset_destination",
        ADMINISTRATOR,
        "POST",
        arguments=_key("destination"),
    ),
    Route("notifications:add_recipient", ADMINISTRATOR, "POST"),
    Route(
        "notifications:remove_recipient",
        ADMINISTRATOR,
        "POST",
        arguments=_key("recipient"),
    ),
    Route("notifications:groups", ADMINISTRATOR),
    Route("notifications:add_group", ADMINISTRATOR),
    Route("notifications:group", ADMINISTRATOR, arguments=_key("group")),
    Route("notifications:remove_group", ADMINISTRATOR, "POST", _key("group")),
    Route("notifications:routes", VIEWER),
    Route("notifications:add_route", ADMINISTRATOR),
    Route("notifications:route", ADMINISTRATOR, arguments=_key("route")),
    Route("notifications:move_route", ADMINISTRATOR, "POST", _key("route")),
    Route("notifications:switch_route", ADMINISTRATOR, "POST", _key("route")),
    Route("notifications:remove_route", ADMINISTRATOR, "POST", _key("route")),
    Route("notifications:save_reminders", ADMINISTRATOR, "POST"),
    Route("notifications:dry_run", ADMINISTRATOR),
    Route("notifications:mine", VIEWER),
    Route("notifications:of_person", ADMINISTRATOR, arguments=_key("user")),
    Route("notifications:deliveries", VIEWER),
    Route("notifications:delivery_actions", ADMINISTRATOR, "POST"),
    Route("system", ADMINISTRATOR),
    Route("save_system", ADMINISTRATOR, "POST"),
    Route("export_now", ADMINISTRATOR, "POST"),
    Route("save_alert_history", ADMINISTRATOR, "POST"),
    Route("notifications:drills", VIEWER),
    Route("notifications:start_drill", ADMINISTRATOR, "POST"),
    Route("notifications:drill", VIEWER, arguments=_key("drill")),
    Route("notifications:cancel_drill", ADMINISTRATOR, "POST", arguments=_key("drill")),
    Route("acknowledge_by_mail", None, arguments={"token": "nonsense"}),
    Route("notifications:channels", ADMINISTRATOR),
    Route("notifications:add_channel", ADMINISTRATOR, arguments={"kind": "webhook"}),
    Route("notifications:channel", ADMINISTRATOR, arguments=_key("channel")),
    Route("notifications:test_channel", ADMINISTRATOR, "POST", _key("channel")),
    Route("notifications:switch_channel", ADMINISTRATOR, "POST", _key("channel")),
    Route("notifications:remove_channel", ADMINISTRATOR, arguments=_key("channel")),
    Route("notifications:save_heartbeat", ADMINISTRATOR, "POST"),
    Route("notifications:test_heartbeat", ADMINISTRATOR, "POST"),
    Route("notifications:webhook_schema", ADMINISTRATOR),
    Route("notifications:email", ADMINISTRATOR),
    Route("notifications:save_email", ADMINISTRATOR, "POST"),
    Route("notifications:test_email", ADMINISTRATOR, "POST"),
)


class World:
    """One object of each kind, for the routes that need one."""

    def __init__(self) -> None:
        now = clock.now()
        destination = Destination.objects.create(name="Berlin", created_at=now)
        server = Server.objects.create(
            name="stor-1", destination=destination, created_at=now
        )
        store_point = StorePoint.objects.create(
            name="Tank-07",
            server=server,
            path="/srv/backup/tank-07",
            created_at=now,
            pace=timedelta(seconds=30),
        )
        alert = Alert.objects.create(
            kind="store-point-offline",
            subject=f"store-point:{store_point.pk}",
            severity=1,
            text="Store point is unavailable: Tank-07",
            object_name="Tank-07",
            reported_by="stor-1",
            store_point=store_point,
            server=server,
            raised_at=now,
            last_seen_at=now,
        )
        self.keys: dict[str, int] = {
            "destination": destination.pk,
            "server": server.pk,
            "store_point": store_point.pk,
            "alert": alert.pk,
            "silence": Silence.objects.create(
                name="Array rebuild",
                severities=[1],
                starts_at=now,
                ends_at=now + timedelta(hours=1),
                created_at=now,
            ).pk,
            "user": (people.viewer()).pk,
            "drill": Drill.objects.create(
                name="Drill 2026-07-15 12:00:00 UTC",
                directory="/nowhere/drills/1",
                state=Drill.State.PASSED,
                started_at=now,
                finished_at=now,
                started_by_name="ana",
                entered_at=now,
                alert=alert,
            ).pk,
            # Its address cannot be read, so that nothing is sent anywhere.
            "channel": Channel.objects.create(
                name="pager", kind="webhook", sealed_url="x", created_at=now
            ).pk,
            "group": Group.objects.create(name="ops", created_at=now).pk,
            "route": NotificationRoute.objects.create(
                name="Pager", position=1, created_at=now
            ).pk,
            "recipient": Recipient.objects.create(
                address="ops@example.org", added_at=now
            ).pk,
        }

    def url(self, route: Route) -> str:
        """Return the address of a route, with this world's keys in it."""
        arguments = {
            name: self.keys.get(word, word) for name, word in route.arguments.items()
        }
        return reverse(route.name, kwargs=arguments)


def may(who: str, route: Route) -> bool:
    """Return whether one of the CAST may reach a route."""
    if route.least is None:
        return True
    return people.CAST.index(who) >= people.CAST.index(route.least.value)
