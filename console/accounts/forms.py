"""Forms about people: they read what was typed; the services decide about it."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator

from console.accounts.models import Theme, User
from console.accounts.roles import ROLE_TEXTS, Role
from console.accounts.services import QuietHours

NAME_HELP = "Letters, digits and @ . + - _, at most 150. Used to sign in."
HELP_TEXT = (
    "At least 8 characters, not a common password, not only digits, not like the name."
)

#: Longer passwords only cost time to hash.
PASSWORD_LENGTH = 1024


def password_field(label: str = "Password", **kwargs: Any) -> forms.CharField:
    """Return the field for a new password."""
    return forms.CharField(
        label=label,
        strip=False,
        validators=[MaxLengthValidator(PASSWORD_LENGTH)],
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=HELP_TEXT,
        **kwargs,
    )


def add_errors(form: forms.Form, error: ValidationError) -> None:
    """Put what a service refused beside the fields it speaks of.

    Fields that the form does not have, and ``username`` where it is called ``name``,
    are found their place, so that no message is lost.
    """
    if not hasattr(error, "error_dict"):
        form.add_error(None, error)
        return
    for name, problems in error.error_dict.items():
        place = "name" if name == "username" else name
        form.add_error(place if place in form.fields else None, problems)


class QuietHoursForm(forms.Form):
    """When somebody is told only what is urgent."""

    quiet_from = forms.TimeField(
        required=False,
        label="Quiet hours from",
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
        error_messages={"invalid": "Expected a time of day, such as 22:00."},
    )
    quiet_until = forms.TimeField(
        required=False,
        label="Quiet hours until",
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
        help_text="By the clock of the time zone above, over midnight when that is not "
        "later. Mail about alerts waits until then; nothing is lost. Both empty: none.",
        error_messages={"invalid": "Expected a time of day, such as 07:00."},
    )
    quiet_lets_critical = forms.BooleanField(
        required=False, label="Critical alerts break through quiet hours"
    )

    @staticmethod
    def quiet_of(user: User) -> dict[str, Any]:
        """Return what the form shows of somebody."""
        return {
            "quiet_from": user.quiet_from,
            "quiet_until": user.quiet_until,
            "quiet_lets_critical": user.quiet_lets_critical,
        }

    def quiet(self) -> QuietHours:
        """Return what was typed."""
        data = self.cleaned_data
        return QuietHours(
            data["quiet_from"], data["quiet_until"], data["quiet_lets_critical"]
        )


class TwicePasswordForm(forms.Form):
    """A new password that is typed twice."""

    password = password_field()
    password_again = forms.CharField(
        label="Password again",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> dict[str, Any]:
        """Refuse two passwords that differ."""
        data = super().clean() or {}
        first, second = data.get("password"), data.get("password_again")
        if first and second and first != second:
            self.add_error("password_again", "The two passwords are not the same.")
        return data


class NewUserForm(TwicePasswordForm):
    """Name, address and password of a new person, such as the first administrator."""

    name = forms.CharField(
        max_length=150,
        help_text=NAME_HELP,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "username",
                "autocapitalize": "none",
                "spellcheck": "false",
            }
        ),
    )
    email = forms.EmailField(
        label="Email address",
        help_text="Where alerts are mailed to.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )

    field_order: tuple[str, ...] = ("name", "email", "password", "password_again")


class AddUserForm(NewUserForm):
    """A person with a role, made by an administrator."""

    role = forms.ChoiceField(
        choices=[
            (role.value, f"{role.value.capitalize()}: {ROLE_TEXTS[role]}")
            for role in Role
        ],
        widget=forms.RadioSelect,
        initial=Role.VIEWER.value,
    )

    field_order = ("name", "email", "role", "password", "password_again")


class ChangeUserForm(QuietHoursForm):
    """What an administrator changes of a person."""

    field_order = ("email", "role", "is_active")

    email = forms.EmailField(label="Email address", required=False)
    role = forms.ChoiceField(
        choices=[
            (role.value, f"{role.value.capitalize()}: {ROLE_TEXTS[role]}")
            for role in Role
        ],
        widget=forms.RadioSelect,
    )
    is_active = forms.BooleanField(
        label="May sign in",
        required=False,
        help_text="Without this the person is signed out and cannot come back; what "
        "they did stays in the audit log under their name.",
    )

    def __init__(self, *args: Any, zone: str, **kwargs: Any) -> None:
        """Take the name of the person's time zone, for the help text."""
        super().__init__(*args, **kwargs)
        self.fields["quiet_until"].help_text = (
            f"By the person's clock ({zone}), over midnight when that is not later. "
            "Mail about alerts waits until then; nothing is lost. Both empty: none."
        )


class PasswordForm(TwicePasswordForm):
    """Another password for somebody who has one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].label = "New password"
        self.fields["password_again"].label = "New password again"


class OwnPasswordForm(PasswordForm):
    """A new password of one's own, which needs the present one."""

    current = forms.CharField(
        label="Present password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    field_order = ("current", "password", "password_again")

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_current(self) -> str:
        """Refuse a wrong present password."""
        current: str = self.cleaned_data["current"]
        if not self.user.check_password(current):
            raise ValidationError("This is not your present password.")
        return current


class OwnAccountForm(QuietHoursForm):
    """What people change of themselves."""

    field_order = ("first_name", "last_name", "email", "time_zone")

    first_name = forms.CharField(max_length=150, required=False)
    last_name = forms.CharField(max_length=150, required=False)
    email = forms.EmailField(label="Email address", required=False)
    time_zone = forms.ChoiceField(
        required=False, help_text="Times on all pages are shown in this zone."
    )
    theme = forms.ChoiceField(choices=Theme.choices)

    def __init__(self, *args: Any, console_zone: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zones = sorted(zoneinfo.available_timezones())
        field = self.fields["time_zone"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        field.choices = [
            ("", f"The console's own ({console_zone})"),
            *((zone, zone.replace("_", " ")) for zone in zones),
        ]
