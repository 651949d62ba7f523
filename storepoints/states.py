"""The states and reasons of a store point: the field's words, shared with the agent.

The values are a stable surface: they stand in ``data-state`` and ``data-reason`` of
every row, in the API and in reports. Nothing here imports Django, because the agent
runs without it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class State(StrEnum):
    """What the console says of a store point."""

    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"
    NOT_RESPONDING = "not-responding"
    SERVER_OFFLINE = "server-offline"
    UNKNOWN = "unknown"
    PENDING = "pending"
    MAINTENANCE = "maintenance"


class Reason(StrEnum):
    """Why a store point is in its state; empty when there is nothing to explain."""

    NONE = ""
    PATH_MISSING = "path-missing"
    PERMISSION_DENIED = "permission-denied"
    NOT_A_DIRECTORY = "not-a-directory"
    NOT_MOUNTED = "not-mounted"
    DIFFERENT_VOLUME = "different-volume"
    WRONG_STORE_POINT = "wrong-store-point"
    MARKER_MISSING = "marker-missing"
    READ_ONLY = "read-only"
    FULL = "full"
    NO_INODES = "no-inodes"
    IO_ERROR = "io-error"
    SLOW = "slow"
    LOW_SPACE = "low-space"
    LOW_INODES = "low-inodes"
    VOLUME_DEGRADED = "volume-degraded"
    DRIVE_FAILING = "drive-failing"
    SERVER_OFFLINE = "server-offline"
    STALE = "stale"


class Layer(IntEnum):
    """The layers of a verdict, in the order in which they are asked."""

    SERVER = 1
    PATH = 2
    VOLUME = 3
    IDENTITY = 4
    MOUNT = 5
    WRITE = 6
    LIMITS = 7
    DEVICE = 8


class Inbound(StrEnum):
    """Whether a store point accepts backup data."""

    ENABLED = "enabled"
    DISABLED = "disabled"


#: States in which users can back up to a store point and restore from it.
WORKING = frozenset({State.ONLINE, State.DEGRADED})

#: States in which the agent answered and the store point failed.
FAILED = frozenset({State.OFFLINE, State.NOT_RESPONDING})

#: Reasons that trying again cannot mend: they are believed at the first probe.
BELIEVED_AT_ONCE = frozenset(
    {Reason.NOT_MOUNTED, Reason.DIFFERENT_VOLUME, Reason.WRONG_STORE_POINT}
)

#: Reasons for which what is backed up now would land where it should not, or nowhere:
#: the fence, where a destination has one, disables inbound backup.
FENCING = frozenset(
    {
        Reason.NOT_MOUNTED,
        Reason.DIFFERENT_VOLUME,
        Reason.WRONG_STORE_POINT,
        Reason.READ_ONLY,
    }
)

#: Reasons after which a person may re-adopt a store point: where it is now, on the
#: volume that is there now.
READOPTABLE = frozenset(
    {
        Reason.PATH_MISSING,
        Reason.NOT_MOUNTED,
        Reason.DIFFERENT_VOLUME,
        Reason.WRONG_STORE_POINT,
        Reason.MARKER_MISSING,
    }
)

#: Reasons that are found after space and inodes were read: these are still known.
MEASURED = frozenset({Reason.READ_ONLY, Reason.FULL, Reason.NO_INODES})
