"""What the Alerts Overview can be narrowed down to, from its query string."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django_filters import filters, filterset

from alerts import selectors
from alerts.catalogue import KINDS
from alerts.engine import Severity
from alerts.models import Alert
from console.kit import clock
from storepoints.models import Destination, Server, StorePoint

VIEWS = (("active", "Active"), ("acknowledged", "Acknowledged"), ("all", "All"))

#: Whether what is not shown (Settings > Notifications) is listed too.
HIDDEN = (("1", "What is not shown too"),)

#: Quick choices of when an alert was raised.
WITHIN = (
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
)
_SPANS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}

#: What asks for alerts one by one: those that are held under another are shown beside
#: it then, and not folded away under it.
UNFOLDING = ("parent", "server", "store_point", "kind", "q")

#: All that narrows the list down.
NARROWING = (*UNFOLDING, "severity", "destination", "within", "since", "until")


class InstantField(forms.Field):
    """An instant in the person's time zone; a day alone is its beginning, or its end."""

    def __init__(self, *args: Any, is_end: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_end = is_end

    def to_python(self, value: Any) -> datetime | None:
        """Return the instant; raises ValidationError that says what was expected."""
        text = str(value or "").strip()
        if not text:
            return None
        try:
            day = parse_date(text)
            at = parse_datetime(text) if day is None else self._of_day(day)
            if at is not None and at.tzinfo is None:
                at = timezone.make_aware(at)
        except (ValueError, OverflowError):
            at = None
        if at is None:
            raise forms.ValidationError(
                "Expected a time such as 2026-11-25T14:00, or a day such as 2026-11-25."
            )
        return at

    def _of_day(self, day: date) -> datetime:
        return datetime.combine(day + timedelta(days=self.is_end), time())


class InstantFilter(filters.Filter):
    """Keep what was raised since, or until, an instant."""

    field_class = InstantField


class AlertFilter(filterset.FilterSet):
    """``view``, ``severity``, ``kind``, ``server``, ``destination`` and so on."""

    view = filters.ChoiceFilter(choices=VIEWS, method="choose_view")
    severity = filters.ChoiceFilter(
        choices=[(severity.slug, severity.label) for severity in Severity],
        method="of_severity",
    )
    kind = filters.ChoiceFilter(
        choices=[(kind.slug, kind.short_name) for kind in KINDS.values()]
    )
    server = filters.ModelChoiceFilter(queryset=Server.objects.all())
    store_point = filters.ModelMultipleChoiceFilter(
        queryset=StorePoint.objects.all(), method="about_store_points"
    )
    destination = filters.ModelChoiceFilter(
        queryset=Destination.objects.all(), method="of_destination"
    )
    parent = filters.ModelChoiceFilter(queryset=Alert.objects.all())
    within = filters.ChoiceFilter(choices=WITHIN, method="raised_within")
    since = InstantFilter(  # type: ignore[no-untyped-call]  # django-filter has no types
        field_name="raised_at", lookup_expr="gte"
    )
    until = InstantFilter(  # type: ignore[no-untyped-call]  # as above
        field_name="raised_at", lookup_expr="lt", is_end=True
    )
    hidden = filters.ChoiceFilter(choices=HIDDEN, method="include_hidden")
    q = filters.CharFilter(method="search", max_length=200)

    class Meta:
        model = Alert
        fields: tuple[str, ...] = ()

    def choose_view(
        self, rows: QuerySet[Alert], name: str, value: str
    ) -> QuerySet[Alert]:
        """Keep what needs a person, what somebody has seen, or all."""
        now = clock.now()
        if value == "active":
            return rows.filter(selectors.is_active(now))
        if value == "acknowledged":
            return rows.filter(selectors.is_acknowledged(now))
        return rows

    def include_hidden(
        self, rows: QuerySet[Alert], name: str, value: str
    ) -> QuerySet[Alert]:
        """Keep all: without being asked, what is not shown is left out."""
        return rows

    def filter_queryset(self, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        """Fold what is held under another alert away, unless it is asked for.

        What is recorded and not shown is left out, unless it is asked for.
        """
        with_hidden = bool(self.form.cleaned_data.get("hidden"))
        if not with_hidden:
            queryset = queryset.filter(is_shown=True)
        rows: QuerySet[Alert] = super().filter_queryset(queryset)  # type: ignore[no-untyped-call]  # as above
        if any(self.form.cleaned_data.get(name) for name in UNFOLDING):
            return rows
        view, now = self.form.cleaned_data.get("view"), clock.now()
        beside = Q()
        if view == "active":
            beside = selectors.is_active(now)
        elif view == "acknowledged":
            beside = selectors.is_acknowledged(now)
        return rows.filter(selectors.stands_apart(beside, with_hidden=with_hidden))

    def of_destination(
        self, rows: QuerySet[Alert], name: str, value: Destination
    ) -> QuerySet[Alert]:
        """Keep the alerts of a destination and of all that belongs to it."""
        return rows.filter(selectors.belongs_to(value.pk))

    def raised_within(
        self, rows: QuerySet[Alert], name: str, value: str
    ) -> QuerySet[Alert]:
        """Keep what was raised within a span until now."""
        return rows.filter(raised_at__gte=clock.now() - _SPANS[value])

    def about_store_points(
        self, rows: QuerySet[Alert], name: str, value: Any
    ) -> QuerySet[Alert]:
        """Keep the alerts of these store points, those of their filesystems included."""
        # Nothing chosen is an empty list of them, which need not be looked for.
        if not self.data.get(name):
            return rows
        return rows.filter(selectors.of_store_points(value))

    def of_severity(
        self, rows: QuerySet[Alert], name: str, value: str
    ) -> QuerySet[Alert]:
        """Keep one severity."""
        return rows.filter(severity=Severity[value.upper()].value)

    def search(self, rows: QuerySet[Alert], name: str, value: str) -> QuerySet[Alert]:
        """Keep the alerts whose text, object, reporter or note contains the text."""
        return rows.filter(
            Q(text__icontains=value)
            | Q(object_name__icontains=value)
            | Q(reported_by__icontains=value)
            | Q(note__icontains=value)
        )
