"""What the console keeps about itself: who did what, and what is still alive."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models


class AppendOnly(TypeError):
    """Somebody tried to change or remove what must stay as it was written."""


class AuditEntries(models.QuerySet["AuditEntry"]):
    """Rows of the audit log, which are added and read but never changed."""

    def update(self, **kwargs: Any) -> NoReturn:
        """Refuse: an audit entry stays as it was written."""
        raise AppendOnly("expected audit entries to be added only, not changed")

    def delete(self) -> NoReturn:
        """Refuse: an audit entry stays as it was written."""
        raise AppendOnly("expected audit entries to be added only, not removed")


class AuditEntry(models.Model):
    """One thing that somebody did: who, when, to what, from where and why."""

    at = models.DateTimeField()
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty when the console itself did it, or a command did.",
    )
    actor_name = models.CharField(
        max_length=150, help_text="As it was then: people are renamed and removed."
    )
    verb = models.CharField(max_length=64, help_text='Dotted: "alert.acknowledge".')
    object_kind = models.CharField(max_length=64, blank=True)
    object_id = models.CharField(max_length=64, blank=True)
    object_name = models.CharField(max_length=255, blank=True)
    note = models.TextField(blank=True)
    data = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    address = models.GenericIPAddressField(null=True, blank=True)

    objects = AuditEntries.as_manager()

    class Meta:
        """Indexes for the questions that the audit log page asks."""

        ordering: ClassVar = ["-at", "-pk"]
        verbose_name_plural = "audit entries"
        indexes: ClassVar = [
            models.Index(fields=["-at", "-id"], name="audit_at"),
            models.Index(fields=["actor_name", "-at"], name="audit_actor"),
            models.Index(fields=["verb", "-at"], name="audit_verb"),
            models.Index(fields=["object_kind", "object_id"], name="audit_object"),
        ]

    def __str__(self) -> str:
        """Return who did what to what."""
        return f"{self.actor_name} {self.verb} {self.object_name}".strip()


class Heartbeat(models.Model):
    """When a part of the console last said that it is alive."""

    name = models.CharField(max_length=64, unique=True)
    beaten_at = models.DateTimeField()
    data = models.JSONField(default=dict, blank=True)

    def __str__(self) -> str:
        """Return the name of the part."""
        return self.name
