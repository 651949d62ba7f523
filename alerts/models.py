"""What is wrong: alerts, what happened to them, and the settings of each kind."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from alerts.engine import Severity
from storepoints.models import Server, StorePoint

SEVERITIES = [(severity.value, severity.label) for severity in Severity]


class Alert(models.Model):
    """A condition that needs a person, and apart from it the acknowledgement.

    It names its object in text as well, so that it stays readable as history after
    the object was removed.
    """

    kind = models.CharField(max_length=50)
    subject = models.CharField(max_length=50)
    severity = models.PositiveSmallIntegerField(choices=SEVERITIES)
    text = models.TextField()
    data = models.JSONField(default=dict)
    object_name = models.CharField(max_length=100)
    reported_by = models.CharField(max_length=100)
    store_point = models.ForeignKey(
        StorePoint, null=True, on_delete=models.SET_NULL, related_name="alerts"
    )
    server = models.ForeignKey(
        Server, null=True, on_delete=models.SET_NULL, related_name="alerts"
    )
    is_shown = models.BooleanField(default=True)

    # The condition.
    raised_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True)
    times = models.PositiveIntegerField(default=1)

    # The acknowledgement.
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    acknowledged_by_name = models.CharField(max_length=150, blank=True)
    acknowledged_until = models.DateTimeField(null=True)
    note = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["severity", "-raised_at", "-pk"]
        permissions: ClassVar = [("acknowledge_alert", "Can acknowledge alerts")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=Q(cleared_at__isnull=True),
                name="alert_one_ongoing",
            ),
            models.CheckConstraint(
                condition=Q(severity__in=[severity.value for severity in Severity]),
                name="alert_severity_is_known",
            ),
            models.CheckConstraint(
                condition=Q(cleared_at__isnull=True)
                | Q(cleared_at__gte=F("raised_at")),
                name="alert_clears_after_it_was_raised",
            ),
            models.CheckConstraint(
                condition=Q(acknowledged_at__isnull=False)
                | Q(acknowledged_by_name="", acknowledged_until__isnull=True, note=""),
                name="alert_acknowledgement_is_whole",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["severity", "-raised_at", "-id"],
                condition=Q(acknowledged_at__isnull=True),
                name="alert_active",
            ),
            models.Index(fields=["-raised_at", "-id"], name="alert_by_time"),
            models.Index(
                fields=["-acknowledged_at", "-id"],
                condition=Q(acknowledged_at__isnull=False),
                name="alert_acknowledged",
            ),
            models.Index(fields=["subject", "kind"], name="alert_by_subject"),
        ]

    def __str__(self) -> str:
        return self.text

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("alerts:alert", args=[self.pk])

    def is_acknowledged(self, now: datetime) -> bool:
        """Return whether a person has seen it, and that has not expired."""
        return self.acknowledged_at is not None and (
            self.acknowledged_until is None or self.acknowledged_until > now
        )


class AlertEvent(models.Model):
    """Something that happened to an alert; also the outbox of the notifications."""

    class Kind(models.TextChoices):
        """What happened."""

        RAISED = "raised"
        REOPENED = "reopened"
        WORSENED = "worsened"
        UPDATED = "updated"
        CLEARED = "cleared"
        ACKNOWLEDGED = "acknowledged"
        UNACKNOWLEDGED = "unacknowledged"
        LAPSED = "lapsed"

    #: Events that are worth a message; the others are for the timeline.
    NEWS: ClassVar = (Kind.RAISED, Kind.REOPENED, Kind.WORSENED, Kind.CLEARED)

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    text = models.TextField(blank=True)
    actor_name = models.CharField(max_length=150, blank=True)
    note = models.TextField(blank=True)
    # Set when deliveries were made for it, or when it was decided to make none.
    routed_at = models.DateTimeField(null=True)
    routing = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["at", "pk"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(
                    kind__in=[
                        "raised",
                        "reopened",
                        "worsened",
                        "updated",
                        "cleared",
                        "acknowledged",
                        "unacknowledged",
                        "lapsed",
                    ]
                ),
                name="alert_event_kind_is_known",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["alert", "at"], name="alert_event_of"),
            models.Index(
                fields=["id"],
                condition=Q(routed_at__isnull=True),
                name="alert_event_unrouted",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.alert_id}"


class NotificationSetting(models.Model):
    """What an administrator chose for one kind; a kind without a row has the defaults."""

    kind = models.CharField(max_length=50, unique=True)
    is_shown = models.BooleanField(default=True)
    is_mailed = models.BooleanField(default=True)
    changed_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["kind"]

    def __str__(self) -> str:
        return self.kind
