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
from storepoints.engine import estimate_offset
from storepoints.models import Server
from storepoints.services.answers import record_answers
from storepoints.services.checks import send_everything
from storepoints.services.evidence import volumes_of
from storepoints.services.fence import follow_readings
from storepoints.services.findings import record_findings
from storepoints.signals import facts_recorded

logger = logging.getLogger(__name__)

#: Characters that PostgreSQL's text and JSON do not take.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
#: The same in JSON text, with half pairs that may find their other half: without any,
#: nothing has to be looked through.
UNSTORABLE_IN_JSON = re.compile(r"\\u(?:0000|d[89a-f])|[\ud800-\udfff]", re.IGNORECASE)


def record_report(envelope: Any, *, now: datetime) -> int:
    """Record a signed report and return how many findings were taken over.

    1. Refuse what is not signed with the key of the server it names.
    2. Lock the server, and the filesystems and store points that are spoken of. A
       finding that is not newer than the recorded one is dropped: a report applied twice, late or
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
    if UNSTORABLE_IN_JSON.search(envelope["body"]):
        message = storable(message)
    report = _checked_report(message)
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
        server = Server.objects.select_for_update(no_key=True).get(pk=server.pk)
        was_offline = server.offline_since is not None
        is_news = report["sequence"] > server.last_sequence
        if is_news:
            _record_server(server, report, now)
        recorded = record_findings(
            server,
            report,
            # A list that came again is no newer for that.
            server.volumes if is_news and report["volumes"] is not None else [],
            now,
            is_careful=is_careful,
        )
        taken = recorded.taken
        follow_readings(server, taken.values(), now=now)
        if is_news:
            # After the commit: reports of other servers must not queue for this row.
            transaction.on_commit(lambda: heartbeat.beat("report", now))
        answered = set(record_answers(server, report["answers"], now))
        facts_recorded.send(
            Server,
            store_points=[*taken, *answered],
            servers=[server.pk],
            filesystems=recorded.filesystems,
            at_hand=[
                # An answer has changed more of its store point than was folded.
                *(row for key, row in taken.items() if key not in answered),
                *recorded.at_hand,
            ],
            rules=recorded.rules,
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
    wire.seconds_in(message, "sent_at")
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
        else estimate_offset(
            before, now.timestamp(), wire.seconds_in(report, "sent_at")
        )
    )
    server.last_report_at = now
    server.awaiting_since = None
    server.silent_at = None
    server.offline_since = None
    server.last_sequence = report["sequence"]
    server.version = str(agent.get("version", ""))[:50]
    server.hostname = str(agent.get("hostname", ""))[:255]
    with contextlib.suppress(wire.Refused):
        server.started_at = datetime.fromtimestamp(
            wire.seconds_in(agent, "started_at"), UTC
        )
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
