"""Bare model files: what a user's .onnx, IR, .keras or .pt2 is and reads, found without running anything of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..errors import ConfigError
from ..tasks.tensors import LABELS, ModelInput, fix_shape
from . import keras
from .arrays import LONE, Header, counts
from .onnx import read_onnx_file
from .pt2 import SUFFIX as PT2
from .pt2 import read_pt2_file

#: Suffix -> the form of model.
FORMS = {".onnx": "onnx", ".xml": "ir", PT2: "pt2", **dict.fromkeys(keras.SUFFIXES, "keras")}
#: What may be given, in words.
POSSIBLE = ".onnx, .xml (OpenVINO IR), .keras or .h5, .pt2 (torch.export.save)"

#: OpenVINO's element types -> numpy's names.
_IR_TYPES = {
    "f32": "float32", "f16": "float16", "f64": "float64", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "boolean": "bool",
}  # fmt: skip
#: Versions of the IR that OpenVINO reads (docs.openvino.ai: Operation Sets).
_IR_OLDEST = 10
#: A document type could define entities that grow without end; an IR has none.
_DOCTYPE = b"<!DOCTYPE"


@dataclass(frozen=True)
class ModelFile:
    """A model that can be used: its files, the main one first, and what it reads."""

    form: str
    files: tuple[Path, ...]
    inputs: tuple[ModelInput, ...]


def read_model_file(path: Path) -> ModelFile:
    """Look at a model's file. Raises ConfigError for another, a damaged one, or one that could run code."""
    form = FORMS.get(path.suffix.lower())
    if form == "onnx":
        onnx = read_onnx_file(path)
        found = ModelFile("onnx", (path, *onnx.external), _inputs(onnx.inputs))
    elif form == "ir":
        found = _read_ir(path)
    elif form == "pt2":
        found = ModelFile("pt2", (path,), _inputs(read_pt2_file(path).inputs))
    elif form == "keras":
        found = ModelFile("keras", (path,), _inputs(keras.read_inputs(path)))
    else:
        raise ConfigError(f"{path}: no model's file that edgekit reads; possible: {POSSIBLE}")
    if not found.inputs:
        raise ConfigError(f"{path}: the model has no inputs")
    return found


def check_arrays(where: str, headers: Mapping[str, Header], inputs: Sequence[ModelInput]) -> None:
    """Refuse calibration arrays that do not fit a model's inputs. Raises ConfigError naming all that do not."""
    known = {one.name: one for one in inputs}
    if set(headers) == {LONE} and len(inputs) == 1:
        headers = {inputs[0].name: headers[LONE]}
    elif LONE in headers:
        raise ConfigError(f"{where}: one array, but the model has inputs {', '.join(known)}; possible: .npz with them")
    problems = [
        f"{where}: no array '{name}'; found {', '.join(headers)}; the model's inputs are {', '.join(known)}"
        for name in known
        if name not in headers
    ]
    strange = [name for name in headers if name not in known and name != LABELS]
    if strange:
        problems.append(
            f"{where}: array '{strange[0]}' is no input of the model; possible: {', '.join(known)} and {LABELS}"
        )
    for name, header in headers.items():
        if name in known:
            problems += _misfits(where, header, known[name])
    if len({header.shape[0] for header in headers.values()}) > 1:
        problems.append(f"{where}: numbers of samples differ: {counts(headers)}")
    elif next(iter(headers.values())).shape[0] < 2:
        problems.append(f"{where}: {counts(headers)} samples; expected 2 at least, one of which is held out")
    if problems:
        raise ConfigError(problems)


def _misfits(where: str, header: Header, wanted: ModelInput) -> list[str]:
    """What is wrong with one input's array."""
    if fix_shape(wanted, header.shape) is None:
        return [f"{where}: {wanted.name}: found {header}, expected {wanted.dtype} {wanted.dims}"]
    if not wanted.takes(header.dtype):
        return [f"{where}: {wanted.name}: found {header.dtype}, expected {wanted.dtype}"]
    return []


def _inputs(found: Sequence[tuple[str, str, Sequence[int | None] | None]]) -> tuple[ModelInput, ...]:
    return tuple(
        ModelInput(name=name, dtype=dtype, shape=None if shape is None else tuple(shape))
        for name, dtype, shape in found
    )


def _read_ir(path: Path) -> ModelFile:
    """An IR's .xml: its Parameters, and whether its .bin has all the bytes that its constants read."""
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ConfigError(f"{path}: an IR is two files, and {weights.name} is not beside it")
    try:
        content = path.read_bytes()
        size = weights.stat().st_size
        if _DOCTYPE in content:
            raise ConfigError(f"{path}: has a document type, which no IR has")
        net = ElementTree.fromstring(content)
        version = int(net.get("version", "0")) if net.tag == "net" else 0
        if not version:
            raise ConfigError(f"{path}: XML, but no OpenVINO IR")
        if version < _IR_OLDEST:
            raise ConfigError(f"{path}: IR version {version}; OpenVINO reads {_IR_OLDEST} and newer; convert it again")
        data = [layer.find("data") for layer in net.iterfind("./layers/layer[@type='Const']")]
        reads = max((int(d.get("offset", 0)) + int(d.get("size", 0)) for d in data if d is not None), default=0)
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise ConfigError(f"{path}: damaged or cut off: {error}") from None
    if reads > size:
        raise ConfigError(f"{weights}: damaged or cut off: {size} bytes, {path.name} reads {reads}")
    inputs = [_parameter(path, layer) for layer in net.iterfind("./layers/layer[@type='Parameter']")]
    return ModelFile("ir", (path, weights), tuple(inputs))


def _parameter(path: Path, layer: Any) -> ModelInput:
    """One input of an IR; its name is that of its tensor where there is one."""
    data, port = layer.find("data"), layer.find("./output/port")
    names = re.split(r"(?<!\\),", port.get("names") or "") if port is not None else [""]
    name = min(names).replace("\\,", ",") or layer.get("name", "")
    kind = data.get("element_type", "") if data is not None else ""
    if kind not in _IR_TYPES:
        raise ConfigError(f"{path}: input {name}: type '{kind}' is no type of numbers that runtimes are fed")
    said = data.get("shape", "")
    if said == "...":
        shape = None
    else:
        dims = [dim.strip() for dim in said.split(",") if dim.strip()]
        shape = tuple(int(dim) if dim.isdecimal() else None for dim in dims)
    return ModelInput(name=name, dtype=_IR_TYPES[kind], shape=shape)
