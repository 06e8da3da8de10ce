"""Whether a .tflite file is whole: tflite-runtime believes every offset in it, and crashes where one leads outside.

The layout: flatbuffers.dev/internals (tables, vtables, vectors), and the fields of tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from ..errors import OnDeviceError

_MAGIC = b"TFL3"
#: Field number -> what it holds: a vector of so many bytes each, or tables with fields in turn.
_QUANTISATION = {0: 4, 1: 4, 2: 4, 3: 8}
_TENSOR: dict[int, Any] = {0: 4, 3: 1, 4: ("table", _QUANTISATION), 7: 4}
_OPERATOR: dict[int, Any] = {1: 4, 2: 4, 4: ("table", {}), 5: 1}
_SUBGRAPH: dict[int, Any] = {0: ("tables", _TENSOR), 1: 4, 2: 4, 3: ("tables", _OPERATOR), 4: 1}
_MODEL: dict[int, Any] = {
    1: ("tables", {1: 1}),
    2: ("tables", _SUBGRAPH),
    3: 1,
    4: ("tables", {0: 1}),
}


def check_whole(model: Path) -> None:
    """Raise OnDeviceError where a table or a weight of the file lies beyond its end."""
    content = model.read_bytes()
    try:
        if content[4:8] != _MAGIC:
            raise struct.error("its identifier is missing")
        _check_table(content, _read("<I", content, 0), _MODEL)
    except struct.error as error:
        raise OnDeviceError(f"{model.name} is no TensorFlow Lite model, or was cut short: {error}") from None


def _read(kind: str, content: bytes, place: int) -> int:
    """One number. Raises struct.error beyond either end."""
    if place < 0:
        raise struct.error("an offset points before its beginning")
    return int(struct.unpack_from(kind, content, place)[0])


def _check_table(content: bytes, place: int, fields: dict[int, Any]) -> None:
    """Follow a table's fields. Raises struct.error."""
    layout = place - _read("<i", content, place)
    known, length = _read("<H", content, layout), _read("<H", content, layout + 2)
    _check_end(content, place + length)
    for field, held in fields.items():
        slot = 4 + 2 * field
        offset = _read("<H", content, layout + slot) if slot < known else 0
        if offset:
            target = place + offset + _read("<I", content, place + offset)
            _check_field(content, target, held)


def _check_field(content: bytes, place: int, held: Any) -> None:
    """Follow a vector of numbers, a table, or a vector of tables. Raises struct.error."""
    if isinstance(held, tuple) and held[0] == "table":
        _check_table(content, place, held[1])
        return
    count = _read("<I", content, place)
    _check_end(content, place + 4 + count * (4 if isinstance(held, tuple) else held))
    if isinstance(held, tuple):
        for entry in range(place + 4, place + 4 + 4 * count, 4):
            _check_table(content, entry + _read("<I", content, entry), held[1])


def _check_end(content: bytes, end: int) -> None:
    """Raise struct.error where something ends beyond the file."""
    if end > len(content):
        raise struct.error(f"{len(content)} bytes, of which one thing alone needs {end}")
