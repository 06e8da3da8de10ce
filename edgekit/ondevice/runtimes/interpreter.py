"""A bare .tflite through TensorFlow Lite's Interpreter, by any library that has it.

`set_tensor` and `get_tensor` copy; they cost less than views through `tensor()`, which must be made anew for every
invoke because the interpreter may move its memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import OnDeviceError
from .buckets import Array
from .model import NO_OPERATORS, Model, Tensor, check_feeds, check_file, one_line, refuse_device, resolve_shape

#: Operators that hand token ids on, unchanged in value.
_PASSING = ("CAST", "EXPAND_DIMS", "RESHAPE", "SQUEEZE")


class TfliteModel(Model, Protocol):
    """A Model that says which signature it runs: None where the model has at most one."""

    signature: str | None


def make_interpreter(library: Any, model: Path, threads: int, reference: bool) -> Any:
    """A library's Interpreter of a file; its `reference` is without delegates, so without XNNPACK."""
    resolvers = library.OpResolverType
    chosen = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES if reference else resolvers.AUTO
    return library.Interpreter(model_path=str(model), num_threads=threads, experimental_op_resolver_type=chosen)


def open_interpreter(
    library: Any, package: str, model: Path, device: str, threads: int, reference: bool = False
) -> TfliteModel:  # fmt: skip
    """A .tflite as a Model: its only signature or its primary subgraph; of several signatures the largest.

    Raises OnDeviceError where the library cannot load it; it names the operator and its version.
    """
    refuse_device(package, device, ["CPU"])
    check_file(model)
    try:
        interpreter = make_interpreter(library, model, threads, reference)
        signatures = sorted(interpreter.get_signature_list())
        if len(signatures) > 1:
            return SignatureModel(interpreter, signatures)
        return SubgraphModel(interpreter, signatures)
    except (RuntimeError, ValueError) as error:
        raise OnDeviceError(f"{package}: cannot load {model.name}: {one_line(error)}") from None


class SubgraphModel:
    """The primary subgraph. Where one signature names its tensors, they bear these names."""

    def __init__(self, interpreter: Any, signatures: Sequence[str]) -> None:
        self.notes: list[str] = []
        self.signature: str | None = None
        taken, given = interpreter.get_input_details(), interpreter.get_output_details()
        names = _signature_names(interpreter, signatures, taken, given)
        tables = _tables(interpreter, names)
        self.inputs = [
            _tensor(names.get(detail["name"], detail["name"]), detail, self.notes, tables) for detail in taken
        ]
        self._slots = [(tensor.name, taken[place]["index"]) for place, tensor in enumerate(self.inputs)]
        for place, (_, index) in enumerate(self._slots):
            interpreter.resize_tensor_input(index, self.inputs[place].shape)  # nothing where it has that shape
        interpreter.allocate_tensors()
        self._answers = [(names.get(detail["name"], detail["name"]), detail["index"]) for detail in given]
        self._set, self._get, self._invoke = interpreter.set_tensor, interpreter.get_tensor, interpreter.invoke

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Copy one sample into the interpreter. Raises OnDeviceError."""
        try:
            for name, index in self._slots:
                self._set(index, feeds[name])
        except (KeyError, ValueError) as error:
            check_feeds(feeds, self.inputs)
            raise OnDeviceError(one_line(error)) from None

    def invoke(self) -> None:
        """Compute once. Raises OnDeviceError."""
        try:
            self._invoke()
        except RuntimeError as error:
            raise OnDeviceError(one_line(error)) from None

    def outputs(self) -> dict[str, Array]:
        """Copies of the outputs by name."""
        found = {}
        for name, index in self._answers:  # a comprehension is a call more, which 50 µs would show
            found[name] = self._get(index)
        return found

    def operators(self) -> list[dict[str, Any]]:
        """The Interpreter times no operators. Raises OnDeviceError."""
        raise OnDeviceError(NO_OPERATORS)


class SignatureModel:
    """One of several signatures, by its runner: the one call copies the inputs, computes and copies the outputs."""

    def __init__(self, interpreter: Any, signatures: Sequence[str]) -> None:
        details = {name: interpreter.get_signature_runner(name).get_input_details() for name in signatures}
        chosen = max(signatures, key=lambda name: sum(int(np.prod(d["shape"])) for d in details[name].values()))
        self.signature: str | None = chosen
        self.notes = [f"signature {chosen}, the largest of {', '.join(signatures)}"]
        taken, given = interpreter.get_input_details(), interpreter.get_output_details()
        names = [_signature_names(interpreter, [name], taken, given) for name in signatures]
        tables = _tables(interpreter, next(filter(None, names), {}))  # the signatures share their tables
        self.inputs = [_tensor(name, detail, self.notes, tables) for name, detail in sorted(details[chosen].items())]
        self._runner = interpreter.get_signature_runner(chosen)
        self._feeds: dict[str, Array] = {}
        self._answer: dict[str, Array] = {}

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Take one sample; the runner copies it. Raises OnDeviceError."""
        check_feeds(feeds, self.inputs)
        self._feeds = dict(feeds)

    def invoke(self) -> None:
        """Copy in, compute, copy out. Raises OnDeviceError."""
        try:
            self._answer = self._runner(**self._feeds)
        except (RuntimeError, ValueError) as error:
            raise OnDeviceError(one_line(error)) from None

    def outputs(self) -> dict[str, Array]:
        """The runner's copies of the outputs by name."""
        return self._answer

    def operators(self) -> list[dict[str, Any]]:
        """The Interpreter times no operators. Raises OnDeviceError."""
        raise OnDeviceError(NO_OPERATORS)


def _tensor(name: str, detail: Mapping[str, Any], notes: list[str], tables: Mapping[str, int]) -> Tensor:
    """What the interpreter says of an input. Sizes of 1 stand for open dimensions in `shape`, -1 in its signature."""
    said = detail["shape_signature"]
    shape = resolve_shape(name, [int(dim) for dim in (said if len(said) else detail["shape"])], notes)
    scales = detail["quantization_parameters"]["scales"]
    zero_points = detail["quantization_parameters"]["zero_points"]
    quantisation = (float(scales[0]), int(zero_points[0])) if len(scales) == 1 else None
    return Tensor(name, shape, np.dtype(detail["dtype"]), quantisation, tables.get(name))


def _signature_names(
    interpreter: Any, signatures: Sequence[str], taken: Sequence[Mapping[str, Any]], given: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Tensor name -> the name that the only signature gives it; nothing where it is not of the primary subgraph."""
    if not signatures:
        return {}
    runner = interpreter.get_signature_runner(signatures[0])
    named = {**runner.get_input_details(), **runner.get_output_details()}
    names = {detail["name"]: name for name, detail in named.items()}
    return names if {detail["name"] for detail in (*taken, *given)} == set(names) else {}


def _tables(interpreter: Any, names: Mapping[str, str]) -> dict[str, int]:
    """Input -> rows of the table that it looks up in the primary subgraph, before delegates take its operators away.

    The list of operators is not public in the library: without it, or without such inputs, nothing is known.
    """
    details = interpreter.get_input_details()
    readable = getattr(interpreter, "_get_ops_details", None)
    if readable is None or all(len(detail["shape"]) > 2 for detail in details):
        return {}
    origin = {int(detail["index"]): int(detail["index"]) for detail in details}
    looked_up: list[tuple[int, int]] = []
    for node in readable():
        tensors = [int(index) for index in node["inputs"]]
        if node["op_name"] in _PASSING and tensors[0] in origin:
            origin.update((int(index), origin[tensors[0]]) for index in node["outputs"])
        elif node["op_name"] == "GATHER" and tensors[1] in origin:
            looked_up.append((origin[tensors[1]], tensors[0]))
        elif node["op_name"] == "EMBEDDING_LOOKUP" and tensors[0] in origin:
            looked_up.append((origin[tensors[0]], tensors[1]))
    shapes = {int(detail["index"]): detail["shape"] for detail in interpreter.get_tensor_details()}
    called = {int(detail["index"]): names.get(detail["name"], detail["name"]) for detail in details}
    tables = [(called[taken], int(shapes[table][0])) for taken, table in looked_up if len(shapes[table]) == 2]
    return dict(sorted(tables, reverse=True))  # of several tables the smallest
