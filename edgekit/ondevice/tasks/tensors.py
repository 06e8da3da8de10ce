"""Arrays in, arrays out: a model file that nobody has said more of.

A sample is an object of the inputs' names and their arrays. Each is nested lists of numbers, or `{"dtype", "shape",
"base64"}`: numpy's name of a type, and the bytes, little-endian. A word of a command line is the name of an .npz (or,
for one input, .npy) of one sample or of several along the first axis, or such an object.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from ..finite import check_finite
from ..manifest import Manifest, need
from ..profiler.inputs import fit, load_samples
from ..runtimes.model import Tensor
from ..text import kind
from . import Answer, Array, Feed, Outputs

PART = "bind"
TAKES = "arrays"
NEEDS = ()

#: Types that JSON may bring arrays in.
_TYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)
#: Numbers of an output that a line shows.
_SHOWN = 6


def open_task(bundle: Path, manifest: Manifest) -> Arrays:
    """The names, types and shapes of inputs and outputs. Raises OnDeviceError."""
    return Arrays(bundle, manifest)


class Arrays:
    """Numbers are all that there is: nothing is decided, and the tolerance judges."""

    truncated = 0

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        need(manifest, {"inputs": list, "outputs": list}, bundle)
        try:
            self._inputs = [
                Tensor(str(one["name"]), tuple(map(int, one["shape"])), np.dtype(one["dtype"]))
                for one in manifest["inputs"]
            ]
            outputs = [(str(one["name"]), tuple(map(int, one["shape"]))) for one in manifest["outputs"]]
        except (KeyError, TypeError, ValueError):
            raise OnDeviceError(
                f"{bundle}: its manifest's inputs or outputs are damaged; copy the bundle again"
            ) from None
        self._outputs = sorted(outputs)  # the order in which a model's numbers come

    def parse(self, given: Any) -> list[dict[str, Array]]:
        """One sample from JSON. Raises OnDeviceError naming the input that does not fit."""
        names = [tensor.name for tensor in self._inputs]
        if not isinstance(given, dict) or set(given) != set(names):
            found = ", ".join(sorted(map(str, given)))[:200] if isinstance(given, dict) else kind(given)
            raise OnDeviceError(f"found {found or 'no inputs'}, expected an object of {', '.join(names)}")
        sample = {}
        for tensor in self._inputs:
            array = _array(given[tensor.name], tensor)
            shape = array.shape if len(array.shape) == len(tensor.shape) else (1, *array.shape)
            sample[tensor.name] = fit(f"input {tensor.name}", tensor, array.reshape((1, *shape)))[0]
        return [sample]

    def parse_word(self, word: str) -> list[dict[str, Array]]:
        """The samples of a file, or of an object in JSON. Raises OnDeviceError."""
        if word.lstrip().startswith("{"):
            try:
                return self.parse(json.loads(word))
            except (ValueError, RecursionError) as error:
                raise OnDeviceError(f"{word!r:.60}: not JSON: {error}") from None
        return load_samples(Path(word), self._inputs)

    def parse_file(self, path: Path) -> list[list[dict[str, Array]]]:
        """The samples of a file of arrays, each by itself. Raises OnDeviceError."""
        return [[feed] for feed in load_samples(path, self._inputs)]

    def feeds(self, sample: Any) -> list[Feed]:
        """What the model is given, one after the other."""
        return list(sample)

    def gathered(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Outputs:
        """The outputs as they are."""
        return outputs

    def answer(self, sample: Any, feeds: Sequence[Feed], outputs: Outputs) -> Answer:
        """`outputs`: by name the shape, of several samples with their number first, and the values in C order."""
        rows = np.stack([np.asarray(output).ravel() for output in outputs])
        check_finite(rows)
        found: dict[str, Any] = {}
        at = 0
        for name, shape in self._outputs:
            size = math.prod(shape)
            whole = list(shape) if len(rows) == 1 else [len(rows), *shape]
            found[name] = {"shape": whole, "values": rows[:, at : at + size].ravel().tolist()}
            at += size
        return {"outputs": found}

    def decision(self, answer: Answer) -> Any:
        """None: the tolerance judges."""
        return None

    def confidence(self, answer: Answer) -> float | None:
        """None: nothing is known of it."""
        return None

    def margin(self, gathered: Outputs) -> float:
        """Infinity: there is nothing to change over to."""
        return math.inf

    def show(self, answer: Answer) -> str:
        """Each output's name, shape and first numbers."""
        return "\t".join(
            f"{name} {found['shape']} {_few(found['values'])}" for name, found in answer["outputs"].items()
        )


def _few(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values[:_SHOWN]) + (" …" if len(values) > _SHOWN else "")


def _array(given: Any, tensor: Tensor) -> Array:
    """An input's array as JSON has it. Raises OnDeviceError."""
    where = f"input {tensor.name}"
    if isinstance(given, Mapping):
        return _unpack(where, given)
    try:
        array = np.asarray(given)
    except ValueError:  # rows of unequal length
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise OnDeviceError(
            f"{where}: expected nested lists of numbers, rows of one length, or dtype, shape and base64"
        )
    if array.dtype.kind == tensor.dtype.kind == "f":
        return array.astype(tensor.dtype)
    whole = array.astype(tensor.dtype)  # JSON's whole numbers are of no size
    return whole if array.dtype.kind in "iu" and tensor.dtype.kind in "iu" and np.array_equal(whole, array) else array


def _unpack(where: str, given: Mapping[str, Any]) -> Array:
    """An array from `{"dtype", "shape", "base64"}`."""
    dtype, shape = given.get("dtype"), given.get("shape")
    if set(given) != {"dtype", "shape", "base64"} or dtype not in _TYPES or not isinstance(shape, list):
        raise OnDeviceError(f"{where}: expected dtype (such as float32), shape and base64, and nothing else")
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
        raise OnDeviceError(f"{where}: shape: expected whole numbers of 0 or more")
    try:
        content = base64.b64decode(given["base64"], validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise OnDeviceError(f"{where}: base64 is damaged") from None
    little = np.dtype(dtype).newbyteorder("<")
    expected = math.prod(shape) * little.itemsize
    if len(content) != expected:
        raise OnDeviceError(f"{where}: {len(content)} bytes for {dtype} {shape}; expected {expected}")
    return np.frombuffer(content, little).reshape(shape).astype(dtype)
