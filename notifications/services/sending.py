"""From deliveries to messages: claim with a lease, send, write down what became of it."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypedDict

from django.db import transaction
from django.db.models import F, Max, Min, Q, QuerySet

from alerts.selectors import MANY, is_acknowledged
from console.accounts.models import User
from console.kit import audit, clock
from console.kit.bulk import BulkResult, Left
from notifications import mail, messages, selectors
from notifications.engine import (
    CHANNEL_GROUP,
    CHANNEL_LAST_RETRY,
    LAST_RETRY,
    LEASE,
    PATIENCE,
    DeliveryState,
    Person,
    Problem,
    Scope,
    Waiting,
    back_off,
    distance,
    may_send,
    still_mailed,
)
from notifications.models import Channel, Delivery, EmailSettings
from notifications.services import posting
from notifications.services.crew import LOOK_SECONDS, Crew, Work
from notifications.services.linking import keep_link
from notifications.services.lock import lock_mail
from notifications.services.routing import FOLLOWING, MOOT, route_events
from notifications.transports.smtp import NotSent, Postman

logger = logging.getLogger(__name__)

#: Connections that break one after the other mean that the server is down: the rest of
#: a run is put off without trying.
BROKEN_IN_A_ROW = 2

#: Servers that say 421 to one recipient take the others, on another connection. One that
#: says it to so many in a row is not to be asked again and again.
CLOSED_IN_A_ROW = 5

#: How much of a run goes by before no lane is begun any more; the next run does.
LONGEST_SECONDS = 60

#: The lane of all mail: one server, one connection.
MAIL = "mail"

#: Only to spread retries. From the system, because forks would share another's state.
_jitter = random.SystemRandom()

_one_sweep = threading.Lock()


@dataclass(frozen=True, slots=True)
class Sent:
    """What a run did: messages that were accepted, put off and given up as refused."""

    mails: int = 0
    put_off: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """What this process has claimed: one message's worth of deliveries."""

    id: uuid.UUID
    recipient: str
    message_id: str
    lease_until: datetime
    is_fresh: bool
    has_news: bool
    channel: int | None = None


def sweep(*, now: datetime) -> Sent:
    """Route what is new and send what is due.

    Safe to call from several processes at once, and needs no Celery. Within one
    process a second call only routes while the first is sending, so that a mail server
    that hangs holds one thread of a worker and not all of them.
    """
    route_events(now=now)
    if not _one_sweep.acquire(blocking=False):
        return Sent()
    try:
        return send_due(now=now)
    finally:
        _one_sweep.release()


def send_due(*, now: datetime) -> Sent:
    """Send what is due, by mail and by every channel; return what became of it.

    1. Give up what could not be delivered for 24 h, and what is for somebody who is
       no longer mailed.
    2. For each recipient and each channel: claim what is due with a lease, in a short
       transaction.
    3. Send it outside of any transaction: mail over one connection for the whole run,
       each channel beside it, so that none waits for another one's server.
    4. Mark it sent, to be tried again, or failed for good.
    5. While a server is slow, look again what has become due for the others.

    What is switched off keeps what waits for it, and nothing is given up for that.
    """
    give_up(now=now)
    give_up_moot(now=now)
    ends_at = time.monotonic() + LONGEST_SECONDS
    run = _Totals()
    with Crew() as crew:
        _begin(crew, run, now)
        looked_at = time.monotonic()
        while crew.is_busy:
            crew.step()
            # Not at once: what is due may have to wait for its distance or its budget.
            if looked_at + LOOK_SECONDS <= time.monotonic() < ends_at and crew.is_busy:
                try:
                    _begin(crew, run, now)
                except Exception as error:  # noqa: BLE001 - raised when all are done
                    # What is on its way must still be written down as sent, or it is
                    # sent twice.
                    crew.note(error)
                    ends_at = looked_at
                looked_at = time.monotonic()
    return run.sent


class _Totals:
    """What all lanes of a run did."""

    def __init__(self) -> None:
        self.sent = Sent()

    def add(self, *, mails: int = 0, put_off: int = 0, refused: int = 0) -> None:
        """Count what became of a message."""
        self.sent = Sent(
            self.sent.mails + mails,
            self.sent.put_off + put_off,
            self.sent.refused + refused,
        )


def _begin(crew: Crew, run: _Totals, now: datetime) -> None:
    """Begin the lanes that have something due and are not at work."""
    settings = selectors.email_settings()
    if settings.is_ready and MAIL not in crew:
        recipients = selectors.due_recipients(_present(now))
        if recipients:
            give_up_strangers(now=_present(now))
            crew.begin(MAIL, _serve_mail(settings, recipients, run, now))
    for channel in selectors.due_channels(_present(now)):
        if channel.lane not in crew and not crew.is_full:
            crew.begin(channel.lane, _serve_channel(channel, run, now))


def _serve_mail(
    settings: EmailSettings, recipients: list[str], totals: _Totals, now: datetime
) -> Work:
    """Send each recipient what is due, over one connection.

    A recipient that fails does not stop the others. When the server itself cannot be
    reached, the rest is put off without trying.
    """
    postman = Postman(settings)
    run = _Run(settings, postman, totals)
    try:
        for recipient in recipients:
            while True:
                batch = claim(recipient, now=_present(now))
                if batch is None:
                    break
                yield from run.deliver(batch, now)
        run.close(_present(now))
    except Exception:
        yield postman.close
        raise
    yield postman.close


def _serve_channel(channel: Channel, totals: _Totals, now: datetime) -> Work:
    """Send what is due by a channel, one message after the other."""
    while True:
        batch = claim(channel.lane, now=_present(now), channel=channel)
        if batch is None:
            return
        try:
            message = messages.compose(batch.id, now=_present(now))
            yield partial(posting.post, channel, message, now=_present(now))
        except messages.Gone:
            return
        except NotSent as failure:
            problem = failure.problem
        except Exception as error:
            # A mistake in this program, made by one message: the others must still go.
            logger.exception("the message to %s could not be made", channel.name)
            problem = Problem(
                f"The console could not make this message ({type(error).__name__}).",
                "Please report this with the worker's log.",
                Scope.RECIPIENT,
            )
        else:
            _mark_sent(batch, now=_present(now))
            totals.add(mails=1)
            continue
        logger.warning("message to %s: %s", channel.name, problem.words)
        with transaction.atomic():
            posting.note_failure(channel, problem, now=_present(now))
            if problem.is_permanent and problem.scope is Scope.RECIPIENT:
                _mark_refused(batch, problem)
                totals.add(refused=1)
            else:
                # Also where the channel is switched off for it: with what else waits,
                # this is sent when somebody has mended that.
                _put_off(batch, problem, now=_present(now))
                totals.add(put_off=1)
        if problem.scope is not Scope.RECIPIENT:
            return


def _present(now: datetime) -> datetime:
    """Return the present: a run that waits for servers outlives the instant it got."""
    return max(now, clock.now())


class _Run:
    """One run of sending: its connection, and what it has learned about the server."""

    def __init__(
        self, settings: EmailSettings, postman: Postman, totals: _Totals
    ) -> None:
        self._totals = totals
        self._has_sent = False
        self._settings = settings
        self._postman = postman
        self._down: Problem | None = None
        self._broken = 0
        self._closed = 0
        self._has_closed_to_news = False

    def deliver(self, batch: _Batch, now: datetime) -> Work:
        """Send one claimed batch and write down what became of it."""
        try:
            if self._down is not None:
                raise NotSent(self._down)
            yield self._postman.open
            message = mail.compose(
                batch.id, settings=self._settings, now=_present(now), link=keep_link
            )
            mine = _renew(batch, now=_present(now))
            if mine is None:
                # Connecting took so long that another process has it by now.
                return
            batch = mine
            yield partial(self._postman.send, message)
        except NotSent as failure:
            self._failed(batch, failure.problem, _present(now))
        except Exception as error:
            # A mistake in this program, made by one mail: the others must still go.
            logger.exception("the mail to %s could not be made", batch.recipient)
            problem = Problem(
                f"The console could not make this mail ({type(error).__name__}).",
                "Please report this with the worker's log.",
                Scope.RECIPIENT,
            )
            self._failed(batch, problem, _present(now))
        else:
            self._broken = self._closed = 0
            _mark_sent(batch, now=_present(now))
            self._has_sent = True
            self._totals.add(mails=1)

    def _failed(self, batch: _Batch, problem: Problem, now: datetime) -> None:
        logger.warning("mail to %s: %s", batch.recipient, problem.words)
        if self._down is None:
            self._learn(problem, batch, now)
        if problem.is_permanent:
            _mark_refused(batch, problem)
            self._totals.add(refused=1)
        else:
            _put_off(batch, problem, now=now)
            self._totals.add(put_off=1)

    def _learn(self, problem: Problem, batch: _Batch, now: datetime) -> None:
        """Tell a server that is down from a mail that is unwelcome."""
        if problem.scope is Scope.RECIPIENT:
            self._broken = self._closed = 0
            _note_failure(problem, now=now)
            _note_answer(now=now)
            return
        if problem.scope is Scope.CHANNEL:
            self._closed += 1
            self._has_closed_to_news |= batch.has_news
        else:
            self._broken += 1
        if (
            problem.scope is Scope.SERVER
            or self._broken >= BROKEN_IN_A_ROW
            or self._closed >= CLOSED_IN_A_ROW
        ):
            # The others' mails have not reached the server, whatever it was here.
            self._down = replace(problem, scope=Scope.SERVER, is_certain=True)
        _note_failure(problem, now=now, is_failing=self._down is not None)

    def close(self, now: datetime) -> None:
        """Note a server that broke every connection there was, though only one.

        One that says 421 to a mail that is only tried again has been judged before,
        when it may have taken the others'.
        """
        is_suspect = self._broken or self._has_closed_to_news
        if is_suspect and not self._has_sent and self._down is None:
            _note_failing(now=now)


class _Claim(TypedDict):
    state: DeliveryState
    lease_until: datetime
    attempted_at: datetime


@transaction.atomic
def claim(
    recipient: str, *, now: datetime, channel: Channel | None = None
) -> _Batch | None:
    """Claim what may be sent to a recipient now; None when there is nothing.

    ``recipient`` is a channel's lane when the channel is given: then its budget holds,
    and nothing at all leaves while its server is left alone after a failure.

    Nothing new leaves beside a batch that somebody holds, because a close must not
    overtake its open: after a process is killed a person waits for what is left of
    its lease, at most 30 s.

    1. A batch whose lease has run out: its process died, perhaps after sending. It
       is sent again as it was, under the same Message-ID.
    2. A batch of which it is not known whether the server took it, when its wait is
       over: likewise.
    3. Everything else that waits, as one new batch, when the group's distance from
       the previous mail has passed; also what came in the meantime, and what waits
       for another attempt, so that open and close of one alert stand in one mail. What
       waits for a digest or the end of quiet hours goes along only where there is
       other news of the same alert, so that no close overtakes its open.
    """
    settings = lock_mail()
    if channel is not None and not selectors.is_on(channel):
        return None
    rows = Delivery.objects.filter(recipient=recipient)
    leased: _Claim = {
        "state": DeliveryState.SENDING,
        "lease_until": now + LEASE,
        "attempted_at": now,
    }
    again = (
        rows.filter(
            Q(state=DeliveryState.SENDING, lease_until__lte=now)
            | Q(state=DeliveryState.RETRY, batch__isnull=False, due_at__lte=now)
        )
        .order_by("pk")
        .values_list("batch", "message_id")
        .first()
    )
    if again is not None:
        batch, message_id = again
        assert batch is not None  # noqa: S101 - a constraint of the table
        rows.filter(
            Q(state=DeliveryState.SENDING, lease_until__lte=now)
            | Q(state=DeliveryState.RETRY),
            batch=batch,
        ).update(**leased, attempts=F("attempts") + 1)
        return _Batch(
            batch,
            recipient,
            message_id,
            now + LEASE,
            is_fresh=False,
            has_news=False,
            channel=channel.pk if channel else None,
        )
    if rows.filter(state=DeliveryState.SENDING).exists():
        return None
    group: timedelta | None = timedelta(seconds=settings.group_seconds)
    if channel is not None:
        if rows.filter(state=DeliveryState.RETRY, due_at__gt=now).exists():
            return None
        group = distance(
            selectors.used_budget(channel, now),
            per_hour=channel.per_hour,
            group=CHANNEL_GROUP,
        )
    if group is None:
        return None
    fresh = rows.filter(
        state__in=[DeliveryState.PENDING, DeliveryState.RETRY], batch__isnull=True
    )
    least = fresh.aggregate(due_at=Min("due_at"), attempts=Min("attempts"))
    waiting = Waiting(
        due_at=least["due_at"],
        attempted_at=rows.aggregate(at=Max("attempted_at"))["at"],
    )
    if not may_send(waiting, group=group, now=now):
        return None
    batch = uuid.uuid4()
    message_id = str(batch) if channel else f"<{batch.hex}@{settings.domain}>"
    waits = ~Q(waits_for="") & Q(due_at__gt=now)
    going = fresh.exclude(waits)
    if fresh.filter(waits).exists():
        fresh = fresh.filter(
            ~waits | Q(event__alert__in=going.order_by().values("event__alert"))
        )
    fresh.update(
        **leased, batch=batch, message_id=message_id, attempts=F("attempts") + 1
    )
    return _Batch(
        batch,
        recipient,
        message_id,
        now + LEASE,
        is_fresh=True,
        has_news=least["attempts"] == 0,
        channel=channel.pk if channel else None,
    )


def _renew(batch: _Batch, *, now: datetime) -> _Batch | None:
    """Begin the lease anew just before sending; None when it has run out and is lost."""
    until = now + LEASE
    if not _claimed(batch).update(lease_until=until):
        return None
    return replace(batch, lease_until=until)


def _mark_sent(batch: _Batch, *, now: datetime) -> None:
    """Write down that the server took a batch, whoever holds its lease by now."""
    with transaction.atomic():
        Delivery.objects.filter(batch=batch.id).exclude(
            state__in=[DeliveryState.SENT, DeliveryState.HELD]
        ).update(state=DeliveryState.SENT, sent_at=now, lease_until=None, error="")
        if batch.channel is None:
            note_success(now=now)
        else:
            posting.note_success(batch.channel, now=now)


def _mark_refused(batch: _Batch, problem: Problem) -> None:
    _claimed(batch).update(
        state=DeliveryState.FAILED, lease_until=None, error=problem.words
    )


def _put_off(batch: _Batch, problem: Problem, *, now: datetime) -> None:
    attempts = _claimed(batch).aggregate(least=Min("attempts"))["least"]
    if attempts is None:
        return
    # What the server has certainly never taken may be told in another mail, together
    # with what has happened meanwhile.
    is_untold = batch.is_fresh and problem.is_certain
    regroup = {"batch": None, "message_id": ""} if is_untold else {}
    most = LAST_RETRY if batch.channel is None else CHANNEL_LAST_RETRY
    pause = back_off(attempts, jitter=_jitter.random(), most=most)
    if problem.retry_after is not None:
        # Not sooner than asked for, and not all who were asked at the same instant.
        pause = max(pause, problem.retry_after * (1 + 0.1 * _jitter.random()))
    _claimed(batch).update(
        state=DeliveryState.RETRY,
        lease_until=None,
        due_at=now + pause,
        error=problem.words,
        **regroup,
    )


def _claimed(batch: _Batch) -> QuerySet[Delivery]:
    """Return the rows that are still this process's to decide about."""
    return Delivery.objects.filter(
        batch=batch.id, state=DeliveryState.SENDING, lease_until=batch.lease_until
    )


def note_success(*, now: datetime) -> None:
    """Note that the server took a mail; if it was failing, try what waits at once."""
    EmailSettings.objects.filter(pk=EmailSettings.ONLY).update(last_success_at=now)
    _note_answer(now=now)


def _note_answer(*, now: datetime) -> None:
    """Note that the server can be reached, whatever it thinks of a recipient."""
    recovered = EmailSettings.objects.filter(
        pk=EmailSettings.ONLY, failing_since__isnull=False
    ).update(failing_since=None)
    if recovered:
        hurry(now=now)


def hurry(*, now: datetime) -> int:
    """Let every mail that waits for another attempt be tried now; return how many."""
    return Delivery.objects.filter(
        channel__isnull=True, state=DeliveryState.RETRY, due_at__gt=now
    ).update(due_at=now)


def _note_failure(problem: Problem, *, now: datetime, is_failing: bool = False) -> None:
    EmailSettings.objects.filter(pk=EmailSettings.ONLY).update(
        last_failure_at=now, last_error=problem.words, last_cure=problem.cure
    )
    if is_failing:
        _note_failing(now=now)


def _note_failing(*, now: datetime) -> None:
    EmailSettings.objects.filter(
        pk=EmailSettings.ONLY, failing_since__isnull=True
    ).update(failing_since=now)


def give_up(*, now: datetime) -> int:
    """Mark what could not be delivered for 24 h as failed; return how many.

    What is for mail or a channel that is switched off waits for that to change.
    """
    is_on = Q(channel__is_enabled=True)
    if selectors.email_settings().is_ready:
        is_on |= Q(channel__isnull=True)
    late = Delivery.objects.filter(
        is_on,
        Q(state__in=[DeliveryState.PENDING, DeliveryState.RETRY])
        | Q(state=DeliveryState.SENDING, lease_until__lte=now),
        give_up_at__lte=now,
    )
    if not late.exists():
        return 0
    hours = int(PATIENCE.total_seconds() // 3600)
    count = 0
    with transaction.atomic():
        for error in list(late.order_by().values_list("error", flat=True).distinct()):
            why = error or "it was never tried"
            count += late.filter(error=error).update(
                state=DeliveryState.FAILED,
                lease_until=None,
                error=f"Given up after {hours} h: {why}",
            )
    logger.warning("gave up %d messages that could not be sent for %d h", count, hours)
    return count


def give_up_moot(*, now: datetime) -> int:
    """Take back reminders and escalations that waited until they were none any more.

    They waited for a digest or the end of quiet hours, and the alert has cleared or
    somebody has acknowledged it. Return how many.
    """
    waiting = Delivery.objects.filter(
        state=DeliveryState.PENDING,
        batch__isnull=True,
        due_at__lte=now,
        event__kind__in=FOLLOWING,
    )
    moot = waiting.filter(
        is_acknowledged(now, of="event__alert__")
        | Q(event__alert__cleared_at__isnull=False)
    )
    count = 0
    while keys := list(moot.order_by("pk").values_list("pk", flat=True)[:MANY]):
        taken = Delivery.objects.filter(
            pk__in=keys, state=DeliveryState.PENDING, batch__isnull=True
        ).update(state=DeliveryState.FAILED, error=MOOT)
        count += taken
        if not taken:
            # Another process has all of them by now.
            break
    return count


def give_up_strangers(*, now: datetime) -> int:
    """Mark what waits for people who are no longer mailed as failed; return how many.

    Somebody who was removed, switched off or is no administrator any more hears nothing
    more, also not what was written before. Who only changed their address still does.
    """
    with transaction.atomic():
        lock_mail()
        audience = selectors.audience()
        waiting = Delivery.objects.filter(
            Q(state__in=[DeliveryState.PENDING, DeliveryState.RETRY])
            | Q(state=DeliveryState.SENDING, lease_until__lte=now),
            channel__isnull=True,
        )
        strangers = [
            (address, name)
            for address, name in waiting.order_by()
            .values_list("recipient", "recipient_name")
            .distinct()
            if not still_mailed([Person(address, name)], audience)
        ]
        return sum(
            waiting.filter(recipient=address, recipient_name=name).update(
                state=DeliveryState.FAILED,
                lease_until=None,
                error="Not sent: this address is no longer mailed about alerts.",
            )
            for address, name in strangers
        )


def send_again(deliveries: list[int], *, actor: User, now: datetime) -> BulkResult:
    """Put failed deliveries back to be sent, by hand; compare-and-set and audited."""
    with transaction.atomic():
        rows = list(
            Delivery.objects.select_for_update(of=("self",))
            .select_related("event__alert")
            .filter(pk__in=deliveries)
            .order_by("pk")
        )
        done = [row for row in rows if row.state == DeliveryState.FAILED]
        Delivery.objects.filter(pk__in=[row.pk for row in done]).update(
            state=DeliveryState.PENDING,
            due_at=now,
            waits_for="",
            give_up_at=now + PATIENCE,
            attempts=0,
            # Where nothing is known of a former attempt it may join another mail.
            batch=None,
            message_id="",
            lease_until=None,
            error="",
        )
        audit.record_many(
            actor=actor, verb="delivery.send_again", subjects=done, now=now
        )
    return BulkResult(
        len(done),
        tuple(
            Left(str(row), f"is {row.get_state_display().lower()}, not failed")
            for row in rows
            if row.state != DeliveryState.FAILED
        ),
    )


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test mail met: the server's answer in words, and what to do about it."""

    is_sent: bool
    words: str
    cure: str
    seconds: float


def send_test(address: str, *, actor: User, now: datetime) -> Tested:
    """Send a test mail now, with the saved settings, and return the server's answer.

    It is sent also when sending is switched off, so that it can be tried first. Takes
    at most some time-outs of 10 s. Never to be called inside a transaction.
    """
    settings = selectors.email_settings()
    start = time.monotonic()
    problem: Problem | None = None
    if not settings.is_configured:
        problem = Problem(
            "Nothing was sent: no mail server is set up.",
            "Fill in host and sender, and save them first.",
            Scope.SERVER,
        )
    else:
        message = mail.compose_test(address, settings=settings, actor=actor, now=now)
        try:
            with Postman(settings) as postman:
                postman.send(message)
        except NotSent as failure:
            problem = failure.problem
    seconds = time.monotonic() - start
    with transaction.atomic():
        if settings.is_configured:
            if problem is None:
                note_success(now=_present(now))
            else:
                _note_failure(problem, now=_present(now))
        audit.record(
            actor=actor,
            verb="email.test",
            subject=settings,
            now=now,
            note=problem.words if problem else "",
            data={"to": address, "is_sent": problem is None},
        )
    if problem is None:
        return Tested(
            is_sent=True,
            words=f"{settings} took the mail to {address}.",
            cure="",
            seconds=seconds,
        )
    return Tested(
        is_sent=False, words=problem.words, cure=problem.cure, seconds=seconds
    )
