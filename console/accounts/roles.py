"""The one table of who may do what.

Permissions are strings as in Django, "app.verb_object". Whoever writes a view or an
action names the permission there; the table says which role holds it. An administrator
holds every permission, so what only administrators may do needs no line here.
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a person is here for; each role may do what the one before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


ROLE_TEXTS: dict[Role, str] = {
    Role.VIEWER: "sees store points, servers and alerts, changes nothing",
    Role.OPERATOR: "acknowledges alerts, checks store points, switches inbound backup",
    Role.ADMINISTRATOR: "does everything, also destinations, store points, settings and users",
}

#: Permissions to look at something: these, and by the rule in `holds` every other one
#: that begins with "view" and is not among ADMINISTRATORS_ONLY.
VIEWER: frozenset[str] = frozenset(
    {
        "alerts.view_alert",
        "notifications.view_delivery",
        "notifications.view_notificationsetting",
        "storepoints.view_destination",
        "storepoints.view_server",
        "storepoints.view_storepoint",
    }
)

OPERATOR: frozenset[str] = VIEWER | {
    "alerts.acknowledge_alert",
    "alerts.silence_alert",
    "alerts.unacknowledge_alert",
    "storepoints.change_inbound",
    "storepoints.check_server",
    "storepoints.check_storepoint",
}

#: What nobody else sees: people's addresses (of mail, and in the audit log those they
#: came from), and how mail is sent.
ADMINISTRATORS_ONLY: frozenset[str] = frozenset(
    {
        "accounts.view_user",
        "kit.view_auditentry",
        "notifications.view_channel",
        "notifications.view_emailsettings",
        "notifications.view_group",
        "notifications.view_outboundheartbeat",
        "notifications.view_recipient",
    }
)

TABLE: dict[Role, frozenset[str]] = {Role.VIEWER: VIEWER, Role.OPERATOR: OPERATOR}


def holds(role: str, permission: str) -> bool:
    """Return whether a role has a permission."""
    if role == Role.ADMINISTRATOR:
        return True
    if role not in TABLE or permission in ADMINISTRATORS_ONLY:
        return False
    codename = permission.rpartition(".")[2]
    is_to_view = codename == "view" or codename.startswith("view_")
    return is_to_view or permission in TABLE[Role(role)]


def least(permission: str) -> Role:
    """Return the least of the roles that have a permission."""
    return next(role for role in Role if holds(role, permission))
