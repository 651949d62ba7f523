"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class StorePointsConfig(AppConfig):
    """What is watched."""

    name = "storepoints"
    verbose_name = "Store points"
