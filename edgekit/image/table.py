"""Partition tables of disk images: MBR with its four primary partitions, and GPT (UEFI specification, chapter 5)."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import ConfigError

SECTOR = 512
_MBR_ENTRIES, _MBR_MAGIC = 446, b"\x55\xaa"
_PROTECTIVE = 0xEE
#: Containers of further partitions, which are not looked into.
_EXTENDED = (0x05, 0x0F, 0x85)
_GPT_MAGIC = b"EFI PART"
_GPT_HEADER = struct.Struct("<8sIIII4Q16sQIII")
_MAX_GPT_ENTRIES = 1024


@dataclass(frozen=True)
class Partition:
    """A partition by its number as Linux counts, from where to where in bytes."""

    number: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.size


def read_table(image: Path, name: str) -> list[Partition]:
    """The partitions of an image. Raises ConfigError for one without a table or that ends before them."""
    with image.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        partitions = _read(stream, name)
    if not partitions:
        raise ConfigError(f"{name}: its partition table is empty; expected the image of a whole SD card or disk")
    for partition in partitions:
        if partition.end > size:
            raise ConfigError(
                f"{name}: truncated: partition {partition.number} ends at {partition.end / 1e6:.1f} MB, and the image "
                f"at {size / 1e6:.1f} MB; fetch it again"
            )
    return partitions


def _read(stream: BinaryIO, name: str) -> list[Partition]:
    stream.seek(0)
    head = stream.read(SECTOR)
    entries = [head[_MBR_ENTRIES + 16 * n :][:16] for n in range(4)]
    if head[510:512] != _MBR_MAGIC or any(entry[0] not in (0x00, 0x80) for entry in entries):
        raise ConfigError(f"{name}: no partition table; expected the image of a whole SD card or disk")
    if any(entry[4] == _PROTECTIVE for entry in entries):
        return _read_gpt(stream, name)
    found = []
    for number, entry in enumerate(entries, start=1):
        first, count = struct.unpack("<II", entry[8:16])
        if entry[4] and count and entry[4] not in _EXTENDED:
            found.append(Partition(number, first * SECTOR, count * SECTOR))
    return found


def _read_gpt(stream: BinaryIO, name: str) -> list[Partition]:
    damaged = ConfigError(f"{name}: its partition table (GPT) is damaged; fetch the image again")
    stream.seek(SECTOR)
    header = stream.read(SECTOR)
    if len(header) < SECTOR:
        raise damaged
    magic, _, length, crc, _, _, _, _, _, _, first, count, size, entries_crc = _GPT_HEADER.unpack_from(header)
    if magic != _GPT_MAGIC or not _GPT_HEADER.size <= length <= SECTOR or not 0 < count <= _MAX_GPT_ENTRIES:
        raise damaged
    if zlib.crc32(header[:16] + bytes(4) + header[20:length]) != crc or size < 128 or size > 4096:
        raise damaged
    if first * SECTOR + count * size > stream.seek(0, os.SEEK_END):
        raise damaged
    stream.seek(first * SECTOR)
    content = stream.read(count * size)
    if len(content) != count * size or zlib.crc32(content) != entries_crc:
        raise damaged
    found = []
    for number in range(count):
        entry = content[number * size :][:size]
        begin, last = struct.unpack_from("<QQ", entry, 32)
        if any(entry[:16]) and last >= begin:
            found.append(Partition(number + 1, begin * SECTOR, (last - begin + 1) * SECTOR))
    return found
