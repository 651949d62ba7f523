"""Which tables an export has, and what has to fit for one to be read."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Field, Model
from django.utils.crypto import salted_hmac

#: What is made by every console anew, or belongs to the one that runs: types and
#: permissions come from migrations, a session's row is as good as being signed in, and a
#: sign of life is nobody else's. The console has roles, so nobody is in a group.
LEFT_OUT = frozenset(
    {
        "accounts.user_groups",
        "accounts.user_user_permissions",
        "auth.group",
        "auth.group_permissions",
        "auth.permission",
        "contenttypes.contenttype",
        "kit.heartbeat",
        "sessions.session",
    }
)
#: Of these nothing is kept either when a database is replaced.
CLEARED = ("sessions.session", "kit.heartbeat")


def label_of(model: type[Model]) -> str:
    """Return how a model is called in an export: "storepoints.storepoint"."""
    return str(model._meta.label_lower)  # noqa: SLF001 (documented)


def table_of(model: type[Model]) -> str:
    """Return the name of a model's table."""
    return str(model._meta.db_table)  # noqa: SLF001 (documented)


def fields_of(model: type[Model]) -> list[str]:
    """Return the names of the columns of a model."""
    fields: list[Field[Any, Any]] = list(model._meta.concrete_fields)  # noqa: SLF001
    return [field.name for field in fields]


def exported_models() -> list[type[Model]]:
    """Return the models whose rows an export has, in a fixed order."""
    models = [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed  # noqa: SLF001 (documented)
        and not model._meta.proxy  # noqa: SLF001
        and label_of(model) not in LEFT_OUT
    ]
    return sorted(models, key=label_of)


def _apps() -> set[str]:
    return {label_of(model).partition(".")[0] for model in exported_models()}


def own_migrations() -> list[str]:
    """Return the migrations of this version that made the tables of an export."""
    ours = _apps()
    disk = MigrationLoader(None).disk_migrations or {}
    return sorted(f"{app}.{name}" for app, name in disk if app in ours)


def applied_migrations(connection: BaseDatabaseWrapper) -> list[str]:
    """Return which of them were applied to a database."""
    ours = _apps()
    applied = MigrationRecorder(connection).applied_migrations()
    return sorted(f"{app}.{name}" for app, name in applied if app in ours)


def key_print() -> str:
    """Return what tells this console's secret key from another, and not what it is."""
    return salted_hmac(
        "console.export", "secret key", secret=settings.SECRET_KEY, algorithm="sha256"
    ).hexdigest()[:32]
