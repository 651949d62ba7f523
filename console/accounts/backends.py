"""Permissions from roles: no rows to keep in step, no query to ask."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.core.exceptions import PermissionDenied
from django.db.models import Model

from console.accounts import roles
from console.accounts.models import User


class RoleBackend(BaseBackend):
    """Answers has_perm from the table in console.accounts.roles; signs nobody in."""

    def has_perm(
        self,
        user_obj: Any,
        perm: str,
        obj: Model | None = None,
    ) -> bool:
        """Return True when the person's role holds the permission.

        Otherwise raises PermissionDenied, which has_perm() turns into False: the
        table is the last word, so the next backend need not query for groups.
        """
        if not isinstance(user_obj, User) or not user_obj.is_active:
            raise PermissionDenied
        if not roles.holds(user_obj.role, perm):
            raise PermissionDenied
        return True

    def get_all_permissions(
        self,
        user_obj: Any,
        obj: Model | None = None,
    ) -> set[str]:
        """Return the permissions that the table lists for the person's role."""
        if not isinstance(user_obj, User) or not user_obj.is_active:
            return set()
        if user_obj.role == roles.Role.ADMINISTRATOR:
            return set(roles.OPERATOR | roles.ADMINISTRATORS_ONLY)
        return set(roles.TABLE.get(roles.Role(user_obj.role), frozenset()))
