"""What a person says when acknowledging."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from crispy_forms.helper import FormHelper
from django import forms


class AcknowledgeForm(forms.Form):
    """A note, and how long the acknowledgement is to hold; both may be left out."""

    SPANS = (
        ("", "Until the condition ends"),
        ("1", "For 1 hour"),
        ("4", "For 4 hours"),
        ("24", "For 1 day"),
        ("72", "For 3 days"),
        ("168", "For 1 week"),
    )

    note = forms.CharField(
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Why, or what is being done. Stands beside your name.",
    )
    hours = forms.ChoiceField(
        required=False,
        choices=SPANS,
        label="How long",
        help_text="Afterwards the alert is active again, if it still needs somebody.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = FormHelper()
        self.helper.form_tag = False

    def clean_note(self) -> str:
        """Return the note without white space around it."""
        note: str = self.cleaned_data["note"].strip()
        if "\0" in note:
            raise forms.ValidationError("A note cannot contain a null character.")
        return note


def until(fields: Any, now: datetime) -> datetime | None:
    """Return when an acknowledgement expires, from the cleaned data of the form."""
    hours = fields.get("hours")
    return now + timedelta(hours=int(hours)) if hours else None
