"""OpenVINO: one model compiled per bucket, because static shapes are much faster than one dynamic shape."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from .buckets import Array, Predict, installed_version, serve

FORMAT = "ir"
PACKAGE = "openvino"


def version() -> str | None:
    """The installed version, or None."""
    return installed_version(PACKAGE)


def import_openvino() -> Any:
    """The library, without its telemetry: where that package cannot be imported, OpenVINO uses its own silent stub.

    Otherwise the import alone writes into the user's home folder and reports itself. OPENVINO_TELEMETRY=1 allows it.
    """
    if os.environ.get("OPENVINO_TELEMETRY") != "1":
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def load(model: Path, buckets: Sequence[int], device: str, threads: int, reference: bool = False) -> Predict:
    """Read an IR and compile it for every bucket, as `reference` for the last one only. Raises OnDeviceError."""
    openvino = import_openvino()
    core = openvino.Core()
    here = core.available_devices
    if device.partition(".")[0] not in {name.partition(".")[0] for name in here}:
        raise OnDeviceError(f"{PACKAGE}: no device '{device}' here; possible: {', '.join(here)}")
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
        raise OnDeviceError(f"{PACKAGE}: cannot load {model.name}: {' '.join(str(error).split())}") from None


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
