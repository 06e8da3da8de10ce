"""Partition tables as sfdisk writes them, cut off, damaged, or not there at all."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import pytest
from image.images import FAT_AT, FAT_MB, MB, ROOT_AT, need_tools, run

from edgekit.errors import ConfigError
from edgekit.image.table import Partition, read_table

SCRIPTS = {
    "dos": "label: dos\nstart=8192, size=81920, type=c\nstart=90112, size=40960, type=83\n",
    "gpt": "label: gpt\nstart=8192, size=81920, type=uefi\nstart=90112, size=40960, type=linux\n",
}
EXPECTED = [Partition(1, FAT_AT * MB, FAT_MB * MB), Partition(2, ROOT_AT * MB, 20 * MB)]


def write(path: Path, script: str) -> Path:
    need_tools()
    run("truncate", "-s", "66M", str(path))
    run("sfdisk", "-q", str(path), stdin=script)
    return path


@pytest.mark.parametrize("label", SCRIPTS)
def test_partitions_as_sfdisk_writes_them(label: str, tmp_path: Path) -> None:
    assert read_table(write(tmp_path / "a.img", SCRIPTS[label]), "a.img") == EXPECTED


def test_numbers_are_those_of_linux(tmp_path: Path) -> None:
    gpt = write(tmp_path / "a.img", "label: gpt\n15: start=8192, size=2048, type=uefi\n1: start=90112, size=2048\n")
    assert read_table(gpt, "a.img") == [Partition(1, ROOT_AT * MB, MB), Partition(15, FAT_AT * MB, MB)]
    dos = write(tmp_path / "b.img", "label: dos\n2: start=8192, size=2048\n3: start=12288, size=8192, type=5\n")
    assert read_table(dos, "b.img") == [Partition(2, FAT_AT * MB, MB)]


@pytest.mark.parametrize("label", SCRIPTS)
@pytest.mark.parametrize("length", [0, 100, 511, 600, 1023, 1100, FAT_AT * MB, ROOT_AT * MB + 20 * MB - 1])
def test_an_image_that_is_cut_off_is_refused(label: str, length: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.img", SCRIPTS[label])
    run("truncate", "-s", str(length), str(path))
    with pytest.raises(ConfigError, match=r"a\.img: (truncated: partition|no partition table|its partition table)"):
        read_table(path, "a.img")


def test_a_damaged_gpt_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.img", SCRIPTS["gpt"])
    whole, dice = path.read_bytes()[: 34 * 512], random.Random(7)
    hits = [512 + dice.randrange(92) for _ in range(40)] + [1024 + dice.randrange(128 * 128) for _ in range(40)]
    for at in hits:
        with path.open("r+b") as stream:
            stream.write(whole[:at] + bytes([whole[at] ^ (1 << dice.randrange(8))]) + whole[at + 1 :])
        with pytest.raises(ConfigError, match="GPT"):
            read_table(path, "a.img")


@pytest.mark.parametrize("first", [2**20, 2**54, 2**63])
def test_entries_beyond_the_image_are_refused(first: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.img", SCRIPTS["gpt"])
    with path.open("r+b") as stream:
        stream.seek(512)
        header = bytearray(stream.read(92))
        struct.pack_into("<Q", header, 72, first)
        struct.pack_into("<I", header, 16, zlib.crc32(header[:16] + bytes(4) + header[20:]))
        stream.seek(512)
        stream.write(header)
    with pytest.raises(ConfigError, match="GPT"):
        read_table(path, "a.img")


@pytest.mark.parametrize("content", [bytes(4096), random.Random(1).randbytes(4096), b"\x55\xaa" * 2048])
def test_what_is_no_image_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no partition table"):
        read_table(path, "a.img")


def test_an_empty_table_and_a_file_system_without_one_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.img", "label: dos\n")
    with pytest.raises(ConfigError, match="empty"):
        read_table(path, "a.img")
    run("mkfs.vfat", "-C", str(tmp_path / "floppy.img"), "1440")
    with pytest.raises(ConfigError, match="its partition table is empty; expected the image of a whole SD card"):
        read_table(tmp_path / "floppy.img", "floppy.img")
