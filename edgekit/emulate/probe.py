"""A static AArch64 program of a few instructions, written by hand: what QEMU and the plugin count of it is known."""

from __future__ import annotations

import struct
from collections.abc import Sequence

MARKER = 0x45444745
_BASE = 0x400000
_HEADERS = 64 + 56

_SVC = 0xD4000001
_EXIT = 93
#: Around every mark: two instructions load its number, one its tag, and one makes the call.
MARK_INTEGER, MARK_BRANCH = 3, 1


def _move(register: int, value: int) -> list[int]:
    """MOVZ and MOVK: a 32-bit value into a register."""
    return [0xD2800000 | (value & 0xFFFF) << 5 | register, 0xF2A00000 | (value >> 16) << 5 | register]


def _mark(tag: int) -> list[int]:
    return [*_move(8, MARKER), 0xD2800000 | tag << 5, _SVC]


def program(words: Sequence[int]) -> bytes:
    """An ELF file for aarch64 Linux that executes these instructions between two marks of tag 1, and exits with 0.

    Formats: the System V ABI's ELF-64 object file, and Linux' system call convention (number in x8, arguments from x0).
    """
    code = [*_mark(1), *words, *_mark(1), *_move(8, _EXIT), 0xD2800000, _SVC]
    text = struct.pack(f"<{len(code)}I", *code)
    size = _HEADERS + len(text)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    executable, aarch64, load, read_execute = 2, 183, 1, 5
    header = struct.pack("<HHIQQQIHHHHHH", executable, aarch64, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", load, read_execute, 0, _BASE, _BASE, size, size, 0x1000)
    return identity + header + segment + text


#: One word of each class; the words and their names are an assembler's.
SAMPLE = {
    "integer": 0x91000420,  # add x0, x1, #1
    "dot_product": 0x4E829420,  # sdot v0.4s, v1.16b, v2.16b
    "simd_fp": 0x4E22CC20,  # fmla v0.4s, v1.4s, v2.4s
    "load_store": 0xF94003E0,  # ldr x0, [sp]
    "branch": 0xD503201F,  # nop
}
