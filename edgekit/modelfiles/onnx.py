"""An ONNX model's file, looked at without loading it: its inputs and outputs, and its weights' files.

It is a protocol buffer: fields of (number << 3 | wire type) and a value (protobuf.dev/programming-guides/encoding).
Numbers of fields: onnx/onnx, onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import ConfigError

#: TensorProto.DataType -> numpy's name; the others are no numbers that a runtime is fed or answers.
_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
#: What some of those are called.
_OTHERS = {8: "string", 14: "complex64", 15: "complex128", 16: "bfloat16"}
_EXTERNAL = 1  # TensorProto.DataLocation
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: Graphs within graphs: an If in a Loop has two; more is a file made to exhaust the reader.
_DEEPEST = 16

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class OnnxFile:
    """What a file says of its model. A dimension is None where it is open, a shape where even their number is."""

    inputs: tuple[tuple[str, str, Shape | None], ...]  # name, numpy's type, shape
    operators: frozenset[str]  # types, those of other domains as domain::type; not the file's own functions
    external: tuple[Path, ...]  # files beside it


def read_onnx_file(path: Path) -> OnnxFile:
    """Raises ConfigError for another or a damaged file, weights in files that are missing, too short or elsewhere.

    So it does for inputs and outputs that are no arrays of numbers.
    """
    try:
        if path.stat().st_size == 0:
            raise ConfigError(f"{path}: is empty")
        with path.open("rb") as stream:  # closing the map would fail where an error holds parts of it
            return _Reader(path).model(memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


class _Reader:
    """Collects what is wanted while it walks through a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.operators: set[str] = set()
        self.external: dict[str, int] = {}  # location -> bytes that it must have

    def model(self, content: memoryview) -> OnnxFile:
        """ModelProto: ir_version 1, graph 7, opset_import 8, functions 25."""
        graph, seen = None, set()
        own = set()
        for number, value in self._fields(content):
            seen.add(number)
            if number == 7 and isinstance(value, memoryview):
                graph = value
            elif number == 25:
                own.add(self._function(value))
        if graph is None or not seen >= {1, 8}:
            raise ConfigError(f"{self.path}: not an ONNX model, or cut off: it has no graph")
        return OnnxFile(self.graph(graph, 0), frozenset(self.operators - own), self._files())

    def _function(self, content: memoryview | int) -> str:
        """FunctionProto: name 1, node 7, domain 10. Answers what a node that calls it is of."""
        name = domain = ""
        for number, value in self._fields(content):
            if number == 1:
                name = self._text(value)
            elif number == 10:
                domain = self._text(value)
            elif number == 7 and isinstance(value, memoryview):
                self._node(value, 1)
        return f"{domain}::{name}"

    def graph(self, content: memoryview, depth: int) -> tuple[tuple[str, str, Shape | None], ...]:
        """GraphProto: node 1, initializer 5, input 11, output 12. An input with an initializer is a weight."""
        if depth > _DEEPEST:
            raise self._damaged()
        inputs, outputs, weights = [], [], set()
        for number, value in self._fields(content):
            if not isinstance(value, memoryview):
                continue
            if number == 1:
                self._node(value, depth)
            elif number == 5:
                weights.add(self._tensor(value))
            elif number == 11:
                inputs.append(value)
            elif number == 12:
                outputs.append(value)
        if depth:
            return ()
        for value in outputs:
            self._port("output", value)
        return tuple(one for one in (self._port("input", value) for value in inputs) if one[0] not in weights)

    def _node(self, content: memoryview, depth: int) -> None:
        """NodeProto: op_type 4, attribute 5, domain 7. AttributeProto: t 5, g 6, tensors 10, graphs 11."""
        kind = domain = ""
        for number, value in self._fields(content):
            if number == 4:
                kind = self._text(value)
            elif number == 7:
                domain = self._text(value)
            elif number == 5 and isinstance(value, memoryview):
                for inner, part in self._fields(value):
                    if inner in (5, 10) and isinstance(part, memoryview):
                        self._tensor(part)
                    elif inner in (6, 11) and isinstance(part, memoryview):
                        self.graph(part, depth + 1)
        self.operators.add(kind if domain in ("", "ai.onnx") else f"{domain}::{kind}")

    def _tensor(self, content: memoryview) -> str:
        """TensorProto: name 8, external_data 13 (key 1, value 2), data_location 14."""
        name, location, entries = "", 0, {}
        for number, value in self._fields(content):
            if number == 8:
                name = self._text(value)
            elif number == 14 and isinstance(value, int):
                location = value
            elif number == 13 and isinstance(value, memoryview):
                pair = {inner: self._text(part) for inner, part in self._fields(value)}
                entries[pair.get(1, "")] = pair.get(2, "")
        if location == _EXTERNAL:
            file = entries.get("location", "")
            numbers = [entries.get(key, "0") for key in ("offset", "length")]
            if not file or not all(n.isdecimal() for n in numbers):
                raise ConfigError(f"{self.path}: weight {name}: damaged: it does not say in which file it is")
            self.external[file] = max(self.external.get(file, 0), sum(map(int, numbers)))
        return name

    def _port(self, role: str, content: memoryview) -> tuple[str, str, Shape | None]:
        """ValueInfoProto: name 1, type 2. TypeProto: tensor_type 1 {elem_type 1, shape 2 {dim 1 {dim_value 1}}}.

        An output's type may be left open: a runtime works it out.
        """
        fields = dict(self._fields(content))
        name, said = self._text(fields.get(1, b"")), fields.get(2)
        if role == "output" and not said:
            return name, "", None
        tensor = dict(self._fields(said)).get(1) if isinstance(said, memoryview) else None
        if not isinstance(tensor, memoryview):
            raise ConfigError(f"{self.path}: {role} {name}: is no array of numbers")
        kind, shape = 0, None
        for number, value in self._fields(tensor):
            if number == 1 and isinstance(value, int):
                kind = value
            elif number == 2 and isinstance(value, memoryview):
                dims = [dict(self._fields(dim)) for at, dim in self._fields(value) if at == 1]
                shape = tuple(size if isinstance(size := dim.get(1), int) and size > 0 else None for dim in dims)
        if kind not in _TYPES and (kind or role == "input"):
            raise ConfigError(
                f"{self.path}: {role} {name}: type {_OTHERS.get(kind, kind)} is no type of numbers that runtimes take; "
                f"possible: {', '.join(_TYPES.values())}"
            )
        return name, _TYPES.get(kind, ""), shape

    def _files(self) -> tuple[Path, ...]:
        files = []
        for location, size in sorted(self.external.items()):
            parts = PurePosixPath(location).parts
            file = self.path.parent / location
            if location.startswith("/") or ".." in parts or "\\" in location:
                raise ConfigError(f"{self.path}: has weights in {location}, which leads out of its folder")
            if not file.is_file():
                raise ConfigError(f"{self.path}: its weights are in a second file, {location}, which is not beside it")
            if file.stat().st_size < size:
                raise ConfigError(f"{file}: cut off: {file.stat().st_size} bytes, {self.path.name} reads {size}")
            files.append(file)
        return tuple(files)

    def _fields(self, content: memoryview | int) -> Iterator[tuple[int, memoryview | int]]:
        """(number, value) of a message's fields. Raises ConfigError where they do not fill it exactly."""
        if isinstance(content, int):
            raise self._damaged()
        at, end = 0, len(content)
        while at < end:
            tag, at = self._varint(content, at)
            number, wire = tag >> 3, tag & 7
            if wire == _VARINT:
                value, at = self._varint(content, at)
                yield number, value
                continue
            size, at = self._varint(content, at) if wire == _BYTES else ({_FIXED64: 8, _FIXED32: 4}.get(wire, -1), at)
            if size < 0 or at + size > end or not number:
                raise self._damaged()
            yield number, content[at : at + size]
            at += size

    def _varint(self, content: memoryview, at: int) -> tuple[int, int]:
        value = 0
        for place in range(10):
            if at + place >= len(content):
                break
            byte = content[at + place]
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value, at + place + 1
        raise self._damaged()

    def _text(self, value: memoryview | bytes | int) -> str:
        if isinstance(value, int):
            raise self._damaged()
        return bytes(value).decode("utf-8", "replace")

    def _damaged(self) -> ConfigError:
        return ConfigError(f"{self.path}: not an ONNX model, or damaged or cut off")
