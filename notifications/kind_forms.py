"""What administrators choose for each kind of alert, everywhere or in a destination.

An empty field is what holds without it: the number in grey. A field that a POST does not
have at all stays as it is, but for a switch: one that is off is not sent. What is sent as
the page had it stays as it is too, though somebody else has changed it meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from alerts.catalogue import KINDS, Kind, Parameter, Scope
from alerts.engine import Severity
from alerts.services import refuse_wrong_choices
from alerts.settings import MOST_DELAY, Choice, Settings
from console.kit import spans
from storepoints.models import Destination

#: How long what is typed for a number may be; the longest number that fits is shorter.
NUMBER_LENGTH = 30

#: The choices of a switch in a destination, with what each stands for.
SWITCH = {"": None, "on": True, "off": False}


class DestinationForm(forms.Form):
    """The destination whose own settings are asked for."""

    destination = forms.ModelChoiceField(queryset=Destination.objects.all())


class AfterField(forms.CharField):
    """How long a condition has to hold before its alert is raised."""

    def __init__(self, kind: Kind, **kwargs: Any) -> None:
        super().__init__(
            required=False,
            max_length=NUMBER_LENGTH,
            error_messages=_too_long(f"{kind.short_name}, after"),
            **kwargs,
        )
        self._kind = kind

    def clean(self, value: Any) -> timedelta | None:
        """Return the span; None when the field is empty."""
        text: str = super().clean(value)
        if not text:
            return None
        span = spans.read(text)
        if span is None or span > MOST_DELAY:
            raise ValidationError(
                f"{self._kind.short_name}, after: found “{text}”, expected a time with "
                f"its unit, such as 90 s, 30 min or 2 h, at most "
                f"{spans.in_words(MOST_DELAY)}."
            )
        return span


class NumberField(forms.CharField):
    """A number of a kind's rule."""

    def __init__(self, kind: Kind, parameter: Parameter, **kwargs: Any) -> None:
        super().__init__(
            required=False,
            max_length=NUMBER_LENGTH,
            error_messages=_too_long(f"{kind.short_name}, {parameter.label}"),
            **kwargs,
        )
        self._kind = kind
        self._parameter = parameter

    def clean(self, value: Any) -> float | None:
        """Return the number; None when the field is empty."""
        text: str = super().clean(value)
        if not text:
            return None
        parameter = self._parameter
        number = _number(text)
        if not parameter.can_be(number):
            raise ValidationError(
                f"{self._kind.short_name}, {parameter.label}: found “{text}”, expected "
                f"{parameter.expected}."
            )
        return round(number, 3)


def _too_long(what: str) -> dict[str, str]:
    return {
        "max_length": f"{what}: found %(show_value)d characters, expected at most "
        "%(limit_value)d."
    }


def _number(text: str) -> float:
    """Return the number that a text is; else NaN.

    A comma is none: to some it sets thousands apart, and to others it is the point.
    """
    try:
        return float(text) if text.isascii() else math.nan
    except ValueError:
        return math.nan


@dataclass(frozen=True, slots=True)
class Limit:
    """A number of a rule as a row shows it: to be changed, or (no field) as it is."""

    parameter: Parameter
    field: forms.BoundField | None


@dataclass(frozen=True, slots=True)
class KindFields:
    """The fields of one kind as the page draws them."""

    show: forms.BoundField
    mail: forms.BoundField
    after: forms.BoundField
    severity: forms.BoundField
    limits: list[Limit]

    @property
    def errors(self) -> list[str]:
        """Return what was wrong in this row."""
        fields = [self.show, self.mail, self.after, self.severity]
        fields += [each.field for each in self.limits if each.field is not None]
        return [str(error) for field in fields for error in field.errors]


class KindsForm(forms.Form):
    """What is chosen of every kind: everywhere, or what one destination has of its own.

    ``listed`` are the kinds: a destination has none of those about the console itself.

    The page says in ``kinds`` which kinds it showed: the others stay as they are, and a
    POST without is refused.
    """

    kinds = forms.MultipleChoiceField(
        error_messages={
            "required": "Expected the kinds of alerts that the page showed.",
            "invalid_choice": "Expected kinds of alerts, found %(value)s.",
        },
    )

    def __init__(
        self,
        *args: Any,
        settings: Settings,
        destination: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Take what is chosen now, to draw it and to keep what is not sent."""
        super().__init__(*args, **kwargs)
        self._settings = settings
        self._destination = destination
        self.listed = [
            kind
            for kind in KINDS.values()
            if destination is None or kind.scope is not Scope.CONSOLE
        ]
        self._kinds.choices = [(kind.slug, kind.slug) for kind in self.listed]
        for kind in self.listed:
            self._add(kind)
        for name, field in self.fields.items():
            # The page says what it showed, beside what was made of it.
            field.show_hidden_initial = name != "kinds"

    @property
    def _kinds(self) -> forms.MultipleChoiceField:
        field: forms.MultipleChoiceField = self.fields["kinds"]  # type: ignore[assignment]  # declared above
        return field

    def _add(self, kind: Kind) -> None:
        slug, everywhere = kind.slug, self._settings.of(kind.slug)
        chosen = self._settings.choice(slug, self._destination)
        for prefix, what, value, inherited in (
            ("show", "show in console", chosen.is_shown, everywhere.is_shown),
            ("mail", "send email", chosen.is_mailed, everywhere.is_mailed),
        ):
            label = f"{kind.short_name}: {what}"
            self.fields[f"{prefix}-{slug}"] = (
                _switch(label, is_on=value is not False)
                if self._destination is None
                else _own_switch(label, value, is_on=inherited)
            )
        self.fields[f"after-{slug}"] = AfterField(
            kind,
            initial=""
            if chosen.delay_seconds is None
            else spans.in_words(timedelta(seconds=chosen.delay_seconds)),
            widget=_text(
                f"{kind.short_name}: after",
                spans.AT_ONCE
                if self._destination is None
                else spans.in_words(everywhere.delay),
                "kind-after",
            ),
        )
        self.fields[f"severity-{slug}"] = self._severity(kind, chosen)
        for parameter in kind.parameters:
            if not parameter.is_changeable:
                continue
            number = chosen.parameters.get(parameter.name)
            self.fields[f"limit-{slug}-{parameter.name}"] = NumberField(
                kind,
                parameter,
                initial="" if number is None else _plain(number),
                widget=_text(
                    f"{kind.short_name}: {parameter.label}"
                    f"{f' ({parameter.unit})' if parameter.unit else ''}",
                    _plain(self._without(kind, parameter)),
                    "kind-number",
                    inputmode="decimal",
                ),
            )

    def _without(self, kind: Kind, parameter: Parameter) -> float:
        """Return what holds when a number is not chosen here."""
        chosen = dict(self._settings.choice(kind.slug, self._destination).parameters)
        chosen.pop(parameter.name, None)
        if self._destination is not None:
            chosen = {**self._settings.choice(kind.slug).parameters, **chosen}
        return kind.numbers(chosen)[parameter.name]

    def _severity(self, kind: Kind, chosen: Choice) -> forms.Field:
        choices = [(each.slug, each.label) for each in Severity]
        initial = chosen.severity.slug if chosen.severity else ""
        if self._destination is None:
            initial = initial or kind.severity.slug
        else:
            usual = self._settings.of(kind.slug).severity.label
            choices = [("", f"Inherit ({usual})"), *choices]
        return forms.ChoiceField(
            choices=choices,
            required=False,
            initial=initial,
            error_messages={
                "invalid_choice": f"{kind.short_name}, severity: found “%(value)s”, "
                "expected critical, warning or low."
            },
            widget=_select(f"{kind.short_name}: severity"),
        )

    def add_error(self, field: Any, error: Any) -> None:
        """Note what is wrong, and point from the field to the words about it."""
        super().add_error(field, error)
        if field in self.fields and field != "kinds":
            slug = self._slug_of(field)
            self.fields[field].widget.attrs["aria-describedby"] = f"errors-{slug}"

    @staticmethod
    def _slug_of(field: str) -> str:
        rest = field.partition("-")[2]
        return next(
            slug for slug in KINDS if rest == slug or rest.startswith(f"{slug}-")
        )

    def clean(self) -> dict[str, Any]:
        """Refuse numbers that do not fit together."""
        data = super().clean() or {}
        if not self.errors:
            after = self._settings.changed(self.choices(), self._destination)
            for found in after.contradictions():
                if found.destination != self._destination:
                    continue
                name = f"limit-{found.pair.kind}-{found.pair.name}"
                self.add_error(name, found.words)
        if not self.errors:
            refuse_wrong_choices(self._settings, self.choices(), self._destination)
        return data

    def row(self, slug: str) -> KindFields:
        """Return the fields of one kind."""
        setting = self._settings.of(slug, self._destination)
        return KindFields(
            show=self[f"show-{slug}"],
            mail=self[f"mail-{slug}"],
            after=self[f"after-{slug}"],
            severity=self[f"severity-{slug}"],
            limits=[
                Limit(
                    each,
                    self[f"limit-{slug}-{each.name}"] if each.is_changeable else None,
                )
                for each in setting.told.parameters
            ],
        )

    def _is_chosen(self, name: str) -> bool:
        """Return whether a field was sent, and not just as the page had it."""
        if f"initial-{name}" in self.data and name not in self.changed_data:
            return False
        return name in self.data

    def choices(self) -> dict[str, Choice]:
        """Return what was chosen, for the kinds that the page showed."""
        return {slug: self._choice(KINDS[slug]) for slug in self.cleaned_data["kinds"]}

    def _choice(self, kind: Kind) -> Choice:
        slug, data = kind.slug, self.cleaned_data
        before = self._settings.choice(slug, self._destination)
        parameters: dict[str, float] = {}
        for each in kind.parameters:
            name = f"limit-{slug}-{each.name}"
            value = (
                data.get(name)
                if self._is_chosen(name)
                else before.parameters.get(each.name)
            )
            if value is not None:
                parameters[each.name] = value
        delay = before.delay_seconds
        if self._is_chosen(f"after-{slug}"):
            span = data[f"after-{slug}"]
            delay = None if span is None else int(span.total_seconds())
        severity = before.severity
        if self._is_chosen(f"severity-{slug}"):
            word = data[f"severity-{slug}"]
            severity = Severity[word.upper()] if word else None
        return Choice(
            is_shown=self._switched("show", slug, before.is_shown),
            is_mailed=self._switched("mail", slug, before.is_mailed),
            severity=severity,
            delay_seconds=delay,
            parameters=parameters,
        )

    def _switched(self, prefix: str, slug: str, before: bool | None) -> bool | None:  # noqa: FBT001 (a value, not a flag)
        name = f"{prefix}-{slug}"
        if self._destination is not None:
            return SWITCH[self.cleaned_data[name]] if self._is_chosen(name) else before
        # One that is off is not sent at all.
        if f"initial-{name}" in self.data and name not in self.changed_data:
            return before
        return bool(self.cleaned_data[name])


def _plain(value: float) -> str:
    """Return a number as it is typed: "0.5", "1000000"."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _text(label: str, placeholder: str, name: str, **attrs: str) -> forms.TextInput:
    return forms.TextInput(
        attrs={
            "class": f"form-control form-control-sm {name}",
            "autocomplete": "off",
            "placeholder": placeholder,
            "aria-label": label,
            **attrs,
        }
    )


def _select(label: str) -> forms.Select:
    return forms.Select(
        attrs={"class": "form-select form-select-sm", "aria-label": label}
    )


def _switch(label: str, *, is_on: bool) -> forms.BooleanField:
    return forms.BooleanField(
        required=False,
        initial=is_on,
        label=label,
        widget=forms.CheckboxInput(
            attrs={"class": "form-check-input", "role": "switch", "aria-label": label}
        ),
    )


def _own_switch(label: str, value: bool | None, *, is_on: bool) -> forms.ChoiceField:  # noqa: FBT001 (a value, not a flag)
    usual = "on" if is_on else "off"
    return forms.ChoiceField(
        choices=[("", f"Inherit ({usual})"), ("on", "On"), ("off", "Off")],
        required=False,
        initial={None: "", True: "on", False: "off"}[value],
        label=label,
        error_messages={
            "invalid_choice": f"{label}: found “%(value)s”, expected on, off or nothing."
        },
        widget=_select(label),
    )
