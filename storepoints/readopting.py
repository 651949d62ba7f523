"""What re-adopting a store point would come to, by what its agent found. Pure.

Re-adopting makes the console believe a volume, and may put a marker in the place of
another thing, so what will happen is said in words before, and what must not happen is
refused here. No Django.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from storepoints.agent.messages import VolumeId, volume_of
from storepoints.agent.volumes import difference


class Case(StrEnum):
    """What was found, as far as it decides what happens."""

    UNUSABLE = "unusable"
    NOTHING_TO_DO = "nothing-to-do"
    OWN_DISK = "own-disk"
    NO_MARKER = "no-marker"
    NEW_VOLUME = "new-volume"
    OTHER_STORE_POINT = "other-store-point"
    UNKNOWN_STORE_POINT = "unknown-store-point"


#: Cases that can be adopted, once a person has typed the store point's name.
POSSIBLE = frozenset(
    {Case.OWN_DISK, Case.NO_MARKER, Case.NEW_VOLUME, Case.UNKNOWN_STORE_POINT}
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the console holds of a store point."""

    name: str
    guid: str
    path: str
    volume: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What an agent's look came to; ``problem`` in words where it is unusable.

    ``marker`` is the guid that the marker names and ``owner`` whose that is, both empty
    where there is no marker or it is damaged (then ``damage`` says how).
    ``is_owner_known`` is whether that is another store point of this console;
    ``owner_place`` is where it is at home.
    """

    path: str
    volume: Mapping[str, Any]
    problem: str = ""
    marker: str = ""
    damage: str = ""
    owner: str = ""
    is_owner_known: bool = False
    owner_place: str = ""
    archives: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What re-adopting would do: a title, what happens, and what to beware of.

    Of a case that is not POSSIBLE, ``warnings`` say why, and what to do instead.
    """

    case: Case
    title: str
    effects: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_possible(self) -> bool:
        """Return whether a person may confirm it."""
        return self.case in POSSIBLE


def named_volume(volume: Mapping[str, Any]) -> str:
    """Return a volume in words: "ext4 1b2c… at /srv/backup", or that none is known."""
    mount_point = volume.get("mount_point")
    if not mount_point:
        return "a volume that is not known"
    identity = volume.get("fs_uuid") or volume.get("source") or ""
    return f"{volume.get('fs_type') or 'unknown'} {identity} at {mount_point}"


def plan(expected: Expected, found: Found) -> Plan:
    """Return what re-adopting would do with what was found.

    1. What cannot be looked at or written is unusable.
    2. The marker of another store point of this console is never replaced.
    3. Its own marker: path and volume follow the disk, whatever it is.
    4. The marker of a store point that nobody here knows is taken over.
    5. No marker, or a damaged one: on the right volume it was lost; on another volume
       nothing proves that the archives are there.
    """
    if found.problem:
        return Plan(
            Case.UNUSABLE, "It cannot be adopted as it is", warnings=(found.problem,)
        )
    is_own = found.marker == expected.guid
    if found.marker and not is_own and found.is_owner_known:
        return Plan(
            Case.OTHER_STORE_POINT,
            f"This is the disk of {found.owner}",
            warnings=(
                f"The marker belongs to the store point {found.owner}, which is at "
                f"home at {found.owner_place}. Mount the disk there, and the right "
                f"disk here. Only if {found.owner} has been removed from this console "
                "can its disk become another store point.",
            ),
        )
    is_other_volume = _is_other_volume(expected.volume, found.volume)
    if is_own and found.path == expected.path and not is_other_volume:
        return Plan(
            Case.NOTHING_TO_DO,
            "Everything is as it was adopted",
            warnings=(
                "Path, volume and identity are the right ones, so there is nothing to "
                "adopt. Choose Check Now on the store point's page.",
            ),
        )
    changes = _changes(expected, found, is_other_volume=is_other_volume)
    if is_own:
        return Plan(
            Case.OWN_DISK,
            f"This is the disk of {expected.name}",
            (
                *changes,
                "The identity marker is this store point's own. It is brought up to "
                "date where it names another filesystem.",
            ),
        )
    if found.marker:
        return Plan(
            Case.UNKNOWN_STORE_POINT,
            f"This is the disk of “{found.owner or found.marker}”, which is not known "
            "here",
            (
                *changes,
                "The marker that is there is kept beside the new one as "
                "identity.json.<time>.old, and replaced.",
            ),
            (
                "The disk was a store point that was removed from this console, or is "
                "one of another console. What is on it is another store point's "
                "archives: users of this one do not find theirs there.",
            ),
        )
    return _without_marker(expected, found, changes, is_other_volume=is_other_volume)


def _without_marker(
    expected: Expected,
    found: Found,
    changes: tuple[str, ...],
    *,
    is_other_volume: bool,
) -> Plan:
    written = (
        f"What is in the marker's place ({found.damage}) is kept as "
        "identity.json.<time>.old, and a new identity marker is written."
        if found.damage
        else "A new identity marker is written."
    )
    what = "The marker is damaged" if found.damage else "There is no marker"
    if not is_other_volume:
        return Plan(
            Case.NO_MARKER,
            f"{what}, on the right volume",
            (*changes, written),
            (_held(found),),
        )
    warnings = [
        f"{what}, and the volume is not the one it was: nothing proves that this is "
        f"the disk of {expected.name}.",
        _held(found),
    ]
    adopted_at = expected.volume.get("mount_point")
    if adopted_at and found.path == expected.path:
        found_at = found.volume.get("mount_point")
        if found_at != adopted_at:
            warnings.insert(
                0,
                f"Nothing is mounted at {adopted_at}: this is the filesystem below "
                f"it, mounted at {found_at}. If the disk still exists, mount it and "
                "adopt nothing.",
            )
    return Plan(
        Case.NEW_VOLUME,
        f"{what}, and it is another volume",
        (*changes, written),
        tuple(warnings),
    )


def _held(found: Found) -> str:
    if found.archives is None:
        return "It holds very many entries beside the marker."
    if not found.archives:
        return (
            "There is no directory in it: if archives were here, they are not any more."
        )
    noun = "directory" if found.archives == 1 else "directories"
    return f"It holds {found.archives} {noun}. Make sure that they are its archives."


def _changes(
    expected: Expected, found: Found, *, is_other_volume: bool
) -> tuple[str, ...]:
    sentences = []
    if found.path != expected.path:
        sentences.append(f"Its path becomes {found.path}; until now {expected.path}.")
    if is_other_volume:
        sentences.append(
            f"It is bound to the volume {named_volume(found.volume)}; until now "
            f"{named_volume(expected.volume)}."
        )
    return tuple(sentences)


def _is_other_volume(adopted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Return whether a probe would say that this is not the adopted volume."""
    here = _id_of(adopted)
    there = _id_of(found)
    if here is None or there is None:
        return True
    return here["mount_point"] != there["mount_point"] or bool(difference(here, there))


def _id_of(volume: Mapping[str, Any]) -> VolumeId | None:
    try:
        return volume_of(dict(volume))
    except ValueError:
        return None
