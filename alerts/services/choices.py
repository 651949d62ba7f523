"""What an administrator chose for a kind of alert."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Q

from alerts.models import Alert, NotificationSetting
from console.accounts.models import User
from console.kit import audit


def change_notification_setting(
    kind: str, *, is_shown: bool, is_mailed: bool, actor: User, now: datetime
) -> bool:
    """Choose whether a kind is shown and mailed; return whether that is a change.

    What is switched off is still recorded. Alerts that stand already appear and
    disappear with the switch.
    """
    with transaction.atomic():
        setting, _ = NotificationSetting.objects.select_for_update().get_or_create(
            kind=kind, defaults={"changed_at": now}
        )
        before = {"is_shown": setting.is_shown, "is_mailed": setting.is_mailed}
        after = {"is_shown": is_shown, "is_mailed": is_mailed}
        if before == after:
            return False
        NotificationSetting.objects.filter(pk=setting.pk).update(
            **after, changed_at=now
        )
        Alert.objects.filter(Q(kind=kind) & ~Q(is_shown=is_shown)).update(
            is_shown=is_shown
        )
        audit.record(
            actor=actor,
            verb="notification.change",
            subject=setting,
            now=now,
            data={
                name: [before[name], after[name]]
                for name in after
                if before[name] != after[name]
            },
        )
    return True
