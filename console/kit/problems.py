"""What a page says when it was asked for something that it cannot do."""

from __future__ import annotations

from django.core.exceptions import BadRequest, PermissionDenied


class WrongInput(BadRequest):
    """A query string, form or path that is wrong; the text says what was expected.

    The text is shown to the person as it is, with status 400.
    """


class Forbidden(PermissionDenied):
    """A signed-in person lacks a permission; the page names the role that has it."""

    def __init__(self, permission: str) -> None:
        """Keep the permission, such as "alerts.acknowledge_alert"."""
        super().__init__(permission)
        self.permission = permission
