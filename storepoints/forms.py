"""Forms of the pages about what is watched."""

from __future__ import annotations

from typing import Any

from crispy_forms.helper import FormHelper
from crispy_forms.layout import Layout
from django import forms

from console.kit import humane
from storepoints.models import NAME_LENGTH, PATH_LENGTH, Destination, Server, StorePoint


def clean_line(text: str, what: str) -> str:
    """Return a text stripped; refuse control characters, which no list can show."""
    text = text.strip()
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise forms.ValidationError(
            f"{what} contains control characters; expected one line of text."
        )
    return text


class _NamedForm(forms.ModelForm):  # type: ignore[type-arg]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = FormHelper()
        self.helper.form_tag = False

    def clean_name(self) -> str:
        """Return the name as one line."""
        return clean_line(self.cleaned_data["name"], "The name")


class AddStorePointForm(forms.Form):
    """Where a new store point lies; the server's agent has the last word."""

    name = forms.CharField(
        max_length=NAME_LENGTH,
        help_text="What lists and alerts call it, for example Tank-07.",
    )
    server = forms.ModelChoiceField(
        queryset=Server.objects.order_by("name"),
        empty_label=None,
        help_text="The enterprise server whose disk it is on.",
    )
    path = forms.CharField(
        max_length=PATH_LENGTH,
        help_text="The whole path of an existing directory on that server.",
        widget=forms.TextInput(attrs={"list": "volumes", "autocomplete": "off"}),
    )
    note = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))
    is_taking_over = forms.BooleanField(
        required=False,
        label="Continue this store point",
        help_text=(
            "The directory carries the marker of a store point that this console does "
            "not know. Tick this to go on with its identity."
        ),
    )

    def __init__(self, *args: Any, may_take_over: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not may_take_over:
            self.fields["is_taking_over"].widget = forms.HiddenInput()
        self.helper = FormHelper()
        self.helper.form_tag = False
        self.helper.layout = Layout("name", "server", "path", "is_taking_over", "note")

    def clean_name(self) -> str:
        """Return the name if it is free."""
        name = clean_line(self.cleaned_data["name"], "The name")
        if StorePoint.objects.filter(name=name).exists():
            raise forms.ValidationError(f"There is already a store point named {name}.")
        return name

    def clean_path(self) -> str:
        """Return the path without a slash at its end."""
        path: str = self.cleaned_data["path"]
        if not path.startswith("/"):
            raise forms.ValidationError(
                f"“{path}” is not an absolute path. Give the whole path, from “/” on."
            )
        if "\0" in path:
            raise forms.ValidationError("A path cannot contain a null character.")
        return path.rstrip("/") or "/"


class EditStorePointForm(_NamedForm):
    """What a person may change of a store point; its place is not among it."""

    class Meta:
        model = StorePoint
        fields = ("name", "check_seconds", "note")
        labels = {"check_seconds": "Check every (seconds)"}
        help_texts = {
            "check_seconds": "From 5 to 3600. A failing store point is checked every "
            "10 s, and a mount or unmount is noticed at once in any case."
        }
        widgets = {"note": forms.Textarea(attrs={"rows": 2})}


class EditServerForm(_NamedForm):
    """What a person may change of a server."""

    class Meta:
        model = Server
        fields = ("name", "destination", "check_seconds", "note")
        labels = {"check_seconds": "Ask it every (seconds)"}
        help_texts = {
            "check_seconds": "From 5 to 3600. A server that leaves three of these "
            "intervals unanswered is said to be offline."
        }
        widgets = {"note": forms.Textarea(attrs={"rows": 2})}


class DestinationForm(_NamedForm):
    """A destination's name and note."""

    class Meta:
        model = Destination
        fields = ("name", "note")
        widgets = {"note": forms.Textarea(attrs={"rows": 2})}


def volume_choices(server: Server) -> list[dict[str, str]]:
    """Return the server's volumes as its agent last listed them, for the path field."""
    choices = []
    for volume in server.volumes:
        if not isinstance(volume, dict) or not volume.get("mount_point"):
            continue
        access = ", read-only" if volume.get("is_read_only") else ""
        choices.append(
            {
                "path": str(volume["mount_point"]),
                "fs_type": str(volume.get("fs_type", "")),
                "source": str(volume.get("source", "")),
                "total": humane.size(volume.get("total_bytes")),
                "free": humane.size(volume.get("free_bytes")),
                "access": access,
            }
        )
    return sorted(choices, key=lambda choice: choice["path"])
