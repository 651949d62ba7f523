"""System checks of the settings (`manage.py check`)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks


@checks.register(checks.Tags.security, deploy=True)
def check_debug_is_local(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Warn when debug pages can be seen from other machines (`check --deploy`)."""
    if settings.DEBUG and settings.LISTEN.host not in {"127.0.0.1", "::1", "localhost"}:
        return [
            checks.Warning(
                "CONSOLE_DEBUG is on and web listens for other machines.",
                hint="Unset CONSOLE_DEBUG, or listen on 127.0.0.1.",
                id="console.W001",
            )
        ]
    return []
