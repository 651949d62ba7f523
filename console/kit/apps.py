"""The bottom of the house: what every app may use, and which uses no app."""

from __future__ import annotations

from django.apps import AppConfig


class KitConfig(AppConfig):
    """The kit: clock, audit, actions, paging, sorting, words for numbers."""

    name = "console.kit"
    label = "kit"
    default_auto_field = "django.db.models.BigAutoField"
