"""Forms about people: they read what was typed; the services decide about it."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator

from console.accounts.models import Theme, User
from console.accounts.roles import ROLE_TEXTS, Role

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


class ChangeUserForm(forms.Form):
    """What an administrator changes of a person."""

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


class OwnAccountForm(forms.Form):
    """What people change of themselves."""

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
