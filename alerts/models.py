"""What is wrong: alerts, what happened to them, and the settings of each kind."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from alerts.coverage import Coverage
from alerts.engine import Severity
from alerts.schedule import Repeats, Schedule, Window
from storepoints.models import NAME_LENGTH, Destination, Filesystem, Server, StorePoint

#: Where in an alert's data stands what was found when it was raised.
EVIDENCE = "evidence"

#: What an alert without acknowledgement holds.
NOT_ACKNOWLEDGED: dict[str, Any] = {
    "acknowledged_at": None,
    "acknowledged_by": None,
    "acknowledged_by_name": "",
    "acknowledged_until": None,
    "note": "",
}

_OVERVIEW = [
    *("severity", "-raised_at", "-id"),
    *("is_shown", "parent", "acknowledged_until", "acknowledged_at"),
]

#: The longest that a kind may be put off: a week. Longer is switched off.
MOST_DELAY_SECONDS = 7 * 86_400

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
    filesystem = models.ForeignKey(
        Filesystem, null=True, on_delete=models.SET_NULL, related_name="alerts"
    )
    destination = models.ForeignKey(
        Destination, null=True, on_delete=models.SET_NULL, related_name="alerts"
    )
    # The alert that explains this one, and whether it was raised because of that alone.
    parent = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="children"
    )
    is_presumed = models.BooleanField(default=False)
    is_shown = models.BooleanField(default=True)

    # The condition. ``failed_at`` is the first reading that was part of it.
    failed_at = models.DateTimeField(null=True)
    raised_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True)
    times = models.PositiveIntegerField(default=1)
    # When it lately came back, as ISO 8601; and since when it does so again and again.
    returns = models.JSONField(default=list, blank=True)
    flapping_since = models.DateTimeField(null=True)

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
            # The Alerts Overview: in its order, and with all that it asks of a row
            # before it shows it, so that counting reads nothing but the index. What is
            # acknowledged for good is not in the first, which every page counts.
            models.Index(
                fields=_OVERVIEW,
                condition=Q(acknowledged_at__isnull=True)
                | Q(acknowledged_until__isnull=False),
                name="alert_active",
            ),
            models.Index(fields=_OVERVIEW, name="alert_by_severity"),
            models.Index(fields=["-raised_at", "-id"], name="alert_by_time"),
            models.Index(
                fields=["-acknowledged_at", "-id"],
                condition=Q(acknowledged_at__isnull=False),
                name="alert_acknowledged",
            ),
            models.Index(fields=["subject", "kind"], name="alert_by_subject"),
            models.Index(
                fields=["flapping_since"],
                condition=Q(flapping_since__isnull=False),
                name="alert_flapping",
            ),
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
        HELD = "held"
        RELEASED = "released"
        FLAPPING = "flapping"
        STEADIED = "steadied"
        UNSILENCED = "unsilenced"
        REMINDED = "reminded"
        ESCALATED = "escalated"

    #: Events that are worth a message; the others are for the timeline.
    NEWS: ClassVar = (
        Kind.RAISED,
        Kind.REOPENED,
        Kind.WORSENED,
        Kind.CLEARED,
        Kind.RELEASED,
        Kind.FLAPPING,
        Kind.UNSILENCED,
        Kind.REMINDED,
        Kind.ESCALATED,
    )

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    text = models.TextField(blank=True)
    actor_name = models.CharField(max_length=150, blank=True)
    note = models.TextField(blank=True)
    # Set when deliveries were made for it, or when it was decided to make none.
    routed_at = models.DateTimeField(null=True)
    routing = models.TextField(blank=True)
    # News that was kept from everybody on purpose: held under another alert, flapping,
    # or silenced. Who had been told before still stands as told.
    is_withheld = models.BooleanField(default=False)
    withheld_by = models.ForeignKey(
        "Silence", null=True, on_delete=models.SET_NULL, related_name="withheld"
    )
    # When news that a silence kept was made up for, or was no longer needed.
    settled_at = models.DateTimeField(null=True)
    # What undoing it needs: the acknowledgement that was taken back. Of an escalation:
    # the route that is its next step.
    data = models.JSONField(default=dict, blank=True)

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
                        "held",
                        "released",
                        "flapping",
                        "steadied",
                        "unsilenced",
                        "reminded",
                        "escalated",
                    ]
                ),
                name="alert_event_kind_is_known",
            ),
            models.CheckConstraint(
                condition=Q(withheld_by__isnull=True) | Q(is_withheld=True),
                name="alert_event_silenced_is_withheld",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["alert", "at"], name="alert_event_of"),
            models.Index(
                fields=["id"],
                condition=Q(routed_at__isnull=True),
                name="alert_event_unrouted",
            ),
            models.Index(
                fields=["withheld_by"],
                condition=Q(withheld_by__isnull=False),
                name="alert_event_silenced",
            ),
            models.Index(
                fields=["alert"],
                condition=Q(withheld_by__isnull=False, settled_at__isnull=True),
                name="alert_event_owed",
            ),
            # Bulk actions are undone by when, and by whom they were done.
            models.Index(
                fields=["at", "actor_name"],
                condition=~Q(actor_name=""),
                name="alert_event_by_actor",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.alert_id}"


class NotificationSetting(models.Model):
    """What an administrator chose for one kind; a kind without a row has the defaults."""

    kind = models.CharField(max_length=50, unique=True)
    is_shown = models.BooleanField(default=True)
    is_mailed = models.BooleanField(default=True)
    # Null is the kind's own severity, and no delay; numbers that are not named are the
    # kind's own too.
    severity = models.PositiveSmallIntegerField(null=True, choices=SEVERITIES)
    delay_seconds = models.PositiveIntegerField(null=True)
    parameters = models.JSONField(default=dict, blank=True)
    changed_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["kind"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(severity__isnull=True)
                | Q(severity__in=[severity.value for severity in Severity]),
                name="notification_setting_severity_is_known",
            ),
            models.CheckConstraint(
                condition=Q(delay_seconds__isnull=True)
                | Q(delay_seconds__lte=MOST_DELAY_SECONDS),
                name="notification_setting_delay_in_range",
            ),
        ]

    def __str__(self) -> str:
        return self.kind


class NotificationOverride(models.Model):
    """What was chosen for one kind in one destination; null is as everywhere."""

    kind = models.CharField(max_length=50)
    destination = models.ForeignKey(
        Destination, on_delete=models.CASCADE, related_name="notification_overrides"
    )
    is_shown = models.BooleanField(null=True)
    is_mailed = models.BooleanField(null=True)
    severity = models.PositiveSmallIntegerField(null=True, choices=SEVERITIES)
    delay_seconds = models.PositiveIntegerField(null=True)
    parameters = models.JSONField(default=dict, blank=True)
    changed_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["destination", "kind"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["destination", "kind"], name="notification_override_once"
            ),
            models.CheckConstraint(
                condition=Q(severity__isnull=True)
                | Q(severity__in=[severity.value for severity in Severity]),
                name="notification_override_severity_is_known",
            ),
            models.CheckConstraint(
                condition=Q(delay_seconds__isnull=True)
                | Q(delay_seconds__lte=MOST_DELAY_SECONDS),
                name="notification_override_delay_in_range",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} in {self.destination}"


class WaitingCondition(models.Model):
    """A condition that holds and has no alert yet, because its kind is put off.

    ``due_at`` is when it has held for long enough; null when it has, and another alert
    stands in its place. ``data`` are its numbers as they were when its wait began.
    """

    kind = models.CharField(max_length=50)
    subject = models.CharField(max_length=50)
    since = models.DateTimeField()
    due_at = models.DateTimeField(null=True)
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering: ClassVar = ["subject", "kind"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subject", "kind"], name="waiting_condition_once"
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["due_at"],
                condition=Q(due_at__isnull=False),
                name="waiting_condition_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}"


class Silence(models.Model):
    """A planned outage: what it covers is checked and recorded, and nobody is told.

    Each of ``kinds``, ``severities``, ``subjects``, ``server`` and ``destination``
    narrows it, and what is left empty does not. One that repeats has its windows at the
    same local times of its zone; a fixed one has the one window from ``starts_at`` to
    ``ends_at``. A monthly one comes on the day of the month of its ``first_day``.
    """

    class Repeats(models.TextChoices):
        """How often its window comes."""

        NEVER = "", "Once"
        DAILY = "daily", "Every day"
        WEEKLY = "weekly", "On days of the week"
        MONTHLY = "monthly", "On a day of the month"

    #: The window in force; set by those who ask which silence covers an alert.
    window: Window | None = None

    name = models.CharField(max_length=NAME_LENGTH)
    note = models.TextField(blank=True)

    # What it covers.
    kinds = models.JSONField(default=list, blank=True)
    severities = models.JSONField(default=list, blank=True)
    subjects = models.JSONField(default=list, blank=True)
    server = models.ForeignKey(
        Server, null=True, blank=True, on_delete=models.CASCADE, related_name="silences"
    )
    destination = models.ForeignKey(
        Destination,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="silences",
    )

    # When. A fixed one: two instants. One that repeats: local wall-clock times.
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    repeats = models.CharField(
        max_length=8, blank=True, choices=Repeats.choices, default=Repeats.NEVER
    )
    time_zone = models.CharField(max_length=64, default="UTC")
    first_day = models.DateField(null=True, blank=True)
    last_day = models.DateField(null=True, blank=True)
    # 0 is Monday, as in the standard library.
    weekdays = models.JSONField(default=list, blank=True)
    starts_local = models.TimeField(null=True, blank=True)
    ends_local = models.TimeField(null=True, blank=True)

    created_at = models.DateTimeField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_by_name = models.CharField(max_length=150, blank=True)
    # Since when its times are as they are, when they were changed.
    changed_at = models.DateTimeField(null=True, blank=True)
    # Ended by a person, before its time.
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by_name = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering: ClassVar = ["name", "pk"]
        permissions: ClassVar = [("silence_alert", "Can silence alerts")]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(name=""), name="silence_has_name"),
            models.CheckConstraint(
                condition=Q(repeats__in=["", "daily", "weekly", "monthly"]),
                name="silence_repeats_is_known",
            ),
            models.CheckConstraint(
                condition=Q(
                    repeats="", starts_at__isnull=False, ends_at__gt=F("starts_at")
                )
                | (
                    ~Q(repeats="")
                    & Q(
                        first_day__isnull=False,
                        starts_local__isnull=False,
                        ends_local__isnull=False,
                    )
                ),
                name="silence_has_a_time",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["ends_at"],
                condition=Q(ended_at__isnull=True),
                name="silence_not_ended",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("alerts:silence", args=[self.pk])

    @property
    def schedule(self) -> Schedule:
        """When it is in force."""
        return Schedule(
            repeats=Repeats(self.repeats),
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            zone=ZoneInfo(self.time_zone),
            first_day=self.first_day,
            last_day=self.last_day,
            weekdays=frozenset(self.weekdays),
            starts_local=self.starts_local,
            ends_local=self.ends_local,
            ended_at=self.ended_at,
        )

    @property
    def coverage(self) -> Coverage:
        """What it covers."""
        return Coverage(
            kinds=frozenset(self.kinds),
            severities=frozenset(self.severities),
            subjects=frozenset(self.subjects),
            server=self.server_id,
            destination=self.destination_id,
        )


class SilenceWindow(models.Model):
    """One time at which a silence was in force: what held before, and what after.

    ``before`` and ``after`` have, by the key of each alert that it covers and that was
    ongoing, the severity.
    """

    silence = models.ForeignKey(
        Silence, on_delete=models.CASCADE, related_name="windows"
    )
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    # Set when it was over and both were compared.
    compared_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-starts_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["silence", "starts_at"], name="silence_window_once"
            ),
            models.CheckConstraint(
                condition=Q(ends_at__gte=F("starts_at")),
                name="silence_window_ends_after_its_start",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["ends_at"],
                condition=Q(compared_at__isnull=True),
                name="silence_window_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.silence}, {self.starts_at:%Y-%m-%d %H:%M}"


class AlertHistoryLimit(models.Model):
    """How long alerts are kept once they are over; there is one row."""

    #: The primary key of the one row.
    ONLY = 1

    keep_days = models.PositiveIntegerField(default=730)
    changed_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(id=1), name="alert_history_limit_one_row"
            ),
            models.CheckConstraint(
                condition=Q(keep_days__gte=1) & Q(keep_days__lte=36_500),
                name="alert_history_limit_in_range",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.keep_days} days"
