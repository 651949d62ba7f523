"""What the Alerts Overview can be narrowed down to, from its query string."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django_filters import filters, filterset

from alerts import selectors
from alerts.catalogue import KINDS
from alerts.engine import Severity
from alerts.models import Alert
from console.kit import clock
from storepoints.models import Destination, Server, StorePoint

VIEWS = (("active", "Active"), ("acknowledged", "Acknowledged"), ("all", "All"))


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
    store_point = filters.ModelMultipleChoiceFilter(queryset=StorePoint.objects.all())
    destination = filters.ModelChoiceFilter(
        field_name="server__destination", queryset=Destination.objects.all()
    )
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
