"""Mails: what a batch of deliveries says, as plain text and HTML, with its headers."""

from __future__ import annotations

import re
import textwrap
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from email.errors import HeaderParseError
from email.headerregistry import parser  # type: ignore[attr-defined]  # Django's
from email.policy import default as policy
from email.utils import format_datetime, parseaddr, quote
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as configuration
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.message import sanitize_address
from django.core.validators import validate_email
from django.db.models import Exists, F, OuterRef, Q, Window
from django.db.models.functions import RowNumber
from django.template.loader import render_to_string
from django.utils import timezone

from alerts.catalogue import KINDS
from alerts.engine import Severity
from alerts.models import EVIDENCE, Alert, AlertEvent
from alerts.selectors import count_held, stands_apart
from alerts.silences import covered
from console.accounts.models import User
from console.kit import humane
from notifications import links, reach
from notifications.models import Delivery, EmailSettings, MailLink
from notifications.pace import Waits
from notifications.words import Told, digest_counts, digest_subject, one_line, subject
from storepoints import verdict
from storepoints.states import Reason, State

#: How many alerts a mail tells in full; the rest is counted, with a link.
LISTED = 50

#: How many other alerts "also open" names.
ALSO = 10

#: How many that are held under an alert its mail names.
HELD = 3

#: How wide lines of a plain text are: RFC 5322 recommends 78, and replies add "> ".
WIDTH = 76

#: What makes the link of a mail, of its batch, recipient, alerts and instant.
LinkMaker = Callable[..., MailLink]

#: How many earlier mails a References header names: the newest.
REFERENCES = 20


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to an alert: when, in words."""

    at: str
    word: str


@dataclass(frozen=True, slots=True)
class Item:
    """One alert in a mail."""

    text: str
    severity: str
    severity_slug: str
    is_cleared: bool
    has_come_back: bool
    steps: tuple[Step, ...]
    lasted: str
    reported_by: str
    reason: str
    cure: str
    command: str
    effects: str
    since: str
    held: str
    resolve: tuple[str, ...]
    url: str

    @property
    def mark(self) -> str:
        """Return the word in front: the severity while it is open."""
        return "Cleared" if self.is_cleared else self.severity


_STEP_WORDS = {
    AlertEvent.Kind.RAISED.value: "raised",
    AlertEvent.Kind.REOPENED.value: "came back",
    AlertEvent.Kind.WORSENED.value: "got worse",
    AlertEvent.Kind.CLEARED.value: "cleared",
    AlertEvent.Kind.RELEASED.value: "fails by itself as well",
    AlertEvent.Kind.FLAPPING.value: "comes and goes",
    AlertEvent.Kind.UNSILENCED.value: "still holds after a silence",
    AlertEvent.Kind.REMINDED.value: "still not acknowledged",
    AlertEvent.Kind.ESCALATED.value: "not acknowledged in time, escalated",
}


def compose(
    batch: uuid.UUID,
    *,
    settings: EmailSettings,
    now: datetime,
    link: LinkMaker | None = None,
) -> EmailMultiAlternatives:
    """Return the mail of a claimed batch; the same batch gives the same Message-ID.

    Its times are in the zone of the person with this address, else the console's own;
    it names the zone. With ``link`` it has one to acknowledge what it lists, unless the
    settings say that mails have none.
    """
    rows = list(
        Delivery.objects.filter(batch=batch)
        .select_related("event__alert")
        .order_by("event__pk")
    )
    with timezone.override(_zone_of(rows[0].recipient)):
        return _compose(batch, rows, settings=settings, now=now, link=link)


def _compose(
    batch: uuid.UUID,
    rows: list[Delivery],
    *,
    settings: EmailSettings,
    now: datetime,
    link: LinkMaker | None,
) -> EmailMultiAlternatives:
    grouped: dict[int, list[AlertEvent]] = {}
    for row in rows:
        grouped.setdefault(row.event.alert_id, []).append(row.event)
    alerts = sorted(grouped.values(), key=_order)
    told = [_told(events) for events in alerts]
    listed = alerts[:LISTED]
    openings, held = _openings(listed), _held(listed)
    items = [
        _item(
            events,
            openings.get(events[-1].pk),
            held.get(events[0].alert_id, (0, [])),
        )
        for events in listed
    ]
    ongoing = [item for item in items if not item.is_cleared]
    cleared = [item for item in items if item.is_cleared]
    is_digest = all(Waits(row.waits_for).is_digest for row in rows)
    line = digest_subject(told) if is_digest else subject(told)
    recipient, message_id = rows[0].recipient, rows[0].message_id
    others, others_more = _others(batch, recipient)
    made = None
    if link is not None and settings.has_links:
        keys = [events[0].alert_id for events in listed]
        made = link(batch, recipient=recipient, alerts=keys, now=now)
    context = {
        "subject": line,
        "ongoing": ongoing,
        "cleared": cleared,
        "is_one": len(told) == 1,
        "has_parts": bool(ongoing and cleared),
        "title": _title_of_digest(told) if is_digest else _title(told),
        "more": max(0, len(told) - LISTED),
        "others": others,
        "others_more": others_more,
        "link_url": links.link_to(made) if made else "",
        "link_until": _at(made.expires_at)[:-3] if made else "",
        "listed": len(items),
        "alerts_url": _url("/alerts/"),
        "settings_url": _url("/settings/notifications/"),
        "console_url": configuration.PUBLIC_URL,
        "recipient": recipient,
        "zone": _zone_name(now),
    }
    return _message(
        "digest" if is_digest else "alerts",
        context,
        to=recipient,
        message_id=message_id,
        references=_references(recipient, list(grouped), batch),
        settings=settings,
        now=now,
    )


def compose_test(
    address: str, *, settings: EmailSettings, actor: User, now: datetime
) -> EmailMultiAlternatives:
    """Return the mail of Send test."""
    with timezone.override(_zone_of(address)):
        return _compose_test(address, settings=settings, actor=actor, now=now)


def _compose_test(
    address: str, *, settings: EmailSettings, actor: User, now: datetime
) -> EmailMultiAlternatives:
    context = {
        "subject": "[Test] Store Point Console can send mail",
        "actor": one_line(actor.get_username(), 150),
        "at": f"{_at(now)} {_zone_name(now)}",
        "server": str(settings),
        "security": settings.get_security_display(),
        "settings_url": _url("/settings/email/"),
        "console_url": configuration.PUBLIC_URL,
        "recipient": address,
    }
    return _message(
        "test",
        context,
        to=address,
        message_id=f"<{uuid.uuid4().hex}@{settings.domain}>",
        references=[],
        settings=settings,
        now=now,
    )


#: What Python's parser raises for what is no mailbox; "." before "<" is an AttributeError.
_NO_MAILBOX = (HeaderParseError, ValueError, IndexError, AttributeError, TypeError)


def read_sender(text: str) -> str | None:
    """Return the one sender that a text names, as it can stand in From; else None.

    ``a@example.org`` or ``Name <a@example.org>``, the name in quotes where it has signs
    that mean something in a list of addresses. What is returned has been built into a
    header, and read back as this one name and address.
    """
    try:
        mailbox, rest = parser.get_mailbox(" ".join(text.split()))
        typed, address = mailbox.display_name or "", mailbox.addr_spec or ""
    except _NO_MAILBOX:
        return None
    if rest or not typed.isprintable():
        return None
    name = " ".join(typed.split())
    try:
        validate_email(address)
    except ValidationError:
        return None
    sender = f"{_phrase(name)} <{address}>" if name else address
    try:
        message = EmailMessage(from_email=sender, to=["to@example.org"]).message()
        envelope = parseaddr(sanitize_address(sender, "utf-8"))[1]
        header = policy.header_factory("From", message["From"])
    except _NO_MAILBOX:
        return None
    built = [(each.display_name, each.addr_spec) for each in header.addresses]
    return sender if built == [(name, envelope)] else None


def _phrase(name: str) -> str:
    """Return a name as it stands before an address: in quotes unless it is plain."""
    if re.fullmatch(r"[\w!#$%&'*+/=?^`{|}~ -]+", name) and "=?" not in name:
        return name
    return f'"{quote(name)}"'


def _message(
    template: str,
    context: dict[str, Any],
    *,
    to: str,
    message_id: str,
    references: Sequence[str],
    settings: EmailSettings,
    now: datetime,
) -> EmailMultiAlternatives:
    headers = {
        "Message-ID": message_id,
        "Date": format_datetime(timezone.localtime(now)),
        # RFC 3834: no auto-reply answers. Exchange does not know that, but its own word.
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        # RFC 2919, for filters. Not "Precedence: bulk": some file such mail away.
        "List-Id": f"Store Point Console <alerts.{_host()}>",
    }
    if references:
        headers["In-Reply-To"] = references[-1]
        headers["References"] = " ".join(references)
    message = EmailMultiAlternatives(
        subject=context["subject"],
        body=_tidy(render_to_string(f"emails/{template}.txt", context)),
        from_email=settings.sender,
        to=[to],
        headers=headers,
    )
    message.attach_alternative(
        render_to_string(f"emails/{template}.html", context), "text/html"
    )
    return message


def _zone_of(address: str) -> tzinfo | None:
    """Return the time zone of whose address it is; None for the console's own."""
    person = User.objects.filter(is_active=True, email__iexact=address).first()
    return person.zone if person else None


def _zone_name(now: datetime) -> str:
    """Return the zone of a mail's times: "Europe/Berlin (CEST)", "UTC"."""
    name, short = timezone.get_current_timezone_name(), f"{timezone.localtime(now):%Z}"
    return name if name == short else f"{name} ({short})"


def _tidy(text: str) -> str:
    """Return text with at most one empty line in a row, none at the ends, and wrapped."""
    lines = "\n".join(map(_wrapped, text.splitlines()))
    return re.sub(r"\n{3,}", "\n\n", lines).strip() + "\n"


def _wrapped(line: str) -> str:
    """Return a line in as many as it needs; addresses and commands are not broken.

    Words are not broken either, because whoever searches for a name looks for all of it.
    """
    # What is to be copied stands deeper than any sentence (templates/emails).
    if len(line) <= WIDTH or line.startswith("      "):
        # A signature begins behind "-- ", of which the space is a part (RFC 3676).
        return line if line == "-- " else line.rstrip()
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.strip(),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent or "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _host() -> str:
    """Return this console's host name, in letters that a header may have."""
    host = urlsplit(configuration.PUBLIC_URL).hostname or "localhost"
    return re.sub(r"[^a-z0-9.-]+", "-", host.lower()).strip(".-") or "localhost"


def _url(path: str) -> str:
    return f"{configuration.PUBLIC_URL.rstrip('/')}{path}"


def _at(instant: datetime) -> str:
    return f"{timezone.localtime(instant):%Y-%m-%d %H:%M:%S}"


def _order(events: list[AlertEvent]) -> tuple[bool, int, datetime, int]:
    """Sort the open before the cleared, the worse first, then the older."""
    alert = events[0].alert
    return _is_cleared(events), alert.severity, events[0].at, alert.pk


def _is_cleared(events: Sequence[AlertEvent]) -> bool:
    return events[-1].kind == AlertEvent.Kind.CLEARED


def _text(events: Sequence[AlertEvent]) -> str:
    """Return the text as it was when it happened: numbers may have moved on since."""
    told = [event.text for event in events if event.text]
    return one_line(told[-1] if told else events[0].alert.text)


def _told(events: Sequence[AlertEvent]) -> Told:
    alert = events[0].alert
    return Told(
        text=_text(events),
        name=alert.object_name,
        severity=Severity(alert.severity),
        is_cleared=_is_cleared(events),
        has_come_back=events[-1].kind == AlertEvent.Kind.REOPENED,
    )


def _title(told: Sequence[Told]) -> str:
    """Return what stands first in a mail about several alerts."""
    ongoing = sum(not each.is_cleared for each in told)
    cleared = len(told) - ongoing
    parts = []
    if ongoing:
        parts.append(humane.counted(ongoing, "alert"))
    if cleared:
        parts.append(
            f"{humane.number(cleared)} cleared"
            if ongoing
            else f"{humane.counted(cleared, 'alert')} cleared"
        )
    return ", ".join(parts)


def _title_of_digest(told: Sequence[Told]) -> str:
    """Return what stands first in a digest."""
    ongoing = sum(not each.is_cleared for each in told)
    return f"Digest: {digest_counts(ongoing, len(told) - ongoing)}"


def _item(
    events: Sequence[AlertEvent], began: datetime | None, held: tuple[int, list[str]]
) -> Item:
    alert = events[0].alert
    is_cleared = _is_cleared(events)
    reason, cure = ("", None) if is_cleared else _reason(alert)
    kind = KINDS.get(alert.kind)
    lasted = ""
    if is_cleared and began is not None:
        lasted = humane.elapsed(events[-1].at - began)
    return Item(
        text=_text(events),
        severity=Severity(alert.severity).label,
        severity_slug=Severity(alert.severity).slug,
        is_cleared=is_cleared,
        has_come_back=events[-1].kind == AlertEvent.Kind.REOPENED,
        steps=tuple(
            Step(_at(event.at), _STEP_WORDS.get(event.kind, event.kind))
            for event in _bounded(events)
        ),
        lasted=lasted,
        reported_by=one_line(alert.reported_by, 100),
        reason=reason,
        cure=one_line(cure.text, 600) if cure else "",
        command=one_line(cure.command, 1200) if cure else "",
        effects=kind.effects if kind and not is_cleared else "",
        since=_since(alert, is_cleared=is_cleared),
        held="" if is_cleared else _also_down(*held),
        resolve=tuple(step.text for step in kind.resolve)
        if kind and not is_cleared
        else (),
        url=_url(alert.get_absolute_url()),
    )


#: How many things that happened to one alert a mail lists: the first and the newest.
STEPS = 6


def _bounded(events: Sequence[AlertEvent]) -> list[AlertEvent]:
    if len(events) <= STEPS:
        return list(events)
    return [events[0], *events[-(STEPS - 1) :]]


def _openings(alerts: Sequence[list[AlertEvent]]) -> dict[int, datetime]:
    """Return when the spell began that ended, for those that have; one query.

    Keys: the CLEARED event that ended it.
    """
    ended = {
        events[0].alert_id: events[-1].pk for events in alerts if _is_cleared(events)
    }
    began: dict[int, datetime] = {}
    rows = (
        AlertEvent.objects.filter(
            alert__in=ended, kind__in=[AlertEvent.Kind.RAISED, AlertEvent.Kind.REOPENED]
        )
        .order_by("pk")
        .values_list("alert", "pk", "at")
        if ended
        else ()
    )
    for alert, key, at in rows:
        if key < ended[alert]:
            began[ended[alert]] = at
    return began


def _held(alerts: Sequence[list[AlertEvent]]) -> dict[int, tuple[int, list[str]]]:
    """Return what is down with each alert that explains others; two queries.

    Keys: the alert; values: of how many objects, and the first names.
    """
    counts = {
        parent: count
        for parent, (count, _) in count_held(
            (events[0].alert_id for events in alerts), Q(cleared_at__isnull=True)
        ).items()
    }
    names: dict[int, list[str]] = {}
    if counts:
        rows = (
            Alert.objects.filter(
                parent__in=counts, cleared_at__isnull=True, is_shown=True
            )
            .annotate(
                place=Window(
                    RowNumber(),
                    partition_by=F("parent"),
                    order_by=[F("object_name").asc(), F("pk").asc()],
                )
            )
            .filter(place__lte=HELD)
            .order_by("parent", "place")
            .values_list("parent", "object_name")
        )
        for parent, name in rows:
            names.setdefault(parent or 0, []).append(one_line(name, 60))
    return {parent: (count, names.get(parent, [])) for parent, count in counts.items()}


def _also_down(count: int, names: list[str]) -> str:
    """Return what else is down because of an alert, in a sentence; "" when nothing is."""
    if not count:
        return ""
    return (
        f"Also down with it, {humane.number(count)}: {humane.listed_of(names, count)}."
    )


def _since(alert: Alert, *, is_cleared: bool) -> str:
    """Return what happened after the news that a mail tells, when it comes late."""
    if is_cleared or alert.cleared_at is None:
        return ""
    return f"It has cleared since, at {_at(alert.cleared_at)}."


def _reason(alert: Alert) -> tuple[str, verdict.Cure | None]:
    """Return in words why an alert is open, and what to do about it."""
    # As it was when the alert was raised: it must not change until somebody reads it.
    found = alert.data.get(EVIDENCE) or {}
    words = [_status(alert), one_line(verdict.found_in_words(found), 600)]
    cure = None
    if found.get("cure"):
        cure = verdict.Cure(str(found["cure"]), str(found.get("command") or ""))
    return ": ".join(filter(None, words)), cure


def _status(alert: Alert) -> str:
    """Return the state of an alert's store point in words, where it is about one."""
    try:
        state = State(alert.data.get("state", ""))
        reason = Reason(alert.data.get("reason", ""))
    except ValueError:
        return ""
    return verdict.describe(state, reason)


@dataclass(frozen=True, slots=True)
class Others:
    """Alerts that are ongoing beside those of a mail: a part of it below its news."""

    title: str
    rows: list[dict[str, str]]


def _others(batch: uuid.UUID, recipient: str) -> tuple[list[Others], int]:
    """Return the worst of what else is ongoing, and how many more there are.

    Apart: what this recipient was told of, and what not. Only those that are shown are
    looked up for that, because in a storm thousands are ongoing. Who hears by routes
    alone sees nothing that these do not match: it may be none of their business.
    """
    sent = Delivery.objects.filter(recipient=recipient, sent_at__isnull=False)
    rows = (
        Alert.objects.filter(
            # Those that another one here explains would only say it again.
            stands_apart(Q(cleared_at__isnull=True)),
            cleared_at__isnull=True,
            is_shown=True,
        )
        .exclude(severity=Severity.LOW)
        # By the batch and not by the keys: in a storm they are too many parameters.
        .exclude(pk__in=Delivery.objects.filter(batch=batch).values("event__alert"))
        .order_by("severity", "-raised_at", "-pk")
    )
    coverages = reach.coverages_of(recipient)
    if coverages is not None:
        theirs = Q(Exists(sent.filter(event__alert=OuterRef("pk"))))
        for coverage in coverages:
            theirs |= covered(coverage)
        rows = rows.filter(theirs)
    shown = list(rows[: ALSO + 1])
    more = rows.count() - ALSO if len(shown) > ALSO else 0
    shown = shown[:ALSO]
    told = set(
        sent.filter(event__alert__in=[row.pk for row in shown])
        .order_by()
        .values_list("event__alert", flat=True)
    )
    parts = (
        Others("Still open", [_other(row) for row in shown if row.pk in told]),
        Others(
            "Also down, not mailed to you",
            [_other(row) for row in shown if row.pk not in told],
        ),
    )
    return [part for part in parts if part.rows], more


def _other(row: Alert) -> dict[str, str]:
    return {
        "text": one_line(row.text),
        "severity": Severity(row.severity).label,
        "severity_slug": Severity(row.severity).slug,
        "url": _url(row.get_absolute_url()),
        "since": _at(row.raised_at),
    }


def _references(recipient: str, alerts: list[int], batch: uuid.UUID) -> list[str]:
    """Return the ids of earlier mails to a recipient about these alerts, oldest first.

    They make raise, come-back and clear of one alert a thread.
    """
    found: dict[str, None] = {}
    rows = (
        Delivery.objects.filter(
            recipient=recipient, event__alert__in=alerts[:200], sent_at__isnull=False
        )
        .exclude(message_id="")
        .exclude(batch=batch)
        .order_by("-sent_at", "-pk")
        .values_list("message_id", flat=True)
    )
    for message_id in rows[:500]:
        found[message_id] = None
        if len(found) == REFERENCES:
            break
    return list(reversed(found))
