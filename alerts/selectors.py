"""Reads: alerts as lists show them, in constant queries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count, Q, QuerySet

from alerts.catalogue import KINDS
from alerts.engine import REOPEN_WINDOW, Held, Severity
from alerts.models import Alert, NotificationSetting


def is_acknowledged(now: datetime) -> Q:
    """Return the condition that a person has seen an alert, expiry reckoned now."""
    return Q(acknowledged_at__isnull=False) & (
        Q(acknowledged_until__isnull=True) | Q(acknowledged_until__gt=now)
    )


def is_active(now: datetime) -> Q:
    """Return the condition that an alert still needs a person."""
    return Q(acknowledged_at__isnull=True) | Q(acknowledged_until__lte=now)


def active_alerts(now: datetime) -> QuerySet[Alert]:
    """Return the alerts that nobody has acknowledged, the worst and newest first."""
    return Alert.objects.filter(is_active(now), is_shown=True)


def count_by_severity(now: datetime) -> dict[Severity, int]:
    """Return how many active alerts there are of each severity; one query."""
    counts = {
        row["severity"]: row["count"]
        for row in active_alerts(now)
        .order_by()
        .values("severity")
        .annotate(count=Count("pk"))
    }
    return {severity: counts.get(severity.value, 0) for severity in Severity}


def held_alerts(subjects: Iterable[str], *, now: datetime) -> list[Held]:
    """Return the alerts of these subjects that are ongoing or can return.

    The rows are locked until the transaction ends, so that an acknowledgement at the
    same instant comes before or after and not in between.
    """
    rows = (
        Alert.objects.select_for_update()
        .filter(subject__in=list(subjects))
        .filter(
            Q(cleared_at__isnull=True)
            | is_active(now)
            | Q(cleared_at__gte=now - REOPEN_WINDOW)
        )
        .order_by("pk")
    )
    return [
        Held(
            id=row.pk,
            kind=row.kind,
            subject=row.subject,
            severity=Severity(row.severity),
            data=row.data,
            text=row.text,
            raised_at=row.raised_at,
            cleared_at=row.cleared_at,
            acknowledged_at=row.acknowledged_at,
            acknowledged_until=row.acknowledged_until,
        )
        for row in rows
    ]


def notification_settings() -> dict[str, NotificationSetting]:
    """Return the setting of every kind in the catalogue, defaults included."""
    chosen = {row.kind: row for row in NotificationSetting.objects.all()}
    return {slug: chosen.get(slug) or NotificationSetting(kind=slug) for slug in KINDS}
