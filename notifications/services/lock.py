"""One lock for the short transactions that decide who is sent what."""

from __future__ import annotations

from django.db import transaction

from notifications.models import EmailSettings


def lock_mail() -> EmailSettings:
    """Return the email settings, locked until the transaction ends.

    Routing and claiming are serialised by it, because both decide from rows that
    another process may be writing: a close that is routed beside its open would find
    that nobody was told, and two claims at once would be two mails instead of one.
    Both take milliseconds; nothing is sent under the lock. SQLite needs no row lock:
    its transactions begin with the write lock (settings, IMMEDIATE).
    """
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("expected to be called inside a transaction")
    rows = EmailSettings.objects.select_for_update().filter(pk=EmailSettings.ONLY)
    found = rows.first()
    if found is None:
        EmailSettings.objects.bulk_create(
            [EmailSettings(pk=EmailSettings.ONLY)], ignore_conflicts=True
        )
        found = rows.get()
    return found
