"""Forms of the pages about what is watched."""

from __future__ import annotations

import unicodedata
from typing import Any

from crispy_forms.helper import FormHelper
from crispy_forms.layout import Layout
from django import forms

from console.kit import humane
from storepoints.agent.messages import tidy_path
from storepoints.models import (
    NAME_LENGTH,
    PATH_LENGTH,
    Destination,
    HistoryLimit,
    Server,
    StorePoint,
)

#: Classes of characters that turn, isolate or override the direction of a text.
TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def clean_line(text: str, what: str) -> str:
    """Return a text stripped; refuse control characters, which no list can show.

    Among them are those that turn the direction of what follows, in a mail as well as
    in a list: a name must not make another one read backwards.
    """
    text = text.strip()
    if any(
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in TURNS
        for character in text
    ):
        raise forms.ValidationError(
            f"{what} contains control characters; expected one line of text."
        )
    return text


class _Drawn(forms.BaseForm):
    """Drawn by crispy inside a form of the page's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = FormHelper()
        self.helper.form_tag = False


class _NamedForm(_Drawn, forms.ModelForm):  # type: ignore[type-arg]
    def clean_name(self) -> str:
        """Return the name as one line."""
        return clean_line(self.cleaned_data["name"], "The name")


class AddStorePointForm(_Drawn, forms.Form):
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
        self.helper.layout = Layout("name", "server", "path", "is_taking_over", "note")

    def clean_name(self) -> str:
        """Return the name if it is free."""
        name = clean_line(self.cleaned_data["name"], "The name")
        if StorePoint.objects.filter(name=name).exists():
            raise forms.ValidationError(f"There is already a store point named {name}.")
        return name

    def clean_path(self) -> str:
        """Return the path without a slash at its end."""
        return _clean_path(self.cleaned_data["path"])


class LookForm(_Drawn, forms.Form):
    """Where the agent is to look for the disk of a store point."""

    path = forms.CharField(
        max_length=PATH_LENGTH,
        label="Look at",
        help_text="The path of the store point, or where its disk is mounted now.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_path(self) -> str:
        """Return the path without a slash at its end."""
        return _clean_path(self.cleaned_data["path"])


class ReadoptForm(_Drawn, forms.Form):
    """The confirmation: the name, typed by the person who has read what happens."""

    typed_name = forms.CharField(
        max_length=NAME_LENGTH,
        label="Type the name of the store point to confirm",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


def _clean_path(path: str) -> str:
    if not path.startswith("/"):
        raise forms.ValidationError(
            f"“{path}” is not an absolute path. Give the whole path, from “/” on."
        )
    if "\0" in path:
        raise forms.ValidationError("A path cannot contain a null character.")
    # Only a command line brings these: a browser sends text.
    if any("\ud800" <= character <= "\udfff" for character in path):
        raise forms.ValidationError(
            "The path contains bytes that are not UTF-8, and the console's database "
            "cannot hold those. Rename the directory, or mount the volume elsewhere."
        )
    return tidy_path(path)


class EditStorePointForm(_NamedForm):
    """What a person may change of a store point; its place is not among it."""

    class Meta:
        model = StorePoint
        fields = ("name", "check_seconds", "write_seconds", "note")
        labels = {
            "check_seconds": "Check every (seconds)",
            "write_seconds": "Write at most every (seconds)",
        }
        help_texts = {
            "check_seconds": "From 5 to 3600. A failing store point is checked every "
            "10 s, and a mount or unmount is noticed at once in any case.",
            "write_seconds": "From 0 to 86400. A check writes 4 kB and reads it back, "
            "unless the last time that worked is younger than this and nothing was "
            "mounted or unmounted since. What only a write can tell, such as a failing "
            "disk, is noticed so much later. Check Now always writes.",
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
    """A destination's name and note, and its fence."""

    class Meta:
        model = Destination
        fields = ("name", "note", "is_fencing", "fence_good_probes")
        labels = {
            "is_fencing": "Fence: let the console disable inbound backup",
            "fence_good_probes": "Enable again after (good checks in a row)",
        }
        help_texts = {
            "is_fencing": "When a store point is not mounted, has a different volume or "
            "another store point's disk in its place, or is read-only, inbound backup "
            "is disabled at once, by the console, so that no backup lands where it "
            "should not. Restoring is not touched.",
            "fence_good_probes": "From 1 to 1000, or 0 to let only a person enable it "
            "again. What a person disabled stays disabled in any case.",
        }
        widgets = {"note": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["fence_good_probes"].required = False

    def clean_fence_good_probes(self) -> int:
        """Return the number; a script that does not know the field changes nothing."""
        number: int | None = self.cleaned_data["fence_good_probes"]
        if number is not None:
            return number
        if "fence_good_probes" in self.data:
            raise forms.ValidationError("Expected a number from 0 to 1000.")
        return int(self.instance.fence_good_probes)


class HistoryLimitForm(_Drawn, forms.ModelForm):  # type: ignore[type-arg]
    """How long history is kept in which detail, and how much room it has at most."""

    five_minutes_days = forms.IntegerField(
        label="Samples of five minutes, for days",
        min_value=1,
        max_value=90,
        help_text="From 1 to 90. What the last 24 hours are drawn from.",
    )
    hours_days = forms.IntegerField(
        label="Samples of an hour, for days",
        min_value=35,
        max_value=3650,
        help_text="From 35 to 3650: a forecast looks at the last five weeks of hours.",
    )
    days_days = forms.IntegerField(
        label="Samples of a day, for days",
        min_value=35,
        max_value=7300,
        help_text="From 35 to 7300, which are 20 years.",
    )
    most_megabytes = forms.IntegerField(
        label="All of them at most, in MB",
        min_value=16,
        max_value=1_000_000,
        help_text="From 16 to 1,000,000. Whatever the days above say, the oldest and "
        "finest samples go when all of them take more than this.",
    )

    class Meta:
        model = HistoryLimit
        fields = ("five_minutes_days", "hours_days", "days_days", "most_megabytes")

    def clean(self) -> dict[str, Any]:
        """Refuse to keep the finer longer than the coarser, which would be a gap."""
        cleaned = super().clean() or self.cleaned_data
        for finer, coarser in (
            ("five_minutes_days", "hours_days"),
            ("hours_days", "days_days"),
        ):
            if (cleaned.get(finer) or 0) > cleaned.get(coarser, 10**6):
                self.add_error(
                    coarser,
                    f"Expected at least {cleaned[finer]}: what is finer cannot be kept "
                    "longer than what is made of it.",
                )
        return cleaned


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
                "health": str((volume.get("devices") or {}).get("health", "unknown")),
                "health_text": str((volume.get("devices") or {}).get("text", "")),
            }
        )
    return sorted(choices, key=lambda choice: choice["path"])
