"""The fence: raised and lifted in the transaction that records the readings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Value
from django.db.models.functions import Least

from console.accounts.models import User
from console.kit import audit
from storepoints.fence import COUNTING_SECONDS, DOWN, Fence, Policy, follow
from storepoints.models import Destination, Server, StorePoint
from storepoints.services.checks import ask_store_points
from storepoints.signals import facts_recorded
from storepoints.states import FENCING, Reason, State

#: What a store point without a fence holds.
NO_FENCE = {"fenced_at": None, "fence_reason": "", "fence_successes": 0}


@dataclass(slots=True)
class Followed:
    """Primary keys of the store points whose fence was raised, and lifted, just now."""

    raised: list[int] = field(default_factory=list)
    lifted: list[int] = field(default_factory=list)


def fence_of(store_point: StorePoint) -> Fence:
    """Return the fence that a row holds."""
    if store_point.fenced_at is None:
        return DOWN
    return Fence(Reason(store_point.fence_reason), store_point.fence_successes)


def policy_of(destination: Destination) -> Policy:
    """Return what a destination wants."""
    return Policy(destination.is_fencing, destination.fence_good_probes)


def follow_readings(
    server: Server, store_points: Iterable[StorePoint], *, now: datetime
) -> Followed:
    """Raise and lift fences after the readings that a report of this server brought.

    To be called in the transaction that wrote them, with the locked rows, before
    alerts follow; the rows are changed too. Their agent is told after the commit, at
    once. Costs nothing while nothing is fenced or to be fenced, and otherwise as many
    statements as there are different outcomes, not rows.
    """
    concerned = [
        store_point
        for store_point in store_points
        if store_point.fenced_at is not None or store_point.reason in FENCING
    ]
    if not concerned:
        return Followed()
    policy = policy_of(Destination.objects.get(pk=server.destination_id))
    raised: list[StorePoint] = []
    lifted: list[StorePoint] = []
    counted: dict[Fence, list[StorePoint]] = defaultdict(list)
    for store_point in concerned:
        before = fence_of(store_point)
        after = follow(
            before, State(store_point.state), Reason(store_point.reason), policy
        )
        if after == before:
            continue
        if not after.is_up:
            lifted.append(store_point)
        elif not before.is_up:
            raised.append(store_point)
        else:
            counted[after].append(store_point)
    _raise(raised, now=now)
    lift_fences(
        lifted,
        actor=None,
        note=f"{policy.good_probes} good checks"
        if policy.is_on
        else "the policy is off",
        now=now,
    )
    for fence, rows in counted.items():
        _count(fence, rows, now=now)
    followed = Followed([row.pk for row in raised], [row.pk for row in lifted])
    keys = followed.raised + followed.lifted
    if keys:
        transaction.on_commit(lambda: ask_store_points(keys, now=now))
    return followed


def _raise(rows: Sequence[StorePoint], *, now: datetime) -> None:
    by_reason: dict[str, list[StorePoint]] = defaultdict(list)
    for row in rows:
        by_reason[row.reason].append(row)
        row.fenced_at = now
        row.fence_reason = row.reason
        row.fence_successes = 0
        row.inbound_revision += 1
    for reason, group in by_reason.items():
        StorePoint.objects.filter(pk__in=[row.pk for row in group]).update(
            fenced_at=now,
            fence_reason=reason,
            fence_successes=0,
            inbound_revision=F("inbound_revision") + 1,
            inbound_error="",
        )
        audit.record_many(
            actor=None,
            verb="storepoint.fence",
            subjects=group,
            now=now,
            data={"reason": reason},
        )


def lift_fences(
    rows: Sequence[StorePoint], *, actor: User | None, note: str = "", now: datetime
) -> None:
    """Lift the fences of locked rows, and audit by whom; None is the console itself.

    A person's own wish is left as it is: what somebody disabled stays disabled.
    """
    if not rows:
        return
    audit.record_many(
        actor=actor, verb="storepoint.lift_fence", subjects=rows, now=now, note=note
    )
    for row in rows:
        row.fenced_at = None
        row.fence_reason = ""
        row.fence_successes = 0
        row.inbound_revision += 1
    StorePoint.objects.filter(pk__in=[row.pk for row in rows]).update(
        **NO_FENCE,
        inbound_revision=F("inbound_revision") + 1,
        inbound_error="",
    )


def _count(fence: Fence, rows: Sequence[StorePoint], *, now: datetime) -> None:
    """Write how far the counting is; what works is looked at again soon."""
    for row in rows:
        row.fence_reason = fence.reason
        row.fence_successes = fence.successes
    keys = StorePoint.objects.filter(pk__in=[row.pk for row in rows])
    keys.update(fence_reason=fence.reason, fence_successes=fence.successes)
    if not fence.successes:
        return
    soon = timedelta(seconds=COUNTING_SECONDS)
    keys.update(
        pace=Least(F("pace"), Value(soon, output_field=DurationField())),
        due_at=ExpressionWrapper(
            Least(F("due_at"), Value(now + soon, output_field=DateTimeField())),
            output_field=DateTimeField(),
        ),
    )


def lock_store_points(destination: Destination) -> list[StorePoint]:
    """Lock the store points of a destination, and return them.

    All of them, not just those that are fenced: one that becomes so at this instant
    would have to be waited for by who holds its destination already.
    """
    return list(
        StorePoint.objects.select_for_update(of=("self",), no_key=True)
        .filter(server__destination=destination)
        .defer("evidence")
        .order_by("pk")
    )


def lift_with_policy(
    locked: Iterable[StorePoint], *, actor: User | None, now: datetime
) -> int:
    """Lift every fence of a destination whose policy was switched off; return how many.

    To be called in the transaction that switched it off, with all store points of that
    destination, which were locked before it.
    """
    rows = [row for row in locked if row.fenced_at is not None]
    if not rows:
        return 0
    keys = [row.pk for row in rows]
    lift_fences(rows, actor=actor, note="the policy was switched off", now=now)
    facts_recorded.send(StorePoint, store_points=keys, servers=[], now=now)
    transaction.on_commit(lambda: ask_store_points(keys, now=now))
    return len(rows)
