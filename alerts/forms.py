"""What a person says when acknowledging."""

from __future__ import annotations

import zoneinfo
from datetime import datetime, time, timedelta
from typing import Any

from crispy_forms.helper import FormHelper
from django import forms
from django.utils import timezone

from alerts import silences
from alerts.catalogue import KINDS
from alerts.models import SEVERITIES, AlertHistoryLimit, Silence
from alerts.schedule import DAY, first_instant, last_instant
from storepoints.models import NAME_LENGTH, Destination, Server, StorePoint


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


class AlertHistoryLimitForm(forms.ModelForm):  # type: ignore[type-arg]
    """How long alerts are kept once they are over."""

    keep_days = forms.IntegerField(
        label="Alerts that are over, for days",
        min_value=1,
        max_value=36_500,
        help_text="From 1 to 36,500, which are 100 years. Counted from when an alert had "
        "cleared and somebody had acknowledged it.",
    )

    class Meta:
        model = AlertHistoryLimit
        fields = ("keep_days",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = FormHelper()
        self.helper.form_tag = False


def until(fields: Any, now: datetime) -> datetime | None:
    """Return when an acknowledgement expires, from the cleaned data of the form."""
    hours = fields.get("hours")
    return now + timedelta(hours=int(hours)) if hours else None


class QuickSilenceForm(forms.Form):
    """A name and how long: what silencing from an action menu asks for."""

    TOMORROW = "tomorrow"
    SPANS = (
        ("1", "For 1 hour"),
        ("4", "For 4 hours"),
        (TOMORROW, "Until tomorrow, 8:00"),
        ("24", "For 1 day"),
        ("168", "For 1 week"),
    )

    name = forms.CharField(
        max_length=NAME_LENGTH,
        help_text="Why, in a few words: “Array rebuild”. Timelines and mails name it.",
    )
    hours = forms.ChoiceField(choices=SPANS, label="How long", initial="4")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = FormHelper()
        self.helper.form_tag = False


def silenced_until(fields: Any, now: datetime) -> datetime:
    """Return when a silence ends, from the cleaned data of the quick form."""
    if fields["hours"] != QuickSilenceForm.TOMORROW:
        return now + timedelta(hours=int(fields["hours"]))
    zone = zoneinfo.ZoneInfo(timezone.get_current_timezone_name())
    return first_instant(now.astimezone(zone).date() + DAY, time(8), zone)


class LocalDateTimeField(forms.Field):
    """A wall-clock time without a zone, which another field has."""

    widget = forms.DateTimeInput(
        attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"
    )

    def to_python(self, value: Any) -> datetime | None:
        """Return it naive; None when empty."""
        if value in self.empty_values:
            return None
        try:
            found = datetime.fromisoformat(str(value).strip())
        except ValueError:
            found = None
        if found is None or found.tzinfo is not None:
            raise forms.ValidationError(
                "Expected a date and a time without a zone, such as 2026-07-15T18:00."
            )
        return found


class SilenceForm(forms.Form):
    """What a silence covers, and when it is in force, in the clock of its zone."""

    WEEKDAYS = tuple(enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")))

    name = forms.CharField(
        max_length=NAME_LENGTH,
        help_text="Why, in a few words: “Array rebuild”. Timelines and mails name it.",
    )
    note = forms.CharField(
        required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2})
    )
    kinds = forms.MultipleChoiceField(required=False, label="Kinds")
    severities = forms.TypedMultipleChoiceField(
        required=False,
        coerce=int,
        choices=SEVERITIES,
        widget=forms.CheckboxSelectMultiple,
    )
    objects = forms.CharField(
        required=False,
        label="Store points",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="Names, one a line. Other objects as alerts know them: server:3.",
    )
    server = forms.ModelChoiceField(
        required=False,
        queryset=Server.objects.order_by("name"),
        empty_label="Every server",
        help_text="Its own alerts, and those of its store points and filesystems.",
    )
    destination = forms.ModelChoiceField(
        required=False,
        queryset=Destination.objects.order_by("name"),
        empty_label="Every destination",
    )
    is_everything_meant = forms.BooleanField(
        required=False,
        label="Silence every alert of the console",
        help_text="Needed when nothing above is chosen.",
    )
    repeats = forms.ChoiceField(required=False, choices=Silence.Repeats.choices)
    time_zone = forms.ChoiceField(
        label="Time zone", help_text="All times below are by its clock."
    )
    starts_at = LocalDateTimeField(required=False, label="Once: from")
    ends_at = LocalDateTimeField(required=False, label="Once: until")
    first_day = forms.DateField(
        required=False,
        label="Repeating: first day",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="A monthly one comes on this day of the month, or on the last day "
        "of a shorter month.",
    )
    last_day = forms.DateField(
        required=False,
        label="Repeating: last day",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )
    weekdays = forms.TypedMultipleChoiceField(
        required=False,
        coerce=int,
        choices=WEEKDAYS,
        label="Days of the week",
        widget=forms.CheckboxSelectMultiple,
    )
    starts_local = forms.TimeField(
        required=False,
        label="Repeating: from",
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
    )
    ends_local = forms.TimeField(
        required=False,
        label="Repeating: until",
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
        help_text="On the next day when that is not later than its start.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kinds: Any = self.fields["kinds"]
        kinds.choices = [(kind.slug, kind.short_name) for kind in KINDS.values()]
        zones: Any = self.fields["time_zone"]
        zones.choices = [
            (each, each) for each in sorted(zoneinfo.available_timezones())
        ]
        self.helper = FormHelper()
        self.helper.form_tag = False

    @staticmethod
    def initial_of(silence: Silence) -> dict[str, Any]:
        """Return what the form shows of a silence."""
        names = dict(
            StorePoint.objects.filter(
                pk__in=silences.store_points_of(silence.subjects)
            ).values_list("pk", "name")
        )
        by_subject = {
            silences.subject_of_store_point(key): name for key, name in names.items()
        }
        zone = zoneinfo.ZoneInfo(silence.time_zone)
        found = {
            name: getattr(silence, name)
            for name in SilenceForm.base_fields
            if hasattr(silence, name)
        }
        found.pop("objects", None)
        for name in ("starts_at", "ends_at"):
            if found[name] is not None:
                found[name] = found[name].astimezone(zone).replace(tzinfo=None)
        return {
            **found,
            "objects": "\n".join(
                by_subject.get(each, each) for each in silence.subjects
            ),
            "is_everything_meant": silence.pk and silence.coverage.is_everything,
        }

    def clean_objects(self) -> list[str]:
        """Return the subjects; names of store points that there are not are refused."""
        lines = [line.strip() for line in self.cleaned_data["objects"].splitlines()]
        wanted = list(dict.fromkeys(line for line in lines if line))
        if "\0" in self.cleaned_data["objects"]:
            raise forms.ValidationError("Expected names without null characters.")
        found = dict(
            StorePoint.objects.filter(name__in=wanted[:1000]).values_list("name", "pk")
        )
        subjects = []
        for line in wanted:
            scope, colon, key = line.partition(":")
            if line in found:
                subjects.append(silences.subject_of_store_point(found[line]))
            elif line == "console" or (
                colon and scope in silences.SCOPES and key.isascii() and key.isdigit()
            ):
                subjects.append(line)
            else:
                raise forms.ValidationError(
                    f"There is no store point named “{line[:100]}”."
                )
        return subjects

    def clean(self) -> dict[str, Any]:
        """Put the times into their zone: never begins late, never ends early."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        zone = zoneinfo.ZoneInfo(data.get("time_zone") or "UTC")
        for name, instant in (("starts_at", first_instant), ("ends_at", last_instant)):
            local = data.get(name)
            if local is None or data.get("repeats"):
                data[name] = None
            elif not 1970 < local.year < 2200:
                self.add_error(name, "Expected a year between 1971 and 2199.")
            else:
                data[name] = instant(local.date(), local.time(), zone)
        return data

    def silence_fields(self) -> dict[str, Any]:
        """Return the fields of the silence that was described."""
        data = {**self.cleaned_data, "subjects": self.cleaned_data["objects"]}
        for name in ("objects", "is_everything_meant"):
            data.pop(name)
        return data
