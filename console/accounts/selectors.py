"""Reads: who is who."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from console.accounts.models import User
from console.accounts.roles import Role

#: The condition that somebody may do everything, signed in or not.
IS_ADMINISTRATOR = Q(role=Role.ADMINISTRATOR.value) | Q(is_superuser=True)


def active_administrators() -> QuerySet[User]:
    """Return those who may sign in and do everything, by name."""
    return User.objects.filter(IS_ADMINISTRATOR, is_active=True).order_by("username")
