"""Sessions of ONNX Runtime: on the processor that was asked for, or not at all.

Left to itself the library takes the CPU where a provider does not start, or for operators that one lacks. Options of
the providers: onnxruntime.ai/docs/execution-providers, TensorRT and CUDA.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OnDeviceError
from ..manifest import file_digest
from ..place import compiled_folder
from .buckets import installed_version
from .model import check_file, one_line, refuse_device

PACKAGE = "onnxruntime"
#: The distribution whose library computes on these; it computes on the CPU too.
GPU_PACKAGE = "onnxruntime-gpu"
PROVIDERS = {
    "TENSORRT": "TensorrtExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
    "CPU": "CPUExecutionProvider",
}
#: What each takes beside onnxruntime-gpu: the libraries that its wheel of 1.31.1 links to.
NEEDS = {
    "CUDA": "NVIDIA's driver, CUDA 13 and cuDNN 9",
    "TENSORRT": "NVIDIA's driver, CUDA 13, cuDNN 9 and TensorRT 10 (libnvinfer.so.10)",
}
#: A key of the model's metadata: it computes in float16.
HALF_MARK = "edgekit_float16"
#: Where a GPU shows: NVIDIA's driver, and Windows' subsystem for Linux.
_GPU_NODES = ("dev/nvidiactl", "dev/nvidia0", "dev/dxg")
#: Operators on shapes, which the library computes on the CPU by choice: they say how long the others' inputs are.
_OF_SHAPES = {
    "Shape", "Size", "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Cast", "Constant", "ConstantOfShape",
    "Range", "Reshape", "Equal", "Where", "Expand", "Add", "Sub", "Mul", "Div", "Mod", "Identity", "Min", "Max",
    "MemcpyToHost", "MemcpyFromHost", "ReduceProd",
}  # fmt: skip
#: The version of a TensorRT that is not here.
_NO_TENSORRT = "unknown"
#: The library's severity that says errors and no warnings.
_ERRORS = 3


class Shapes(NamedTuple):
    """The inputs that a TensorRT engine is built for: tokens of each length, texts up to `batch` at a time."""

    inputs: tuple[str, ...]
    buckets: tuple[int, ...]
    batch: int


def library() -> Any:
    """The library itself. Raises ImportError."""
    import onnxruntime

    return onnxruntime


def version() -> str | None:
    """The installed version, or None."""
    return installed_version(PACKAGE) or installed_version(GPU_PACKAGE)


def failures() -> tuple[type[Exception], ...]:
    """What the library raises: classes of its own without a common parent, and RuntimeError or ValueError."""
    own = library().capi.onnxruntime_pybind11_state
    kinds = [kind for kind in vars(own).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*kinds, RuntimeError, ValueError)


def has_device(device: str, root: Path = Path("/")) -> bool:
    """Whether the library was built for this device, and the device is here: a GPU, and TensorRT where it is asked."""
    built = PROVIDERS.get(device) in library().get_available_providers()
    if device == "TENSORRT" and _tensorrt_version() == _NO_TENSORRT:
        return False
    return built and (device == "CPU" or any((root / node).exists() for node in _GPU_NODES))


def session_options(threads: int, plain: bool = False) -> Any:
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


def open_session(model: Path, device: str, options: Any, shapes: Shapes | None = None) -> Any:
    """The model, loaded for this device and no other. Raises OnDeviceError."""
    onnxruntime = library()
    onnxruntime.disable_telemetry_events()
    here = [name for name, provider in PROVIDERS.items() if provider in onnxruntime.get_available_providers()]
    if device in PROVIDERS and device not in here:
        raise OnDeviceError(
            f"{PACKAGE}: no device '{device}' here; possible: {', '.join(here)} (--device CPU); {device} needs "
            f"{GPU_PACKAGE}, {NEEDS[device]}"
        )
    refuse_device(PACKAGE, device, here)
    check_file(model)
    if device != "CPU":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = onnxruntime.InferenceSession(
            str(model), options, providers=_providers(model, device, shapes), enable_fallback=0
        )
    except failures() as error:
        raise OnDeviceError(f"{PACKAGE}: {_explain(model, device, one_line(error))}") from None
    if session.get_providers()[0] != PROVIDERS[device]:
        raise OnDeviceError(
            f"{PACKAGE}: {PROVIDERS[device]} does not start here; it needs {NEEDS[device]}, found by LD_LIBRARY_PATH; "
            "possible: --device CPU"
        )
    if device != "CPU":
        _check_placement(session, model, device)
    return session


def _explain(model: Path, device: str, said: str) -> str:
    """Why a model does not load; what the library says, where nothing better is known."""
    lost = re.search(r'External data path does not exist: "([^"]+)"', said)
    if lost:
        name = Path(lost[1]).name
        return f"{model.name}: its weights are in a second file, {name}, which is not beside it; copy both"
    unknown = re.search(r"No Op registered for (\S+) with domain_version of (\d+)", said)
    if unknown:
        return f"{model.name}: no operator {unknown[1]} (opset {unknown[2]}) in this version, {version()}; {said}"
    missing = re.search(r"Could not find an implementation for (\w+)\((\d+)\)", said)
    if missing:
        return f"{model.name}: {device} lacks operator {missing[1]} (opset {missing[2]}); {said}"
    return f"cannot load {model.name}: {said}"


def _check_placement(session: Any, model: Path, device: str) -> None:
    """Raise OnDeviceError where the model, or a part of it that computes, would quietly run elsewhere."""
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    on_cpu = {op: n for op, n in found.get(PROVIDERS["CPU"], Counter()).items() if op not in _OF_SHAPES}
    if on_cpu:
        names = ", ".join(f"{op} ({n})" for op, n in sorted(on_cpu.items()))
        raise OnDeviceError(f"{PACKAGE}: {model.name}: {device} lacks {names}; possible: --device CPU")
    if not found.get(PROVIDERS[device]):
        elsewhere = ", ".join(sorted(set(found)))
        raise OnDeviceError(f"{PACKAGE}: {model.name}: {device} takes no part of it, only {elsewhere} would")


def beside(session: Any, device: str) -> list[str]:
    """What a reader of times should know: operators that TensorRT leaves to CUDA."""
    if device != "TENSORRT":
        return []
    parts = [p for p in session.get_provider_graph_assignment_info() if p.ep_name == PROVIDERS["CUDA"]]
    kinds = Counter(node.op_type for part in parts for node in part.get_nodes())
    names = ", ".join(f"{op} ({n})" for op, n in sorted(kinds.items()))
    return [f"TensorRT leaves to CUDA: {names}"] if names else []


def _providers(model: Path, device: str, shapes: Shapes | None) -> list[Any]:
    """The provider asked for with its options. The library adds the CPU for shapes; a placement tells what it took."""
    if device == "CPU":
        return [PROVIDERS["CPU"]]
    cuda = (PROVIDERS["CUDA"], {"device_id": "0"})
    return [cuda] if device == "CUDA" else [(PROVIDERS["TENSORRT"], _tensorrt(model, shapes)), cuda]


def _tensorrt(model: Path, shapes: Shapes | None) -> dict[str, str]:
    """TensorRT's options: precisions, the engine's place, and the shapes that it is built for.

    An engine takes minutes to build and fits one GPU, driver and library, so it is kept under their names.
    """
    precision = precision_of(model)
    options = {
        "device_id": "0",
        "trt_fp16_enable": str(int(precision != "float32")),
        "trt_int8_enable": str(int(precision == "int8")),
    }
    kept = compiled_folder(model)
    place = kept / engine_name(model) if kept else None
    if place:
        with contextlib.suppress(OSError):  # a service may not write there, but read what the flash compiled
            place.mkdir(exist_ok=True)
    if place and place.is_dir():
        options.update(
            trt_engine_cache_enable="1", trt_engine_cache_path=str(place), trt_timing_cache_enable="1",
            trt_timing_cache_path=str(place),
        )  # fmt: skip
    if shapes:
        middle = shapes.buckets[len(shapes.buckets) // 2]
        for when, batch, tokens in (
            ("min", 1, 1),
            ("opt", shapes.batch, middle),
            ("max", shapes.batch, shapes.buckets[-1]),
        ):
            options[f"trt_profile_{when}_shapes"] = ",".join(f"{name}:{batch}x{tokens}" for name in shapes.inputs)
    return options


def engine_name(model: Path, root: Path = Path("/")) -> str:
    """A folder's name that says all that an engine depends on: GPU, driver, TensorRT, this library and the model."""
    gpu = next((_field(path, "Model") for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information"))), "gpu")
    driver = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", _read(root / "proc/driver/nvidia/version"))
    parts = (gpu, driver[1] if driver else "driver", f"trt{_tensorrt_version()}", f"ort{version()}")
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", part) for part in parts) + f"-{file_digest(model)[:16]}"


def _field(path: Path, name: str) -> str:
    """A line `Name:  value` of a file of NVIDIA's driver."""
    found = re.search(rf"^{name}:\s*(.+?)\s*$", _read(path), re.MULTILINE)
    return found[1] if found else "gpu"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _tensorrt_version() -> str:
    """The version of the TensorRT that the library will load, as it counts: 101303 is 10.13.3."""
    try:
        return str(ctypes.CDLL("libnvinfer.so.10").getInferLibVersion())
    except (OSError, AttributeError):
        return _NO_TENSORRT


def precision_of(model: Path) -> str:
    """int8, float16 or float32: told by an operator's name, or edgekit's mark, without parsing the file."""
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"DequantizeLinear") >= 0:
            return "int8"
        return "float16" if content.find(HALF_MARK.encode()) >= 0 else "float32"
