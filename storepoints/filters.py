"""What the Store Point Overview can be narrowed down to, from its query string."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q, QuerySet
from django.http import QueryDict
from django_filters import filters, filterset

from console.kit.problems import WrongInput
from storepoints import selectors
from storepoints.models import Destination, Server, StorePoint
from storepoints.states import State

SHOWN = (
    ("offline", "Not online"),
    ("degraded", "Degraded"),
    ("attention", "Needs attention"),
    ("in-alert", "In alert"),
    ("inbound-disabled", "Inbound disabled"),
)

NOT_WORKING = [
    str(state)
    for state in (
        State.OFFLINE,
        State.NOT_RESPONDING,
        State.SERVER_OFFLINE,
        State.UNKNOWN,
        State.PENDING,
    )
]


class StorePointFilter(filterset.FilterSet):
    """``show``, ``state``, ``destination``, ``server`` and ``q`` of the query string."""

    show = filters.ChoiceFilter(choices=SHOWN, method="narrow_down")
    state = filters.ChoiceFilter(
        field_name="shown_state", choices=[(value, value) for value in State]
    )
    destination = filters.ModelChoiceFilter(
        field_name="server__destination", queryset=Destination.objects.all()
    )
    server = filters.ModelChoiceFilter(queryset=Server.objects.all())
    q = filters.CharFilter(method="search", max_length=200)

    class Meta:
        model = StorePoint
        fields: tuple[str, ...] = ()

    def narrow_down(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Keep what one of the pills above the list stands for."""
        match value:
            case "offline":
                return rows.filter(shown_state__in=NOT_WORKING)
            case "in-alert":
                return rows.filter(selectors.is_in_alert())
            case "degraded":
                return rows.filter(shown_state=State.DEGRADED)
            case "inbound-disabled":
                return rows.filter(is_accepting=False)
        return rows.filter(
            Q(shown_state__in=[*NOT_WORKING, State.DEGRADED])
            | Q(is_accepting=False)
            | Q(is_believed=True)
        )

    def search(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Keep the rows whose name, path, note or server contains the text."""
        return rows.filter(
            Q(name__icontains=value)
            | Q(path__icontains=value)
            | Q(note__icontains=value)
            | Q(server__name__icontains=value)
        )


def narrow(
    filter_class: type[filterset.FilterSet], data: QueryDict, rows: QuerySet[Any]
) -> filterset.FilterSet:
    """Return the filter applied; raises WrongInput, naming the parameter, when wrong."""
    narrowed = filter_class(data, queryset=rows)
    try:
        is_valid = narrowed.is_valid()
    except OverflowError:
        # A list of keys is asked for in the database before it is checked.
        raise WrongInput(
            "A filter names a number that is no key of anything."
        ) from None
    if not is_valid:
        name, errors = next(iter(narrowed.form.errors.items()))
        expected = _expected(narrowed.form.fields[name])
        raise WrongInput(
            f"The filter {name!r} cannot be {data.get(name, '')[:80]!r}. "
            f"{errors[0]}{expected}"
        )
    return narrowed


def _expected(field: forms.Field) -> str:
    choices = getattr(field, "choices", None)
    if choices is None or isinstance(field, forms.ModelChoiceField):
        return ""
    known = ", ".join(str(value) for value, _ in choices if value)
    return f" Expected one of: {known}."
