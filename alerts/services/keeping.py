"""How long alerts are kept once they are over, and removing those that are older."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from alerts import selectors
from alerts.models import Alert, AlertHistoryLimit
from console.accounts.models import User
from console.kit import audit

#: How many alerts one transaction removes, with their events and deliveries.
REMOVED_AT_ONCE = 200


def change_alert_history_limit(
    *, keep_days: int, actor: User | None, now: datetime
) -> bool:
    """Set how many days alerts are kept once they are over; return whether it changed.

    The next run of the housekeeping removes what is older.
    """
    with transaction.atomic():
        limit, _ = AlertHistoryLimit.objects.select_for_update().get_or_create(
            pk=AlertHistoryLimit.ONLY, defaults={"changed_at": now}
        )
        before = limit.keep_days
        if before == keep_days:
            return False
        limit.keep_days = keep_days
        limit.changed_at = now
        limit.save()
        audit.record(
            actor=actor,
            verb="alert_history_limit.edit",
            subject=limit,
            now=now,
            data={"keep_days": [before, keep_days]},
        )
    return True


def remove_old_alerts(*, now: datetime, most: int) -> int:
    """Remove alerts that are over for longer than they are kept; return how many.

    At most so many, in small transactions of their own. Their events go with them, and
    so do the deliveries of these. Each is locked and looked at once more before: what
    somebody takes his acknowledgement back from at this moment stays.
    """
    keep_days = selectors.alert_history_limit().keep_days
    removed = 0
    while removed < most:
        old = selectors.over_alerts(keep_days, now=now)
        keys = list(
            old.order_by("pk").values_list("pk", flat=True)[
                : min(REMOVED_AT_ONCE, most - removed)
            ]
        )
        if not keys:
            break
        with transaction.atomic():
            locked = list(
                Alert.objects.select_for_update(of=("self",))
                .filter(pk__in=keys)
                .order_by("pk")
                .values_list("pk", flat=True)
            )
            gone = old.filter(pk__in=locked).delete()[1]
        count = gone.get(Alert._meta.label, 0)  # noqa: SLF001 (documented)
        if not count:
            break
        removed += count
    return removed
