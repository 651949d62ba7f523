"""The watchman: tells the terminal what happens, and speaks up when checks stop.

It uses the database and nothing else of the console, so that it can raise and mail an
alert when the broker, beat or every worker is dead. It runs in a process of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import DatabaseError
from django.utils import timezone

from alerts.catalogue import health_checks_not_running
from alerts.models import AlertEvent
from alerts.services import reconcile_console
from notifications import services as notifications
from storepoints.models import StatusChange
from storepoints.selectors import read_pulse
from storepoints.verdict import describe

logger = logging.getLogger(__name__)

SILENCE_UNTIL_ALERT = timedelta(seconds=health_checks_not_running.SILENT_SECONDS)

#: How often deliveries are looked after when no worker does.
DELIVERY_PAUSE = timedelta(seconds=10)

#: The kind of alert that this process alone can raise.
CHECKS = health_checks_not_running.KIND.slug

EVENT_WORDS = {
    AlertEvent.Kind.RAISED: "ALERT",
    AlertEvent.Kind.REOPENED: "ALERT again",
    AlertEvent.Kind.WORSENED: "ALERT worse",
    AlertEvent.Kind.RELEASED: "ALERT",
    AlertEvent.Kind.FLAPPING: "ALERT again and again",
    AlertEvent.Kind.CLEARED: "cleared",
    AlertEvent.Kind.ACKNOWLEDGED: "acknowledged",
    AlertEvent.Kind.UNACKNOWLEDGED: "un-acknowledged",
}


class Watchman:
    """Looks at what was written since it last looked.

    ``say`` takes one line of text. What was written before ``started_at`` is not told
    again.
    """

    def __init__(self, *, say: Callable[[str], None], started_at: datetime) -> None:
        self._say = say
        self._started_at = started_at
        self._last_change: int | None = None
        self._last_event = 0
        self._delivered_at = started_at

    def look(self, *, now: datetime) -> None:
        """Look once; a database that is away for a moment is logged and waited for."""
        try:
            if self._last_change is None:
                self._begin()
            self._tell_changes()
            self._tell_events()
            self._look_after_checks(now)
        except DatabaseError as error:
            logger.warning("the database does not answer: %s", error)

    def _begin(self) -> None:
        changes = StatusChange.objects.order_by("-pk").values_list("pk", flat=True)
        events = AlertEvent.objects.order_by("-pk").values_list("pk", flat=True)
        # Both or neither: a database that goes away in between must not make the
        # whole history look new.
        self._last_change, self._last_event = changes.first() or 0, events.first() or 0

    def _tell_changes(self) -> None:
        changes = StatusChange.objects.filter(
            pk__gt=self._last_change, recorded_at__gte=self._started_at
        ).order_by("pk")
        for change in changes.select_related("store_point")[:200]:
            self._last_change = change.pk
            words = describe(change.state, change.reason)
            self._line(change.at, f"{change.store_point} {words[0].lower()}{words[1:]}")

    def _tell_events(self) -> None:
        events = AlertEvent.objects.filter(pk__gt=self._last_event).order_by("pk")
        for event in events.select_related("alert")[:200]:
            self._last_event = event.pk
            word = EVENT_WORDS.get(AlertEvent.Kind(event.kind))
            # Of a server that is offline one line is said, and not its store points' too.
            if word is None or event.is_withheld:
                continue
            by = f" by {event.actor_name}" if event.actor_name else ""
            severity = event.alert.get_severity_display()
            self._line(event.at, f"{word}{by}: [{severity}] {event.alert.text}")

    def _line(self, at: datetime, text: str) -> None:
        # One event is one line, whatever somebody called a store point.
        printable = "".join(c if c.isprintable() else "�" for c in text)
        self._say(f"{timezone.localtime(at):%H:%M:%S} {printable}")

    def _look_after_checks(self, now: datetime) -> None:
        """Raise or clear the alert about the checks; deliver if nobody else does.

        Right after a start nothing is known: the silence may be that of a console
        that was stopped. The alert is then neither raised nor cleared.
        """
        pulse = read_pulse(now)
        if pulse.is_running:
            reconcile_console({CHECKS: None}, now=now)
            return
        silent_since = max(pulse.tick_at or self._started_at, self._started_at)
        if now - silent_since <= SILENCE_UNTIL_ALERT:
            return
        reconcile_console({CHECKS: pulse.tick_at or silent_since}, now=now)
        if now - self._delivered_at > DELIVERY_PAUSE:
            self._delivered_at = now
            notifications.follow_alerts(now=now)
            notifications.sweep(now=now)
