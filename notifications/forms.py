"""What administrators type: recipients, the mail server, the switches of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crispy_forms.helper import FormHelper
from crispy_forms.layout import Column, Field, Layout, Row
from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from alerts.forms import AcknowledgeForm
from alerts.models import Alert
from console.kit import humane
from notifications import mail
from notifications.models import (
    ADDRESS_LENGTH,
    SENDER_LENGTH,
    Channel,
    EmailSettings,
    OutboundHeartbeat,
    Security,
    validate_host,
)
from notifications.services import (
    ChannelFields,
    HeartbeatFields,
    MailServer,
)
from notifications.transports import apprise, http
from storepoints.models import NAME_LENGTH


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


class MailedAlertsForm(AcknowledgeForm):
    """Which of the alerts of a mail are acknowledged, with a note and for how long."""

    alerts = forms.TypedMultipleChoiceField(
        coerce=int,
        error_messages={
            "required": "Expected at least one alert: tick those that you have seen.",
            "invalid_choice": "Expected alerts of this mail that nobody has "
            "acknowledged, found %(value)s.",
        },
    )

    def __init__(self, *args: Any, alerts: Sequence[Alert], **kwargs: Any) -> None:
        """Take the alerts of the mail that can be acknowledged now."""
        super().__init__(*args, **kwargs)
        choices = self.fields["alerts"]
        assert isinstance(choices, forms.TypedMultipleChoiceField)  # noqa: S101
        choices.choices = [(row.pk, row.text) for row in alerts]

    def ticked(self) -> set[int]:
        """Return what is ticked: everything at first, afterwards what the person left."""
        offered = {str(key) for key, _ in self.fields["alerts"].choices}  # type: ignore[attr-defined]  # a choice field's
        if not self.is_bound:
            return {int(key) for key in offered}
        typed = self.data
        assert isinstance(typed, QueryDict)  # noqa: S101 - what a view has
        return {int(key) for key in offered.intersection(typed.getlist("alerts"))}


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
    has_links = forms.BooleanField(
        required=False,
        label="Acknowledge from a mail",
        help_text="Each mail has a link that its recipient can use once within 7 days, "
        "without signing in. Off: mails have none, and those that were sent do nothing.",
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
            Field("has_links"),
        )

    def clean_username(self) -> str:
        """Refuse what the mail protocol cannot carry."""
        return _ascii_line(self.cleaned_data["username"])

    def clean_password(self) -> str:
        """Refuse what the mail protocol cannot carry."""
        return _ascii_line(self.cleaned_data["password"])

    def clean_sender(self) -> str:
        """Return the sender as ``address`` or ``Name <address>``."""
        text = one_line(self.cleaned_data["sender"])
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
            has_links=data["has_links"],
        )


def _ascii_line(text: str) -> str:
    if not text.isascii():
        raise ValidationError(
            "Expected letters of ASCII only: signing in to a mail server allows no "
            "others."
        )
    return one_line(text)


def one_line(text: str) -> str:
    """Return a text; refuse what would break a line of a header or the log."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValidationError("Expected one line without control characters.")
    return text


#: Longest address of a channel. Apprise's have tokens and several places in them.
URL_LENGTH = 4000

_ALLOWS_PRIVATE = (
    "Off: addresses that lead to this machine or into private networks are refused, "
    "also behind a redirect."
)


def _secret_address(stored: str, help_text: str) -> forms.CharField:
    """Return a field for an address that is never drawn from what is stored."""
    field = forms.CharField(
        max_length=URL_LENGTH,
        required=not stored,
        label="Address",
        help_text=(
            f"{help_text} Stored encrypted, never shown again. Leave empty to keep the "
            "one that is stored."
            if stored
            else f"{help_text} Stored encrypted, and never shown again."
        ),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Expected an address."},
    )
    if stored:
        field.widget.attrs["placeholder"] = "unchanged"
    return field


class ChannelForm(forms.Form):
    """A channel of one kind. Its address is write-only."""

    name = forms.CharField(
        max_length=NAME_LENGTH,
        help_text="As the delivery log and the alerts call it.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Expected a name, such as Pager."},
    )
    is_enabled = forms.BooleanField(
        required=False,
        label="Send by this channel",
        help_text="Off: what waits for it is kept until it is switched on.",
    )
    per_hour = forms.IntegerField(
        min_value=1,
        max_value=3600,
        label="Most messages in an hour",
        help_text="What is more is told together, in the next message.",
    )
    allows_private = forms.BooleanField(
        required=False,
        label="Allow this machine and private networks",
        help_text=_ALLOWS_PRIVATE,
    )

    _HELP = {
        Channel.Kind.WEBHOOK: "Where a signed POST of JSON goes, such as "
        "https://hooks.example.org/path.",
        Channel.Kind.APPRISE: "As Apprise has it: slack://…, ntfys://…, tgram://…, "
        "pagerduty://…, mailtos://….",
    }

    def __init__(
        self,
        *args: Any,
        kind: str,
        channel: Channel | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the kind, and the channel that is changed."""
        super().__init__(*args, **kwargs)
        self._kind = Channel.Kind(kind)
        stored = channel.sealed_url if channel else ""
        self.fields["url"] = _secret_address(stored, self._HELP[self._kind])
        if channel is not None:
            for name in ("name", "is_enabled", "per_hour", "allows_private"):
                self.initial[name] = getattr(channel, name)
        else:
            self.initial.update(is_enabled=True, per_hour=60)
        rows = [Field("name"), Field("url"), Field("per_hour")]
        rows += [Field("allows_private"), Field("is_enabled")]
        if channel is not None and self._kind == Channel.Kind.WEBHOOK:
            self.fields["makes_secret"] = forms.BooleanField(
                required=False,
                label="Make a new key to sign with",
                help_text="It is shown once, and the old one is no longer used.",
            )
            rows.append(Field("makes_secret"))
        self.helper = _without_tag()
        self.helper.layout = Layout(*rows)

    def clean_name(self) -> str:
        """Refuse what would break a line of the log."""
        return one_line(self.cleaned_data["name"])

    def clean_url(self) -> str:
        """Refuse an address that this kind of channel does not understand."""
        url: str = self.cleaned_data["url"]
        if not url:
            return ""
        if self._kind == Channel.Kind.WEBHOOK:
            return _read_address(url)
        try:
            apprise.check(one_line(url))
        except apprise.WrongAddress as error:
            raise ValidationError(str(error)) from None
        return url

    def channel(self) -> ChannelFields:
        """Return what was typed."""
        data = self.cleaned_data
        return ChannelFields(
            name=data["name"],
            url=data["url"] or None,
            is_enabled=data["is_enabled"],
            allows_private=data["allows_private"],
            per_hour=data["per_hour"],
            makes_secret=data.get("makes_secret", False),
        )


class HeartbeatForm(forms.Form):
    """What is called while the console is well. The address is write-only."""

    is_enabled = forms.BooleanField(
        required=False,
        label="Call an address while all is well",
    )
    every_seconds = forms.IntegerField(
        min_value=30,
        max_value=3600,
        label="Every (seconds)",
        help_text="60 is usual. Let whoever is called wait for three of them to fail.",
    )
    says_failure = forms.BooleanField(
        required=False,
        label="Say at once when something is wrong",
        help_text="Calls the address with /fail behind its path, once, as Healthchecks "
        "has it.",
    )
    allows_private = forms.BooleanField(
        required=False,
        label="Allow this machine and private networks",
        help_text=_ALLOWS_PRIVATE,
    )

    def __init__(self, *args: Any, heartbeat: OutboundHeartbeat, **kwargs: Any) -> None:
        """Take the stored heartbeat."""
        super().__init__(*args, **{"prefix": "heartbeat", **kwargs})
        self._stored = heartbeat
        self.fields["url"] = _secret_address(
            heartbeat.sealed_url, "Such as https://hc-ping.com/…"
        )
        self.fields["url"].required = False
        for name in ("is_enabled", "every_seconds", "says_failure", "allows_private"):
            self.initial[name] = getattr(heartbeat, name)
        self.helper = _without_tag()
        self.helper.layout = Layout(
            Field("is_enabled"),
            Field("url"),
            Field("every_seconds"),
            Field("says_failure"),
            Field("allows_private"),
        )

    def clean_url(self) -> str:
        """Refuse what is no address of the web."""
        url: str = self.cleaned_data["url"]
        return _read_address(url) if url else ""

    def clean(self) -> dict[str, Any]:
        """Refuse to call what nobody has typed."""
        data = super().clean() or {}
        if (
            data.get("is_enabled")
            and not data.get("url")
            and "url" not in self.errors
            and not self._stored.sealed_url
        ):
            self.add_error("url", "Expected an address to call.")
        return data

    def heartbeat(self) -> HeartbeatFields:
        """Return what was typed."""
        data = self.cleaned_data
        return HeartbeatFields(
            url=data["url"] or None,
            is_enabled=data["is_enabled"],
            allows_private=data["allows_private"],
            every_seconds=data["every_seconds"],
            says_failure=data["says_failure"],
        )


def _read_address(text: str) -> str:
    try:
        http.read_url(text)
    except ValueError as error:
        raise ValidationError(str(error)) from None
    return text
