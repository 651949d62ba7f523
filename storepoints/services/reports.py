"""Recording a report: readings, status changes and what follows, in one transaction."""

from __future__ import annotations

import contextlib
import logging
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import DataError, IntegrityError, transaction

from console.kit import heartbeat, secrets
from storepoints import wire
from storepoints.engine import (
    Limit,
    Reading,
    Rule,
    Status,
    decide,
    end_of_belief,
    estimate_offset,
)
from storepoints.models import AgentRequest, Server, StatusChange, StorePoint
from storepoints.services.checks import send_everything
from storepoints.services.evidence import evidence_of, volumes_of
from storepoints.signals import facts_recorded
from storepoints.states import WORKING, Inbound, Reason, State

logger = logging.getLogger(__name__)

#: The year 3000, in seconds since 1970: no instant that an agent means lies beyond.
END_OF_TIME = 32_503_680_000

#: Characters that PostgreSQL's text and JSON do not take.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

#: The states that an agent may claim; the others are the master's to decide.
CLAIMABLE = frozenset({State.ONLINE, State.OFFLINE, State.NOT_RESPONDING})

#: Fields of a store point that a report may write. Nothing else is touched, so that
#: an edit or a switch at the same instant is not overwritten.
READING_FIELDS = [
    "state",
    "reason",
    "is_online",
    "since",
    "is_believed",
    "failures",
    "successes",
    "limits",
    "checked_at",
    "stale_at",
    "sequence",
    "cause",
    "layer",
    "errno",
    "duration_seconds",
    "latency_seconds",
    "evidence",
    "free_bytes",
    "used_bytes",
    "total_bytes",
    "free_inodes",
    "total_inodes",
    "space_at",
    "due_at",
    "pace",
    "inbound_applied",
    "is_inbound_pending",
    "inbound_error",
]


def record_report(envelope: object, *, now: datetime) -> int:
    """Record a signed report and return how many findings were taken over.

    1. Refuse what is not signed with the key of the server it names.
    2. Lock the server, and the store points that are spoken of. A finding that is
       not newer than the recorded one is dropped: a report applied twice, late or
       out of order changes nothing.
    3. Write readings, status changes, answers; let alerts follow; commit.
    4. Send an agent that has just started the whole list of its store points.

    A finding that is malformed, or about another server's store point, is refused
    by itself and logged; the others are recorded. Raises wire.Refused when nothing
    in the report can be believed.
    """
    named = wire.addressee(envelope)
    try:
        server = Server.objects.get(guid=UUID(named))
    except (ValueError, Server.DoesNotExist):
        raise wire.Refused(f"no server has the guid {named[:64]!r}") from None
    message = wire.unseal(
        envelope, server=str(server.guid), key=secrets.decrypt(server.sealed_key)
    )
    report = _checked_report(storable(message))
    try:
        return _record(server, report, now, is_careful=False)
    except (DataError, IntegrityError) as error:
        # One value that the database refuses must not cost the others their record.
        logger.warning("%s: recording each finding by itself: %s", server, error)
        return _record(server, report, now, is_careful=True)


def _record(
    server: Server, report: dict[str, Any], now: datetime, *, is_careful: bool
) -> int:
    """Write what a report says in one transaction.

    When ``is_careful`` each finding has a savepoint of its own, and one that the
    database refuses is left out.
    """
    with transaction.atomic():
        server = Server.objects.select_for_update().get(pk=server.pk)
        was_offline = server.offline_since is not None
        is_news = report["sequence"] > server.last_sequence
        if is_news:
            _record_server(server, report, now)
        taken = _record_findings(server, report, now, is_careful=is_careful)
        if is_news:
            # After the commit: reports of other servers must not queue for this row.
            transaction.on_commit(lambda: heartbeat.beat("report", now))
        facts_recorded.send(
            Server,
            store_points=[*taken, *_record_answers(server, report["answers"], now)],
            servers=[server.pk],
            now=now,
        )
        if is_news and (report["cause"] == "start" or was_offline):
            transaction.on_commit(lambda: send_everything(server, now=now))
    return len(taken)


def storable(value: Any) -> Any:
    """Return JSON data without what a database cannot hold in a text.

    A null character and half of a surrogate pair (a byte of a name that is not UTF-8)
    each become U+FFFD.
    """
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {storable(name): storable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [storable(each) for each in value]
    return value


def _checked_report(message: dict[str, Any]) -> dict[str, Any]:
    """Return the report with its top level checked; Refused names what is wrong."""
    if message.get("kind") != "report":
        raise wire.Refused(f"expected a report, found {message.get('kind')!r}")
    sequence = message.get("sequence")
    if not isinstance(sequence, int) or not 0 < sequence < 2**63:
        raise wire.Refused(f"expected a positive sequence, found {sequence!r}")
    _seconds(message, "sent_at")
    for name, kind in (
        ("agent", dict),
        ("cause", str),
        ("findings", list),
        ("answers", list),
    ):
        if not isinstance(message.get(name), kind):
            raise wire.Refused(f"expected a {kind.__name__} in {name!r}")
    volumes = message.get("volumes")
    if volumes is not None and not isinstance(volumes, list):
        raise wire.Refused("expected a list or null in 'volumes'")
    return message


def _seconds(data: dict[str, Any], name: str) -> float:
    """Return an instant as seconds since the epoch; Refused when it is none."""
    value = data.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Neither infinity nor "not a number" lies between the bounds, and an integer that
    # does fits a float.
    if is_number and value is not None and 0 < value < END_OF_TIME:
        return float(value)
    raise wire.Refused(f"expected seconds since 1970 in {name!r}, found {value!r}")


def _record_server(server: Server, report: dict[str, Any], now: datetime) -> None:
    """Note that the server answered, and what it says of itself.

    Not to be called for an older report than the newest. That is no sign of life: it
    was overtaken, or somebody plays it again.
    """
    agent = report["agent"]
    before = None if report["cause"] == "start" else server.clock_offset_seconds
    server.clock_offset_seconds = (
        # The master's own agent reads the same clock: what differs is delay.
        0.0
        if server.is_master
        else estimate_offset(before, now.timestamp(), _seconds(report, "sent_at"))
    )
    server.last_report_at = now
    server.awaiting_since = None
    server.silent_at = None
    server.offline_since = None
    server.last_sequence = report["sequence"]
    server.version = str(agent.get("version", ""))[:50]
    server.hostname = str(agent.get("hostname", ""))[:255]
    with contextlib.suppress(wire.Refused):
        server.started_at = datetime.fromtimestamp(_seconds(agent, "started_at"), UTC)
    fields = [
        "clock_offset_seconds",
        "last_report_at",
        "awaiting_since",
        "silent_at",
        "offline_since",
        "last_sequence",
        "version",
        "hostname",
        "started_at",
    ]
    if report["volumes"] is not None:
        server.volumes = volumes_of(report["volumes"])
        server.volumes_at = now
        fields += ["volumes", "volumes_at"]
    server.save(update_fields=fields)


def _record_findings(
    server: Server, report: dict[str, Any], now: datetime, *, is_careful: bool
) -> dict[int, StorePoint]:
    """Fold each newer finding into its store point; return those by primary key."""
    findings: dict[str, dict[str, Any]] = {}
    for finding in report["findings"]:
        if isinstance(finding, dict) and isinstance(finding.get("id"), str):
            findings[finding["id"]] = finding
        else:
            logger.warning("%s: refused a finding without an id", server)

    guids = []
    for text in findings:
        try:
            guids.append(UUID(text))
        except ValueError:
            logger.warning("%s: refused a finding of %.64r: no guid", server, text)
    store_points = {
        str(store_point.guid): store_point
        for store_point in StorePoint.objects.select_for_update()
        .filter(server=server, guid__in=guids)
        .order_by("pk")
    }
    changes: list[StatusChange] = []
    taken: dict[int, StorePoint] = {}
    refusals: tuple[type[Exception], ...] = (wire.Refused,)
    if is_careful:
        refusals += (DataError, IntegrityError)
    for guid, finding in findings.items():
        store_point = store_points.get(guid)
        if store_point is None:
            logger.warning(
                "%s: refused a finding of %.64r: not one of its store points",
                server,
                guid,
            )
            continue
        if report["sequence"] <= store_point.sequence:
            continue
        try:
            change = _fold(store_point, finding, server, report, now)
            with transaction.atomic() if is_careful else contextlib.nullcontext():
                _write(store_point, change if is_careful else None)
        except refusals as error:
            logger.warning(
                "%s: refused a finding of %s: %s", server, store_point, error
            )
            continue
        taken[store_point.pk] = store_point
        if change is not None and not is_careful:
            changes.append(change)
    StatusChange.objects.bulk_create(changes, batch_size=500)
    return taken


def _write(store_point: StorePoint, change: StatusChange | None) -> None:
    StorePoint.objects.filter(pk=store_point.pk).update(
        **{name: getattr(store_point, name) for name in READING_FIELDS}
    )
    if change is not None:
        change.save(force_insert=True)


def _fold(
    store_point: StorePoint,
    finding: dict[str, Any],
    server: Server,
    report: dict[str, Any],
    now: datetime,
) -> StatusChange | None:
    """Change a store point as its finding demands; return the change if there is one."""
    offset = server.clock_offset_seconds or 0.0
    at = min(now, datetime.fromtimestamp(_seconds(finding, "at") + offset, UTC))
    try:
        state, reason = State(finding["state"]), Reason(finding.get("reason", ""))
    except (KeyError, ValueError) as error:
        raise wire.Refused(f"expected a known state and reason: {error}") from None
    if state not in CLAIMABLE:
        raise wire.Refused(f"an agent cannot claim the state {state!r}")
    space = _space(finding.get("space"))
    reading = Reading(
        at=at,
        state=state,
        reason=reason,
        latency_seconds=_duration(finding.get("latency_seconds")),
        free_bytes=space.get("free_bytes"),
        used_bytes=space.get("used_bytes"),
        free_inodes=space.get("free_inodes"),
        total_inodes=space.get("total_inodes"),
    )
    before = status_of(store_point)
    decision = decide(
        before, reading, Rule(check_seconds=min(store_point.check_seconds, 3600))
    )
    _write_status(store_point, decision.status)
    store_point.checked_at = at
    store_point.stale_at = end_of_belief(at, store_point.check_seconds)
    store_point.sequence = report["sequence"]
    store_point.cause = str(finding.get("cause", ""))[:20]
    layer = finding.get("layer", 0)
    store_point.layer = layer if isinstance(layer, int) and 0 <= layer <= 8 else 0
    store_point.errno = str(finding.get("errno", ""))[:20]
    store_point.duration_seconds = _duration(finding.get("duration_seconds"))
    store_point.latency_seconds = reading.latency_seconds
    store_point.evidence = evidence_of(finding)
    if space:
        for name, value in space.items():
            setattr(store_point, name, value)
        store_point.space_at = at
    store_point.pace = decision.pace
    store_point.due_at = now + decision.pace
    _write_inbound(store_point, finding.get("inbound"))
    if not decision.has_changed:
        return None
    return StatusChange(
        store_point=store_point,
        at=at,
        recorded_at=now,
        state_before=before.state,
        reason_before=before.reason,
        state=decision.status.state,
        reason=decision.status.reason,
        cause=store_point.cause,
        duration_seconds=store_point.duration_seconds,
        evidence=store_point.evidence,
    )


def status_of(store_point: StorePoint) -> Status:
    """Return the status that a row holds."""
    return Status(
        state=State(store_point.state),
        reason=Reason(store_point.reason),
        since=store_point.since,
        is_believed=store_point.is_believed,
        failures=store_point.failures,
        successes=store_point.successes,
        limits=frozenset(Limit(limit) for limit in store_point.limits),
    )


def _write_status(store_point: StorePoint, status: Status) -> None:
    store_point.state = status.state
    store_point.reason = status.reason
    store_point.is_online = status.state in WORKING
    store_point.since = status.since
    store_point.is_believed = status.is_believed
    store_point.failures = status.failures
    store_point.successes = status.successes
    store_point.limits = sorted(status.limits)


def _space(data: object) -> dict[str, int]:
    """Return the sizes of a finding; nothing when they do not fit together."""
    if not isinstance(data, dict):
        return {}
    names = ("total_bytes", "free_bytes", "used_bytes", "total_inodes", "free_inodes")
    sizes: dict[str, int] = {}
    for name in names:
        size = data.get(name)
        if not isinstance(size, int) or not 0 <= size < 2**63:
            return {}
        sizes[name] = size
    if sizes["free_bytes"] > sizes["total_bytes"]:
        return {}
    return sizes


def _duration(value: object) -> float | None:
    if isinstance(value, int | float) and 0 <= value < END_OF_TIME:
        return float(value)
    return None


def _write_inbound(store_point: StorePoint, data: object) -> None:
    """Take over what the agent applied; what it could not read is left as it was."""
    if not isinstance(data, dict):
        return
    if data.get("applied") in {Inbound.ENABLED, Inbound.DISABLED}:
        store_point.inbound_applied = data["applied"]
    elif not data.get("error"):
        # Nothing was asked of the disk: what was known before still is.
        return
    store_point.is_inbound_pending = data.get("pending") is True
    store_point.inbound_error = str(data.get("error") or "")[:500]


def _record_answers(server: Server, answers: list[Any], now: datetime) -> list[int]:
    """Write answers to the questions they belong to, and adoptions to their rows.

    Returns the store points whose adoption was answered.
    """
    adopted: list[int] = []
    for entry in answers:
        if not isinstance(entry, dict) or not isinstance(entry.get("answer"), dict):
            logger.warning("%s: refused an answer that is no object", server)
            continue
        answer = entry["answer"]
        try:
            order = UUID(str(entry.get("order")))
        except ValueError:
            logger.warning("%s: refused an answer to no order", server)
            continue
        request = (
            AgentRequest.objects.select_for_update()
            .filter(server=server, guid=order, answered_at__isnull=True)
            .first()
        )
        if request is None:
            continue
        request.answer = answer
        request.answered_at = now
        request.save(update_fields=["answer", "answered_at"])
        if request.kind == "adopt":
            adopted += _record_adoption(server, request, answer, now)
    return adopted


def _record_adoption(
    server: Server, request: AgentRequest, answer: dict[str, Any], now: datetime
) -> list[int]:
    store_point = (
        StorePoint.objects.select_for_update()
        .filter(server=server, guid=request.payload["id"], adopted_at__isnull=True)
        .first()
    )
    if store_point is None:
        return []
    if answer.get("adopted") is True:
        store_point.adopted_at = now
        store_point.adoption_error = ""
        store_point.due_at = now
        if not store_point.volume and isinstance(answer.get("volume"), dict):
            store_point.volume = answer["volume"]
    else:
        store_point.adoption_error = str(answer.get("message", ""))[:500] or "refused"
    store_point.save(update_fields=["adopted_at", "adoption_error", "due_at", "volume"])
    if store_point.adopted_at:
        transaction.on_commit(lambda: send_everything(server, now=now))
    return [store_point.pk]
