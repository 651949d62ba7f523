"""What tells one volume from another, and the list of the volumes of this machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from storepoints.agent.messages import Space, Volume, VolumeId

if TYPE_CHECKING:
    from storepoints.agent.mounts import Mount, MountTable

#: ``FS_IOC_GETFSUUID`` of ``include/uapi/linux/fs.h``: one byte of length, 16 of UUID.
GET_FS_UUID = 0x80111500

BY_UUID = "/dev/disk/by-uuid"

#: Types whose ``f_fsid`` is made from the filesystem's own identity. XFS, F2FS and
#: EROFS derive it from the number of the device, which changes with the next boot.
STABLE_FSID = frozenset(
    {"ext2", "ext3", "ext4", "btrfs", "zfs", "bcachefs", "tmpfs", "ceph"}
)

#: Types whose UUID may be made up at each mount though the data is the same.
NO_STABLE_UUID = frozenset({"overlay", "ramfs"})

#: One filesystem under three names, told apart by its features only.
EXT = frozenset({"ext2", "ext3", "ext4"})

#: Types that have no identity but the place that they are mounted from.
NAMED_BY_SOURCE = (
    "nfs",
    "cifs",
    "smb3",
    "fuse.",
    "9p",
    "virtiofs",
    "ceph",
    "glusterfs",
)

#: Types that hold files somebody may want to keep.
REAL = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs"),
        *("reiserfs", "nilfs2", "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "tmpfs"),
        *("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "virtiofs", "ocfs2", "gfs2"),
    }
)

#: Types that are windows into the kernel and keep no files.
PSEUDO = frozenset(
    {
        *("proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs"),
        *("debugfs", "tracefs", "bpf", "pstore", "efivarfs", "mqueue", "hugetlbfs"),
        *("configfs", "fusectl", "autofs", "binfmt_misc", "rpc_pipefs", "nsfs"),
        *("selinuxfs", "ramfs", "rootfs"),
    }
)

#: Where a tmpfs is the system's own and no place for a store point.
SYSTEM_TMPFS = ("/run", "/dev", "/sys", "/proc", "/var/run", "/var/lock")

#: A read-only tmpfs up to this size is a handful of files that the system put there
#: (credentials of a service, a mask over a directory) and no volume.
SMALL_TMPFS_BYTES = 16 << 20

#: FUSE filesystems that are windows on the desktop and not volumes.
PSEUDO_FUSE = frozenset(
    {"fuse.gvfsd-fuse", "fuse.portal", "fuse.lxcfs", "fuse.snapfuse", "fusectl"}
)


def uuid_by_ioctl(descriptor: int) -> str:
    """Return the UUID that the kernel knows of a filesystem, or the empty text."""
    buffer = bytearray(17)
    try:
        fcntl.ioctl(descriptor, GET_FS_UUID, buffer)
    except OSError:
        return ""
    raw = bytes(buffer[1 : 1 + min(buffer[0], 16)])
    if not any(raw):
        return ""
    digits = raw.hex()
    if len(digits) != 32:
        return digits
    return "-".join(
        (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    )


def uuid_by_link(mount: Mount, table: MountTable) -> str:
    """Return the UUID under which udev lists a mount's device, or the empty text.

    The links are read once for each snapshot of the mount table.
    """
    if not mount.source.startswith("/dev/"):
        return ""
    uuids = table.cache.get("uuids")
    if uuids is None:
        uuids = table.cache["uuids"] = dict(_linked_uuids())
    if not uuids:
        return ""
    if not mount.device.startswith("0:"):
        return uuids.get(mount.device, "")
    # Btrfs lies on several devices and shows a number of its own.
    try:
        number = Path(mount.source).stat().st_rdev
    except OSError:
        return ""
    return uuids.get(f"{os.major(number)}:{os.minor(number)}", "")


def _linked_uuids() -> Iterator[tuple[str, str]]:
    try:
        links = list(Path(BY_UUID).iterdir())
    except OSError:
        return
    for link in links:
        try:
            number = link.stat().st_rdev
        except OSError:
            continue
        yield f"{os.major(number)}:{os.minor(number)}", link.name


def identify(
    descriptor: int, mount: Mount, table: MountTable, statvfs: os.statvfs_result
) -> VolumeId:
    """Return the identity of the volume that an open directory lies on."""
    fs_type = mount.fs_type
    uuid = ""
    if fs_type not in NO_STABLE_UUID:
        uuid = uuid_by_ioctl(descriptor) or uuid_by_link(mount, table)
    return VolumeId(
        mount_point=mount.mount_point,
        fs_type=fs_type,
        fs_uuid=uuid,
        source=mount.source,
        fsid=fsid_of(fs_type, statvfs),
    )


def fsid_of(fs_type: str, statvfs: os.statvfs_result) -> str:
    """Return ``f_fsid`` as 16 hexadecimal digits where it is stable, or nothing."""
    if fs_type not in STABLE_FSID or not statvfs.f_fsid:
        return ""
    return f"{statvfs.f_fsid & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def seen_from_outside(mount: Mount) -> VolumeId:
    """Return what the mount table alone says of a volume, without touching it."""
    return VolumeId(
        mount_point=mount.mount_point,
        fs_type=mount.fs_type,
        fs_uuid="",
        source=mount.source,
        fsid="",
    )


def difference(adopted: VolumeId, found: VolumeId) -> str:
    """Return in words what tells the found volume from the adopted one, or nothing.

    What one of the two does not know is not compared.
    """
    expected, actual = adopted["fs_type"], found["fs_type"]
    same_uuid = bool(adopted["fs_uuid"]) and adopted["fs_uuid"] == found["fs_uuid"]
    if expected != actual and not (same_uuid and {expected, actual} <= EXT):
        return f"type {actual or 'unknown'} instead of {expected or 'unknown'}"
    if adopted["fs_uuid"] and found["fs_uuid"] and not same_uuid:
        return f"filesystem {found['fs_uuid']} instead of {adopted['fs_uuid']}"
    if adopted["fsid"] and found["fsid"] and adopted["fsid"] != found["fsid"]:
        return f"filesystem id {found['fsid']} instead of {adopted['fsid']}"
    if (
        actual.startswith(NAMED_BY_SOURCE)
        and not same_uuid
        and adopted["source"]
        and adopted["source"] != found["source"]
    ):
        return f"source {found['source']} instead of {adopted['source']}"
    return ""


def space_of(statvfs: os.statvfs_result) -> Space:
    """Return the space that ``statvfs`` reports, in bytes and inodes."""
    unit = statvfs.f_frsize or statvfs.f_bsize
    return Space(
        total_bytes=statvfs.f_blocks * unit,
        free_bytes=statvfs.f_bavail * unit,
        used_bytes=(statvfs.f_blocks - statvfs.f_bfree) * unit,
        total_inodes=statvfs.f_files,
        free_inodes=statvfs.f_ffree,
    )


def is_pseudo(mount: Mount) -> bool:
    """Return whether nothing that is written there is kept."""
    if mount.fs_type == "tmpfs":
        return not is_real(mount)
    return mount.fs_type in PSEUDO or mount.fs_type in PSEUDO_FUSE


def is_real(mount: Mount) -> bool:
    """Return whether a mount is a volume to keep data on and no pseudo filesystem."""
    if mount.fs_type == "overlay":
        return mount.mount_point == "/"
    if mount.fs_type.startswith("fuse."):
        return mount.fs_type not in PSEUDO_FUSE
    if mount.fs_type not in REAL:
        return False
    if mount.fs_type == "tmpfs":
        return not any(
            mount.mount_point == place or mount.mount_point.startswith(place + "/")
            for place in SYSTEM_TMPFS
        )
    return True


def real_mounts(table: MountTable) -> list[Mount]:
    """Return the mounts that are volumes, as psutil lists them, without touching any.

    A mount that is hidden below another one is left out, and so are files that were
    mounted one by one into a container.
    """
    # Loaded late: it takes longer to import than everything else in the prober.
    import psutil

    found: dict[str, Mount] = {}
    for partition in psutil.disk_partitions(all=True):
        mount = table.at(partition.mountpoint)
        if mount is not None and is_real(mount):
            found[mount.mount_point] = mount
    return [found[mount_point] for mount_point in sorted(found)]


def volume_at(mount: Mount, table: MountTable) -> Volume | None:
    """Return a volume with its space; touches it, so it can hang.

    None when it is no directory, has no space at all or cannot be opened.
    """
    try:
        descriptor = os.open(
            mount.mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
    except OSError:
        return None
    try:
        statvfs = os.fstatvfs(descriptor)
        identity = identify(descriptor, mount, table, statvfs)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if not statvfs.f_blocks or _is_system_tmpfs(mount, statvfs):
        return None
    return Volume(
        **identity,
        **space_of(statvfs),
        options=sorted({*mount.options.split(","), *mount.super_options.split(",")}),
        is_read_only=mount.is_read_only,
        devices=None,
    )


def _is_system_tmpfs(mount: Mount, statvfs: os.statvfs_result) -> bool:
    return (
        mount.fs_type == "tmpfs"
        and mount.is_read_only
        and statvfs.f_blocks * statvfs.f_frsize <= SMALL_TMPFS_BYTES
    )
