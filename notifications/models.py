"""Who is told: recipients, how mail is sent, and what became of each message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse

from alerts.coverage import Coverage
from alerts.models import Alert, AlertEvent
from notifications.drill_steps import Outcome
from notifications.engine import CHANNEL_LANE, UNSENT, DeliveryState
from notifications.pace import MORNING, Pace, Waits
from storepoints.models import (
    NAME_LENGTH,
    PATH_LENGTH,
    Destination,
    Server,
    StorePoint,
)

ADDRESS_LENGTH = 254  # RFC 5321, 4.5.3.1.3: a path of 256 octets with its brackets.

SENDER_LENGTH = 320  # A name besides, for which no standard has a limit.

validate_host = RegexValidator(
    # A name's labels (underscores are common on local networks), IPv4, or IPv6.
    r"\A(?:(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?"
    r"|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)\Z",
    "Expected a host name or an IP address, such as mail.example.org.",
)


class Recipient(models.Model):
    """An address that is told of alerts besides every administrator's."""

    address = models.EmailField(max_length=ADDRESS_LENGTH)
    added_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    added_by_name = models.CharField(max_length=150, blank=True)
    added_at = models.DateTimeField()

    class Meta:
        """One row for each address, in whatever case it was typed."""

        ordering: ClassVar = ["address"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("address"),
                name="recipient_address_is_unique",
                violation_error_message="This address is a recipient already.",
            ),
            models.CheckConstraint(
                condition=~Q(address=""), name="recipient_has_address"
            ),
        ]

    def __str__(self) -> str:
        """Return the address."""
        return self.address


class Security(models.TextChoices):
    """How the connection to the mail server is protected."""

    NONE = "none", "None"
    STARTTLS = "starttls", "STARTTLS"
    TLS = "tls", "TLS"


class EmailSettings(models.Model):
    """How mail is sent, and how that went; there is one row.

    The password is encrypted with the console's key and never shown again.
    """

    #: The primary key of the one row.
    ONLY = 1

    host = models.CharField(
        max_length=255,
        blank=True,
        validators=[validate_host],
    )
    port = models.PositiveIntegerField(
        default=587, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    security = models.CharField(
        max_length=8, choices=Security.choices, default=Security.STARTTLS.value
    )
    username = models.CharField(max_length=255, blank=True)
    sealed_password = models.TextField(blank=True)
    sender = models.CharField(max_length=SENDER_LENGTH, blank=True)
    is_enabled = models.BooleanField(default=True)
    group_seconds = models.PositiveIntegerField(
        default=30, validators=[MaxValueValidator(3600)]
    )
    # Whether a mail has a link to acknowledge what it tells without signing in.
    has_links = models.BooleanField(default=True)
    changed_at = models.DateTimeField(null=True)

    # How it went. "Failing" is about the server; a recipient that is refused is not.
    last_success_at = models.DateTimeField(null=True)
    last_failure_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)
    last_cure = models.TextField(blank=True)
    failing_since = models.DateTimeField(null=True)

    class Meta:
        """One row, whose figures are in range."""

        verbose_name_plural = "email settings"
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(id=1), name="email_settings_one_row"),
            models.CheckConstraint(
                condition=Q(security__in=Security.values),
                name="email_settings_security_is_known",
            ),
            models.CheckConstraint(
                condition=Q(port__gte=1) & Q(port__lte=65535),
                name="email_settings_port_in_range",
            ),
            models.CheckConstraint(
                condition=Q(group_seconds__lte=3600),
                name="email_settings_group_seconds_in_range",
            ),
        ]

    def __str__(self) -> str:
        """Return the server's address."""
        return f"{self.host}:{self.port}" if self.host else "no mail server"

    @property
    def is_configured(self) -> bool:
        """Return whether there is a server to send by and a sender to send as."""
        return bool(self.host and self.sender)

    @property
    def is_ready(self) -> bool:
        """Return whether mail is to be sent."""
        return self.is_configured and self.is_enabled

    @property
    def why_not(self) -> str:
        """Return why no mail is sent, to follow "not mailed:"; "" when it is."""
        if not self.is_configured:
            return "no mail server is set up (Settings > Email)"
        if not self.is_enabled:
            return "sending mail is switched off (Settings > Email)"
        return ""

    @property
    def domain(self) -> str:
        """Return the domain for message ids: the sender's, else the console's own."""
        found = re.search(r"@([A-Za-z0-9.-]+)>?\s*$", self.sender)
        if found:
            return found[1].strip(".-").lower() or "localhost"
        host = urlsplit(settings.PUBLIC_URL).hostname or "localhost"
        return re.sub(r"[^a-z0-9.-]", "-", host)


class Channel(models.Model):
    """A way to tell people besides mail: a webhook, or a service that Apprise speaks.

    Its address and its key are encrypted with the console's key and never shown again:
    the address of most services is a password.
    """

    class Kind(models.TextChoices):
        """What speaks to it."""

        WEBHOOK = "webhook", "Webhook"
        APPRISE = "apprise", "Apprise"

    name = models.CharField(max_length=NAME_LENGTH)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    is_enabled = models.BooleanField(default=True)
    sealed_url = models.TextField()
    # What a webhook is signed with.
    sealed_secret = models.TextField(blank=True)
    allows_private = models.BooleanField(default=False)
    per_hour = models.PositiveIntegerField(
        default=60, validators=[MinValueValidator(1), MaxValueValidator(3600)]
    )
    created_at = models.DateTimeField()

    # How it went.
    last_success_at = models.DateTimeField(null=True)
    last_failure_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)
    last_cure = models.TextField(blank=True)
    failing_since = models.DateTimeField(null=True)
    # When the console switched it off, because trying again cannot help.
    disabled_at = models.DateTimeField(null=True)

    class Meta:
        """One row for each name, in whatever case it was typed; figures in range."""

        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("name"),
                name="channel_name_is_unique",
                violation_error_message="Another channel has this name.",
            ),
            models.CheckConstraint(condition=~Q(name=""), name="channel_has_name"),
            models.CheckConstraint(
                condition=Q(kind__in=["webhook", "apprise"]),
                name="channel_kind_is_known",
            ),
            models.CheckConstraint(
                condition=Q(per_hour__gte=1) & Q(per_hour__lte=3600),
                name="channel_per_hour_in_range",
            ),
            models.CheckConstraint(
                condition=Q(disabled_at__isnull=True) | Q(is_enabled=False),
                name="channel_disabled_is_off",
            ),
        ]

    def __str__(self) -> str:
        """Return its name."""
        return self.name

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("notifications:channel", args=[self.pk])

    @property
    def lane(self) -> str:
        """Return what its deliveries have for a recipient: "channel:7"."""
        return f"{CHANNEL_LANE}{self.pk}"


class OutboundHeartbeat(models.Model):
    """The address that is called while the console is well; there is one row.

    Whoever is behind it notices when the calls stop. It is encrypted with the console's
    key and never shown again: who knows it can call in the console's place.
    """

    #: The primary key of the one row.
    ONLY = 1

    is_enabled = models.BooleanField(default=False)
    sealed_url = models.TextField(blank=True)
    allows_private = models.BooleanField(default=False)
    every_seconds = models.PositiveIntegerField(
        default=60, validators=[MinValueValidator(30), MaxValueValidator(3600)]
    )
    says_failure = models.BooleanField(default=False)

    # How it went. "Called" is tried; "why" says what keeps it from being called.
    called_at = models.DateTimeField(null=True)
    last_success_at = models.DateTimeField(null=True)
    last_failure_at = models.DateTimeField(null=True)
    last_answer = models.TextField(blank=True)
    last_cure = models.TextField(blank=True)
    unhealthy_since = models.DateTimeField(null=True)
    why = models.TextField(blank=True)
    failure_said_at = models.DateTimeField(null=True)

    class Meta:
        """One row, whose figures are in range; switched on only with an address."""

        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(id=1), name="outbound_heartbeat_one_row"
            ),
            models.CheckConstraint(
                condition=Q(every_seconds__gte=30) & Q(every_seconds__lte=3600),
                name="outbound_heartbeat_every_seconds_in_range",
            ),
            models.CheckConstraint(
                condition=Q(is_enabled=False) | ~Q(sealed_url=""),
                name="outbound_heartbeat_has_address",
            ),
        ]

    def __str__(self) -> str:
        """Return what it is."""
        return "outbound heartbeat"


class Delivery(models.Model):
    """One event to one recipient: what is to be sent, or what became of it.

    It goes by mail when ``channel`` is empty, and ``recipient`` is an address then.
    Else that is the channel's lane, "channel:7", and ``recipient_name`` its name.

    Rows with the same ``batch`` travel in one message. A row is claimed with a lease;
    when the process that claimed it dies, the lease runs out and the same batch is sent
    again under the same id, so that who gets it can tell that it is the same.
    """

    State = DeliveryState

    event = models.ForeignKey(
        AlertEvent, on_delete=models.CASCADE, related_name="deliveries"
    )
    channel = models.ForeignKey(
        Channel, null=True, on_delete=models.CASCADE, related_name="deliveries"
    )
    recipient = models.CharField(max_length=ADDRESS_LENGTH)
    recipient_name = models.CharField(max_length=ADDRESS_LENGTH, blank=True)
    # What it waits for on purpose until it is due: quiet hours, or a digest.
    waits_for = models.CharField(
        max_length=8, blank=True, choices=[(each.value, each.name) for each in Waits]
    )
    state = models.CharField(
        max_length=8,
        default=DeliveryState.PENDING.value,
        choices=[(state.value, state.label) for state in DeliveryState],
    )
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    give_up_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    attempted_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    batch = models.UUIDField(null=True)
    message_id = models.CharField(max_length=255, blank=True)
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    class Meta:
        """Once for each event and recipient; small indexes for what is due."""

        ordering: ClassVar = ["-pk"]
        verbose_name_plural = "deliveries"
        permissions: ClassVar = [("resend_delivery", "Can send a failed message again")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["event", "recipient"], name="delivery_once"
            ),
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in DeliveryState]),
                name="delivery_state_is_known",
            ),
            models.CheckConstraint(
                condition=Q(channel__isnull=True)
                & ~Q(recipient__startswith=CHANNEL_LANE)
                | Q(channel__isnull=False, recipient__startswith=CHANNEL_LANE),
                name="delivery_lane_is_the_channels",
            ),
            models.CheckConstraint(
                condition=~Q(state="sent") | Q(sent_at__isnull=False),
                name="delivery_sent_has_sent_at",
            ),
            models.CheckConstraint(
                condition=~Q(state="sending")
                | Q(lease_until__isnull=False, batch__isnull=False),
                name="delivery_sending_has_lease",
            ),
            models.CheckConstraint(
                condition=~Q(recipient=""), name="delivery_has_recipient"
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["due_at"],
                condition=Q(state__in=["pending", "retry"]),
                name="delivery_due",
            ),
            models.Index(
                fields=["lease_until"],
                condition=Q(state="sending"),
                name="delivery_leased",
            ),
            models.Index(
                fields=["give_up_at"],
                condition=Q(state__in=[state.value for state in UNSENT]),
                name="delivery_unsent",
            ),
            models.Index(
                fields=["batch"],
                condition=Q(batch__isnull=False),
                name="delivery_batch",
            ),
            models.Index(
                fields=["recipient", "-attempted_at"], name="delivery_by_recipient"
            ),
            models.Index(fields=["state", "-id"], name="delivery_by_state"),
        ]

    def __str__(self) -> str:
        """Return whom it is for."""
        if self.channel_id is None:
            return f"mail to {self.recipient}"
        return f"message to {self.recipient_name}"

    @property
    def addressee(self) -> str:
        """Return whom it is for as people call it: an address, or a channel's name."""
        return self.recipient if self.channel_id is None else self.recipient_name


class MailLink(models.Model):
    """What the link of one mail lets its recipient do once: acknowledge what it lists.

    The link itself is not stored: it is this row's ``batch`` and ``expires_at``, signed
    with the console's key (notifications.links). ``alerts`` are keys; an alert that was
    removed since is no longer acknowledged by anybody.
    """

    batch = models.UUIDField(unique=True)
    recipient = models.CharField(max_length=ADDRESS_LENGTH)
    alerts = models.JSONField(default=list)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        """Somebody's, and not for ever."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=~Q(recipient=""), name="mail_link_has_recipient"
            ),
            models.CheckConstraint(
                condition=Q(expires_at__gt=models.F("created_at")),
                name="mail_link_expires",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["expires_at"], name="mail_link_by_expiry")
        ]

    def __str__(self) -> str:
        """Return whose it is."""
        return f"link in a mail to {self.recipient}"


class Group(models.Model):
    """People and addresses that routes tell of alerts.

    A recipient in a group hears only what the routes of its groups say, administrators
    everything all the same.
    """

    name = models.CharField(max_length=NAME_LENGTH)
    users = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="told_groups"
    )
    recipients = models.ManyToManyField(Recipient, blank=True, related_name="groups")
    created_at = models.DateTimeField()

    class Meta:
        """One row for each name, in whatever case."""

        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("name"),
                name="group_name_is_unique",
                violation_error_message="Another group has this name.",
            ),
            models.CheckConstraint(condition=~Q(name=""), name="group_has_name"),
        ]

    def __str__(self) -> str:
        """Return its name."""
        return self.name

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("notifications:group", args=[self.pk])


class Route(models.Model):
    """Which alerts are told to whom, and how soon.

    Each of ``severities``, ``kinds``, ``destination`` and ``server`` narrows it, and
    what is left empty does not. ``after_seconds`` makes it a step of escalation: it
    tells what nobody has acknowledged that long after it was raised.
    """

    name = models.CharField(max_length=NAME_LENGTH)
    position = models.PositiveIntegerField()
    is_enabled = models.BooleanField(default=True)

    # What it matches.
    severities = models.JSONField(default=list, blank=True)
    kinds = models.JSONField(default=list, blank=True)
    destination = models.ForeignKey(
        Destination,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="routes",
    )
    server = models.ForeignKey(
        Server, null=True, blank=True, on_delete=models.CASCADE, related_name="routes"
    )

    # Whom it tells, and when.
    groups = models.ManyToManyField(Group, blank=True, related_name="routes")
    channels = models.ManyToManyField(Channel, blank=True, related_name="routes")
    pace = models.CharField(
        max_length=8,
        choices=[(pace.value, pace.label) for pace in Pace],
        default=Pace.NOW.value,
    )
    digest_at = models.TimeField(default=MORNING)
    time_zone = models.CharField(max_length=64, default="UTC")
    after_seconds = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(60)]
    )
    created_at = models.DateTimeField()

    class Meta:
        """In the order in which they are listed; one of each name."""

        ordering: ClassVar = ["position", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("name"),
                name="route_name_is_unique",
                violation_error_message="Another route has this name.",
            ),
            models.CheckConstraint(condition=~Q(name=""), name="route_has_name"),
            models.CheckConstraint(
                condition=Q(pace__in=[pace.value for pace in Pace]),
                name="route_pace_is_known",
            ),
            models.CheckConstraint(
                condition=Q(after_seconds__isnull=True) | Q(after_seconds__gte=60),
                name="route_after_a_minute",
            ),
        ]

    def __str__(self) -> str:
        """Return its name."""
        return self.name

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("notifications:route", args=[self.pk])

    @property
    def coverage(self) -> Coverage:
        """What it matches."""
        return Coverage(
            kinds=frozenset(self.kinds),
            severities=frozenset(self.severities),
            server=self.server_id,
            destination=self.destination_id,
        )


class ReminderSettings(models.Model):
    """When people are reminded of what nobody acknowledges; there is one row.

    Empty: never.
    """

    #: The primary key of the one row.
    ONLY = 1

    critical_seconds = models.PositiveIntegerField(
        null=True, blank=True, default=4 * 3600, validators=[MinValueValidator(60)]
    )
    warning_seconds = models.PositiveIntegerField(
        null=True, blank=True, default=24 * 3600, validators=[MinValueValidator(60)]
    )
    changed_at = models.DateTimeField(null=True)

    class Meta:
        """One row, whose spans are at least a minute."""

        verbose_name_plural = "reminder settings"
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(id=1), name="reminder_settings_one_row"),
            models.CheckConstraint(
                condition=(
                    Q(critical_seconds__isnull=True) | Q(critical_seconds__gte=60)
                )
                & (Q(warning_seconds__isnull=True) | Q(warning_seconds__gte=60)),
                name="reminder_settings_in_range",
            ),
        ]

    def __str__(self) -> str:
        """Return what they are."""
        return "reminders"


class Drill(models.Model):
    """A store point that is made to fail on purpose, and what came of it, step by step.

    ``steps`` has in order, for each: ``slug``, ``label``, ``target_seconds``,
    ``deadline_seconds``, ``outcome`` (a drill_steps.Outcome), ``at`` (ISO 8601, when it
    was so), ``seconds`` (since the step before it) and ``text``.
    """

    class State(models.TextChoices):
        """What became of it."""

        RUNNING = "running", "Running"
        PASSED = "passed", "Passed"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    #: The names of its directories, below its own.
    IN_PLACE, AWAY = "store-point", "moved-away"

    name = models.CharField(max_length=NAME_LENGTH)
    directory = models.CharField(max_length=PATH_LENGTH)
    state = models.CharField(
        max_length=9, choices=State.choices, default=State.RUNNING.value
    )
    started_at = models.DateTimeField()
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    started_by_name = models.CharField(max_length=150)
    finished_at = models.DateTimeField(null=True)
    # Asked for by a person; whoever runs it cleans up then.
    cancelled_at = models.DateTimeField(null=True)
    cancelled_by_name = models.CharField(max_length=150, blank=True)
    failure = models.TextField(blank=True)

    store_point = models.ForeignKey(
        StorePoint, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    # What its alerts are about: that stays when the store point is gone.
    subject = models.CharField(max_length=50, blank=True)
    alert = models.ForeignKey(
        Alert, null=True, on_delete=models.SET_NULL, related_name="drills"
    )

    steps = models.JSONField(default=list)
    # When the step that is next was come to.
    entered_at = models.DateTimeField()
    # Who is at it: a worker that is killed keeps the others away for no longer.
    lease = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        """One at a time."""

        ordering: ClassVar = ["-pk"]
        permissions: ClassVar = [("run_drill", "Can start and cancel drills")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["state"],
                condition=Q(state="running"),
                name="drill_one_running",
            ),
            models.CheckConstraint(
                condition=Q(state="running", finished_at__isnull=True)
                | Q(
                    state__in=["passed", "failed", "cancelled"],
                    finished_at__isnull=False,
                ),
                name="drill_finished_has_an_end",
            ),
        ]

    def __str__(self) -> str:
        """Return its name."""
        return self.name

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("notifications:drill", args=[self.pk])

    @property
    def in_place(self) -> Path:
        """Return the directory that is its store point."""
        return Path(self.directory, self.IN_PLACE)

    @property
    def away(self) -> Path:
        """Return where that directory is moved to, so that the store point fails."""
        return Path(self.directory, self.AWAY)

    @property
    def is_running(self) -> bool:
        """Return whether it is not over."""
        return self.state == self.State.RUNNING

    @property
    def current(self) -> dict[str, Any] | None:
        """Return the step that is waited for."""
        return next(
            (step for step in self.steps if step["outcome"] == Outcome.WAITING), None
        )
