"""From the outbox of the alerts to deliveries: who is to hear of each event, and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from alerts import selectors as alerts
from alerts import silences
from alerts.catalogue import notification_delivery_failing
from alerts.models import AlertEvent, Silence
from notifications import selectors
from notifications.engine import (
    GATHER,
    NOT_MAILED,
    PATIENCE,
    News,
    Person,
    decide_route,
)
from notifications.models import Delivery
from notifications.services.lock import lock_mail

#: The one kind that no mail can tell.
MAIL_FAILS = notification_delivery_failing.KIND.slug

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
    settings = alerts.settings_of({event.alert for event in events})
    audience = selectors.audience()
    told = selectors.told_of(
        {event.alert_id for event in events if event.kind == AlertEvent.Kind.CLEARED}
    )
    silenced = silences.silence_of({event.alert for event in events}, now)
    deliveries: list[Delivery] = []
    for event in events:
        if event.kind not in AlertEvent.NEWS or _is_silenced(event, silenced, now):
            continue
        news = News(event.kind)
        heard = told.setdefault(event.alert_id, {})
        setting = settings[event.alert_id]
        route = decide_route(
            news,
            audience=audience,
            told=list(heard.values()),
            # A kind that has left the catalogue is nothing to tell anybody about.
            is_mailed=setting is not None and setting.is_mailed,
            why_no_mail=why_no_mail
            or ("mail is what fails" if event.alert.kind == MAIL_FAILS else ""),
        )
        event.routing = route.sentence
        deliveries += [_delivery(event, person, now) for person in route.people]
        if news is News.CLEARED:
            heard.clear()
        else:
            heard.update({person.address: person for person in route.people})
    Delivery.objects.bulk_create(deliveries, batch_size=500)
    # A storm has many events and few different sentences.
    alike: dict[tuple[str, bool, int | None], list[int]] = {}
    for event in events:
        key = event.routing, event.is_withheld, event.withheld_by_id
        alike.setdefault(key, []).append(event.pk)
    for (sentence, is_withheld, silence), keys in alike.items():
        AlertEvent.objects.filter(pk__in=keys).update(
            routed_at=now,
            routing=sentence,
            is_withheld=is_withheld,
            withheld_by=silence,
        )
    return len(events)


def _is_silenced(
    event: AlertEvent, silenced: Mapping[int, Silence], now: datetime
) -> bool:
    """Note on an event that a silence keeps it, and say whether one does.

    What happened before the silence began is told. What happened in it and is routed
    after its end is told too: then nobody else would.
    """
    silence = silenced.get(event.alert_id)
    if silence is None or silence.window is None or event.at < silence.window.starts_at:
        return False
    event.is_withheld = True
    event.withheld_by = silence
    event.routing = f"{NOT_MAILED} {silences.until_words(silence, now)}"
    return True


def _delivery(event: AlertEvent, person: Person, now: datetime) -> Delivery:
    return Delivery(
        event=event,
        recipient=person.address,
        recipient_name=person.name,
        created_at=now,
        due_at=min(event.at, now) + GATHER,
        give_up_at=now + PATIENCE,
    )
