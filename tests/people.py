"""The cast of every test: viewer, operator, administrator, and the stranger.

The first three can sign in; the stranger has no account.
"""

from __future__ import annotations

from django.test import Client

from console.accounts.models import User
from console.accounts.roles import Role

PASSWORD = "correct horse battery"

#: Who tries every route, from the one who may least.
CAST = ("stranger", "viewer", "operator", "administrator")


def make_person(name: str, role: Role = Role.VIEWER, **fields: object) -> User:
    """Return a new person who can sign in with PASSWORD."""
    return User.objects.create_user(
        name,
        f"{name}@example.org",
        PASSWORD,
        **{"role": role.value, **fields},
    )


def viewer() -> User:
    """Return the viewer, made when missing."""
    return _found("viewer") or make_person("viewer", Role.VIEWER)


def operator() -> User:
    """Return the operator, made when missing."""
    return _found("operator") or make_person("operator", Role.OPERATOR)


def administrator() -> User:
    """Return the administrator, made when missing."""
    return _found("administrator") or make_person("administrator", Role.ADMINISTRATOR)


def client_of(who: str) -> Client:
    """Return a browser in which one of the CAST is signed in; the stranger is not."""
    client = Client()
    if who != "stranger":
        make = {"viewer": viewer, "operator": operator, "administrator": administrator}
        client.force_login(
            make[who](), backend="allauth.account.auth_backends.AuthenticationBackend"
        )
    return client


def _found(name: str) -> User | None:
    return User.objects.filter(username=name).first()
