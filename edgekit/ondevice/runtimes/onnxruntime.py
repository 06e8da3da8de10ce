"""ONNX Runtime: on the CPU, and on an NVIDIA GPU, by CUDA or TensorRT, where onnxruntime-gpu is installed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from . import onnx_session
from .buckets import Array, Predict, serve
from .model import NO_OPERATORS, Model, Tensor, check_feeds, one_line, resolve_shape, summed
from .onnx_session import GPU_PACKAGE, PACKAGE, Shapes, failures, has_device, library, open_session, session_options
from .onnx_session import version as version

__all__ = [
    "DEVICE_PACKAGES",
    "FORMAT",
    "PACKAGE",
    "has_device",
    "library",
    "load",
    "load_batched",
    "open_model",
    "version",
]

FORMAT = "onnx"
#: Device -> the distribution that computes on it, where it is another one.
DEVICE_PACKAGES = {"CUDA": GPU_PACKAGE, "TENSORRT": GPU_PACKAGE}
#: The library's element types that numpy knows by another name.
_TYPES = {"float": "float32", "double": "float64"}


def load(model: Path, buckets: Sequence[int], device: str, threads: int, reference: bool = False) -> Predict:
    """Load an .onnx with open lengths. The reference of every device is the CPU's, without graph optimisations.

    Raises OnDeviceError.
    """
    run, dtype = _open(model, buckets, 1, device, threads, reference)

    def open_bucket(bucket: int, ids: Array, mask: Array) -> Callable[[], Array]:
        def answer() -> Array:
            logits: Array = run(ids, mask)[0]
            return logits

        answer()  # a model that cannot take this length says so here
        return answer

    return serve(buckets, open_bucket, dtype)


def load_batched(
    model: Path, buckets: Sequence[int], batch: int, device: str, threads: int, reference: bool = False
) -> Callable[[Sequence[Sequence[int]]], list[Array]]:
    """A function from the token ids of any number of texts to their logits, computed up to `batch` at a time.

    Texts of like length share a batch, and all are padded to the smallest bucket that fits them. Raises OnDeviceError.
    """
    run, dtype = _open(model, buckets, batch, device, threads, reference)

    def compute(texts: Sequence[Sequence[int]]) -> Array:
        length = next(bucket for bucket in buckets if bucket >= max(map(len, texts)))
        ids, mask = np.zeros((len(texts), length), dtype), np.zeros((len(texts), length), dtype)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : max(len(text), 1)] = 1  # a text without any token would be no text
        return run(ids, mask)

    def answer(token_ids: Sequence[Sequence[int]]) -> list[Array]:
        order = sorted(range(len(token_ids)), key=lambda row: len(token_ids[row]))
        found: dict[int, Array] = {}
        for begin in range(0, len(order), batch):
            rows = order[begin : begin + batch]
            found.update(zip(rows, compute([token_ids[row] for row in rows])))
        # what is answered by token is answered for padding too
        return [found[row] if found[row].ndim == 1 else found[row][: len(ids)] for row, ids in enumerate(token_ids)]

    for bucket in buckets:  # a GPU prepares itself for a shape when it first meets it
        compute([[0] * bucket] * (1 if device == "CPU" else batch))
    return answer


def _open(
    model: Path, buckets: Sequence[int], batch: int, device: str, threads: int, reference: bool
) -> tuple[Callable[[Array, Array], Array], np.dtype[Any]]:
    """A function (ids, mask) -> logits, all [texts, …], and the inputs' type. Raises OnDeviceError."""
    device = "CPU" if reference else device
    inputs = ("input_ids", "attention_mask")
    session = open_session(
        model, device, session_options(threads, plain=reference), Shapes(inputs, tuple(buckets), batch)
    )
    kinds = {port.name: _dtype(port.type) for port in session.get_inputs()}
    missing = [name for name in inputs if name not in kinds]
    if missing:
        raise OnDeviceError(f"{model.name}: no input {', '.join(missing)}; it has {', '.join(kinds)}")
    names, failed = [session.get_outputs()[0].name], failures()

    def run(ids: Array, mask: Array) -> Array:
        try:
            logits: Array = session.run(names, dict(zip(inputs, (ids, mask))))[0]
        except failed as error:
            raise OnDeviceError(f"{PACKAGE}: {model.name}: {one_line(error)}") from None
        return logits

    return run, kinds[inputs[0]]


def open_model(model: Path, device: str, threads: int, profiling: bool = False, reference: bool = False) -> Model:
    """Load a bare .onnx. The reference is the CPU's, without graph optimisations. Raises OnDeviceError."""
    device = "CPU" if reference else device
    folder = tempfile.TemporaryDirectory(prefix="edgekit-") if profiling else None
    options = session_options(threads, plain=reference)
    if folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder.name) / "onnxruntime")
    session = open_session(model, device, options)
    try:
        opened = _Session(session, "cpu" if device == "CPU" else "cuda", threads, folder)
    except failures() as error:
        raise OnDeviceError(f"{PACKAGE}: cannot feed {model.name}: {one_line(error)}") from None
    opened.notes += onnx_session.beside(session, device)
    return opened


class _Session:
    """A session with its inputs bound to memory of its own."""

    def __init__(self, session: Any, where: str, threads: int, folder: Any) -> None:
        onnxruntime = library()
        self.notes: list[str] = []
        self.inputs = [_tensor(port, self.notes) for port in session.get_inputs()]
        self._session, self._folder = session, folder
        self._rows: list[dict[str, Any]] = []
        self._failures = failures()
        self._binding = session.io_binding()
        self._slots: list[tuple[str, Callable[[Array], None], tuple[int, ...], Any]] = []
        for tensor in self.inputs:
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(tensor.shape), tensor.dtype.type, where)
            value.update_inplace(np.zeros(tensor.shape, tensor.dtype))
            self._binding.bind_ortvalue_input(tensor.name, value)
            self._slots.append((tensor.name, value.update_inplace, tensor.shape, tensor.dtype))
        self._names = [port.name for port in session.get_outputs()]
        for name in self._names:
            self._binding.bind_output(name)
        self._run, self._copy = session.run_with_iobinding, self._binding.copy_outputs_to_cpu
        if threads > 1:
            self.notes.append("worker threads spin between inferences, the runtime's default, which costs energy")
        foldable = len(session.get_overridable_initializers())
        if foldable:
            self.notes.append(f"{foldable} weights are also inputs of the graph, so the runtime cannot fold them")

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Copy one sample into the session's input memory. Raises OnDeviceError."""
        for name, update, shape, dtype in self._slots:
            found = feeds.get(name)
            if found is None or found.shape != shape or found.dtype != dtype:
                check_feeds(feeds, self.inputs)
                raise OnDeviceError(f"input {name}: missing")
            update(found)

    def invoke(self) -> None:
        """Compute once. Raises OnDeviceError."""
        try:
            self._run(self._binding)
        except self._failures as error:
            raise OnDeviceError(one_line(error)) from None

    def outputs(self) -> dict[str, Array]:
        """Copies of the outputs by name."""
        values = self._copy()
        return {name: values[place] for place, name in enumerate(self._names)}

    def operators(self) -> list[dict[str, Any]]:
        """Milliseconds by type of operator, in whole microseconds per call; profiling ends here."""
        if self._folder:
            self._rows = _read_profile(Path(self._session.end_profiling()))
            self._folder.cleanup()
            self._folder = None
        if not self._rows:
            raise OnDeviceError(NO_OPERATORS)
        return self._rows


def _tensor(port: Any, notes: list[str]) -> Tensor:
    """What the session says of an input; open dimensions bear a name or none."""
    dims = [dim if isinstance(dim, int) else None for dim in port.shape]
    return Tensor(port.name, resolve_shape(port.name, dims, notes), _dtype(port.type))


def _dtype(said: str) -> np.dtype[Any]:
    """`tensor(float)` as numpy has it. Raises OnDeviceError for what is no array of numbers."""
    name = said[len("tensor(") : -1] if said.startswith("tensor(") else said
    try:
        return np.dtype(_TYPES.get(name, name))
    except TypeError:
        raise OnDeviceError(f"{PACKAGE}: an input of type {said} cannot be fed from numpy") from None


def _read_profile(path: Path) -> list[dict[str, Any]]:
    """Rows from the library's profile: https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html."""
    spent: dict[str, tuple[int, float]] = {}
    for event in json.loads(path.read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            calls, ms = spent.get(event["args"]["op_name"], (0, 0.0))
            spent[event["args"]["op_name"]] = calls + 1, ms + event["dur"] / 1000
    return summed(spent)
