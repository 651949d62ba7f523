"""People and the one-time links that let them in."""

from __future__ import annotations

import zoneinfo
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Lower
from django.urls import reverse

from console.accounts.roles import Role


class Theme(models.TextChoices):
    """How pages are coloured."""

    AUTO = "auto", "As the system"
    LIGHT = "light", "Light"
    DARK = "dark", "Dark"


def validate_time_zone(name: str) -> None:
    """Raise ValidationError unless the name is in the IANA time zone database."""
    if name not in zoneinfo.available_timezones():
        raise ValidationError(
            f"Expected a time zone such as Europe/Berlin or UTC, found {name[:64]!r}.",
            code="time-zone",
        )


class User(AbstractUser):
    """A person who signs in, with a role, a time zone and a theme."""

    role = models.CharField(
        max_length=16,
        choices=[(role.value, role.value.capitalize()) for role in Role],
        default=Role.VIEWER.value,
    )
    time_zone = models.CharField(
        max_length=64,
        blank=True,
        validators=[validate_time_zone],
        help_text="Empty for the console's own time zone.",
    )
    theme = models.CharField(
        max_length=8, choices=Theme.choices, default=Theme.AUTO.value
    )
    # When the person is told only what is urgent, by the clock of their zone; both or
    # neither. Over midnight when the end is not later than the start.
    quiet_from = models.TimeField(null=True, blank=True)
    quiet_until = models.TimeField(null=True, blank=True)
    quiet_lets_critical = models.BooleanField(default=True)

    class Meta:
        """Names and addresses are one person's, in whatever case they are typed."""

        ordering: ClassVar = ["username"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("username"),
                name="user_name_is_unique",
                violation_error_message="Somebody has this name already.",
            ),
            models.UniqueConstraint(
                Lower("email"),
                condition=~models.Q(email=""),
                name="user_email_is_unique",
                violation_error_message="Somebody has this email address already.",
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=[role.value for role in Role]),
                name="user_role_is_known",
            ),
            models.CheckConstraint(
                condition=models.Q(theme__in=Theme.values), name="user_theme_is_known"
            ),
            models.CheckConstraint(
                condition=models.Q(quiet_from__isnull=True, quiet_until__isnull=True)
                | models.Q(quiet_from__isnull=False, quiet_until__isnull=False)
                & ~models.Q(quiet_from=models.F("quiet_until")),
                name="user_quiet_hours_have_two_ends",
                violation_error_message="Quiet hours need two different times, or none.",
            ),
        ]

    def get_absolute_url(self) -> str:
        """Return the address of the page where an administrator edits this person."""
        return reverse("user", args=[self.pk])

    @property
    def zone(self) -> zoneinfo.ZoneInfo | None:
        """Return the person's time zone; None stands for the console's own."""
        try:
            return zoneinfo.ZoneInfo(self.time_zone) if self.time_zone else None
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            # The database of zones changed under a stored name: times must still show.
            return None

    @property
    def quiet_words(self) -> str:
        """Return the person's quiet hours in words; "" without."""
        if self.quiet_from is None or self.quiet_until is None:
            return ""
        but = ", except for what is Critical" if self.quiet_lets_critical else ""
        return f"{self.quiet_from:%H:%M} to {self.quiet_until:%H:%M}{but}"

    @property
    def is_administrator(self) -> bool:
        """Return whether the person may do everything."""
        return self.role == Role.ADMINISTRATOR or self.is_superuser


class OneTimeLink(models.Model):
    """A link that can be used once; only its hash is kept, so it cannot be read back."""

    class Purpose(models.TextChoices):
        """What the link lets its bearer do."""

        SETUP = "setup", "Create the first administrator"
        SIGN_IN = "sign-in", "Sign in without a password"

    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    digest = models.CharField(
        max_length=64, unique=True, help_text="SHA-256 of the token, hexadecimal."
    )
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """A link to sign in is somebody's, and does not live for ever."""

        constraints: ClassVar = [
            models.CheckConstraint(
                condition=~models.Q(purpose="sign-in")
                | models.Q(user__isnull=False, expires_at__isnull=False),
                name="sign_in_link_is_complete",
            ),
        ]

    def __str__(self) -> str:
        """Return what it is for."""
        return self.get_purpose_display()
