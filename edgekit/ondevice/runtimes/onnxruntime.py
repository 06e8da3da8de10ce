"""ONNX Runtime: on the CPU, and on an NVIDIA GPU where onnxruntime-gpu is installed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from .buckets import Array, Predict, installed_version, serve
from .model import NO_OPERATORS, Model, Tensor, check_feeds, check_file, one_line, refuse_device, resolve_shape, summed

FORMAT = "onnx"
PACKAGE = "onnxruntime"
PROVIDERS = {"CPU": "CPUExecutionProvider", "CUDA": "CUDAExecutionProvider"}
#: The library's severity that says errors and no warnings.
_ERRORS = 3
#: The library's element types that numpy knows by another name.
_TYPES = {"float": "float32", "double": "float64"}


def version() -> str | None:
    """The installed version, or None."""
    return installed_version(PACKAGE) or installed_version(f"{PACKAGE}-gpu")


def library() -> Any:
    """The library itself. Raises ImportError."""
    import onnxruntime

    return onnxruntime


def has_device(device: str) -> bool:
    """Whether it computes on this device here."""
    return PROVIDERS.get(device) in library().get_available_providers()


def load(model: Path, buckets: Sequence[int], device: str, threads: int, reference: bool = False) -> Predict:
    """Load an .onnx with open lengths. `reference` computes without graph optimisations. Raises OnDeviceError."""
    onnxruntime = library()
    session = _session(model, device, _options(threads, plain=reference))
    kinds = {port.name: _dtype(port.type) for port in session.get_inputs()}

    def open_bucket(bucket: int, ids: Array, mask: Array) -> Callable[[], Array]:
        feeds = {"input_ids": ids, "attention_mask": mask}
        names = [session.get_outputs()[0].name]

        def answer() -> Array:
            logits: Array = session.run(names, feeds)[0][0]
            return logits

        answer()  # a model that cannot take this length says so here
        return answer

    try:
        return serve(buckets, open_bucket, kinds.get("input_ids", np.dtype(np.int64)))
    except _failures(onnxruntime) as error:
        raise OnDeviceError(f"{PACKAGE}: cannot load {model.name}: {one_line(error)}") from None


def open_model(model: Path, device: str, threads: int, profiling: bool = False) -> Model:
    """Load a bare .onnx. Raises OnDeviceError."""
    onnxruntime = library()
    folder = tempfile.TemporaryDirectory(prefix="edgekit-") if profiling else None
    options = _options(threads)
    if folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder.name) / "onnxruntime")
    session = _session(model, device, options)
    try:
        return _Session(session, device.lower(), threads, folder)
    except _failures(onnxruntime) as error:
        raise OnDeviceError(f"{PACKAGE}: cannot feed {model.name}: {one_line(error)}") from None


def _options(threads: int, plain: bool = False) -> Any:
    """One query at a time by `threads` threads. They spin between queries, which is the library's default."""
    onnxruntime = library()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _session(model: Path, device: str, options: Any) -> Any:
    """The model, loaded. Raises OnDeviceError, also where the library would quietly take another device."""
    onnxruntime = library()
    onnxruntime.disable_telemetry_events()
    here = [name for name, provider in PROVIDERS.items() if provider in onnxruntime.get_available_providers()]
    refuse_device(PACKAGE, device, here)
    check_file(model)
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=[PROVIDERS[device]])
    except _failures(onnxruntime) as error:
        raise OnDeviceError(f"{PACKAGE}: cannot load {model.name}: {one_line(error)}") from None
    if session.get_providers()[0] != PROVIDERS[device]:
        raise OnDeviceError(f"{PACKAGE}: {PROVIDERS[device]} does not start here; look at its CUDA and cuDNN libraries")
    return session


def _failures(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """What the library raises: classes of its own without a common parent, and RuntimeError or ValueError."""
    own = onnxruntime.capi.onnxruntime_pybind11_state
    kinds = [kind for kind in vars(own).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*kinds, RuntimeError, ValueError)


class _Session:
    """A session with its inputs bound to memory of its own."""

    def __init__(self, session: Any, where: str, threads: int, folder: Any) -> None:
        onnxruntime = library()
        self.notes: list[str] = []
        self.inputs = [_tensor(port, self.notes) for port in session.get_inputs()]
        self._session, self._folder = session, folder
        self._rows: list[dict[str, Any]] = []
        self._failures = _failures(onnxruntime)
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
