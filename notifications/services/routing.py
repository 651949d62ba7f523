"""From the outbox of the alerts to deliveries: who is to hear of each event, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from django.db import transaction

from alerts import silences
from alerts.coverage import About
from alerts.models import AlertEvent, Silence
from notifications import reach, selectors
from notifications.engine import (
    CHANNEL_LANE,
    GATHER,
    NOT_MAILED,
    NOT_REACHED,
    PATIENCE,
    DeliveryState,
    News,
    Person,
    Route,
    decide_route,
    still_mailed,
)
from notifications.models import Delivery
from notifications.pace import Turn, Waits
from notifications.rules import (
    Appointment,
    Listener,
    plan,
    plan_close,
    remind,
    sentence,
)
from notifications.services.failing import failing_lane
from notifications.services.lock import lock_mail

#: How many events are routed in one transaction: a storm must not hold the lock long.
BATCH = 500


def route_events(*, now: datetime) -> int:
    """Make deliveries of the events that have none yet; return how many events.

    In the order in which they happened, each exactly once: the rows, ``routed_at``
    and the sentence that says who hears (or why nobody does) are written in one
    transaction for every 500 events.
    """
    routed = 0
    while True:
        # Looked at without the lock first: most sweeps find nothing.
        if not AlertEvent.objects.filter(routed_at__isnull=True).exists():
            return routed
        count = _route_some(now)
        routed += count
        if count < BATCH:
            return routed


@transaction.atomic
def _route_some(now: datetime) -> int:
    why_no_mail = lock_mail().why_not
    events = list(
        AlertEvent.objects.filter(routed_at__isnull=True)
        .select_related("alert")
        .order_by("pk")[:BATCH]
    )
    if not events:
        return 0
    silenced = silences.silence_of({event.alert for event in events}, now)
    _take_back_steps(
        event.alert_id
        for event in events
        if event.kind == AlertEvent.Kind.CLEARED
        and _silence_keeping(event, silenced) is None
    )
    router = _Router(events, why_no_mail=why_no_mail, now=now)
    deliveries: list[Delivery] = []
    for event in events:
        if event.kind in AlertEvent.NEWS and not _is_silenced(event, silenced, now):
            deliveries += router.route(event)
    Delivery.objects.bulk_create(deliveries, batch_size=500)
    # A storm has many events and few different sentences.
    alike: dict[tuple[str, bool, int | None], list[int]] = {}
    for event in events:
        key = event.routing, event.is_withheld, event.withheld_by_id
        alike.setdefault(key, []).append(event.pk)
    for (words, is_withheld, silence), keys in alike.items():
        AlertEvent.objects.filter(pk__in=keys).update(
            routed_at=now,
            routing=words,
            is_withheld=is_withheld,
            withheld_by=silence,
        )
    return len(events)


#: News that needs to know who was told before.
_ASKS_WHO_WAS_TOLD = (AlertEvent.Kind.CLEARED, AlertEvent.Kind.REMINDED)

#: News that is none any more once somebody has acknowledged the alert, or it cleared.
FOLLOWING = (AlertEvent.Kind.REMINDED, AlertEvent.Kind.ESCALATED)

#: Why such news was not sent, in the delivery log.
MOOT = "Not sent: while it waited, the alert was acknowledged or cleared."


class _Router:
    """What routing some events needs to know, read once; constant queries."""

    def __init__(
        self, events: Sequence[AlertEvent], *, why_no_mail: str, now: datetime
    ) -> None:
        self._why_no_mail = why_no_mail
        self._now = now
        self._told_kinds = selectors.ToldKinds()
        self._listeners = reach.listeners()
        self._rules = reach.rules()
        asking = {
            event.alert_id for event in events if event.kind in _ASKS_WHO_WAS_TOLD
        }
        self._told = selectors.told_of(asking)
        self._waiting = selectors.waiting_of(asking, now=now)
        self._about = silences.about_of({event.alert for event in events})
        # A storm is about few kinds of a few servers: who hears is the same.
        self._plans: dict[tuple[About, int | None], list[Appointment]] = {}

    def route(self, event: AlertEvent) -> list[Delivery]:
        """Return the deliveries of an event, and note on it who hears."""
        news = News(event.kind)
        moot = _why_moot(event, self._now) if event.kind in FOLLOWING else ""
        if moot:
            event.routing = f"{NOT_MAILED} {moot}"
            return []
        heard = self._told.setdefault(event.alert_id, {})
        about = self._about[event.alert_id]
        is_told = (about.kind, about.destination) in self._told_kinds
        failing = failing_lane(event.alert)
        planned = self._plan(event, news, heard)
        if failing is not None and news is not News.CLEARED:
            # What fails cannot tell that it does, and neither can another that fails.
            planned = [
                each
                for each in planned
                if each.listener.lane != failing and not each.listener.is_failing
            ]
        by_lane = {each.listener.lane: each for each in planned}
        by_mail = [each for each in planned if not each.listener.is_channel]
        by_channel = (
            [each for each in planned if each.listener.is_channel]
            if is_told or news is News.CLEARED
            else []
        )

        def say(people: Sequence[Person]) -> str:
            found = [by_lane[person.address] for person in people]
            if news is not News.CLEARED:
                found += by_channel
            return sentence(found, now=self._now)

        route = decide_route(
            news,
            audience=[each.listener.person for each in by_mail],
            told=[
                person
                for lane, person in heard.items()
                if not lane.startswith(CHANNEL_LANE)
            ],
            is_mailed=is_told,
            why_no_mail=self._why_no_mail
            or ("mail is what fails" if failing == "" else ""),
            say=say,
        )
        event.routing = self._words(news, route, by_mail, by_channel)
        chosen = [by_lane[person.address] for person in route.people] + by_channel
        found = [self._delivery(event, each) for each in chosen]
        if news is News.CLEARED:
            heard.clear()
        else:
            heard.update({each.listener.lane: each.listener.person for each in chosen})
        self._note_waiting(event, news, found)
        return found

    def _words(
        self,
        news: News,
        route: Route,
        by_mail: Sequence[Appointment],
        by_channel: Sequence[Appointment],
    ) -> str:
        """Return the sentence of an event: about mail, then about other channels."""
        channels = sentence(by_channel, now=self._now)
        if route.people and news is not News.CLEARED:
            return route.sentence
        if channels:
            # Nothing was to be mailed anyway: then that is not what there is to say.
            return f"{route.sentence}; {channels}" if by_mail else channels
        if by_mail or not self._listeners or self._why_no_mail:
            return route.sentence
        if news is News.ESCALATED:
            return f"{NOT_MAILED} its route reaches nobody any more"
        if news is News.CLEARED or NOT_REACHED not in route.sentence:
            return route.sentence
        return f"{NOT_MAILED} no route tells anybody of it"

    def _plan(
        self, event: AlertEvent, news: News, heard: Mapping[str, Person]
    ) -> list[Appointment]:
        about = self._about[event.alert_id]
        if news is News.CLEARED:
            return plan_close(
                about,
                self._still(heard),
                self._rules,
                waiting=self._waiting.get(event.alert_id, {}),
                now=self._now,
            )
        escalation = event.data.get("route") if news is News.ESCALATED else None
        if news is News.ESCALATED and escalation is None:
            return []
        # What it is about may be one object among thousands; routes look at no object.
        key = replace(about, subject="", members=frozenset()), escalation
        if key not in self._plans:
            self._plans[key] = plan(
                about,
                self._listeners,
                self._rules,
                now=self._now,
                escalation=escalation,
            )
        planned = self._plans[key]
        if news is News.REMINDED:
            return remind(planned, self._still(heard), about, now=self._now)
        return planned

    def _still(self, heard: Mapping[str, Person]) -> list[Listener]:
        """Return those of the told who can still be told, as they stand now."""
        by_lane = {each.lane: each for each in self._listeners}
        # A channel is known by its lane alone: a person may have the same name.
        people = still_mailed(
            [each for lane, each in heard.items() if not lane.startswith(CHANNEL_LANE)],
            [each.person for each in self._listeners if not each.is_channel],
        )
        lanes = [person.address for person in people]
        lanes += [lane for lane in heard if lane.startswith(CHANNEL_LANE)]
        return [by_lane[lane] for lane in lanes if lane in by_lane]

    def _note_waiting(
        self, event: AlertEvent, news: News, made: Sequence[Delivery]
    ) -> None:
        """Remember who waits, for a close in the same run."""
        waiting = self._waiting.setdefault(event.alert_id, {})
        if news is News.CLEARED:
            waiting.clear()
            return
        for each in made:
            if each.waits_for:
                turn = Turn(each.due_at, Waits(each.waits_for))
                waiting[each.recipient] = min(waiting.get(each.recipient, turn), turn)
            else:
                # It takes along what waits of the same alert.
                waiting.pop(each.recipient, None)

    def _delivery(self, event: AlertEvent, appointment: Appointment) -> Delivery:
        now, turn, listener = self._now, appointment.turn, appointment.listener
        due_at = min(event.at, now) + GATHER
        if turn.due_at > now:
            due_at = turn.due_at
        return Delivery(
            event=event,
            channel_id=int(listener.lane.removeprefix(CHANNEL_LANE))
            if listener.is_channel
            else None,
            recipient=listener.lane,
            recipient_name=listener.name,
            waits_for=turn.waits.value if turn.due_at > now else "",
            created_at=now,
            due_at=due_at,
            give_up_at=max(due_at, now) + PATIENCE,
        )


def _why_moot(event: AlertEvent, now: datetime) -> str:
    """Return why a reminder or an escalation is none any more; "" when it is."""
    if event.alert.cleared_at is not None:
        return "it has cleared meanwhile"
    if event.alert.is_acknowledged(now):
        return f"{event.alert.acknowledged_by_name} has acknowledged it meanwhile"
    return ""


def _take_back_steps(alerts: Iterable[int]) -> None:
    """Take back the reminders and escalations of these alerts that wait; they cleared.

    Before it is asked who was told: a close must not go to whom only an escalation
    would have told that there was anything.
    """
    keys = list(alerts)
    if keys:
        Delivery.objects.filter(
            event__alert__in=keys,
            event__kind__in=FOLLOWING,
            state=DeliveryState.PENDING,
            batch__isnull=True,
        ).update(state=DeliveryState.FAILED, error=MOOT)


def _silence_keeping(
    event: AlertEvent, silenced: Mapping[int, Silence]
) -> Silence | None:
    """Return the silence that keeps an event, if one does."""
    silence = silenced.get(event.alert_id)
    if silence is None or silence.window is None or event.at < silence.window.starts_at:
        return None
    return silence


def _is_silenced(
    event: AlertEvent, silenced: Mapping[int, Silence], now: datetime
) -> bool:
    """Note on an event that a silence keeps it, and say whether one does.

    What happened before the silence began is told. What happened in it and is routed
    after its end is told too: then nobody else would.
    """
    silence = _silence_keeping(event, silenced)
    if silence is None:
        return False
    event.is_withheld = True
    event.withheld_by = silence
    event.routing = f"{NOT_MAILED} {silences.until_words(silence, now)}"
    return True
