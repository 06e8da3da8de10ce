"""OpenVINO: one model compiled per bucket, because static shapes are much faster than one dynamic shape."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from .buckets import Array, Predict, installed_version, serve
from .model import NO_OPERATORS, Model, Tensor, check_feeds, check_file, resolve_shape, summed

FORMAT = "ir"
PACKAGE = "openvino"
#: Operators that hand token ids on, unchanged in value.
_PASSING = ("Convert", "Reshape", "Squeeze", "Unsqueeze")


def version() -> str | None:
    """The installed version, or None."""
    return installed_version(PACKAGE)


def library() -> Any:
    """The library, without its telemetry: where that package cannot be imported, OpenVINO uses its own silent stub.

    Otherwise the import alone writes into the user's home folder and reports itself. OPENVINO_TELEMETRY=1 allows it.
    """
    if os.environ.get("OPENVINO_TELEMETRY") != "1":
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def load(model: Path, buckets: Sequence[int], device: str, threads: int, reference: bool = False) -> Predict:
    """Read an IR and compile it for every bucket, as `reference` for the last one only. Raises OnDeviceError."""
    openvino, core = library(), _core(device)
    try:
        network = core.read_model(model)
        settings = _settings(network, device, threads, reference)

        def open_bucket(bucket: int, ids: Array, mask: Array) -> Callable[[], Array]:
            static = network.clone()
            static.reshape({port.any_name: [1, bucket] for port in static.inputs})
            request = core.compile_model(static, device, settings).create_infer_request()
            logits: Array = np.zeros(tuple(request.model_outputs[0].shape), np.float32)
            request.set_tensor("input_ids", openvino.Tensor(ids, shared_memory=True))
            request.set_tensor("attention_mask", openvino.Tensor(mask, shared_memory=True))
            request.set_output_tensor(0, openvino.Tensor(logits, shared_memory=True))

            def answer() -> Array:
                request.infer(share_outputs=True)
                return np.array(logits[0])

            return answer

        # In float32 each compiled shape holds the whole model: several times the memory, for speed that nobody needs.
        shapes = buckets[-1:] if reference else buckets
        return serve(shapes, open_bucket, network.input("input_ids").element_type.to_dtype())
    except RuntimeError as error:
        raise OnDeviceError(f"{PACKAGE}: cannot load {model.name}: {_plain(error)}") from None


def _core(device: str) -> Any:
    """OpenVINO's entry. Raises OnDeviceError where it has no such device here."""
    core = library().Core()
    here = core.available_devices
    if device.partition(".")[0] not in {name.partition(".")[0] for name in here}:
        raise OnDeviceError(f"{PACKAGE}: no device '{device}' here; possible: {', '.join(here)}")
    return core


def _settings(network: Any, device: str, threads: int, reference: bool) -> dict[str, Any]:
    """How to compile. One text at a time is what a device does, so latency counts.

    A float model computes in bfloat16 where the CPU can, at up to twice the speed; its reference is float32. An INT8
    model gains next to nothing by bfloat16 between its INT8 layers, and answers alike on all CPUs without it; its
    reference is the quantised model as it is defined, in float32 arithmetic, not in INT8 kernels.
    """
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        int8 = any(operation.get_type_name() == "FakeQuantize" for operation in network.get_ops())
        settings.update(INFERENCE_NUM_THREADS=threads, NUM_STREAMS=1)
        if int8 or reference:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        if int8 and reference:
            settings["LP_TRANSFORMS_MODE"] = "NO"
    elif reference:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    return settings


def open_model(model: Path, device: str, threads: int, profiling: bool = False) -> Model:
    """Load a bare IR, at the precision that the runtime chooses. Raises OnDeviceError."""
    core = _core(device)
    check_file(model)
    check_file(model.with_suffix(".bin"))
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": profiling}
    if device == "CPU":
        settings.update(INFERENCE_NUM_THREADS=threads, NUM_STREAMS=1)
    try:
        network = core.read_model(model)
        notes: list[str] = []
        tables = _tables(network)
        shapes = {port.any_name: _shape(port, notes) for port in network.inputs}
        if network.is_dynamic():
            network.reshape({name: list(shape) for name, shape in shapes.items()})
        compiled = core.compile_model(network, device, settings)
        inputs = [
            Tensor(port.any_name, shapes[port.any_name], port.element_type.to_dtype(), None, tables.get(port.any_name))
            for port in network.inputs
        ]
        notes.append(f"computes in {compiled.get_property('INFERENCE_PRECISION_HINT').to_string()} where it may")
        return _Compiled(compiled, inputs, notes, profiling)
    except (RuntimeError, TypeError) as error:
        raise OnDeviceError(f"{PACKAGE}: cannot load {model.name}: {_plain(error)}") from None


class _Compiled:
    """One infer request. Its inputs, and the outputs whose shapes are known, lie in numpy's memory."""

    def __init__(self, compiled: Any, inputs: list[Tensor], notes: list[str], profiling: bool) -> None:
        openvino = library()
        self.inputs, self.notes = inputs, notes
        self._request = request = compiled.create_infer_request()
        self._infer = request.infer
        self._slots: list[tuple[str, Array, tuple[int, ...], Any]] = []
        for place, tensor in enumerate(inputs):
            memory = np.zeros(tensor.shape, tensor.dtype)
            request.set_input_tensor(place, openvino.Tensor(memory, shared_memory=True))
            self._slots.append((tensor.name, memory, tensor.shape, tensor.dtype))
        self._answers: list[tuple[str, Callable[[], Array]]] = []
        for place, port in enumerate(compiled.outputs):
            name = port.any_name if port.names else f"output_{place}"
            self._answers.append((name, self._place_output(place, port)))
        self._spent: dict[str, tuple[int, float]] | None = {} if profiling else None

    def _place_output(self, place: int, port: Any) -> Callable[[], Array]:
        """A function that copies this output."""
        if port.partial_shape.is_dynamic:
            return lambda: np.array(self._request.get_output_tensor(place).data)
        memory: Array = np.zeros(tuple(port.shape), port.element_type.to_dtype())
        self._request.set_output_tensor(place, library().Tensor(memory, shared_memory=True))
        return memory.copy

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Copy one sample into the request's memory. Raises OnDeviceError."""
        for name, memory, shape, dtype in self._slots:
            found = feeds.get(name)
            if found is None or found.shape != shape or found.dtype != dtype:
                check_feeds(feeds, self.inputs)
                raise OnDeviceError(f"input {name}: missing")
            memory[...] = found

    def invoke(self) -> None:
        """Compute once. Raises OnDeviceError."""
        try:
            self._infer(share_outputs=True)
        except RuntimeError as error:
            raise OnDeviceError(_plain(error)) from None
        if self._spent is not None:
            self._count(self._spent)

    def outputs(self) -> dict[str, Array]:
        """Copies of the outputs by name."""
        found = {}
        for name, copy in self._answers:  # a comprehension is a call more, which 50 µs would show
            found[name] = copy()
        return found

    def operators(self) -> list[dict[str, Any]]:
        """Milliseconds by type of operator, as PERF_COUNT gives them, in whole microseconds per call."""
        if not self._spent:
            raise OnDeviceError(NO_OPERATORS)
        return summed(self._spent)

    def _count(self, spent: dict[str, tuple[int, float]]) -> None:
        """Add the last inference's times, which the next one overwrites."""
        for node in self._request.profiling_info:
            if node.status.name == "EXECUTED":
                calls, ms = spent.get(node.node_type, (0, 0.0))
                spent[node.node_type] = calls + 1, ms + node.real_time.total_seconds() * 1000


def _shape(port: Any, notes: list[str]) -> tuple[int, ...]:
    """The concrete shape of an input."""
    if port.partial_shape.rank.is_dynamic:
        raise OnDeviceError(f"input {port.any_name}: its number of dimensions is open; fix it when converting")
    return resolve_shape(port.any_name, [d.get_length() if d.is_static else None for d in port.partial_shape], notes)


def _tables(network: Any) -> dict[str, int]:
    """Input -> rows of the smallest table that it looks up."""
    rows: dict[str, int] = {}
    for gather in (op for op in network.get_ops() if op.get_type_name() == "Gather"):
        table = gather.input_value(0).get_partial_shape()
        source = gather.input_value(1).get_node()
        while source.get_type_name() in _PASSING:
            source = source.input_value(0).get_node()
        if source.get_type_name() == "Parameter" and table.is_static and len(table) == 2:
            name = source.output(0).any_name
            rows[name] = min(rows.get(name, table[0].get_length()), table[0].get_length())
    return rows


def _plain(error: Exception) -> str:
    """What OpenVINO says, in one line, without the places in its own source that it begins with."""
    said = re.sub(r"Exception from \S+:\d+:|Check '[^']*' failed at \S+:\d+:", " ", str(error))
    return " ".join(said.split())
