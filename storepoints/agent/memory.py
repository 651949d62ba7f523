"""What the prober remembers of a store point from one probe to the next.

Kept in the memory of the process only, and forgotten with the store point: a prober
that was just started looks at everything afresh.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storepoints.agent.messages import Archives, FallThrough, Spec
    from storepoints.agent.mounts import Mount


@dataclass(slots=True)
class Memory:
    """One store point's; instants are those of ``awake()``."""

    #: When it was last found online by this process.
    well_at: float | None = None
    #: When a file was last written and read back, and on which mount; no mount once
    #: anything went wrong since.
    written_at: float = 0.0
    written_on: Mount | None = None
    #: The bytes of the marker that was found right last, where it was read, and what
    #: was said of it: the same bytes at the same place need not be understood again.
    marker: tuple[bytes, tuple[str, str, str], str] | None = None
    #: What was written below its path, as it was measured last while not mounted.
    fall_through: FallThrough | None = None
    #: From when on that may be measured again.
    measure_at: float = 0.0
    #: What was found of its archives last, and how many findings have still to say so.
    archives: Archives | None = None
    archives_to_tell: int = 0
    #: From when on they may be looked at again.
    look_at: float = 0.0

    def seconds_since_write(self, spec: Spec, mount: Mount) -> float | None:
        """Return the age of a write that is good enough, None when there is none.

        The table keeps the very same ``Mount`` for a line that has not changed, so
        whatever happened to the mount meanwhile makes it another one.
        """
        if self.written_on is not mount:
            return None
        age = awake() - self.written_at
        return age if age < spec.write_seconds else None

    def news_of_archives(self) -> Archives | None:
        """Return what was found of the archives, if that has still to be told."""
        if self.archives_to_tell <= 0:
            return None
        self.archives_to_tell -= 1
        return self.archives

    def went_well(self, *, written_on: Mount | None) -> None:
        """Note that the store point was online; on which mount it was written to."""
        self.well_at = awake()
        self.fall_through = None
        if written_on is not None:
            self.written_at, self.written_on = awake(), written_on

    def went_wrong(self) -> None:
        """Note that the store point was not online: the next probe writes again."""
        self.written_on = None


def awake() -> float:
    """Return seconds of a clock that nobody can set, and that runs in suspend too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
