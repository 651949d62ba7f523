"""The console's settings with Django's own admin beside it, to be measured against."""

from __future__ import annotations

from console.settings import *  # noqa: F403 (the settings of a benchmark are all of them)

INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.admin"]  # noqa: F405
ROOT_URLCONF = "bench.admin_urls"
