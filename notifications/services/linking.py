"""The link in a mail: made with it, used once, and then only good for saying so."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from alerts import services as alerts
from console.kit import audit
from console.kit.bulk import BulkResult
from notifications import links, selectors
from notifications.engine import LINK_LIVES
from notifications.models import MailLink

#: What stands at the alert and in the audit log, before the recipient's own words.
BY_LINK = "By mail link"


@dataclass(frozen=True, slots=True)
class _Words:
    title: str
    text: str


class LinkRefused(Exception):
    """Why a link does nothing, in words for whoever opened it."""

    def __init__(self, words: _Words, *, is_forged: bool = False) -> None:
        """Keep the words; ``is_forged`` when it is no link of this console."""
        super().__init__(words.title)
        self.title = words.title
        self.text = words.text
        self.is_forged = is_forged


FORGED = _Words(
    "This is not a link of this console",
    "It is not complete, it was changed on the way, or another console made it. Open it "
    "from the mail again; if the mail shows it on two lines, copy both.",
)
OFF = _Words(
    "Links in mails are switched off",
    "An administrator has switched off acknowledging by mail (Settings > Email).",
)
GONE = _Words(
    "This link is no longer known",
    "The mail that it stands in is not known to this console any more: its alerts were "
    "removed, or an older copy of the database was restored.",
)
STRANGER = _Words(
    "This address is no longer mailed",
    "The link was made for an address that is no longer told of alerts, so it can "
    "acknowledge none. An administrator can add it again under Settings > "
    "Notifications.",
)
USED = _Words(
    "This link was used already",
    "It works once.",
)


def _expired(at: datetime) -> _Words:
    days = LINK_LIVES.days
    return _Words(
        "This link has expired",
        f"It worked for {days} days, until {at:%Y-%m-%d %H:%M} UTC.",
    )


def keep_link(
    batch: uuid.UUID, *, recipient: str, alerts: Sequence[int], now: datetime
) -> MailLink:
    """Return the link of a mail that lists these alerts, made when it has none yet.

    A mail that is sent again has the same link. Where it lists other alerts by then, the
    link is good for all that either lists: which of the two was read is not known.
    """
    with transaction.atomic():
        link, is_new = MailLink.objects.select_for_update().get_or_create(
            batch=batch,
            defaults={
                "recipient": recipient,
                "alerts": list(alerts),
                "created_at": now,
                # As a token says it, which knows whole seconds.
                "expires_at": (now + LINK_LIVES).replace(microsecond=0),
            },
        )
        further = [] if is_new else [key for key in alerts if key not in link.alerts]
        if further:
            link.alerts = [*link.alerts, *further]
            link.save(update_fields=["alerts"])
    return link


def find_link(token: str, *, now: datetime) -> MailLink:
    """Return the link of a token, also one that was used (``used_at``); writes nothing.

    Raises LinkRefused when it is not signed by this console, has expired, is not known,
    is for somebody who is no longer mailed, or while such links are switched off.
    """
    try:
        claim = links.read(token)
    except links.Unreadable:
        raise LinkRefused(FORGED, is_forged=True) from None
    link = MailLink.objects.filter(batch=claim.batch).first()
    # Who was told when it was used shall be told after its end as well.
    if (link is None or link.used_at is None) and claim.expires_at <= now:
        raise LinkRefused(_expired(claim.expires_at))
    if link is None:
        raise LinkRefused(GONE)
    _refuse(link)
    return link


def _refuse(link: MailLink) -> None:
    """Raise LinkRefused when links are off, or its recipient is no longer mailed."""
    if not selectors.email_settings().has_links:
        raise LinkRefused(OFF)
    if not selectors.is_mailed(link.recipient):
        raise LinkRefused(STRANGER)


class _NothingDone(Exception):
    """Nothing was left to acknowledge: the link is not used up by that."""

    def __init__(self, result: BulkResult) -> None:
        self.result = result


def acknowledge_by_link(
    link: MailLink,
    chosen: Collection[int],
    *,
    note: str = "",
    until: datetime | None = None,
    now: datetime,
) -> BulkResult:
    """Acknowledge what was chosen of a mail, as its recipient, and use the link up.

    Compare-and-set in the one transaction that acknowledges: of two who use it at once
    one does, and the other gets LinkRefused. Where nothing is left to be acknowledged,
    nothing is written and the link stays good. ``chosen`` that the mail does not list
    are left alone.
    """
    person = audit.Outsider(link.recipient)
    try:
        with transaction.atomic():
            _refuse(link)
            is_first = MailLink.objects.filter(
                pk=link.pk, used_at__isnull=True, expires_at__gt=now
            ).update(used_at=now)
            if not is_first:
                row = MailLink.objects.get(pk=link.pk)
                raise LinkRefused(USED if row.used_at else _expired(row.expires_at))
            result = alerts.acknowledge_alerts(
                set(chosen) & set(link.alerts),
                actor=person,
                now=now,
                note=f"{BY_LINK}: {note}" if note else BY_LINK,
                until=until,
            )
            if not result.done:
                raise _NothingDone(result)
            audit.record(
                actor=person,
                verb="mail_link.use",
                subject=link,
                now=now,
                note=note,
                data={"acknowledged": result.done},
            )
    except _NothingDone as nothing:
        return nothing.result
    link.used_at = now
    return result
