"""What lies below a mounted filesystem, and what it says of its health (layer 8).

``filesystems`` and ``blocks`` read the kernel's own files, ``tools`` runs programs with
a deadline, ``smart``, ``zfs`` and ``btrfs`` understand what these say, ``tree`` holds
what was found, and ``watch`` keeps it fresh beside the probes. ``docs/agent.md`` says
what was seen on real devices and what only in recorded form.
"""

from __future__ import annotations

from storepoints.agent.devices.tree import Devices, Node
from storepoints.agent.devices.watch import DeviceWatch

__all__ = ["DeviceWatch", "Devices", "Node"]
