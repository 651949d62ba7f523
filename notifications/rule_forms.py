"""What administrators type of groups, routes and reminders."""

from __future__ import annotations

import zoneinfo
from typing import Any

from crispy_forms.helper import FormHelper
from crispy_forms.layout import Column, Field, Layout, Row
from django import forms
from django.db.models import Q

from alerts.catalogue import KINDS
from alerts.models import SEVERITIES
from console.accounts.models import User
from notifications.forms import one_line
from notifications.models import Channel, Group, Recipient, ReminderSettings, Route
from notifications.pace import MORNING, Pace
from notifications.services import Members, Plan
from storepoints.models import NAME_LENGTH, Destination, Server

_TIME = forms.TimeInput(attrs={"type": "time"}, format="%H:%M")


def _helper(*layout: Any) -> FormHelper:
    helper = FormHelper()
    helper.form_tag = False
    helper.disable_csrf = True
    if layout:
        helper.layout = Layout(*layout)
    return helper


class _Person(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        """Return the name, and what says whether mail can reach the person."""
        if not obj.is_active:
            return f"{obj.get_username()} (may not sign in)"
        if not obj.email:
            return f"{obj.get_username()} (has no address)"
        return f"{obj.get_username()} ({obj.email})"


class GroupForm(forms.Form):
    """A group's name and who is in it."""

    name = forms.CharField(max_length=NAME_LENGTH)
    users = _Person(
        required=False,
        queryset=User.objects.order_by("username"),
        widget=forms.CheckboxSelectMultiple,
        label="People",
        help_text="Administrators hear everything anyway.",
    )
    recipients = forms.ModelMultipleChoiceField(
        required=False,
        queryset=Recipient.objects.order_by("address"),
        widget=forms.CheckboxSelectMultiple,
        help_text="One that is in a group hears only what its routes say.",
    )

    def __init__(self, data: Any = None, *, initial: dict[str, Any]) -> None:
        """Offer everybody who may sign in, and who is in the group already."""
        super().__init__(data, initial=initial)
        people: Any = self.fields["users"]
        people.queryset = User.objects.filter(
            Q(is_active=True) | Q(pk__in=initial.get("users", ()))
        ).order_by("username")
        self.helper = _helper()

    def clean_name(self) -> str:
        """Refuse what would break a line of a timeline, a message or the log."""
        return one_line(self.cleaned_data["name"])

    @staticmethod
    def initial_of(group: Group) -> dict[str, Any]:
        """Return what the form shows of a group."""
        return {
            "name": group.name,
            "users": [row.pk for row in group.users.all()],
            "recipients": [row.pk for row in group.recipients.all()],
        }

    def members(self) -> Members:
        """Return what was typed."""
        data = self.cleaned_data
        return Members(data["name"], list(data["users"]), list(data["recipients"]))


class RouteForm(forms.Form):
    """What a route matches, whom it tells, and when."""

    name = forms.CharField(
        max_length=NAME_LENGTH, help_text="Timelines name it: “Pager”, “Night shift”."
    )
    is_enabled = forms.BooleanField(required=False, label="Switched on", initial=True)
    severities = forms.TypedMultipleChoiceField(
        required=False,
        coerce=int,
        choices=SEVERITIES,
        widget=forms.CheckboxSelectMultiple,
        help_text="None: all of them.",
    )
    kinds = forms.MultipleChoiceField(
        required=False,
        label="Kinds",
        help_text="None: all of them.",
        widget=forms.SelectMultiple(attrs={"size": 6}),
    )
    destination = forms.ModelChoiceField(
        required=False,
        queryset=Destination.objects.order_by("name"),
        empty_label="Every destination",
    )
    server = forms.ModelChoiceField(
        required=False,
        queryset=Server.objects.order_by("name"),
        empty_label="Every server",
    )
    groups = forms.ModelMultipleChoiceField(
        required=False,
        queryset=Group.objects.order_by("name"),
        widget=forms.CheckboxSelectMultiple,
        label="Tells groups",
    )
    channels = forms.ModelMultipleChoiceField(
        required=False,
        queryset=Channel.objects.order_by("name"),
        widget=forms.CheckboxSelectMultiple,
        label="Tells channels",
        help_text="A channel that a route names hears only what its routes say.",
    )
    pace = forms.ChoiceField(
        choices=[(pace.value, pace.label) for pace in Pace], label="When"
    )
    digest_at = forms.TimeField(
        label="Daily digest at",
        required=False,
        widget=_TIME,
        error_messages={"invalid": "Expected a time of day, such as 08:00."},
    )
    time_zone = forms.ChoiceField(
        label="Time zone", help_text="Digests go out by its clock."
    )
    after_minutes = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=40_320,
        label="Only when nobody has acknowledged it after, minutes",
        help_text="Empty: told when it happens. Filled in, this route is a step of "
        "escalation: it tells only what is still open and not acknowledged then.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kinds: Any = self.fields["kinds"]
        # One that has left the catalogue stays until somebody takes it out: a route
        # that has no kinds matches every alert.
        gone = [each for each in self.initial.get("kinds", ()) if each not in KINDS]
        kinds.choices = [
            *((kind.slug, kind.short_name) for kind in KINDS.values()),
            *((each, f"{each} (no longer known)") for each in gone),
        ]
        zones: Any = self.fields["time_zone"]
        zones.choices = [
            (each, each.replace("_", " "))
            for each in sorted(zoneinfo.available_timezones())
        ]
        self.helper = _helper(
            Field("name"),
            Field("is_enabled"),
            Field("severities"),
            Field("kinds"),
            Row(
                Column("destination", css_class="col-md-6"),
                Column("server", css_class="col-md-6"),
            ),
            Row(
                Column("groups", css_class="col-md-6"),
                Column("channels", css_class="col-md-6"),
            ),
            Field("pace"),
            Row(
                Column("digest_at", css_class="col-md-6"),
                Column("time_zone", css_class="col-md-6"),
            ),
            Field("after_minutes"),
        )

    def clean_name(self) -> str:
        """Refuse what would break a line of a timeline, a message or the log."""
        return one_line(self.cleaned_data["name"])

    @staticmethod
    def initial_of(route: Route) -> dict[str, Any]:
        """Return what the form shows of a route."""
        after = route.after_seconds
        return {
            **{
                name: getattr(route, name)
                for name in (
                    *("name", "is_enabled", "severities", "kinds", "destination"),
                    *("server", "pace", "digest_at", "time_zone"),
                )
            },
            "groups": [row.pk for row in route.groups.all()],
            "channels": [row.pk for row in route.channels.all()],
            "after_minutes": None if after is None else max(1, after // 60),
        }

    def plan(self) -> Plan:
        """Return what was typed."""
        data = self.cleaned_data
        minutes = data["after_minutes"]
        return Plan(
            name=data["name"],
            severities=data["severities"],
            kinds=data["kinds"],
            destination=data["destination"],
            server=data["server"],
            groups=list(data["groups"]),
            channels=list(data["channels"]),
            pace=Pace(data["pace"]),
            digest_at=data["digest_at"] or MORNING,
            time_zone=data["time_zone"],
            after_seconds=None if minutes is None else minutes * 60,
            is_enabled=data["is_enabled"],
        )


class RemindersForm(forms.Form):
    """After how long people are reminded of what nobody acknowledges."""

    critical_minutes = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=40_320,
        label="Critical, after minutes",
        help_text="240 are 4 hours. Empty: never.",
    )
    warning_minutes = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=40_320,
        label="Warning, after minutes",
        help_text="1440 are 24 hours. Empty: never.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = _helper(
            Row(
                Column("critical_minutes", css_class="col-md-6"),
                Column("warning_minutes", css_class="col-md-6"),
            )
        )

    @staticmethod
    def initial_of(row: ReminderSettings) -> dict[str, int | None]:
        """Return what the form shows of the settings."""
        return {
            "critical_minutes": _minutes(row.critical_seconds),
            "warning_minutes": _minutes(row.warning_seconds),
        }

    def seconds(self) -> dict[str, int | None]:
        """Return what was typed, as the service takes it."""
        return {
            f"{name}_seconds": None
            if self.cleaned_data[f"{name}_minutes"] is None
            else self.cleaned_data[f"{name}_minutes"] * 60
            for name in ("critical", "warning")
        }


def _minutes(seconds: int | None) -> int | None:
    return None if seconds is None else max(1, seconds // 60)
