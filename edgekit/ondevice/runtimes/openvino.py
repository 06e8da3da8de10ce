"""OpenVINO: one model compiled per bucket, because static shapes are much faster than one dynamic shape."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from ..place import compiled_folder
from .buckets import Array, Predict, installed_version, serve
from .model import NO_OPERATORS, Model, Tensor, check_feeds, check_file, resolve_shape, summed

FORMAT = "ir"
PACKAGE = "openvino"
#: Operators that hand token ids on, unchanged in value.
_PASSING = ("Convert", "Reshape", "Squeeze", "Unsqueeze")
#: What a device needs beside the wheel: docs.openvino.ai/2026, NPU Device and Configurations for Intel GPU.
_DRIVERS = {
    "NPU": "Intel's NPU driver and access to /dev/accel/accel0",
    "GPU": "Intel's OpenCL runtime and access to /dev/dri",
}
#: What a plugin need not name among the operators that it can do.
_NO_WORK = {"Parameter", "Constant", "Result"}


def version() -> str | None:
    """The installed version, or None."""
    return installed_version(PACKAGE)


def library() -> Any:
    """The library, without its telemetry."""
    leave_telemetry_out()
    import openvino

    return openvino


def leave_telemetry_out() -> None:
    """Where the telemetry's package cannot be imported, OpenVINO and NNCF use their own silent stub.

    Otherwise the import alone writes into the user's home folder and reports itself. OPENVINO_TELEMETRY=1 allows it.
    """
    if os.environ.get("OPENVINO_TELEMETRY") != "1":
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def load(model: Path, buckets: Sequence[int], device: str, threads: int, reference: bool = False) -> Predict:
    """Read an IR and compile it for every bucket, as `reference` for the last one only. Raises OnDeviceError.

    The reference of every device is the CPU's: there alone the model can be computed as it is defined. What another
    device compiled is kept beside the release, for its next start.
    """
    openvino, core = library(), _core(device)
    device = "CPU" if reference else device
    try:
        network = core.read_model(model)
        settings = _settings(network, device, threads, reference)
        settings.update(_kept(model, device))

        def open_bucket(bucket: int, ids: Array, mask: Array) -> Callable[[], Array]:
            static = network.clone()
            static.reshape({port.any_name: [1, bucket] for port in static.inputs})
            request = _compile(core, static, device, settings).create_infer_request()
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


def _kept(model: Path, device: str) -> dict[str, Any]:
    """Where what a device compiled is kept for its next start; nowhere for the CPU, which compiles in no time."""
    folder = None if device == "CPU" else compiled_folder(model)
    return {"CACHE_DIR": str(folder)} if folder else {}


def _core(device: str) -> Any:
    """OpenVINO's entry. Raises OnDeviceError where it has no such device here."""
    core = library().Core()
    if not _is_here(core, device):
        needs = _DRIVERS.get(_kind(device))
        hint = f"; it needs {needs}; --device CPU, or build it for intel-cpu" if needs else ""
        raise OnDeviceError(
            f"{PACKAGE}: no device '{device}' here; possible: {', '.join(core.available_devices)}{hint}"
        )
    return core


def has_device(device: str) -> bool:
    """Whether it computes on this device here."""
    return _is_here(library().Core(), device)


def _is_here(core: Any, device: str) -> bool:
    """Names of devices are those of single ones: AUTO and HETERO would quietly take another, so there are none."""
    return _kind(device) in {_kind(name) for name in core.available_devices}


def _kind(device: str) -> str:
    """GPU of GPU.1."""
    return device.partition(".")[0]


def _compile(core: Any, network: Any, device: str, settings: dict[str, Any]) -> Any:
    """One static shape, compiled. Raises OnDeviceError that names the operators which the device lacks."""
    try:
        return core.compile_model(network, device, settings)
    except RuntimeError as error:
        lacking = [] if device == "CPU" else unsupported(core, network, device)
        if not lacking:
            raise
        raise OnDeviceError(
            f"{PACKAGE}: {device} lacks {', '.join(lacking)}; possible: --device CPU, or a bundle for target "
            f"intel-cpu; it says: {_plain(error)}"
        ) from None


def unsupported(core: Any, network: Any, device: str) -> list[str]:
    """Types of the operators that the device's plugin cannot do, with their number; empty where it cannot tell."""
    try:
        able = core.query_model(network, device)
    except RuntimeError:
        return []
    lacking = Counter(
        operation.get_type_name()
        for operation in network.get_ops()
        if operation.get_friendly_name() not in able and operation.get_type_name() not in _NO_WORK
    )
    return [f"{kind} ({count})" for kind, count in sorted(lacking.items())]


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
    return settings


def open_model(
    model: Path, device: str, threads: int, profiling: bool = False, reference: bool | None = None
) -> Model:  # fmt: skip
    """Load an IR: a bundle's own or its `reference`, as `load` does; else, as None, as the runtime chooses to compute.

    Raises OnDeviceError.
    """
    core = _core(device)
    device = "CPU" if reference else device
    check_file(model)
    check_file(model.with_suffix(".bin"))
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": profiling}
    if device == "CPU":
        settings.update(INFERENCE_NUM_THREADS=threads, NUM_STREAMS=1)
    try:
        network = core.read_model(model)
        if reference is not None:
            settings.update(_settings(network, device, threads, reference), **_kept(model, device))
        notes: list[str] = []
        tables = _tables(network)
        shapes = {port.any_name: _shape(port, notes) for port in network.inputs}
        if network.is_dynamic():
            network.reshape({name: list(shape) for name, shape in shapes.items()})
        compiled = _compile(core, network, device, settings)
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
