"""Folding the findings of a report into store points and their filesystems.

From top to bottom: what can be believed of a report is *heard*, folded into its row, and
written with all others at once. The transaction is ``reports.record_report``'s.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import DataError, IntegrityError, transaction

from console.kit.rows import write_rows
from storepoints import wire
from storepoints.engine import (
    Baseline,
    LatencyRule,
    Limit,
    Reading,
    Rule,
    Status,
    decide,
    end_of_belief,
    filesystem_identity,
    follow_limits,
    learn_latency,
)
from storepoints.models import (
    Filesystem,
    ProbeSample,
    Server,
    StatusChange,
    StorePoint,
)
from storepoints.rules import Rules, rules_of
from storepoints.services import filesystems, history
from storepoints.services.evidence import (
    archives_of,
    evidence_of,
    fall_through_of,
    space_of,
)
from storepoints.states import WORKING, Inbound, Reason, State

logger = logging.getLogger(__name__)

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
    "baseline",
    "filesystem",
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
    "well_at",
    "written_at",
    "fall_through",
    "archives_at",
    "archive_count",
    "newest_archive_at",
    "stale_archives",
    "tally",
    "due_at",
    "pace",
    "inbound_applied",
    "is_inbound_pending",
    "inbound_error",
]

#: Fields that follow a filesystem which another store point's finding was about.
LIMIT_FIELDS = ["state", "reason", "is_online", "since", "limits"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a report changed: the rows its findings were about, and whose facts moved."""

    taken: dict[int, StorePoint]
    filesystems: list[int]
    at_hand: list[Filesystem]
    rules: Rules


@dataclass(frozen=True, slots=True)
class Heard:
    """A finding that can be believed, about a locked store point."""

    store_point: StorePoint
    finding: dict[str, Any]
    at: datetime
    state: State
    reason: Reason
    space: dict[str, int]
    evidence: dict[str, Any]
    sighting: filesystems.Sighting | None


@dataclass(frozen=True, slots=True)
class Folded:
    """A store point that a finding changed: not written yet."""

    store_point: StorePoint
    change: StatusChange | None
    sample: ProbeSample | None
    #: Where it lay before, when that is another filesystem.
    left: int | None


def record_findings(
    server: Server,
    report: dict[str, Any],
    volumes: list[dict[str, Any]],
    now: datetime,
    *,
    is_careful: bool,
) -> Recorded:
    """Fold each newer finding into its store point, and what it lies on.

    1. Lock the filesystems that are spoken of, then the store points. All are judged by
       the rules of their server's destination.
    2. Fold what the findings say into the filesystems, and judge these.
    3. Fold each finding into its store point, with the limits of its filesystem.
       Store points that share a filesystem whose limits changed follow.
    4. Write it all, in as many statements for one finding as for thousands.
    """
    findings = _findings_by_guid(server, report["findings"])
    rules = rules_of([server.destination_id])[server.destination_id]
    known = filesystems.lock_filesystems(
        server,
        [
            filesystem_identity(volume)
            for volume in (*map(_volume_of, findings.values()), *volumes)
        ],
    )
    store_points = {
        str(store_point.guid): store_point
        for store_point in StorePoint.objects.select_for_update(no_key=True)
        .filter(server=server, guid__in=list(findings))
        # The largest column, and the one that is only ever replaced.
        .defer("evidence")
        .order_by("pk")
    }
    heard = _heard(server, report, findings, store_points, now)
    seen = filesystems.see_filesystems(
        server,
        known,
        [each.sighting for each in heard if each.sighting is not None],
        volumes,
        rule=rules.space,
        now=now,
    )
    folded = [
        _fold(each, seen.by_store_point.get(each.store_point.pk), report, rules, now)
        for each in heard
    ]
    return _write_findings(server, folded, seen, rules, now, is_careful=is_careful)


def _findings_by_guid(server: Server, findings: list[Any]) -> dict[str, dict[str, Any]]:
    """Return the newest finding on each store point.

    Where an earlier one in the same report said the same, its cause stands: an unmount
    was noticed by the mount table, though the probe that follows it was one by the clock.
    """
    named: dict[str, dict[str, Any]] = {}
    for finding in findings:
        if not isinstance(finding, dict) or not isinstance(finding.get("id"), str):
            logger.warning("%s: refused a finding without an id", server)
            continue
        try:
            guid = str(UUID(finding["id"]))
        except ValueError:
            logger.warning(
                "%s: refused a finding of %.64r: no guid", server, finding["id"]
            )
            continue
        before = named.get(guid, finding)
        is_same = _says(before) == _says(finding)
        named[guid] = {**finding, "cause": before.get("cause")} if is_same else finding
    return named


def _says(finding: dict[str, Any]) -> tuple[Any, Any]:
    return finding.get("state"), finding.get("reason")


def _volume_of(finding: dict[str, Any]) -> dict[str, Any]:
    volume = finding.get("volume")
    return volume if isinstance(volume, dict) else {}


def _heard(
    server: Server,
    report: dict[str, Any],
    findings: dict[str, dict[str, Any]],
    store_points: dict[str, StorePoint],
    now: datetime,
) -> list[Heard]:
    """Return what is new and can be believed; the rest is logged."""
    heard = []
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
            heard.append(_hear(store_point, finding, server, now))
        except wire.Refused as error:
            logger.warning(
                "%s: refused a finding of %s: %s", server, store_point, error
            )
    return heard


def _hear(
    store_point: StorePoint, finding: dict[str, Any], server: Server, now: datetime
) -> Heard:
    offset = server.clock_offset_seconds or 0.0
    at = min(now, datetime.fromtimestamp(wire.seconds_in(finding, "at") + offset, UTC))
    try:
        state, reason = State(finding["state"]), Reason(finding.get("reason", ""))
    except (KeyError, ValueError) as error:
        raise wire.Refused(f"expected a known state and reason: {error}") from None
    if state not in CLAIMABLE:
        raise wire.Refused(f"an agent cannot claim the state {state!r}")
    space = space_of(finding.get("space"))
    evidence = evidence_of(finding)
    volume = evidence["volume"]
    identity = filesystem_identity(volume) if volume else ""
    return Heard(
        store_point=store_point,
        finding=finding,
        at=at,
        state=state,
        reason=reason,
        space=space,
        evidence=evidence,
        sighting=filesystems.Sighting(
            store_point=store_point,
            at=at,
            identity=identity,
            volume=volume,
            space=space if _is_proved(state, evidence) else {},
            device=filesystems.device_of(finding),
            is_proved=_is_proved(state, evidence),
        )
        if identity
        else None,
    )


def _is_proved(state: State, evidence: dict[str, Any]) -> bool:
    """Return whether the volume is the store point's, though something else may fail."""
    if state == State.ONLINE:
        return True
    passed = {check["name"] for check in evidence["checks"] if check["ok"] is True}
    return {"volume", "identity"} <= passed


def _write_findings(
    server: Server,
    folded: list[Folded],
    seen: filesystems.Seen,
    rules: Rules,
    now: datetime,
    *,
    is_careful: bool,
) -> Recorded:
    taken = {each.store_point.pk for each in folded}
    followed = _follow_limits(seen, taken, rules, now)
    if is_careful:
        folded = [each for each in folded if _can_be_written(server, each)]
    else:
        write_rows([each.store_point for each in folded], READING_FIELDS)
    filesystems.write_filesystems(seen)
    write_rows([each.store_point for each in followed], LIMIT_FIELDS)
    changed = followed if is_careful else [*folded, *followed]
    StatusChange.objects.bulk_create(
        [each.change for each in changed if each.change is not None], batch_size=500
    )
    ProbeSample.objects.bulk_create(
        [each.sample for each in folded if each.sample is not None],
        batch_size=500,
        ignore_conflicts=True,
    )
    left = {each.left for each in folded if each.left is not None}
    return Recorded(
        {each.store_point.pk: each.store_point for each in folded},
        sorted(left | seen.touched.keys()),
        list(seen.touched.values()),
        rules,
    )


def _can_be_written(server: Server, folded: Folded) -> bool:
    """Write one finding in a savepoint, and return whether the database took it."""
    try:
        with transaction.atomic():
            write_rows([folded.store_point], READING_FIELDS)
            if folded.change is not None:
                folded.change.save(force_insert=True)
    except (DataError, IntegrityError) as error:
        logger.warning(
            "%s: refused a finding of %s: %s", server, folded.store_point, error
        )
        return False
    return True


def _follow_limits(
    seen: filesystems.Seen, folded: set[int], rules: Rules, now: datetime
) -> list[Folded]:
    """Let the other store points of a filesystem have its new limits at once.

    One that somebody else is writing now has them after its own next finding: waiting
    for it, after the others were locked, could be waiting for each other.
    """
    if not seen.with_new_limits:
        return []
    rows = (
        StorePoint.objects.select_for_update(skip_locked=True, no_key=True)
        .filter(filesystem__in=list(seen.with_new_limits))
        .exclude(pk__in=folded)
        .order_by("pk")
    )
    followed = []
    for row in rows:
        filesystem = seen.with_new_limits[row.filesystem_id or 0]
        before = status_of(row)
        limits = filesystems.limits_of(filesystem) | (before.limits & {Limit.SLOW})
        if limits == before.limits:
            continue
        decision = follow_limits(before, limits, at=now, rule=rule_of(row, rules))
        _write_status(row, decision.status)
        change = None
        if decision.has_changed:
            change = _change(row, before, decision.status, at=now, now=now)
        followed.append(Folded(row, change, sample=None, left=None))
    return followed


def _fold(
    heard: Heard,
    filesystem: Filesystem | None,
    report: dict[str, Any],
    rules: Rules,
    now: datetime,
) -> Folded:
    """Change a store point as its finding demands."""
    store_point, finding = heard.store_point, heard.finding
    latency = _duration(finding.get("latency_seconds"))
    works = heard.state == State.ONLINE
    wrote = finding.get("wrote") is True and works
    left = _move(store_point, filesystem)
    if wrote and latency is not None:
        _learn(store_point, latency, heard.at, rules.latency)
    before = status_of(store_point)
    decision = decide(
        before,
        Reading(
            at=heard.at,
            state=heard.state,
            reason=heard.reason,
            limits=_limits(store_point, filesystem),
        ),
        rule_of(store_point, rules),
    )
    _write_status(store_point, decision.status)
    store_point.checked_at = heard.at
    store_point.stale_at = end_of_belief(heard.at, store_point.check_seconds)
    store_point.sequence = report["sequence"]
    store_point.cause = str(finding.get("cause", ""))[:20]
    layer = finding.get("layer", 0)
    store_point.layer = layer if isinstance(layer, int) and 0 <= layer <= 8 else 0
    store_point.errno = str(finding.get("errno", ""))[:20]
    store_point.duration_seconds = _duration(finding.get("duration_seconds"))
    store_point.latency_seconds = latency
    store_point.evidence = heard.evidence
    if heard.space:
        for name, value in heard.space.items():
            setattr(store_point, name, value)
        store_point.space_at = heard.at
    if works:
        store_point.well_at = heard.at
    if wrote:
        store_point.written_at = heard.at
    _write_fall_through(store_point, finding)
    _write_archives(store_point, finding)
    sample = history.gather(
        store_point,
        at=heard.at,
        worked=works,
        wrote=wrote,
        latency_seconds=latency if wrote else None,
    )
    store_point.pace = decision.pace
    store_point.due_at = now + decision.pace
    _write_inbound(store_point, finding.get("inbound"))
    change = None
    if decision.has_changed:
        change = _change(store_point, before, decision.status, at=heard.at, now=now)
    return Folded(store_point, change, sample, left)


def _change(
    store_point: StorePoint,
    before: Status,
    after: Status,
    *,
    at: datetime,
    now: datetime,
) -> StatusChange:
    return StatusChange(
        store_point=store_point,
        at=at,
        recorded_at=now,
        state_before=before.state,
        reason_before=before.reason,
        state=after.state,
        reason=after.reason,
        cause=store_point.cause,
        duration_seconds=store_point.duration_seconds,
        evidence=store_point.evidence,
    )


def _move(store_point: StorePoint, filesystem: Filesystem | None) -> int | None:
    """Tie a store point to where it was found; return what it left, if anything.

    What is usual for its writes was learnt on another filesystem then, and is forgotten.
    """
    if filesystem is None or store_point.filesystem_id == filesystem.pk:
        return None
    left = store_point.filesystem_id
    store_point.filesystem = filesystem
    if left is not None:
        store_point.baseline = {}
    return left


def _learn(
    store_point: StorePoint, latency: float, at: datetime, rule: LatencyRule
) -> None:
    try:
        before = Baseline(**store_point.baseline)
    except TypeError:
        # Written by another version: what is usual has to be learnt anew.
        before = Baseline()
    store_point.baseline = asdict(learn_latency(before, latency, at, rule))


def _limits(store_point: StorePoint, filesystem: Filesystem | None) -> frozenset[Limit]:
    """Return the limits that a working store point passes; the filesystem's are its."""
    limits = filesystems.limits_of(filesystem) if filesystem else frozenset()
    return limits | {Limit.SLOW} if store_point.baseline.get("is_slow") else limits


def rule_of(store_point: StorePoint, rules: Rules) -> Rule:
    """Return how soon this store point's readings are believed."""
    return replace(rules.belief, check_seconds=min(store_point.check_seconds, 3600))


def _write_fall_through(store_point: StorePoint, finding: dict[str, Any]) -> None:
    """Keep what was written below the path; what an outage left is kept after it."""
    found = fall_through_of(finding.get("fall_through"))
    if found is None:
        return
    since = store_point.since
    store_point.fall_through = {**found, "since": since.timestamp() if since else None}


def _write_archives(store_point: StorePoint, finding: dict[str, Any]) -> None:
    """Keep what was found of the archives; the verdict stands when that is garbage."""
    try:
        found = archives_of(finding.get("archives"))
    except wire.Refused as error:
        logger.warning(
            "%s: refused the archives of %s: %s",
            store_point.server_id,
            store_point,
            error,
        )
        return
    if found is None:
        return
    # Ages were reckoned by the server's own clock, and so are its instants.
    store_point.archives_at = datetime.fromtimestamp(found["at"], UTC)
    store_point.archive_count = found["count"]
    newest_at = found["newest_at"]
    store_point.newest_archive_at = (
        None if newest_at is None else datetime.fromtimestamp(newest_at, UTC)
    )
    store_point.stale_archives = found["stale"]


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


def _duration(value: object) -> float | None:
    if isinstance(value, int | float) and 0 <= value < wire.END_OF_TIME:
        return float(value)
    return None


def _write_inbound(store_point: StorePoint, data: object) -> None:
    """Take over what the agent applied; what it could not read is left as it was."""
    if not isinstance(data, dict):
        return
    # A list has no hash: a set could not be asked for it.
    if data.get("applied") in (Inbound.ENABLED, Inbound.DISABLED):
        store_point.inbound_applied = data["applied"]
    elif not data.get("error"):
        # Nothing was asked of the disk: what was known before still is.
        return
    store_point.is_inbound_pending = data.get("pending") is True
    store_point.inbound_error = str(data.get("error") or "")[:500]
