"""LiteRT (ai-edge-litert); its model has one signature `tokens_<length>` per bucket, which share their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import OnDeviceError
from .buckets import Array, Predict, installed_version, serve
from .interpreter import make_interpreter, open_interpreter
from .litert_profiler import ProfiledModel
from .model import Model

FORMAT = "tflite"
PACKAGE = "ai-edge-litert"


def version() -> str | None:
    """The installed version, or None."""
    return installed_version(PACKAGE)


def library() -> Any:
    """The library itself. Raises ImportError."""
    from ai_edge_litert import interpreter

    return interpreter


def has_device(device: str) -> bool:
    """Whether it computes on this device here."""
    return device == "CPU"


def load(model: Path, buckets: Sequence[int], device: str, threads: int, reference: bool = False) -> Predict:
    """Load a .tflite. `reference` computes without delegates, so without XNNPACK. Raises OnDeviceError."""
    return load_signatures(library(), PACKAGE, model, buckets, device, threads, reference)


def load_signatures(
    library: Any, package: str, model: Path, buckets: Sequence[int], device: str, threads: int, reference: bool
) -> Predict:
    """`load` by any library that has TensorFlow Lite's Interpreter."""
    if device != "CPU":
        raise OnDeviceError(f"{package}: device '{device}'; possible: CPU")
    try:
        interpreter = make_interpreter(library, model, threads, reference)

        def open_bucket(bucket: int, ids: Array, mask: Array) -> Callable[[], Array]:
            run = interpreter.get_signature_runner(f"tokens_{bucket}")
            run(input_ids=ids, attention_mask=mask)  # allocates; a model that cannot run says so here

            def answer() -> Array:
                logits: Array = run(input_ids=ids, attention_mask=mask)["logits"][0]
                return logits

            return answer

        return serve(buckets, open_bucket)
    except (RuntimeError, ValueError) as error:
        raise OnDeviceError(f"{package}: cannot load {model.name}: {' '.join(str(error).split())}") from None


def open_model(model: Path, device: str, threads: int, profiling: bool = False, reference: bool = False) -> Model:
    """Load a bare .tflite. `reference` computes without delegates, so without XNNPACK. Raises OnDeviceError."""
    plain = open_interpreter(library(), PACKAGE, model, device, threads, reference)
    return ProfiledModel(plain, model, threads, version() or "unknown") if profiling else plain
