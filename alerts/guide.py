"""Guided resolution: the steps of the catalogue with what the console sees of each now.

``guide`` walks through the steps of an alert's kind. For each, the function of its
``live`` says whether it is done, to do, waiting for something else or not applicable,
the facts in words, and the buttons that the person who looks may press.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.urls import reverse

from alerts.actions import MENU as ALERT_MENU
from alerts.catalogue import Kind, Live, Scope, Step
from alerts.catalogue.server_offline import KIND as SERVER_OFFLINE
from alerts.catalogue.store_point_offline import KIND as STORE_POINT_OFFLINE
from alerts.catalogue.store_point_offline import evidence
from alerts.catalogue.volume_degraded import health_evidence
from alerts.scene import Scene
from alerts.witnesses import said_of
from console.kit import humane
from console.kit.actions import ActionMenu
from storepoints import verdict
from storepoints.actions import MENU as STORE_POINT_MENU
from storepoints.engine import free_percent
from storepoints.models import Filesystem
from storepoints.outlook import forecast_words
from storepoints.states import FAILED, READOPTABLE, WORKING, Reason, State
from storepoints.views.store_points import fence_words, inbound_words

#: How many levels below a volume, store points and servers a step names.
NAMED = 8


class Mark(StrEnum):
    """How far a step is."""

    DONE = "done"
    TODO = "to-do"
    WAITING = "waiting"
    NOT_APPLICABLE = "not-applicable"

    @property
    def words(self) -> str:
        """The word beside its icon."""
        return str(self).replace("-", " ")


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is so now: words, and perhaps since when, where, what to type.

    ``at_words`` stands before the time, beside the words: "checked" 3 s ago. ``command`` is to be typed
    ``on`` a machine.
    """

    words: str
    at: datetime | None = None
    at_words: str = ""
    url: str = ""
    command: str = ""
    on: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Button:
    """An action of a menu, for rows that are known."""

    url: str
    action: str
    ids: str
    label: str
    icon: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen of a step."""

    mark: Mark
    facts: tuple[Fact, ...] = ()
    buttons: tuple[Button, ...] = ()


@dataclass(frozen=True, slots=True)
class GuideStep:
    """A step of the guide; ``is_current`` is the first that is to be done."""

    step: Step
    seen: Seen
    is_current: bool = False
    is_to_acknowledge: bool = False


def guide(scene: Scene) -> list[GuideStep]:
    """Return the steps of an alert as they are now; none when its kind is gone."""
    kind = scene.kind
    if kind is None:
        return []
    steps = [
        GuideStep(
            step,
            _look(scene, kind, step),
            is_to_acknowledge=step.live is Live.ACKNOWLEDGED,
        )
        for step in kind.steps
    ]
    for number, each in enumerate(steps):
        if each.seen.mark is Mark.TODO:
            steps[number] = replace(each, is_current=True)
            break
    return steps


#: What is looked at while it holds as well as afterwards.
_ENDS = frozenset({Live.BACK, Live.ACKNOWLEDGED})


def _look(scene: Scene, kind: Kind, step: Step) -> Seen:
    is_gone = kind.scope is not Scope.CONSOLE and not (
        scene.store_points or scene.servers or scene.filesystem
    )
    if is_gone and step.live is not Live.ACKNOWLEDGED:
        words = f"{scene.alert.object_name} is no longer watched."
        return Seen(Mark.NOT_APPLICABLE, (Fact(words),))
    is_after = step in kind.confirm_resolved and step.live not in _ENDS
    if is_after and scene.is_ongoing:
        return Seen(Mark.WAITING, (Fact("After it is well again."),))
    return _LOOKS[step.live](scene, kind)


def _small(words: str) -> str:
    """Return words as they stand within a sentence: "offline: I/O error"."""
    return words[:1].lower() + words[1:]


# --- buttons ---------------------------------------------------------------------------


def _button(
    scene: Scene, menu: ActionMenu[Any], name: str, rows: Sequence[Any]
) -> tuple[Button, ...]:
    """Return the button of an action, if the person may and some row is fit for it."""
    action = menu.find(name)
    if not scene.may(action.permission):
        return ()
    fit = [row for row in rows if not action.applies(row, scene.now)]
    if not fit:
        return ()
    return (
        Button(
            url=reverse(menu.url_name),
            action=name,
            ids=",".join(str(row.pk) for row in fit),
            label=action.label
            if len(rows) == 1
            else f"{action.label.rstrip('…')} ({len(fit)})"
            + ("…" if action.confirm else ""),
            icon=action.icon,
        ),
    )


def _check_now(scene: Scene) -> tuple[Button, ...]:
    return _button(scene, STORE_POINT_MENU, "storepoint.check", scene.store_points)


# --- does it still hold? ---------------------------------------------------------------


def _still_holds(scene: Scene, kind: Kind) -> Seen:
    fact = _NOW[kind.scope](scene, kind)
    if not scene.is_ongoing:
        return Seen(
            Mark.DONE,
            (
                Fact("No longer.", at=scene.alert.cleared_at, at_words="cleared"),
                *fact.facts,
            ),
        )
    facts = fact.facts
    if fact.mark is Mark.DONE and not kind.can_be_retried(scene.alert.data):
        facts += (Fact("Checking again does not mend it: somebody has to act."),)
    return Seen(fact.mark, facts, fact.buttons)


def _store_point_now(scene: Scene, kind: Kind) -> Seen:
    row = scene.store_point
    if row is None:
        words = f"{scene.alert.object_name} is no longer watched."
        return Seen(Mark.NOT_APPLICABLE, (Fact(words),))
    state = State(row.shown_state)
    checked = {"at": row.checked_at, "at_words": "checked", "state": str(state)}
    buttons = _check_now(scene)
    if row.adopted_at is None and row.adoption_error:
        words = f"It could not be adopted: {row.adoption_error}"
        return Seen(Mark.DONE, (Fact(words),))
    if state is State.SERVER_OFFLINE:
        words = f"Nothing can be said: {row.server} does not answer."
        return Seen(Mark.WAITING, (Fact(words, state=str(state)),))
    if state in (State.UNKNOWN, State.PENDING):
        words = "There is no recent reading; check it now."
        return Seen(Mark.TODO, (Fact(words, **checked),), buttons)
    if kind.slug != STORE_POINT_OFFLINE.slug:
        words = f"Yes: {scene.alert.text}." if scene.is_ongoing else f"{row.words}."
        return Seen(Mark.DONE, (Fact(words, **checked),), buttons)
    if state in FAILED:
        return Seen(Mark.DONE, (Fact(f"Yes: {row.words}", **checked),), buttons)
    words = f"{row.words}"
    if scene.is_ongoing:
        words = (
            f"It works again: {row.words}. That is believed after "
            f"{_good_checks(scene)}."
        )
        return Seen(Mark.WAITING, (Fact(words, **checked),), buttons)
    return Seen(Mark.DONE, (Fact(words, **checked),), buttons)


def _good_checks(scene: Scene) -> str:
    return humane.counted(scene.rules.belief.successes_until_well, "good check")


def _server_now(scene: Scene, kind: Kind) -> Seen:
    server = scene.server
    if server is None:
        words = f"{scene.alert.object_name} is no longer watched."
        return Seen(Mark.NOT_APPLICABLE, (Fact(words),))
    reported = {"at": server.last_report_at, "at_words": "reported"}
    if kind.slug == SERVER_OFFLINE.slug:
        yes = "Yes: " if server.shown_state == State.SERVER_OFFLINE else ""
        words = f"{yes}{server} is {_small(server.words).removeprefix('server ')}"
        url = server.get_absolute_url()
        facts = [Fact(words, state=str(server.shown_state), url=url, **reported)]
        if not server.last_report_at:
            facts.append(Fact("It has never reported."))
        count = humane.counted(scene.total, "store point", "store points")
        if yes and scene.total:
            facts.append(Fact(f"It has {count}, of which nothing is known meanwhile."))
        mark = Mark.DONE if yes or not scene.is_ongoing else Mark.WAITING
        return Seen(mark, tuple(facts))
    if kind.slug == "server-version-conflict":
        words = (
            f"The agent is of version {server.version or 'unknown'}, the console of "
            f"{settings.VERSION}"
        )
        return Seen(Mark.DONE, (Fact(words, **reported),))
    offset = server.clock_offset_seconds
    if offset is None:
        return Seen(Mark.WAITING, (Fact("The clocks were not compared yet."),))
    direction = "behind" if offset > 0 else "ahead"
    words = f"{server} is {humane.elapsed(abs(offset))} {direction} of the console"
    if abs(offset) < 1:
        words = "Both clocks agree within a second"
    return Seen(Mark.DONE, (Fact(words, **reported),))


def _filesystem_now(scene: Scene, kind: Kind) -> Seen:
    filesystem = scene.filesystem
    if filesystem is None or not scene.total:
        return Seen(Mark.NOT_APPLICABLE, (Fact("No store point lies on it any more."),))
    if scene.server is not None and scene.server.shown_state == State.SERVER_OFFLINE:
        words = f"Nothing can be said: {scene.server} does not answer."
        return Seen(Mark.WAITING, (Fact(words),))
    buttons = _check_now(scene)
    if kind.slug in {"drive-failing", "volume-degraded"}:
        return Seen(Mark.DONE, (_health(filesystem),), buttons)
    if kind.slug == "store-point-low-on-inodes":
        return Seen(Mark.DONE, (_inodes_left(filesystem),), buttons)
    return Seen(Mark.DONE, (_space_left(filesystem),), buttons)


def _destination_now(scene: Scene, kind: Kind) -> Seen:
    accepting = sum(row.is_green and row.is_accepting for row in scene.store_points)
    words = (
        f"{scene.working} of {humane.counted(scene.total, 'store point', 'store points')} "
        f"{'is' if scene.working == 1 else 'are'} online"
    )
    if not scene.more:
        words += (
            f", {accepting} {'accepts' if accepting == 1 else 'accept'} backup data"
        )
    return Seen(Mark.DONE, (Fact(f"{words}."),), _check_now(scene))


def _console_now(scene: Scene, kind: Kind) -> Seen:
    if kind.slug == "health-checks-not-running":
        words = (
            "Checks are running" if scene.pulse.is_running else "Yes: no worker asks"
        )
        has_changed = scene.is_ongoing and scene.pulse.is_running
        return Seen(
            Mark.WAITING if has_changed else Mark.DONE,
            (Fact(words, at=scene.pulse.tick_at, at_words="last asked"),),
        )
    told = tuple(said_of(Live.DELIVERY, scene))
    return Seen(Mark.DONE, told[:1] or (Fact("Nothing fails now."),))


_NOW: dict[Scope, Callable[[Scene, Kind], Seen]] = {
    Scope.STORE_POINT: _store_point_now,
    Scope.SERVER: _server_now,
    Scope.FILESYSTEM: _filesystem_now,
    Scope.DESTINATION: _destination_now,
    Scope.CONSOLE: _console_now,
}


# --- inbound backup --------------------------------------------------------------------


def _inbound(scene: Scene, kind: Kind) -> Seen:
    rows = [row for row in scene.store_points if inbound_words(row) != "enabled"]
    if not rows:
        return _enabled(scene, kind)
    facts = tuple(_inbound_fact(scene, row) for row in rows[:NAMED])
    waits = all(
        inbound_words(row) == "enabling"
        or (row.fenced_at is not None and not row.is_green)
        for row in rows
    )
    if waits:
        return Seen(Mark.WAITING, facts)
    buttons = _button(scene, STORE_POINT_MENU, "storepoint.enable_inbound", rows)
    return Seen(Mark.TODO, facts, buttons)


def _enabled(scene: Scene, kind: Kind) -> Seen:
    changed = [
        row
        for row in scene.store_points
        if row.inbound_changed_at and row.inbound_changed_at >= scene.alert.raised_at
    ]
    if changed:
        row = max(changed, key=lambda each: each.inbound_changed_at)
        by = f" by {row.inbound_changed_by}" if row.inbound_changed_by else ""
        fact = Fact(f"Enabled{by}", at=row.inbound_changed_at)
        return Seen(Mark.DONE, (fact,))
    if kind.scope is Scope.STORE_POINT and kind.slug != STORE_POINT_OFFLINE.slug:
        return Seen(Mark.DONE, (Fact("Enabled."),))
    return Seen(Mark.NOT_APPLICABLE, (Fact("Enabled, nothing to do."),))


def _inbound_fact(scene: Scene, row: Any) -> Fact:
    """Return how inbound backup of a store point is, and why."""
    whose = "" if len(scene.store_points) == 1 else f"{row}: "
    how = inbound_words(row)
    changed = {"at": row.inbound_changed_at}
    by = f" by {row.inbound_changed_by}" if row.inbound_changed_by else ""
    url = row.get_absolute_url() if whose else ""
    if how == "fenced":
        words = f"{whose}fenced: {fence_words(row)}"
        return Fact(words, at=row.fenced_at, at_words="since", url=url)
    if how == "enabling":
        words = f"{whose}being enabled{by}; its agent applies it"
        if row.inbound_error:
            words += f": {row.inbound_error}"
        elif not row.is_green:
            words += " when the store point is there again"
        return Fact(words, url=url, **changed)
    words = f"{whose}{'disabled' if how == 'disabled' else 'being disabled'}{by}"
    return Fact(words[:1].upper() + words[1:], url=url, **changed)


def _stop_inbound(scene: Scene, kind: Kind) -> Seen:
    if not scene.is_ongoing:
        return Seen(Mark.NOT_APPLICABLE, (Fact("It has cleared."),))
    rows = [row for row in scene.store_points if row.is_accepting]
    if not rows:
        return Seen(Mark.DONE, (Fact("No store point on the volume accepts data."),))
    names = humane.listed([str(row) for row in rows])
    verb = "accepts" if len(rows) == 1 else "accept"
    buttons = _button(scene, STORE_POINT_MENU, "storepoint.disable_inbound", rows)
    return Seen(Mark.TODO, (Fact(f"{names} {verb} backup data."),), buttons)


def _fence(scene: Scene, kind: Kind) -> Seen:
    row = scene.store_point
    if row is None or row.fenced_at is None:
        words = "It is not fenced: a person has disabled it, or it is enabled again."
        return Seen(Mark.NOT_APPLICABLE, (Fact(words),))
    if row.is_green:
        words = f"The right volume is there: {_small(row.words)}"
        return Seen(Mark.DONE, (Fact(words, at=row.checked_at, at_words="checked"),))
    return Seen(Mark.TODO, tuple(_failure(row)))


# --- servers and store points ----------------------------------------------------------


def _server(scene: Scene, kind: Kind) -> Seen:
    server = scene.server
    if server is None:
        return Seen(Mark.NOT_APPLICABLE, (Fact("Its server is no longer watched."),))
    fact = _server_fact(scene, server)
    if server.shown_state == State.ONLINE:
        return Seen(Mark.DONE, (fact,))
    if server.shown_state == State.SERVER_OFFLINE:
        return Seen(Mark.TODO, (fact,))
    return Seen(Mark.WAITING, (fact,))


def _server_fact(scene: Scene, server: Any) -> Fact:
    """Return how a server is, with the way to its alert."""
    if server.shown_state == State.ONLINE:
        words = f"{server} is online"
    elif server.shown_state == State.SERVER_OFFLINE:
        words = f"{server} is offline"
    else:
        words = f"{server}: there is no recent report"
    alert = scene.ongoing.get((SERVER_OFFLINE.slug, f"{Scope.SERVER}:{server.pk}"))
    if alert is not None:
        words += ": follow its alert"
    return Fact(
        words,
        at=server.last_report_at,
        at_words="reported",
        url=(alert or server).get_absolute_url(),
        state=str(server.shown_state),
    )


def _servers(scene: Scene, kind: Kind) -> Seen:
    away = [row for row in scene.servers if row.shown_state != State.ONLINE]
    if not away:
        count = humane.counted(len(scene.servers), "server")
        verb = "is" if len(scene.servers) == 1 else "are"
        return Seen(Mark.DONE, (Fact(f"{count} {verb} online."),))
    return Seen(Mark.TODO, tuple(_server_fact(scene, row) for row in away[:NAMED]))


def _store_points(scene: Scene, kind: Kind) -> Seen:
    failed = [row for row in scene.store_points if not row.is_green]
    if not failed:
        count = humane.counted(scene.total, "store point", "store points")
        verb = "is" if scene.total == 1 else "are"
        return Seen(Mark.DONE, (Fact(f"{count} {verb} online."),))
    facts = []
    for row in failed[:NAMED]:
        key = (STORE_POINT_OFFLINE.slug, f"{Scope.STORE_POINT}:{row.pk}")
        alert = scene.ongoing.get(key)
        facts.append(
            Fact(
                f"{row}: {_small(row.words)}",
                at=row.checked_at,
                at_words="checked",
                url=(alert or row).get_absolute_url(),
                state=row.shown_state,
            )
        )
    if more := scene.total - scene.working - len(facts):
        facts.append(Fact(f"and {humane.number(more)} more"))
    waits = all(
        row.shown_state in (State.SERVER_OFFLINE, State.UNKNOWN, State.PENDING)
        for row in failed
    )
    return Seen(Mark.WAITING if waits else Mark.TODO, tuple(facts))


# --- what lies below -------------------------------------------------------------------


def _devices(scene: Scene, kind: Kind) -> Seen:
    row, filesystem = scene.store_point, scene.filesystem
    if scene.server is not None and scene.server.shown_state == State.SERVER_OFFLINE:
        words = f"Nothing can be said while {scene.server} is offline."
        return Seen(Mark.WAITING, (Fact(words),))
    if row is not None:
        state = State(row.shown_state)
        if state in FAILED:
            below = _as_last_seen(filesystem) if filesystem is not None else ()
            return Seen(Mark.TODO, (*_failure(row), *_readopt(scene, row), *below))
        if state not in WORKING:
            words = "There is no recent reading."
            if row.adoption_error:
                words = row.adoption_error
            return Seen(Mark.WAITING, (Fact(words),))
    if filesystem is None or filesystem.health in {"", "unknown"}:
        words = "What lies below the volume is not known."
        return Seen(Mark.DONE if row else Mark.WAITING, (Fact(words),))
    facts = (_health(filesystem), *_levels(filesystem.devices))
    if filesystem.health == "ok":
        return Seen(Mark.DONE, facts)
    cure = _cure_fact(
        health_evidence(filesystem, Reason(filesystem.health_reason)),
        str(filesystem.server),
    )
    return Seen(Mark.TODO, (*facts, *cure))


def _failure(row: Any) -> Iterator[Fact]:
    """Yield what was found at a store point that fails, and what to do about it."""
    found = evidence(row)
    words = verdict.found_in_words(found)
    yield Fact(words or row.words, at=row.checked_at, at_words="checked")
    yield from _cure_fact(found, str(row.server))


def _readopt(scene: Scene, row: Any) -> Iterator[Fact]:
    """Yield the way to re-adopt it, where its disk may have been replaced on purpose."""
    if row.shown_reason in READOPTABLE and scene.may("storepoints.readopt_storepoint"):
        yield Fact(
            "If the disk was moved, copied or replaced on purpose: Re-adopt…",
            url=reverse("storepoints:readopt_store_point", args=[row.pk]),
        )


def _cure_fact(found: Mapping[str, Any], server: str) -> Iterator[Fact]:
    if found.get("cure"):
        command = str(found.get("command") or "")
        yield Fact(str(found["cure"]), command=command, on=server if command else "")


def _health(filesystem: Filesystem) -> Fact:
    words = filesystem.health_text or (
        "Every level below the volume is well"
        if filesystem.health == "ok"
        else "What lies below the volume is not known"
    )
    return Fact(
        words[:1].upper() + words[1:], at=filesystem.devices_at, at_words="asked"
    )


def _as_last_seen(filesystem: Filesystem) -> tuple[Fact, ...]:
    levels = tuple(_levels(filesystem.devices))
    if not levels:
        return ()
    head = Fact(
        "What lies below it, as it was last seen:",
        at=filesystem.devices_at,
        at_words="asked",
    )
    return (head, *levels)


def _levels(devices: Mapping[str, Any]) -> Iterator[Fact]:
    """Yield each level below a volume in a line: "sdd, drive: SMART passed"."""
    stack = devices.get("stack")
    nodes = list(_walk(stack)) if isinstance(stack, Mapping) else []
    for node in nodes[:NAMED]:
        health = {"ok": "well", "unknown": "cannot tell"}.get(
            str(node.get("health")), str(node.get("health"))
        )
        text = str(node.get("text") or health)
        if text != health and health not in text:
            text = f"{health}, {text}"
        yield Fact(f"{node.get('name') or '?'}, {node.get('kind')}: {text}")


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for below in node.get("below") or ():
        if isinstance(below, Mapping):
            yield from _walk(below)


# --- space and inodes ------------------------------------------------------------------


def _space(scene: Scene, kind: Kind) -> Seen:
    filesystem = scene.filesystem
    if filesystem is None:
        return Seen(Mark.NOT_APPLICABLE, (Fact("Its volume is no longer watched."),))
    facts = [_space_left(filesystem)]
    if filesystem.free_bytes is not None and filesystem.used_bytes is not None:
        rule = scene.rules.space
        percent, few = (
            (rule.critically_low_percent, rule.critically_low_bytes)
            if kind.slug == "store-point-critically-low-on-space"
            else (rule.low_percent, rule.low_bytes)
        )
        bound = rule.free_bound(
            filesystem.free_bytes + filesystem.used_bytes, percent, few
        )
        facts.append(Fact(f"The limit for its size is {humane.size(bound)}."))
    facts.append(Fact(forecast_words(filesystem, scene.now)))
    if scene.is_ongoing:
        mount = shlex.quote(filesystem.mount_point)
        facts.append(
            Fact(
                "What fills it, the largest last:",
                command=f"du -xh --max-depth=2 {mount} | sort -h | tail -20",
                on=str(filesystem.server),
            )
        )
    return Seen(Mark.TODO if scene.is_ongoing else Mark.DONE, tuple(facts))


def _space_left(filesystem: Filesystem) -> Fact:
    free = free_percent(filesystem.free_bytes, filesystem.used_bytes)
    words = (
        f"{humane.size(filesystem.free_bytes)} of {humane.size(filesystem.total_bytes)} "
        f"free ({humane.percent(free)})"
    )
    return Fact(words, at=filesystem.space_at, at_words="read")


def _inodes(scene: Scene, kind: Kind) -> Seen:
    filesystem = scene.filesystem
    if filesystem is None:
        return Seen(Mark.NOT_APPLICABLE, (Fact("Its volume is no longer watched."),))
    facts = [_inodes_left(filesystem)]
    if scene.is_ongoing:
        mount = shlex.quote(filesystem.mount_point)
        facts.append(
            Fact(
                "Where they are, the most last:",
                command=f"du --inodes -x --max-depth=2 {mount} | sort -n | tail -20",
                on=str(filesystem.server),
            )
        )
    return Seen(Mark.TODO if scene.is_ongoing else Mark.DONE, tuple(facts))


def _inodes_left(filesystem: Filesystem) -> Fact:
    if not filesystem.total_inodes:
        return Fact("Its inodes are not counted.")
    words = (
        f"{humane.number(filesystem.free_inodes or 0)} of "
        f"{humane.number(filesystem.total_inodes)} inodes free"
    )
    return Fact(words, at=filesystem.space_at, at_words="read")


# --- the console itself ----------------------------------------------------------------


def _doctor(scene: Scene, kind: Kind) -> Seen:
    if not scene.is_ongoing:
        return Seen(Mark.NOT_APPLICABLE, (Fact("It has cleared."),))
    facts = (
        *said_of(Live.DOCTOR, scene),
        Fact(
            "All that the doctor looks at:", command="manage.py doctor", on="the master"
        ),
    )
    return Seen(Mark.TODO, facts)


def _delivery(scene: Scene, kind: Kind) -> Seen:
    facts = tuple(said_of(Live.DELIVERY, scene))
    if not scene.is_ongoing:
        return Seen(Mark.DONE, facts)
    return Seen(Mark.TODO, facts)


# --- its end ---------------------------------------------------------------------------


def _back(scene: Scene, kind: Kind) -> Seen:
    alert = scene.alert
    if not scene.is_ongoing:
        facts = [Fact("Yes.", at=alert.cleared_at, at_words="cleared")]
        if scene.store_point is not None:
            row = scene.store_point
            facts.append(Fact(f"{row} now: {_small(row.words)}", state=row.shown_state))
        return Seen(Mark.DONE, tuple(facts))
    words = "Not yet. This turns to done by itself."
    row = scene.store_point
    if row is not None and row.is_green and kind.slug == STORE_POINT_OFFLINE.slug:
        words = (
            f"{humane.counted(row.successes, 'good check')} of "
            f"{scene.rules.belief.successes_until_well}; this turns to done by itself."
        )
    return Seen(Mark.WAITING, (Fact(words),))


def _acknowledged(scene: Scene, kind: Kind) -> Seen:
    alert = scene.alert
    by = alert.acknowledged_by_name
    if alert.is_acknowledged(scene.now):
        words = f"Acknowledged by {by}"
        return Seen(Mark.DONE, (Fact(words, at=alert.acknowledged_at),))
    facts = []
    if alert.acknowledged_at is not None:
        facts.append(
            Fact(
                f"The acknowledgement by {by} has expired",
                at=alert.acknowledged_until,
            )
        )
    if not scene.may(ALERT_MENU.find("alert.acknowledge").permission):
        facts.append(Fact("An operator or an administrator can do that."))
    if scene.is_ongoing:
        return Seen(
            Mark.WAITING, (*facts, Fact("When it is over, or now with a note."))
        )
    return Seen(Mark.TODO, tuple(facts))


def _by_hand(scene: Scene, kind: Kind) -> Seen:
    if not scene.is_ongoing:
        return Seen(Mark.NOT_APPLICABLE, (Fact("It has cleared."),))
    # The step's own text says what to do, and stands open.
    return Seen(Mark.TODO)


_LOOKS: dict[Live, Callable[[Scene, Kind], Seen]] = {
    Live.STILL_HOLDS: _still_holds,
    Live.INBOUND: _inbound,
    Live.STOP_INBOUND: _stop_inbound,
    Live.FENCE: _fence,
    Live.SERVER: _server,
    Live.SERVERS: _servers,
    Live.STORE_POINTS: _store_points,
    Live.DEVICES: _devices,
    Live.SPACE: _space,
    Live.INODES: _inodes,
    Live.DOCTOR: _doctor,
    Live.DELIVERY: _delivery,
    Live.BACK: _back,
    Live.ACKNOWLEDGED: _acknowledged,
    Live.BY_HAND: _by_hand,
}
