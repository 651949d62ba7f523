"""What is watched: destinations, enterprise servers and their store points."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from storepoints.states import WORKING, Inbound, Reason, State

#: In a fixed order: a set's differs between runs, and a migration would follow it.
WORKING_STATES = sorted(str(state) for state in WORKING)

#: Longest path that is accepted; longer ones do not fit PostgreSQL's index rows.
PATH_LENGTH = 1024
NAME_LENGTH = 100


class Destination(models.Model):
    """A named group of servers; the unit that users back up to."""

    guid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField()

    # The fence: whether the console disables inbound backup by itself when data would
    # land where it should not, and after how many good probes it enables it again.
    is_fencing = models.BooleanField(default=False)
    fence_good_probes = models.PositiveSmallIntegerField(
        default=3, validators=[MaxValueValidator(1000)]
    )

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(name=""), name="destination_has_name"),
            models.CheckConstraint(
                condition=Q(fence_good_probes__lte=1000),
                name="destination_fence_good_probes_in_range",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("storepoints:destination", args=[self.pk])


class Server(models.Model):
    """An enterprise server: a machine that holds store points and runs an agent."""

    guid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    destination = models.ForeignKey(
        Destination, on_delete=models.PROTECT, related_name="servers"
    )
    note = models.TextField(blank=True)
    is_master = models.BooleanField(default=False)
    check_seconds = models.PositiveIntegerField(
        default=30, validators=[MinValueValidator(5), MaxValueValidator(3600)]
    )
    created_at = models.DateTimeField()

    # The key of its envelopes, encrypted with the console's own.
    sealed_key = models.TextField()

    # What it said last.
    version = models.CharField(max_length=50, blank=True)
    hostname = models.CharField(max_length=255, blank=True)
    started_at = models.DateTimeField(null=True)
    last_report_at = models.DateTimeField(null=True)
    last_sequence = models.BigIntegerField(default=0)
    clock_offset_seconds = models.FloatField(null=True)
    volumes = models.JSONField(default=list)
    volumes_at = models.DateTimeField(null=True)

    # What it was asked: null while every question has been answered.
    awaiting_since = models.DateTimeField(null=True)
    # When that becomes too long; a column, so that every list compares and reckons not.
    silent_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    # Set when its silence was believed and recorded.
    offline_since = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(name=""), name="server_has_name"),
            models.UniqueConstraint(
                fields=["is_master"],
                condition=Q(is_master=True),
                name="server_one_master",
            ),
            models.CheckConstraint(
                condition=Q(check_seconds__gte=5) & Q(check_seconds__lte=3600),
                name="server_check_seconds_in_range",
            ),
            models.CheckConstraint(
                condition=Q(awaiting_since__isnull=True, silent_at__isnull=True)
                | Q(awaiting_since__isnull=False, silent_at__isnull=False),
                name="server_silence_has_an_end",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["due_at"], name="server_due")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("storepoints:server", args=[self.pk])


class Filesystem(models.Model):
    """A filesystem that store points lie on: space and devices are its, not theirs.

    Ten store points on one volume have one row here, and one alert about its space.
    """

    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, related_name="filesystems"
    )
    # What it is told from others by: engine.filesystem_identity().
    identity = models.CharField(max_length=255)
    mount_point = models.TextField()
    fs_type = models.CharField(max_length=50)
    fs_uuid = models.CharField(max_length=100, blank=True)
    source = models.TextField(blank=True)
    created_at = models.DateTimeField()

    # Its space as it was read last.
    space_at = models.DateTimeField(null=True)
    total_bytes = models.BigIntegerField(null=True)
    free_bytes = models.BigIntegerField(null=True)
    used_bytes = models.BigIntegerField(null=True)
    total_inodes = models.BigIntegerField(null=True)
    free_inodes = models.BigIntegerField(null=True)
    # The limits of space and inodes that it has passed (values of engine.Limit).
    limits = models.JSONField(default=list)
    # What a decision remembers between two readings, e.g. since when it fills up.
    memory = models.JSONField(default=dict)

    # When it will be full: the middle of the forecast and its range; all null while
    # no full week was seen, or while it does not grow.
    forecast_at = models.DateTimeField(null=True)
    growth_bytes_per_day = models.FloatField(null=True)
    full_at = models.DateTimeField(null=True)
    full_earliest_at = models.DateTimeField(null=True)
    full_latest_at = models.DateTimeField(null=True)

    # What lies below it: storepoints/agent/devices says the shape of ``devices``.
    devices = models.JSONField(default=dict)
    devices_at = models.DateTimeField(null=True)
    health = models.CharField(max_length=10, blank=True)
    health_reason = models.CharField(max_length=20, blank=True)
    health_text = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["server", "mount_point"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["server", "identity"], name="filesystem_is_known_once"
            ),
            models.CheckConstraint(
                condition=Q(free_bytes__isnull=True)
                | (Q(free_bytes__gte=0) & Q(total_bytes__gte=F("free_bytes"))),
                name="filesystem_free_fits_total",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.mount_point} on {self.server}"


class StorePoint(models.Model):
    """One directory on exactly one server that holds archives, with its reading."""

    guid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    server = models.ForeignKey(
        Server, on_delete=models.PROTECT, related_name="store_points"
    )
    path = models.CharField(max_length=PATH_LENGTH)
    note = models.TextField(blank=True)
    check_seconds = models.PositiveIntegerField(
        default=30, validators=[MinValueValidator(5), MaxValueValidator(3600)]
    )
    created_at = models.DateTimeField()

    # The volume it was adopted on (VOLUME_ID of storepoints/wire.py's messages).
    volume = models.JSONField(default=dict)
    # Where its last good reading found it.
    filesystem = models.ForeignKey(
        Filesystem, null=True, on_delete=models.SET_NULL, related_name="store_points"
    )
    adopted_at = models.DateTimeField(null=True)
    adoption_error = models.TextField(blank=True)
    # Made to fail on purpose, for minutes: it holds nothing, and no destination has it.
    is_drill = models.BooleanField(default=False)

    # Desired state of inbound backup, and what the agent says it applied.
    accepts_inbound = models.BooleanField(default=True)
    inbound_revision = models.PositiveIntegerField(default=1)
    inbound_changed_at = models.DateTimeField(null=True)
    inbound_changed_by = models.CharField(max_length=150, blank=True)
    inbound_applied = models.CharField(
        max_length=8, blank=True, choices=[(value, value) for value in Inbound]
    )
    is_inbound_pending = models.BooleanField(default=False)
    inbound_error = models.TextField(blank=True)
    # Set while the console itself keeps inbound backup disabled (the fence): since
    # when, for which reason, and how many probes were good in a row meanwhile.
    fenced_at = models.DateTimeField(null=True)
    fence_reason = models.CharField(max_length=20, blank=True)
    fence_successes = models.PositiveIntegerField(default=0)

    # A write probe is skipped when the last good one is younger than this.
    write_seconds = models.PositiveIntegerField(
        default=15, validators=[MaxValueValidator(86_400)]
    )

    # The status: what the readings so far add up to.
    state = models.CharField(
        max_length=16,
        default=State.PENDING,
        choices=[(value, value) for value in State],
    )
    reason = models.CharField(
        max_length=20, blank=True, choices=[(value, value) for value in Reason]
    )
    is_online = models.BooleanField(default=False)
    since = models.DateTimeField(null=True)
    is_believed = models.BooleanField(default=False)
    failures = models.PositiveIntegerField(default=0)
    successes = models.PositiveIntegerField(default=0)
    limits = models.JSONField(default=list)
    # The usual time of a write probe, as learnt so far (engine.Baseline).
    baseline = models.JSONField(default=dict)

    # The newest reading.
    checked_at = models.DateTimeField(null=True)
    # From when on nobody believes it any more.
    stale_at = models.DateTimeField(null=True)
    sequence = models.BigIntegerField(default=0)
    cause = models.CharField(max_length=20, blank=True)
    layer = models.PositiveSmallIntegerField(default=0)
    errno = models.CharField(max_length=20, blank=True)
    duration_seconds = models.FloatField(null=True)
    latency_seconds = models.FloatField(null=True)
    evidence = models.JSONField(default=dict)
    free_bytes = models.BigIntegerField(null=True)
    used_bytes = models.BigIntegerField(null=True)
    total_bytes = models.BigIntegerField(null=True)
    free_inodes = models.BigIntegerField(null=True)
    total_inodes = models.BigIntegerField(null=True)
    space_at = models.DateTimeField(null=True)
    # When it was last found working, and when a file was last written and read back.
    well_at = models.DateTimeField(null=True)
    written_at = models.DateTimeField(null=True)
    # What was written below its path while its volume was not mounted.
    fall_through = models.JSONField(default=dict)
    # Its archives as they were looked at last: how many, the newest change, and those
    # that have not changed for long (services/evidence.py says the shape).
    archives_at = models.DateTimeField(null=True)
    archive_count = models.PositiveIntegerField(null=True)
    newest_archive_at = models.DateTimeField(null=True)
    stale_archives = models.JSONField(default=dict)
    # The probes of the piece of history that is being gathered (services/history.py).
    tally = models.JSONField(default=dict)

    # When to look again, and how often while nothing changes.
    due_at = models.DateTimeField(null=True)
    pace = models.DurationField()

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(name=""), name="store_point_has_name"),
            models.CheckConstraint(
                condition=Q(path__startswith="/"), name="store_point_path_is_absolute"
            ),
            models.UniqueConstraint(
                fields=["server", "path"], name="store_point_path_is_taken_once"
            ),
            models.CheckConstraint(
                condition=Q(check_seconds__gte=5) & Q(check_seconds__lte=3600),
                name="store_point_check_seconds_in_range",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[str(state) for state in State]),
                name="store_point_state_is_known",
            ),
            models.CheckConstraint(
                condition=Q(reason__in=[str(reason) for reason in Reason]),
                name="store_point_reason_is_known",
            ),
            models.CheckConstraint(
                condition=Q(fenced_at__isnull=True, fence_reason="")
                | (Q(fenced_at__isnull=False) & ~Q(fence_reason="")),
                name="store_point_fence_has_a_reason",
            ),
            # A reading without an end would be a green for ever.
            models.CheckConstraint(
                condition=Q(checked_at__isnull=True, stale_at__isnull=True)
                | Q(checked_at__isnull=False, stale_at__isnull=False),
                name="store_point_reading_has_an_end",
            ),
            # The online column is never green for a state that does not work.
            models.CheckConstraint(
                condition=(
                    Q(is_online=True, state__in=WORKING_STATES)
                    | (Q(is_online=False) & ~Q(state__in=WORKING_STATES))
                ),
                name="store_point_online_fits_state",
            ),
            models.CheckConstraint(
                condition=Q(free_bytes__isnull=True)
                | (Q(free_bytes__gte=0) & Q(total_bytes__gte=F("free_bytes"))),
                name="store_point_free_fits_total",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["due_at"], name="store_point_due"),
            models.Index(fields=["state", "name"], name="store_point_by_state"),
            models.Index(fields=["server", "name"], name="store_point_by_server"),
            models.Index(fields=["free_bytes"], name="store_point_by_free"),
            models.Index(fields=["checked_at"], name="store_point_by_age"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("storepoints:store_point", args=[self.pk])


class StatusChange(models.Model):
    """One change of a store point's state or reason, with the evidence for it."""

    store_point = models.ForeignKey(
        StorePoint, on_delete=models.CASCADE, related_name="status_changes"
    )
    at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    state_before = models.CharField(max_length=16)
    reason_before = models.CharField(max_length=20, blank=True)
    state = models.CharField(max_length=16)
    reason = models.CharField(max_length=20, blank=True)
    cause = models.CharField(max_length=20, blank=True)
    duration_seconds = models.FloatField(null=True)
    evidence = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["-at", "-pk"]
        indexes: ClassVar = [
            models.Index(fields=["store_point", "-at"], name="status_change_of"),
            models.Index(fields=["recorded_at"], name="status_change_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.store_point_id}: {self.state_before} > {self.state}"


class Resolution(models.IntegerChoices):
    """How long a piece of history is; seconds are in ``pieces.PIECE_SECONDS``."""

    FIVE_MINUTES = 0
    HOUR = 1
    DAY = 2


class ProbeSample(models.Model):
    """What the probes of a store point came to in one piece of time."""

    store_point = models.ForeignKey(
        StorePoint,
        on_delete=models.CASCADE,
        related_name="probe_samples",
        db_index=False,
    )
    resolution = models.PositiveSmallIntegerField(choices=Resolution.choices)
    at = models.DateTimeField()
    probes = models.PositiveIntegerField()
    failures = models.PositiveIntegerField()
    writes = models.PositiveIntegerField()
    latency_least = models.FloatField(null=True)
    latency_mean = models.FloatField(null=True)
    latency_most = models.FloatField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["store_point", "resolution", "at"], name="probe_sample_once"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["resolution", "at"], name="probe_sample_by_age")
        ]

    def __str__(self) -> str:
        return f"{self.store_point_id} at {self.at}"


class SpaceSample(models.Model):
    """How full a filesystem was at the end of one piece of time."""

    filesystem = models.ForeignKey(
        Filesystem,
        on_delete=models.CASCADE,
        related_name="space_samples",
        db_index=False,
    )
    resolution = models.PositiveSmallIntegerField(choices=Resolution.choices)
    at = models.DateTimeField()
    total_bytes = models.BigIntegerField()
    free_bytes = models.BigIntegerField()
    used_bytes = models.BigIntegerField()
    used_inodes = models.BigIntegerField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["filesystem", "resolution", "at"], name="space_sample_once"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["resolution", "at"], name="space_sample_by_age")
        ]

    def __str__(self) -> str:
        return f"{self.filesystem_id} at {self.at}"


class HistoryLimit(models.Model):
    """How much history is kept: one row, set in Settings > System."""

    five_minutes_days = models.PositiveIntegerField(default=7)
    hours_days = models.PositiveIntegerField(default=90)
    days_days = models.PositiveIntegerField(default=1825)
    # However long that is, never more rows than take this much.
    most_megabytes = models.PositiveIntegerField(default=1024)
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=150, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(pk=1), name="history_limit_is_one_row")
        ]

    def __str__(self) -> str:
        return "how much history is kept"


class AgentRequest(models.Model):
    """A question put to an agent, and its answer when it came.

    The agent can write to the reports queue and nowhere else, so an answer travels
    like any report and lands here.
    """

    guid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, related_name="agent_requests"
    )
    kind = models.CharField(
        max_length=10,
        choices=[
            ("inspect", "inspect"),
            ("adopt", "adopt"),
            ("readopt", "readopt"),
        ],
    )
    payload = models.JSONField(default=dict)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    asked_at = models.DateTimeField()
    answer = models.JSONField(null=True)
    answered_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-asked_at"]
        indexes: ClassVar = [
            models.Index(fields=["asked_at"], name="agent_request_by_time")
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.server_id}"
