"""What administrators type: recipients and the mail server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crispy_forms.helper import FormHelper
from crispy_forms.layout import Column, Field, Layout, Row
from django import forms
from django.core.exceptions import ValidationError

from console.kit import humane
from notifications import mail
from notifications.models import (
    ADDRESS_LENGTH,
    SENDER_LENGTH,
    EmailSettings,
    Security,
    validate_host,
)
from notifications.services import MailServer


def _without_tag(*, labels: bool = True) -> FormHelper:
    helper = FormHelper()
    helper.form_tag = False
    helper.disable_csrf = True
    helper.form_show_labels = labels
    return helper


class RecipientForm(forms.Form):
    """One address."""

    address = forms.EmailField(
        max_length=ADDRESS_LENGTH,
        label="Add a recipient",
        widget=forms.EmailInput(
            attrs={"autocomplete": "off", "placeholder": "ops@example.org"}
        ),
        error_messages={
            "required": "Expected an email address, such as ops@example.org.",
            "invalid": "Expected an email address, such as ops@example.org.",
        },
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = _without_tag()


class TestForm(forms.Form):
    """Where to send a test mail."""

    address = forms.EmailField(
        max_length=ADDRESS_LENGTH,
        label="To",
        help_text="Sent at once, with the settings as they are saved.",
        error_messages={
            "required": "Expected an email address, such as ops@example.org.",
            "invalid": "Expected an email address, such as ops@example.org.",
        },
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = _without_tag()


class EmailSettingsForm(forms.Form):
    """How mail is sent. The password is write-only."""

    is_enabled = forms.BooleanField(
        required=False,
        label="Send mail",
        help_text="Off: alerts are recorded and shown, and nobody is mailed.",
    )
    host = forms.CharField(
        max_length=255,
        required=False,
        help_text="The mail server's name, such as mail.example.org. Empty: no mail.",
        validators=[validate_host],
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    port = forms.IntegerField(
        min_value=1,
        max_value=65535,
        help_text="Usually 587 with STARTTLS, 465 with TLS, 25 without.",
    )
    security = forms.ChoiceField(
        choices=Security.choices,
        help_text="With STARTTLS and TLS the server's certificate is verified.",
    )
    username = forms.CharField(
        max_length=255,
        required=False,
        label="User name",
        help_text="Empty when the server takes mail without.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    password = forms.CharField(
        max_length=1000,
        required=False,
        strip=False,
        # Never rendered again, also not after a mistake elsewhere in the form.
        widget=forms.PasswordInput(
            attrs={"autocomplete": "new-password"}, render_value=False
        ),
    )
    sender = forms.CharField(
        max_length=SENDER_LENGTH,
        required=False,
        # Help texts are HTML.
        help_text="Who the mails are from: console@example.org, or "
        "Store Points &lt;console@example.org&gt;.",
    )
    group_seconds = forms.IntegerField(
        min_value=0,
        max_value=3600,
        label="Distance between mails",
        help_text="Seconds between two mails to one person; what happens meanwhile is "
        "told together. 30 is usual.",
    )

    def __init__(self, *args: Any, settings: EmailSettings, **kwargs: Any) -> None:
        """Take the stored settings: whether there is a password decides the texts."""
        self._settings = settings
        super().__init__(*args, **kwargs)
        for name in self.fields:
            if name != "password":
                self.initial[name] = getattr(settings, name)
        has_password = bool(settings.sealed_password)
        self.fields["password"].help_text = (
            "Stored encrypted, never shown again. Leave empty to keep the one that is "
            "stored; remove the user name to remove it."
            if has_password
            else "Stored encrypted, and never shown again."
        )
        if has_password:
            self.fields["password"].widget.attrs["placeholder"] = "unchanged"
        self.helper = _without_tag()
        self.helper.layout = Layout(
            Field("is_enabled"),
            Field("host"),
            Row(
                Column("security", css_class="col-md-6"),
                Column("port", css_class="col-md-6"),
            ),
            Row(
                Column("username", css_class="col-md-6"),
                Column("password", css_class="col-md-6"),
            ),
            Field("sender"),
            Field("group_seconds"),
        )

    def clean_username(self) -> str:
        """Refuse what the mail protocol cannot carry."""
        return _ascii_line(self.cleaned_data["username"])

    def clean_password(self) -> str:
        """Refuse what the mail protocol cannot carry."""
        return _ascii_line(self.cleaned_data["password"])

    def clean_sender(self) -> str:
        """Return the sender as ``address`` or ``Name <address>``."""
        text = _one_line(self.cleaned_data["sender"])
        if not text:
            return ""
        sender = mail.read_sender(text)
        if sender is None:
            raise ValidationError(
                "Expected one address such as console@example.org, or a name and an "
                "address such as Store Points <console@example.org>; a name with a "
                'comma or another sign in quotes: "Müller, Ops" <console@example.org>.'
            )
        if len(sender) > SENDER_LENGTH:
            raise ValidationError(f"Expected at most {SENDER_LENGTH} characters.")
        return sender

    def clean(self) -> dict[str, Any]:
        """Refuse what cannot work together."""
        data = super().clean() or {}
        if data.get("host") and not data.get("sender") and "sender" not in self.errors:
            self.add_error("sender", "Expected an address to send as.")
        if data.get("password") and not data.get("username"):
            self.add_error(
                "username", "Expected a user name, because there is a password."
            )
        if (
            data.get("host")
            and data.get("username")
            and not data.get("password")
            and "password" not in self.errors
        ):
            self._ask_for_password(data)
        return data

    def _ask_for_password(self, data: Mapping[str, Any]) -> None:
        """Refuse to send by a password that is missing, or was typed for elsewhere."""
        if not self._settings.sealed_password:
            self.add_error(
                "password", "Expected a password, because there is a user name."
            )
            return
        # Nor may it go to the same server in the clear where it was typed for TLS.
        moved = [
            name
            for name in ("host", "port", "security")
            if name in data and data[name] != getattr(self._settings, name)
        ]
        if moved:
            have = "has" if len(moved) == 1 else "have"
            self.add_error(
                "password",
                f"Type the password again: {humane.listed(moved)} {have} changed.",
            )

    def server(self) -> MailServer:
        """Return what was typed."""
        data = self.cleaned_data
        password: str | None = data["password"] or None
        if not data["username"]:
            password = ""
        return MailServer(
            host=data["host"],
            port=data["port"],
            security=data["security"],
            username=data["username"],
            password=password,
            sender=data["sender"],
            is_enabled=data["is_enabled"],
            group_seconds=data["group_seconds"],
        )


def _ascii_line(text: str) -> str:
    if not text.isascii():
        raise ValidationError(
            "Expected letters of ASCII only: signing in to a mail server allows no "
            "others."
        )
    return _one_line(text)


def _one_line(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValidationError("Expected one line without control characters.")
    return text
