"""From the outbox of the alerts to deliveries: who is to hear of each event, and why."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from alerts import selectors as alerts
from alerts.models import AlertEvent
from notifications import selectors
from notifications.engine import GATHER, PATIENCE, News, Person, decide_route
from notifications.models import Delivery
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
    settings = alerts.notification_settings()
    audience = selectors.audience()
    told = selectors.told_of(
        {event.alert_id for event in events if event.kind == AlertEvent.Kind.CLEARED},
        before=events[0].pk,
    )
    deliveries: list[Delivery] = []
    for event in events:
        if event.kind not in AlertEvent.NEWS:
            continue
        news = News(event.kind)
        heard = told.setdefault(event.alert_id, {})
        setting = settings.get(event.alert.kind)
        route = decide_route(
            news,
            audience=audience,
            told=list(heard.values()),
            # A kind that has left the catalogue is nothing to tell anybody about.
            is_mailed=setting is not None and setting.is_mailed,
            why_no_mail=why_no_mail,
        )
        event.routing = route.sentence
        deliveries += [_delivery(event, person, now) for person in route.people]
        if news is News.CLEARED:
            heard.clear()
        else:
            heard.update({person.address: person for person in route.people})
    Delivery.objects.bulk_create(deliveries, batch_size=500)
    # A storm has many events and few different sentences.
    by_sentence: dict[str, list[int]] = {}
    for event in events:
        by_sentence.setdefault(event.routing, []).append(event.pk)
    for sentence, keys in by_sentence.items():
        AlertEvent.objects.filter(pk__in=keys).update(routed_at=now, routing=sentence)
    return len(events)


def _delivery(event: AlertEvent, person: Person, now: datetime) -> Delivery:
    return Delivery(
        event=event,
        recipient=person.address,
        recipient_name=person.name,
        created_at=now,
        due_at=min(event.at, now) + GATHER,
        give_up_at=now + PATIENCE,
    )
