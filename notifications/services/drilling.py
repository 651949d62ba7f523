"""A drill: a scratch store point fails for real, and is followed to the end.

A state machine in one row. Each step either acts (and can be taken twice: whoever was
killed in the middle of it is followed by somebody who does not know) or waits for a fact
that other parts of the console write, with the instant that they wrote. Nothing waits
in here: a periodic task takes as many steps as can be taken now.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from alerts import services as alerts
from alerts.catalogue import store_point_offline
from alerts.models import Alert, AlertEvent
from alerts.selectors import is_active
from alerts.selectors import settings as alert_settings
from console.accounts.models import User
from console.kit import audit, clock, humane
from notifications import selectors
from notifications.drill_steps import CLEAN_UP, Outcome, as_rows, steps_of
from notifications.engine import DeliveryState
from notifications.models import Delivery, Drill
from storepoints import services as fleet
from storepoints.models import Server, StatusChange, StorePoint
from storepoints.states import WORKING, State
from storepoints.verdict import describe

logger = logging.getLogger(__name__)

#: Below the data directory.
DIRECTORY = "drills"

#: A step that acts is done by then; another worker takes over afterwards.
LEASE = timedelta(seconds=30)

NOTE = "A drill: this store point fails on purpose and holds nothing."


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that is done, or (``is_skipped``) that there was nothing to do about."""

    at: datetime
    text: str = ""
    is_skipped: bool = False


class DrillRefused(Exception):
    """Why no drill can be started or cancelled now, and what to do about it."""


class _Failed(Exception):
    """A step that cannot be taken any more."""


class _Overtaken(Exception):
    """Somebody else is at it: the lease had run out."""


def start_drill(*, actor: User, now: datetime) -> Drill:
    """Begin a drill as a person; `advance_drill` does what is to be done.

    Raises DrillRefused while another one runs, and when there is no master server.
    """
    master = Server.objects.filter(is_master=True).first()
    if master is None:
        raise DrillRefused(
            "There is no master server yet: start the console once with manage.py up."
        )
    name = f"Drill {now.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    mail = selectors.email_settings()
    chosen = alert_settings()
    rule = chosen.rules(master.destination_id).belief
    setting = chosen.of(store_point_offline.KIND.slug, master.destination_id)
    steps = steps_of(
        check_seconds=rule.check_seconds,
        retry_seconds=rule.retry_seconds,
        tries=rule.failures_until_believed,
        delay_seconds=setting.delay.total_seconds(),
        good_tries=rule.successes_until_well,
        group_seconds=mail.group_seconds,
    )
    directory = Path(settings.DATA_DIR).resolve() / DIRECTORY / uuid.uuid4().hex
    try:
        with transaction.atomic():
            drill = Drill.objects.create(
                name=name,
                directory=str(directory),
                started_at=now,
                started_by=actor,
                started_by_name=actor.get_username(),
                entered_at=now,
                steps=as_rows(steps),
            )
            audit.record(actor=actor, verb="drill.start", subject=drill, now=now)
    except IntegrityError:
        raise DrillRefused(
            "A drill is running already, and one at a time is enough: wait for its end, "
            "or cancel it."
        ) from None
    return drill


def cancel_drill(drill: int, *, actor: User | None, now: datetime) -> None:
    """Ask for a drill to be ended: what it made is removed by whoever runs it.

    Raises DrillRefused when it is over.
    """
    with transaction.atomic():
        row = Drill.objects.select_for_update(of=("self",)).filter(pk=drill).first()
        if row is None or not row.is_running:
            raise DrillRefused("This drill is over; there is nothing to cancel.")
        if row.cancelled_at is not None:
            return
        row.cancelled_at = now
        row.cancelled_by_name = actor.get_username() if actor else audit.CONSOLE
        row.save(update_fields=["cancelled_at", "cancelled_by_name"])
        audit.record(actor=actor, verb="drill.cancel", subject=row, now=now)


def advance_drill(*, now: datetime) -> bool:
    """Take what steps of the running drill can be taken now; return if it goes on.

    One query while none is running. Of several workers one takes them.
    """
    running = Drill.objects.filter(state=Drill.State.RUNNING)
    found = running.values_list("pk", flat=True).first()
    if found is None:
        return False
    lease = uuid.uuid4()
    if not running.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lte=now), pk=found
    ).update(lease=lease, lease_until=now + LEASE):
        return True
    drill = Drill.objects.select_related("started_by", "alert").get(pk=found)
    try:
        while drill.is_running and _advance(drill):
            pass
    except _Overtaken:
        logger.warning("%s was taken over by another worker", drill)
    else:
        Drill.objects.filter(pk=drill.pk, lease=lease).update(
            lease=None, lease_until=None
        )
    return drill.is_running


def _advance(drill: Drill) -> bool:
    """Take one step; return whether there may be another one to take now."""
    drill.refresh_from_db(fields=["cancelled_at"])
    step = drill.current
    if step is None:
        _finish(drill)
        return False
    if drill.cancelled_at is not None and step["slug"] != CLEAN_UP:
        _leave_out_the_rest(drill)
        _save(drill)
        return True
    try:
        taken = STEPS[step["slug"]](drill)
    except (_Failed, fleet.Refusal, OSError) as error:
        # What cannot be removed now can be in a moment.
        taken = str(error)
        if step["slug"] != CLEAN_UP:
            _fail(drill, taken)
            return True
    if isinstance(taken, Taken):
        outcome = Outcome.SKIPPED if taken.is_skipped else Outcome.DONE
        before = _last_instant(drill)
        step |= {
            "outcome": outcome.value,
            "at": taken.at.isoformat(),
            "text": taken.text,
        }
        if not taken.is_skipped:
            step["seconds"] = max(0.0, (taken.at - before).total_seconds())
        _save(drill)
        return True
    waited = (clock.now() - drill.entered_at).total_seconds()
    if waited < step["deadline_seconds"]:
        return False
    _fail(drill, f"not within {humane.duration(step['deadline_seconds'])}: {taken}")
    return True


def _last_instant(drill: Drill) -> datetime:
    """Return when the last step was done that took its time."""
    done = [
        datetime.fromisoformat(step["at"])
        for step in drill.steps
        if step["outcome"] == Outcome.DONE
    ]
    return done[-1] if done else drill.started_at


def _fail(drill: Drill, text: str) -> None:
    step = drill.current
    if step is None:
        return
    step |= {"outcome": Outcome.FAILED.value, "text": text}
    step["at"] = clock.now().isoformat()
    drill.failure = drill.failure or f"{step['label']}: {text}"
    _leave_out_the_rest(drill)
    _save(drill)


def _leave_out_the_rest(drill: Drill) -> None:
    for step in drill.steps:
        if step["outcome"] == Outcome.WAITING and step["slug"] != CLEAN_UP:
            step["outcome"] = Outcome.SKIPPED.value
            step["text"] = "not come to"


def _save(drill: Drill) -> None:
    """Keep a step that was taken, if the lease is still ours, and renew it."""
    now = clock.now()
    kept = Drill.objects.filter(
        pk=drill.pk, lease=drill.lease, state=Drill.State.RUNNING
    ).update(
        steps=drill.steps,
        failure=drill.failure,
        store_point=drill.store_point_id,
        subject=drill.subject,
        alert=drill.alert_id,
        entered_at=now,
        lease_until=now + LEASE,
    )
    if not kept:
        raise _Overtaken
    drill.entered_at = now


def _finish(drill: Drill) -> None:
    now = clock.now()
    if drill.failure:
        drill.state = Drill.State.FAILED
    elif drill.cancelled_at is not None:
        drill.state = Drill.State.CANCELLED
    else:
        drill.state = Drill.State.PASSED
    with transaction.atomic():
        if not Drill.objects.filter(
            pk=drill.pk, lease=drill.lease, state=Drill.State.RUNNING
        ).update(state=drill.state, finished_at=now):
            raise _Overtaken
        audit.record(
            actor=None,
            verb="drill.finish",
            subject=drill,
            now=now,
            data={"state": str(drill.state), "failure": drill.failure},
        )


# --- the steps: each returns what was done, or (a text) what is waited for -------------


def _add(drill: Drill) -> Taken | str:
    drill.in_place.mkdir(mode=0o700, parents=True, exist_ok=True)
    row = StorePoint.objects.filter(name=drill.name).first()
    if row is None:
        row = fleet.add_store_point(
            server=Server.objects.get(is_master=True),
            name=drill.name,
            path=str(drill.in_place),
            note=NOTE,
            is_drill=True,
            actor=drill.started_by,
            now=clock.now(),
        )
    drill.store_point = row
    drill.subject = f"store-point:{row.pk}"
    return Taken(row.created_at, row.path)


def _come_online(drill: Drill) -> Taken | str:
    row = _store_point(drill)
    if row.is_online and row.checked_at is not None:
        change = _changed(drill, WORKING, since=drill.started_at)
        return Taken(change.recorded_at if change else row.checked_at)
    return row.adoption_error or "no check has found it online"


def _break(drill: Drill) -> Taken | str:
    if drill.in_place.exists():
        drill.in_place.rename(drill.away)
        return Taken(clock.now(), f"to {drill.away}")
    return Taken(_moved_at(drill.away), f"to {drill.away}")


def _detect(drill: Drill) -> Taken | str:
    _store_point(drill)
    change = _changed(drill, [State.OFFLINE], since=_instant(drill, "broken"))
    if change is None:
        return "no check has found it offline"
    return Taken(change.recorded_at, describe(change.state, change.reason))


def _alert(drill: Drill) -> Taken | str:
    _store_point(drill)
    alert = (
        Alert.objects.filter(subject=drill.subject, kind=store_point_offline.KIND.slug)
        .order_by("pk")
        .first()
    )
    if alert is None:
        return "no alert has been raised"
    drill.alert = alert
    return Taken(alert.raised_at, alert.text)


def _mail(drill: Drill) -> Taken | str:
    return _delivered(drill, AlertEvent.Kind.RAISED)


def _acknowledge(drill: Drill) -> Taken | str:
    if drill.started_by is None:
        raise _Failed("whoever started the drill has no account any more")
    alert = _alert_of(drill)
    alerts.acknowledge_alerts(
        [alert.pk], actor=drill.started_by, now=clock.now(), note="Seen in a drill."
    )
    alert.refresh_from_db()
    if alert.acknowledged_at is None:
        return "it could not be acknowledged"
    return Taken(alert.acknowledged_at, f"by {alert.acknowledged_by_name}")


def _mend(drill: Drill) -> Taken | str:
    if drill.away.exists():
        drill.away.rename(drill.in_place)
        return Taken(clock.now(), f"to {drill.in_place}")
    return Taken(_moved_at(drill.in_place), f"to {drill.in_place}")


def _come_back(drill: Drill) -> Taken | str:
    _store_point(drill)
    change = _changed(drill, WORKING, since=_instant(drill, "mended"))
    return Taken(change.recorded_at) if change else "no check has found it online"


def _clear(drill: Drill) -> Taken | str:
    at = _alert_of(drill).cleared_at
    return Taken(at) if at else "the alert has not cleared"


def _mail_the_end(drill: Drill) -> Taken | str:
    return _delivered(drill, AlertEvent.Kind.CLEARED)


def _remove(drill: Drill) -> Taken | str:
    """Take everything away that was made; a second time finds less to take away."""
    # A worker may have been killed between adding it and saying so.
    row = StorePoint.objects.filter(name=drill.name, is_drill=True).first()
    if row is not None:
        drill.subject = f"store-point:{row.pk}"
        fleet.remove_store_points([row.pk], actor=drill.started_by, now=clock.now())
    drill.store_point = None
    now = clock.now()
    left = Alert.objects.filter(is_active(now), subject=drill.subject or "-")
    if drill.started_by is not None and left.exists():
        alerts.acknowledge_alerts(
            left.values_list("pk", flat=True),
            actor=drill.started_by,
            now=now,
            note="Left by a drill that did not come to its end.",
        )
    directory = Path(drill.directory)
    if directory.exists():
        shutil.rmtree(directory)
    return Taken(clock.now())


STEPS: dict[str, Callable[[Drill], Taken | str]] = {
    "added": _add,
    "online": _come_online,
    "broken": _break,
    "detected": _detect,
    "alerted": _alert,
    "mailed": _mail,
    "acknowledged": _acknowledge,
    "mended": _mend,
    "back": _come_back,
    "cleared": _clear,
    "closing-mailed": _mail_the_end,
    CLEAN_UP: _remove,
}


def _moved_at(path: Path) -> datetime:
    """Return when a directory was moved by somebody who did not come to say so.

    The kernel noted it; a clock that was set back since must not put it ahead of now.
    """
    noted = datetime.fromtimestamp(path.stat().st_ctime, tz=UTC)
    return min(noted, clock.now())


def _store_point(drill: Drill) -> StorePoint:
    key = drill.store_point_id
    row = StorePoint.objects.filter(pk=key).first() if key else None
    if row is None:
        raise _Failed("somebody removed the store point")
    return row


def _alert_of(drill: Drill) -> Alert:
    key = drill.alert_id
    alert = Alert.objects.filter(pk=key).first() if key else None
    if alert is None:
        raise _Failed("the alert is no longer there")
    return alert


def _instant(drill: Drill, slug: str) -> datetime:
    return next(
        datetime.fromisoformat(step["at"])
        for step in drill.steps
        if step["slug"] == slug
    )


def _changed(
    drill: Drill, states: Sequence[State] | frozenset[State], *, since: datetime
) -> StatusChange | None:
    return (
        StatusChange.objects.filter(
            store_point=drill.store_point_id,
            state__in=[str(state) for state in states],
            recorded_at__gte=since,
        )
        .order_by("recorded_at", "pk")
        .first()
    )


def _delivered(drill: Drill, kind: AlertEvent.Kind) -> Taken | str:
    """Return when the first mail of an event had left, or why there is none."""
    event = (
        AlertEvent.objects.filter(alert=_alert_of(drill).pk, kind=kind)
        .order_by("pk")
        .first()
    )
    if event is None or event.routed_at is None:
        return "nobody has decided yet who is to hear of it"
    rows = list(Delivery.objects.filter(event=event).values("state", "sent_at"))
    if not rows:
        return Taken(event.routed_at, event.routing, is_skipped=True)
    people = humane.counted(len(rows), "person", "people")
    sent = [row["sent_at"] for row in rows if row["sent_at"] is not None]
    if sent:
        return Taken(min(sent), f"to {humane.number(len(sent))} of {people}")
    if all(row["state"] == DeliveryState.FAILED for row in rows):
        raise _Failed(f"no mail to {people} was taken; the delivery log says why")
    return f"mail to {people} waits; the delivery log says why"
