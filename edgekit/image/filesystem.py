"""What lies in a partition, by its own magic numbers: partition types lie more often than superblocks do."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from .table import Partition

FAT, EXT = "FAT", "ext4"
#: File system -> where its magic number is, and which. Those that are not FAT or ext only to be called by their names.
_MAGIC = {
    EXT: (1024 + 56, b"\x53\xef"),
    FAT: (82, b"FAT32   "),
    "FAT16": (54, b"FAT16   "),
    "FAT12": (54, b"FAT12   "),
    "btrfs": (0x10040, b"_BHRfS_M"),
    "f2fs": (1024, b"\x10\x20\xf5\xf2"),
    "squashfs": (0, b"hsqs"),
    "erofs": (1024, b"\xe2\xe1\xf5\xe0"),
    "XFS": (0, b"XFSB"),
    "LUKS": (0, b"LUKS\xba\xbe"),
    "swap": (4086, b"SWAPSPACE2"),
}
_LONGEST = 0x10040 + 8
#: ext4's superblock (Documentation/filesystems/ext4/super.rst of the kernel), from byte 1024 on.
_CLEAN, _ERRORS = 0x1, 0x2
_NEEDS_RECOVERY = 0x4
#: ext4 keeps a fiftieth for itself, and no more blocks than these (ext4_set_resv_clusters).
_KERNELS_BLOCKS = 4096


@dataclass(frozen=True)
class Ext:
    """The superblock of an ext2, ext3 or ext4: room in bytes, room for files, and the state that it was left in.

    `free` is what a user gets there: the blocks that are root's and the kernel's own do not count (ext4_statfs).
    """

    size: int
    free: int
    free_files: int
    block: int
    written_unix: int
    problem: str | None


def kind_of(image: Path, partition: Partition) -> str | None:
    """`FAT`, `EXT`, another file system's name, or None for nothing known."""
    with image.open("rb") as stream:
        stream.seek(partition.offset)
        head = stream.read(min(_LONGEST, partition.size))
    found = next((kind for kind, (at, magic) in _MAGIC.items() if head[at : at + len(magic)] == magic), None)
    return FAT if found in ("FAT16", "FAT12") else found


def read_ext(image: Path, partition: Partition) -> Ext:
    """The superblock of a partition that `kind_of` calls EXT."""
    with image.open("rb") as stream:
        stream.seek(partition.offset + 1024)
        block = stream.read(1024)

    def number(at: int, form: str = "I") -> int:
        return int(struct.unpack_from(f"<{form}", block, at)[0])

    is_64bit = number(0x60) & 0x80
    free_blocks = number(0x0C) + (number(0x158) << 32 if is_64bit else 0)
    blocks = number(0x04) + (number(0x150) << 32 if is_64bit else 0)
    kept = number(0x08) + (number(0x154) << 32 if is_64bit else 0) + min(blocks // 50, _KERNELS_BLOCKS)
    size = 1024 << min(number(0x18), 6)
    problem = None
    if number(0x60) & _NEEDS_RECOVERY or not number(0x3A, "H") & _CLEAN:
        problem = "was not unmounted"
    elif number(0x3A, "H") & _ERRORS:
        problem = "has errors"
    elif blocks * size > partition.size:
        problem = "is longer than its partition"
    return Ext(blocks * size, max(free_blocks - kept, 0) * size, number(0x10), size, number(0x30), problem)
