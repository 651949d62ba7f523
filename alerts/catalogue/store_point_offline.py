"""Store point offline: the main job."""

from __future__ import annotations

from typing import Any

from alerts.catalogue.base import (
    ACKNOWLEDGE,
    UNKNOWN,
    Answer,
    Kind,
    Live,
    Numbers,
    Parameter,
    Scope,
    Step,
)
from alerts.catalogue.server_offline import KIND as SERVER_OFFLINE
from alerts.engine import Key, Severity
from storepoints import verdict
from storepoints.engine import INTERVALS_UNTIL_STALE, Rule
from storepoints.models import StorePoint
from storepoints.states import BELIEVED_AT_ONCE, FAILED, Reason, State

RULE = Rule()

PARAMETERS = (
    Parameter(
        "failures",
        "believed after",
        RULE.failures_until_believed,
        "failures",
        least=1,
        most=100,
        is_whole=True,
        unit_of_one="failure",
    ),
    Parameter(
        "retry", "tried again after", RULE.retry_seconds, "s", least=1, most=3600
    ),
    Parameter(
        "successes",
        "over after",
        RULE.successes_until_well,
        "good checks",
        least=1,
        most=100,
        is_whole=True,
        unit_of_one="good check",
    ),
    Parameter("stale", "not heard of for", INTERVALS_UNTIL_STALE, "intervals"),
)


def holds(store_point: StorePoint, _: Numbers) -> Answer:
    """Hold while a failure is believed, or its server is offline."""
    if store_point.state == State.SERVER_OFFLINE:
        # A server that has just answered has not yet said how its store points are.
        if store_point.server.offline_since is None:
            return UNKNOWN
        return {
            "state": str(State.SERVER_OFFLINE),
            "reason": str(Reason.SERVER_OFFLINE),
        }
    if store_point.adopted_at is None:
        # Asked for again every half minute, so what was in its way may still go.
        return (
            {"state": "pending", "reason": ""} if store_point.adoption_error else None
        )
    if not store_point.is_believed:
        return None
    if store_point.is_online:
        # It works again, but not yet for long enough to be believed.
        return UNKNOWN
    return {"state": str(store_point.state), "reason": str(store_point.reason)}


def parent(store_point: StorePoint) -> Key | None:
    """Return the alert of its server, while that is all that is known."""
    if store_point.state != State.SERVER_OFFLINE:
        return None
    return SERVER_OFFLINE.slug, f"{Scope.SERVER}:{store_point.server_id}"


def evidence(store_point: StorePoint) -> dict[str, Any]:
    """Return which layer failed, what was expected and found, and what to do.

    Texts, or numbers, and none of them for a store point of which nothing is known.
    """
    if store_point.adopted_at is None:
        return {"found": store_point.adoption_error}
    state, reason = State(store_point.state), Reason(store_point.reason)
    data = store_point.evidence or {}
    if state in FAILED:
        failed: dict[str, Any] = next(
            (each for each in data.get("checks") or () if each.get("ok") is False), {}
        )
        found = {
            "layer": store_point.layer,
            "check": verdict.CHECK_WORDS.get(str(failed.get("name")), ""),
            "errno": store_point.errno,
            "expected": failed.get("expected") or "",
            "found": failed.get("found") or "",
        }
    else:
        found = {}
    cure = verdict.cure(
        state=state,
        reason=reason,
        path=store_point.path,
        volume=store_point.volume or {},
        server_name=store_point.server.name,
        marker=data.get("marker"),
    )
    if cure is not None:
        found |= {"cure": cure.text, "command": cure.command}
    return {name: value for name, value in found.items() if value}


KIND = Kind(
    slug="store-point-offline",
    scope=Scope.STORE_POINT,
    severity=Severity.CRITICAL,
    short_name="Store point offline",
    long_text="Store point is unavailable: {name}",
    cause=(
        "The directory of the store point is missing, is not the right one, is not on "
        "its volume, cannot be written and read, could not be adopted, or has not been "
        "heard of for three intervals although its server answers."
    ),
    effects=(
        "Users whose archives are in this store point cannot back up to it, restore "
        "from it or synchronise."
    ),
    confirm=(
        Step(
            "Still offline?",
            "Look at the online column of the Store Point Overview: the store point "
            "has no green indicator, and the reason stands beside it.",
            Live.STILL_HOLDS,
        ),
    ),
    resolve=(
        Step(
            "Inbound backup",
            "Open the store point. If inbound backup is disabled and should not be, "
            "enable it.",
            Live.INBOUND,
        ),
        Step(
            "Server online?",
            "Check that its server is online. If it is not, follow the server's alert.",
            Live.SERVER,
        ),
        Step(
            "Drive, array, volume",
            "Check the drive, RAID array or volume: the store point's page says which "
            "layer failed, and what to do.",
            Live.DEVICES,
        ),
    ),
    confirm_resolved=(
        Step(
            "Back online?",
            "The online column shows the green indicator again, and the alert says "
            "that it has cleared.",
            Live.BACK,
        ),
        ACKNOWLEDGE,
    ),
    holds=holds,
    believed_at_once=frozenset(BELIEVED_AT_ONCE),
    evidence=evidence,
    parent=parent,
    parameters=PARAMETERS,
)
