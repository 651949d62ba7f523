"""The fence: when the console itself disables inbound backup. Pure decisions.

A backup that goes on while a store point's volume is not mounted lands on the
filesystem below, and one onto another disk lands among somebody else's archives. Where
a destination's policy says so, such a finding *raises* a fence at once, and good probes
in a row, a person, or the policy when it is switched off *lift* it. The fence stands
beside a person's own wish and never changes it. No Django, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from storepoints.states import FENCING, WORKING, Reason, State

#: How soon a fenced store point that works is looked at again, in seconds: slowly
#: enough that a disk which comes and goes is caught going, quickly enough that three
#: good probes take a quarter of a minute.
COUNTING_SECONDS = 5.0

#: What a person is told of a fence, after "is fenced: " or "fenced: ".
FENCE_WORDS = {
    Reason.NOT_MOUNTED: "its volume is not mounted",
    Reason.DIFFERENT_VOLUME: "another volume is in its place",
    Reason.WRONG_STORE_POINT: "the disk of another store point is in its place",
    Reason.READ_ONLY: "its volume is read-only",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What a destination wants: a fence or none, and after how many good probes it goes.

    With 0 good probes only a person lifts it.
    """

    is_on: bool
    good_probes: int = 3


@dataclass(frozen=True, slots=True)
class Fence:
    """The fence of one store point: down while ``reason`` is empty.

    ``successes`` is how many probes in a row were good since it was raised.
    """

    reason: Reason = Reason.NONE
    successes: int = 0

    @property
    def is_up(self) -> bool:
        """Return whether inbound backup is disabled by it."""
        return self.reason is not Reason.NONE


DOWN = Fence()


def follow(before: Fence, state: State, reason: Reason, policy: Policy) -> Fence:
    """Return the fence after a probe that came to this state and reason.

    1. Without a policy there is no fence.
    2. One of FENCING raises it, at the first finding; or it stands for that reason now.
    3. Any other failure keeps it as it is, and the counting begins again.
    4. A good probe is counted; enough of them in a row lift it.

    A probe that was good although it found a limit passed (degraded) is a good one.
    """
    if not policy.is_on:
        return DOWN
    if state in WORKING:
        if not before.is_up:
            return DOWN
        successes = before.successes + 1
        if policy.good_probes and successes >= policy.good_probes:
            return DOWN
        return Fence(before.reason, successes)
    if reason in FENCING:
        return Fence(reason)
    return Fence(before.reason)


def progress(fence: Fence, policy: Policy) -> str:
    """Return how far the counting is: "2 of 3 good checks", or nothing."""
    if not fence.is_up or not fence.successes or not policy.good_probes:
        return ""
    return f"{fence.successes} of {policy.good_probes} good checks"
